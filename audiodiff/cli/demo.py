"""Serve the demo page: vocode, generate, restore, try a mel; hear and see what comes back.

The page is served from this machine to this machine and fetches nothing from elsewhere; Ctrl-C stops it. With
--host 0.0.0.0 others on the network see it too, and with --share everybody who has the link, by way of Gradio's server.
"""

import argparse
import os
import sys
from typing import NoReturn

from audiodiff.cli import checks, loading, parsing
from audiodiff.models import registry
from audiodiff.utils.extras import requires_extra

EXAMPLE = "audiodiff demo --port 7860 --open"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model's options and the server's."""
    parsing.add_model_options(parser)
    group = parser.add_argument_group("server")
    group.add_argument(
        "--port", type=checks.whole(1, 65535), default=7860, metavar="N", help="where to listen (default: 7860)"
    )
    group.add_argument("--host", default="127.0.0.1", metavar="NAME", help="address to serve (default: 127.0.0.1)")
    group.add_argument(
        "--generator",
        type=checks.generator,
        default="drums",
        metavar="MODEL",
        help="of the tab Generate (default: drums)",
    )
    group.add_argument("--share", action="store_true", help="also serve it to everybody with a link, for a week")
    group.add_argument("--open", action="store_true", help="open the page in the browser")


def run(options: argparse.Namespace) -> NoReturn:
    """Check what is needed, load the model and serve."""
    checks.known_model(options.model or registry.DEFAULT_MODEL, "Vocoder")
    requires_extra("demo", "gradio", purpose="the page")
    from audiodiff.web import layout

    layout.main(
        loading.load_vocoder(options),
        options.device,
        options.host,
        options.port,
        open_browser=options.open,
        share=options.share,
        generator=options.generator,
    )
    # The interpreter's own end aborts, or waits for minutes, when a visitor's thread is in compiled code just then.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
