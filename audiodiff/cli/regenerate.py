"""Make a sound again from the sidecar beside it, byte for byte on the same machine.

The model and the input must be where they were, and unchanged: their hashes are compared.
"""

import argparse

from audiodiff.cli import parsing
from audiodiff.cli.jobs import Kinds, plan_batch
from audiodiff.cli.sounds import make_sounds

EXAMPLE = "audiodiff regenerate out.wav.json again.wav"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add sidecar, output and options."""
    parser.add_argument("sidecar", metavar="SIDECAR", help="the OUT.wav.json beside a sound")
    parser.add_argument("out", metavar="OUT.wav", help="the file, .wav, .flac or .mp3")
    parsing.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Read the sidecar, check that nothing has changed, and follow its recipe."""
    from audiodiff.audio import WRITTEN

    plan_batch([options.sidecar], options.out, Kinds((), tuple(WRITTEN), beside=(".json",)), options.force)
    from audiodiff.pipelines.sidecar import Sidecar

    note = Sidecar.read(options.sidecar)
    note.check_input()
    source = options.sidecar if note.input is None else note.input
    batch = plan_batch([source], options.out, Kinds((), tuple(WRITTEN), beside=(".json",)), options.force)
    return make_sounds(note.recipe, batch, note.load(), options.json)
