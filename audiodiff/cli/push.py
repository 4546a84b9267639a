"""Put a model on the Hugging Face hub, or write what would be put there into a folder.

Uploads model.safetensors, config.json and README.md (the card) with the login of `hf auth login`. Others then give
hf://OWNER/NAME wherever a model is asked for.
"""

import argparse
from pathlib import Path

from audiodiff.cli import checks, messages

EXAMPLE = "audiodiff push runs/mine OWNER/NAME --out folder-to-look-at"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, its name there, and where to."""
    parser.add_argument("model", type=checks.model, metavar="MODEL", help="shipped name, file, run folder or .ckpt")
    parser.add_argument("name", type=checks.hub_name, metavar="OWNER/NAME", help="what it is called on the hub")
    parser.add_argument("--private", action="store_true", help="hide it from others, if it is new there")
    parser.add_argument("--out", metavar="FOLDER", help="write the files there and upload nothing")


def run(options: argparse.Namespace) -> int:
    """Load, and write or uploads."""
    from audiodiff.models.base import Model

    if options.out and Path(options.out).exists():
        raise ValueError(f"{options.out}: exists; give another folder")
    model = Model.load(options.model)
    if options.out:
        model.write_hub_layout(options.out, options.name)
        messages.say(f"{options.out}: written; nothing was uploaded")
    else:
        messages.say(f"{model.push_to_hub(options.name, options.private)}: uploaded")
    return 0
