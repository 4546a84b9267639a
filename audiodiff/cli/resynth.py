"""Send recordings through their mel spectrogram and back.

The output has the model's sample rate and exactly the input's length; stereo is done per channel. Several files or
folders go into a folder, OUT, with their tree. Beside each OUT.wav lies OUT.wav.json, which says how it was made.

With --workers N a large folder is shared out to N processes, with --ray ADDRESS to the machines of a Ray cluster; run
again, the command skips what is whole. Inputs and outputs may be URLs, such as s3://bucket/folder.
"""

import argparse
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from audiodiff.cli import loading, parsing, sounds
from audiodiff.cli.jobs import Job, Kinds, plan_batch
from audiodiff.cli.progress import JobResult
from audiodiff.cli.workers import run_parallel

if TYPE_CHECKING:
    from audiodiff.pipelines.vocoding import VocodeRecipe

EXAMPLE = "audiodiff resynth speech.flac out.wav --steps 4"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add inputs, output and options."""
    parser.add_argument("inputs", nargs="+", metavar="IN", help="audio files, or folders of them")
    parser.add_argument("out", metavar="OUT", help="the file, .wav, .flac or .mp3; a folder for several inputs")
    parsing.add_model_options(parser)
    parsing.add_sampling_options(parser)
    parsing.add_output_options(parser)
    parsing.add_workers_option(parser)


def run(options: argparse.Namespace) -> int:
    """Plan, load the model, and work."""
    from audiodiff.audio import AUDIO_SUFFIXES, WRITTEN

    return make_sounds("resynth", options, Kinds(AUDIO_SUFFIXES, tuple(WRITTEN), beside=(".json",), workers=True))


def make_sounds(command: str, options: argparse.Namespace, kinds: Kinds) -> int:
    """Make the sounds that are asked for, with the model and the sampling options, by one process or several."""
    parallel = options.workers is not None or options.ray is not None  # these skip the outputs that are whole
    jobs = plan_batch(options.inputs, options.out, kinds, options.force or parallel)
    if parallel:
        return run_parallel(jobs, functools.partial(prepared, command), options)
    vocoder = loading.load_vocoder(options)
    return sounds.make_sounds(loading.recipe_of(command, vocoder, options), jobs, vocoder, options.json)


def prepared(command: str, options: argparse.Namespace) -> tuple[Callable[[Job], JobResult], "VocodeRecipe"]:
    """Load the model; return what does a job, and its recipe."""
    vocoder = loading.load_vocoder(options)
    recipe = loading.recipe_of(command, vocoder, options)
    return functools.partial(sounds.make_sound, vocoder, recipe), recipe
