"""Mend a recording: a gap, clipping, or missing treble.

What is known of the recording is kept: every sample outside of a gap, every one below the clipping level, the spectrum
below the cutoff. The level and the cutoff are found if they are not given. The output has the model's sample rate, and
beside it lies OUT.wav.json, from which `audiodiff regenerate` makes it again.
"""

import argparse

from audiodiff.cli import checks, loading, parsing
from audiodiff.cli.jobs import Kinds, plan_batch
from audiodiff.cli.sounds import make_sounds

EXAMPLE = "audiodiff restore loud.wav mended.wav --task declip"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the recording, the output, and what is wrong."""
    parser.add_argument("input", metavar="IN", help="the recording")
    parser.add_argument("out", metavar="OUT", help="the file, .wav, .flac or .mp3")
    parser.add_argument("--task", required=True, choices=("gap", "declip", "bandwidth"), help="what is wrong")
    parser.add_argument(
        "--from", dest="begin", type=checks.number(0), metavar="S", help="of a gap: where it begins, seconds"
    )
    parser.add_argument("--to", dest="end", type=checks.number(0), metavar="S", help="of a gap: where it ends, seconds")
    parser.add_argument(
        "--limit", type=checks.number(0, above=True), metavar="A", help="of clipping: from which amplitude on, of 1"
    )
    parser.add_argument(
        "--cutoff",
        type=checks.number(0, above=True),
        metavar="HZ",
        help="of treble: up to where the recording is sound",
    )
    parser.add_argument("--seed", type=checks.seed, default=0, metavar="N", help="of the noise (default: 0)")
    parsing.add_model_options(parser)
    parsing.add_output_options(parser)


def _check(options: argparse.Namespace) -> None:
    """Refuse what does not belong to the task."""
    of_gap = [value is not None for value in (options.begin, options.end)]
    if not all(of_gap) if options.task == "gap" else any(of_gap):
        raise ValueError("--task gap, --from and --to belong together: give all three, or another task")
    if options.task == "gap" and options.begin >= options.end:
        raise ValueError(f"--from {options.begin:g} --to {options.end:g}: the gap ends before it begins")
    for name, task in (("limit", "declip"), ("cutoff", "bandwidth")):
        if getattr(options, name) is not None and options.task != task:
            raise ValueError(f"--{name} belongs to --task {task}: leave it out, or give that task")


def run(options: argparse.Namespace) -> int:
    """Check, load the model, mend."""
    from audiodiff import audio
    from audiodiff.models import registry

    _check(options)
    kinds = Kinds(audio.AUDIO_SUFFIXES, tuple(audio.WRITTEN), beside=(".json",))
    jobs = plan_batch([options.input], options.out, kinds, options.force)
    vocoder = loading.load_vocoder(options)
    from audiodiff.pipelines.restoration import RestoreRecipe

    waveform, _ = audio.read(options.input, vocoder.sample_rate)
    recipe = RestoreRecipe.from_options(
        vocoder,
        options.model or registry.DEFAULT_MODEL,
        waveform,
        options.task,
        weights=options.weights,
        seed=options.seed,
        gap=[options.begin, options.end] if options.task == "gap" else None,
        limit=options.limit,
        cutoff=options.cutoff,
    )
    return make_sounds(recipe, jobs, vocoder, options.json)
