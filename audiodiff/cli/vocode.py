"""Turn log-mel spectrograms into sound.

A MEL is a .npy, .pt (tensors only) or .safetensors file of floats, [bands, frames] or [frames, bands], with a first
axis of channels for stereo. Its convention is that of the note beside it, which `audiodiff mel` writes, or of
--mel-preset or --mel-spec, or else the model's, which `audiodiff info` shows. Another convention than the model's is
converted, and the loss is printed. The output has frames × hop samples.
Several files or folders go into a folder, OUT, with their tree.
Beside each OUT.wav lies OUT.wav.json, which says how it was made.
With --workers N a large folder is shared out to N processes, with --ray ADDRESS to the machines of a Ray cluster; run
again, the command skips what is whole. Inputs and outputs may be URLs, such as s3://bucket/folder.

With --raw - - mel frames come from standard input as 32-bit little-endian floats, band after band and frame after
frame, and their sound goes to standard output as 16-bit little-endian samples while more are coming. An array of
[bands, frames] is such a stream once transposed: mel.T.astype("<f4").tobytes(). Unless --no-live, or how to sample, is
said, the sound lags less than a tenth of a second behind the frames.
"""

import argparse

from audiodiff.cli import parsing, stream
from audiodiff.cli.jobs import Kinds
from audiodiff.cli.resynth import make_sounds

EXAMPLE = """audiodiff vocode mel.npy out.wav --mel-preset hifigan --model speech-22k
  my-tts | audiodiff vocode --raw - - | aplay -f S16_LE -r 24000"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add inputs, output and options."""
    parser.add_argument("inputs", nargs="+", metavar="MEL", help="mel spectrograms, or folders of them")
    parser.add_argument("out", metavar="OUT", help="the file, .wav, .flac or .mp3; a folder for several inputs")
    parsing.add_model_options(parser)
    parsing.add_mel_options(parser)
    parsing.add_sampling_options(parser)
    parsing.add_output_options(parser)
    parsing.add_workers_option(parser)
    parser.add_argument(
        "--live",
        action=argparse.BooleanOptionalAction,
        help="with --raw: the least delay, less than a tenth of a second (default, unless you say how to sample)",
    )
    parser.add_argument("--raw", action="store_true", help="stream: frames from standard input, samples to output")


def run(options: argparse.Namespace) -> int:
    """Plan, load the model, and work."""
    from audiodiff.audio import WRITTEN
    from audiodiff.mel.io import MEL_SUFFIXES

    if options.raw or "-" in [*options.inputs, options.out]:
        if not (options.raw and options.inputs == ["-"] and options.out == "-"):
            raise ValueError("a stream goes from standard input to standard output: audiodiff vocode --raw - -")
        return stream.run(options)
    if options.live is not None:
        raise ValueError("--live belongs to streams: audiodiff vocode --raw - -")
    return make_sounds("vocode", options, Kinds(MEL_SUFFIXES, tuple(WRITTEN), beside=(".json",), workers=True))
