"""Compute the log-mel spectrograms of recordings, as a model wants them, or another library.

Writes float32, [bands, frames], or [2, bands, frames] for stereo, and beside each x.npy a note, x.npy.json, which says
what the mel is: `audiodiff vocode` reads it. The recording is resampled to the mel's sample rate
and lengthened to whole frames by silence. With --mel-preset or --mel-spec no model is needed. Several files or folders
go into a folder, OUT, with their tree. Inputs and outputs may be URLs, such as s3://bucket/folder.
"""

import argparse

from audiodiff.cli import loading, parsing
from audiodiff.cli.jobs import Job, Kinds, plan_batch
from audiodiff.cli.progress import JobResult, run_jobs

EXAMPLE = "audiodiff mel speech.flac mel.npy --mel-preset hifigan"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add inputs, output and options."""
    parser.add_argument("inputs", nargs="+", metavar="IN", help="audio files, or folders of them")
    parser.add_argument("out", metavar="OUT", help="the .npy file; a folder for several inputs")
    parsing.add_model_options(parser)
    parsing.add_mel_options(parser)
    parsing.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Plan, load the model for its mel's contract, and work."""
    from audiodiff import audio
    from audiodiff.mel import io as mel_io
    from audiodiff.utils import devices, remote

    kinds = Kinds(audio.AUDIO_SUFFIXES, (".npy",), beside=(".json",))
    jobs = plan_batch(options.inputs, options.out, kinds, options.force)
    spec, device = loading.convention_of(options), devices.resolve("cpu")
    from audiodiff.mel.spectrogram import mel_of

    if spec is None:
        vocoder = loading.load_vocoder(options)
        spec, device = vocoder.mel, vocoder.device

    def do(job: Job) -> JobResult:
        with remote.local_copy(job.input) as source, remote.local_output(job.output, beside=(".json",)) as target:
            waveform, rate = audio.read(source, spec.sample_rate)
            mel_io.write_mel(target, mel_of(spec, waveform.to(device)), spec)
        return JobResult(waveform.shape[-1] / rate)

    return run_jobs(jobs, do, device, options.json)
