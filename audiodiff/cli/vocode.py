"""Turns log-mel spectrograms into sound.

A MEL.npy holds floats, [bands, frames], or [channels, bands, frames] for stereo, in the mel that `audiodiff info` shows
of the model. The output has frames × hop samples. Several files or folders go into a folder, OUT, with their tree.
Beside each OUT.wav lies OUT.wav.json, which says how it was made.
"""

import argparse

from audiodiff.cli import common
from audiodiff.cli.paths import Kinds, plan
from audiodiff.cli.resynth import make_sounds

EXAMPLE = "audiodiff vocode mel.npy out.wav --seed 1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds inputs, output and options."""
    parser.add_argument("inputs", nargs="+", metavar="MEL.npy", help="mel spectrograms, or folders of them")
    parser.add_argument("out", metavar="OUT", help="the WAV file; a folder for several inputs")
    common.add_model_options(parser)
    common.add_sampling_options(parser)
    common.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Plans, loads the model, and works."""
    kinds = Kinds({".npy"}, ".wav", beside=(".json",))
    return make_sounds("vocode", plan(options.inputs, options.out, kinds, options.force), options)
