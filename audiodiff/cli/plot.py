"""Draw sounds: waveform, spectrogram and mel of each, and what a second one has that the first has not.

All spectrograms share one scale, dB below a full-scale sine. With two inputs of one rate the last row is the second's
spectrogram minus the first's. Mels are on the scale of 80 bands up to 8 kHz or half the rate.
"""

import argparse
from pathlib import Path

from audiodiff.cli import checks, common
from audiodiff.cli.jobs import check_new_file

EXAMPLE = "audiodiff plot speech.flac out.wav picture.png"
MOST = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sounds and the picture."""
    parser.add_argument("inputs", nargs="+", type=checks.audio_file, metavar="IN", help=f"audio files, at most {MOST}")
    parser.add_argument("out", metavar="OUT.png", help="the picture")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite a file that exists")


def run(options: argparse.Namespace) -> int:
    """Read, draw, write."""
    out = Path(options.out)
    check_new_file(out, options.force, ".png")
    if len(options.inputs) > MOST:
        raise ValueError(f"{len(options.inputs)} files are given, and {MOST} fit into a picture")
    from audiodiff import audio
    from audiodiff.evaluation.plots import comparison

    sounds = []
    for path in options.inputs:
        waveform, rate = audio.read(path)
        sounds.append((Path(path).name, waveform.mean(0), rate))
    comparison(sounds, out)
    common.say(f"{out}: drawn")
    return 0
