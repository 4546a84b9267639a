"""Computes the log-mel spectrograms of recordings, as a model wants them.

Writes float32, [bands, frames], or [2, bands, frames] for stereo. The recording is resampled to the model's sample rate
and lengthened to whole frames by silence. Several files or folders go into a folder, OUT, with their tree.
"""

import argparse

from audiodiff.cli import common
from audiodiff.cli.paths import Job, Kinds, plan
from audiodiff.cli.report import Made, work

EXAMPLE = "audiodiff mel speech.flac mel.npy"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds inputs, output and options."""
    parser.add_argument("inputs", nargs="+", metavar="IN", help="audio files, or folders of them")
    parser.add_argument("out", metavar="OUT", help="the .npy file; a folder for several inputs")
    common.add_model_options(parser)
    common.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Plans, loads the model for its mel's contract, and works."""
    from audiodiff import audio, npy
    from audiodiff.resynthesis import analyse

    jobs = plan(options.inputs, options.out, Kinds(audio.AUDIO_SUFFIXES, ".npy"), options.force)
    vocoder = common.load_vocoder(options)

    def do(job: Job) -> Made:
        waveform, rate = audio.read(job.input, vocoder.sample_rate)
        mel = analyse(vocoder, waveform)
        job.output.parent.mkdir(parents=True, exist_ok=True)
        npy.write_mel(job.output, mel)
        return Made(waveform.shape[-1] / rate)

    return work(jobs, do, vocoder.device, options.json)
