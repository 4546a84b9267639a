"""Serve the demo page in a Space of the Hugging Face hub, which looks for it at port 7860."""

import sys

from audiodiff.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", "--host", "0.0.0.0"]))
