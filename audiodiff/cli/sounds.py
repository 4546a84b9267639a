"""Follow recipes and write their sounds: what `resynth`, `vocode`, `generate`, `restore` and `regenerate` share."""

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from audiodiff.cli.jobs import Batch, Job
from audiodiff.cli.progress import JobResult, run_jobs

if TYPE_CHECKING:
    from audiodiff.models.base import Model
    from audiodiff.pipelines.recipe import RecipeBase


def make_sounds(recipe: "RecipeBase", batch: Batch, model: "Model", as_json: bool, **further: Any) -> int:
    """Make the sounds of a batch with one recipe; return the exit status."""
    return run_jobs(batch, functools.partial(make_sound, model, recipe, **further), model.device, as_json)


def make_sound(model: "Model", recipe: "RecipeBase", job: Job, **further: Any) -> JobResult:
    """Make one sound and write it with its sidecar.

    Args:
        model: The loaded model.
        recipe: How the sound is made.
        job: Input and output, files or URLs; the input is left alone if the recipe needs none.
        further: Arguments of the recipe's `run`.
    """
    from audiodiff import audio
    from audiodiff.pipelines import sidecar
    from audiodiff.pipelines.resynthesis import Resynthesis
    from audiodiff.utils import remote

    opened = remote.local_copy(job.input, (".json",)) if recipe.needs_input else contextlib.nullcontext()
    with opened as source, remote.local_output(job.output, beside=(".json",)) as target:
        recipe = recipe.for_input(source) if recipe.needs_input else recipe
        sound, down = recipe.run(model, source, **further), 0.0
        if recipe.LOWERED:
            waveform, down = audio.lowered(sound.waveform)
            sound = Resynthesis(waveform, sound.network_calls)
        name = job.input if recipe.needs_input else None
        clipped = sidecar.write(target, sound, recipe, source, model.sample_rate, source_name=name)
    return JobResult(sound.waveform.shape[-1] / model.sample_rate, sound.network_calls, clipped, down)
