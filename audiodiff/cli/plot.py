"""Draw sounds: waveform and spectrogram of each, and what a second one has that the first has not.

All spectrograms share one scale, dB below a full-scale sine; the second of each sound has frequencies in equal steps of
mel, up to 8 kHz or half the rate. With two inputs of one rate the last row is the second's spectrogram minus the
first's. Channels are mixed down; a long recording takes no more memory than a short one.
"""

import argparse
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from audiodiff.audio.io import CANCELLED
from audiodiff.cli import checks, messages
from audiodiff.cli.jobs import check_new_file

if TYPE_CHECKING:
    import numpy as np

EXAMPLE = "audiodiff plot speech.flac out.wav picture.png"
MOST = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sounds and the picture."""
    parser.add_argument("inputs", nargs="+", type=checks.audio_file, metavar="IN", help=f"audio files, at most {MOST}")
    parser.add_argument("out", metavar="OUT.png", help="the picture")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite a file that exists")


def _mixed(path: str, pieces: "Iterable[np.ndarray]") -> "Iterator[np.ndarray]":
    """Mix pieces, [C, T], down to [T], one after the other; refuse channels that cancel each other in the end."""
    mixed = separate = 0.0
    for piece in pieces:
        mono = piece.mean(0)
        mixed += float((mono.astype("float64") ** 2).sum())
        separate += float((piece.astype("float64") ** 2).mean(0).sum())
        yield mono
    if mixed < CANCELLED * separate:
        raise ValueError(f"{path}: its channels cancel each other; give one of them, or turn one upside down")


def run(options: argparse.Namespace) -> int:
    """Read, draw, write."""
    out = Path(options.out)
    check_new_file(out, options.force, ".png")
    if len(options.inputs) > MOST:
        raise ValueError(f"{len(options.inputs)} files are given, and {MOST} fit into a picture")
    from audiodiff.audio import opened
    from audiodiff.evaluation.sound_plot import draw_sounds, frames_in_a_column, reduce_sound

    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(opened(path)) for path in options.inputs]
        frames = frames_in_a_column(max(file.n_samples for file in files))
        sounds = [
            reduce_sound(Path(path).name, _mixed(path, file.arrays()), file.sample_rate, frames)
            for path, file in zip(options.inputs, files, strict=True)
        ]
    draw_sounds(sounds, out)
    messages.say(f"{out}: drawn")
    return 0
