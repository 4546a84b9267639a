"""The demo page: five tabs over one vocoder and one generator.

    Vocode    recording → mel → our sound, beside the recording and Griffin-Lim; the estimate after each call
    Generate  a class → sounds, and variations of one of them
    Restore   a gap, clipping, missing treble
    Mel       a mel of another program → sound
    Models    the cards of what ships

Each tab is a file: what is behind its button is a function that tests call too, and `lay_out` places the components.
The page has no sampling of its own: it calls what the commands call, and the sounds that it serves hold the same bytes
as their WAV files. Everything comes from this process; the browser needs nothing else.
"""

import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path

import gradio as gr

from audiodiff.models import registry
from audiodiff.models.generator import Generator
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils import devices
from audiodiff.web import common, generate, mels, models, restore, served, vocode  # noqa: F401 — served changes how Gradio writes
from audiodiff.web.common import Stops

__all__ = ["build", "launch", "main"]

GENERATOR = "drums"
MOST_WAITING = 64
LARGEST_UPLOAD = "100mb"
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO_FONTS = ["ui-monospace", "Consolas", "Liberation Mono", "monospace"]
CSS = """
.gradio-container { max-width: 1100px !important; margin: 0 auto !important; }
.numbers { text-align: center; }
.numbers table { margin: 0 auto; }
.facts { font-size: 0.85em; opacity: 0.8; }
"""


def build(
    model: Vocoder | str | Path, device: str = "auto", generator: Generator | str | Path = GENERATOR
) -> gr.Blocks:
    """Lays out the page of a vocoder and a generator.

    Args:
        model: A vocoder, or what `Vocoder.load` takes.
        device: Where models that are loaded here go.
        generator: A generator, or what `Generator.load` takes.

    Raises:
        ValueError: A model or the device does not exist.
    """
    place = devices.resolve(device)
    vocoder = model if isinstance(model, Vocoder) else Vocoder.load(model, place)
    maker = generator if isinstance(generator, Generator) else Generator.load(generator, place)
    stops = Stops()
    with gr.Blocks(title="audiodiff", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown("# audiodiff\nDiffusion on audio waveforms, on the CPU: a few network calls make a sound.")
        with gr.Tab("Vocode"):
            vocode.lay_out(vocoder, stops)
        with gr.Tab("Generate"):
            generate.lay_out(maker, str(maker.info.get("name") or GENERATOR), stops)
        with gr.Tab("Restore"):
            restore.lay_out(vocoder, stops)
        with gr.Tab("Mel"):
            mels.lay_out(vocoder, stops)
        with gr.Tab("Models"):
            models.lay_out()
        page.unload(stops.leave)
    return page.queue(max_size=MOST_WAITING, default_concurrency_limit=4)


def launch(
    page: gr.Blocks, host: str = "127.0.0.1", port: int = 7860, open_browser: bool = False, share: bool = False
) -> str:
    """Serves a page from a thread, to nobody but `host` unless it is shared, and returns its address.

    Raises:
        ValueError: The port is taken, the host is not this machine's, or no link could be had.
    """
    _bypass_proxy(host)
    try:
        _, local, shared = page.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            inline=False,
            share=share,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            max_file_size=LARGEST_UPLOAD,
            allowed_paths=[str(path) for path in common.examples().values()],
            theme=gr.themes.Soft(font=FONTS, font_mono=MONO_FONTS),
            css=CSS,
        )
    except OSError:
        raise ValueError(f"{host}:{port} cannot be served: the port is taken or the host unknown; try --port") from None
    if share and not shared:
        page.close(verbose=False)
        raise ValueError("no public link could be had: check the network, or leave out --share")
    return shared or local


def main(
    model: Vocoder | str | Path = registry.DEFAULT_MODEL,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 7860,
    open_browser: bool = False,
    share: bool = False,
    generator: Generator | str | Path = GENERATOR,
) -> None:
    """Serves the page until Ctrl-C or a termination, and leaves no file behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    devices.small_pages()
    with tempfile.TemporaryDirectory(prefix="audiodiff-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build(model, device, generator)
        print(f"{launch(page, host, port, open_browser, share)} (stop with Ctrl-C)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
        page.close(verbose=False)


def _bypass_proxy(host: str) -> None:
    """Keeps Gradio's question to its own server, whether it is up, from going to the proxy of the environment."""
    for name in ("NO_PROXY", "no_proxy"):  # where both are set, the small letters win
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", host]))
