"""Sends recordings through their mel spectrogram and back.

The output has the model's sample rate and exactly the input's length; stereo is done per channel. Several files or
folders go into a folder, OUT, with their tree. Beside each OUT.wav lies OUT.wav.json, which says how it was made.
"""

import argparse
from typing import TYPE_CHECKING

from audiodiff.cli import common
from audiodiff.cli.paths import Job, Kinds, Plan, plan
from audiodiff.cli.report import Made, work

if TYPE_CHECKING:
    from audiodiff.model import Vocoder
    from audiodiff.recipes import Recipe

EXAMPLE = "audiodiff resynth speech.flac out.wav --steps 4"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds inputs, output and options."""
    parser.add_argument("inputs", nargs="+", metavar="IN", help="audio files, or folders of them")
    parser.add_argument("out", metavar="OUT", help="the WAV file; a folder for several inputs")
    common.add_model_options(parser)
    common.add_sampling_options(parser)
    common.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Plans, loads the model, and works."""
    from audiodiff.audio import AUDIO_SUFFIXES

    kinds = Kinds(AUDIO_SUFFIXES, ".wav", beside=(".json",))
    return make_sounds("resynth", plan(options.inputs, options.out, kinds, options.force), options)


def make_sounds(command: str, jobs: Plan, options: argparse.Namespace) -> int:
    """Makes the sounds of a plan with the model and the sampling options."""
    vocoder = common.load_vocoder(options)
    return follow(common.recipe_of(command, vocoder, options), jobs, vocoder, options.json)


def follow(recipe: "Recipe", jobs: Plan, vocoder: "Vocoder", as_json: bool) -> int:
    """Makes the sounds of a plan by a recipe."""
    from audiodiff import recipes, sidecar

    def do(job: Job) -> Made:
        sound = recipes.make(vocoder, recipe, job.input)
        job.output.parent.mkdir(parents=True, exist_ok=True)
        clipped = sidecar.write(job.output, sound, recipe, job.input, vocoder.sample_rate)
        return Made(sound.waveform.shape[-1] / vocoder.sample_rate, sound.network_calls, clipped)

    return work(jobs, do, vocoder.device, as_json)
