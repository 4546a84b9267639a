"""The tab Restore: mends a gap, clipping, or missing treble."""

import functools
from typing import Any

import gradio as gr

from audiodiff import audio
from audiodiff.models import registry
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines import restoration
from audiodiff.web.common import (
    Picture,
    Sound,
    buttons,
    draw,
    examples,
    licences,
    player,
    read,
    seed_of,
    sound,
    status_line,
)
from audiodiff.web.work import Stops, one_message, run

MAX_SECONDS = 60
TASKS = {"a gap": "gap", "clipping": "declip", "missing treble": "bandwidth"}

GAP = (1.5, 1.58)  # seconds, of the example
LIMIT, TREBLE = 0.2, 6000  # full scale and Hz, of the examples

Answer = tuple[str, Sound, Sound, Picture, Picture]


def mend(
    vocoder: Vocoder,
    model: str,
    recording: str | None,
    task: str,
    begin: float | None,
    end: float | None,
    seed: int | None,
) -> Answer:
    """Mend a file as `audiodiff restore` does, and draw both.

    Args:
        vocoder, model: The model and its name.
        recording: Path of an audio file.
        task: One of `audiodiff.pipelines.restoration.TASKS`; limit and cutoff are found in the recording.
        begin, end: Of a gap, in s.
        seed: Of the noise.

    Raises:
        gr.Error: An input is missing or unfit, or the recording does not show the damage.
    """
    rate = vocoder.sample_rate
    with one_message(recording):
        damaged = read(recording, rate, MAX_SECONDS)
        if task == "gap" and (begin is None or end is None or not 0 <= begin < end):
            raise ValueError("a gap has a beginning and a later end, in seconds: give both")
        gap = [float(begin or 0), float(end or 0)] if task == "gap" else None
        recipe = restoration.RestoreRecipe.from_options(vocoder, model, damaged, task, seed=seed_of(seed), gap=gap)
        mended, down = audio.lowered(restoration.mend(vocoder, damaged, recipe))
        facts = [
            f"filled from {gap[0]:g} to {gap[1]:g} s" if gap else "",
            f"clipped from {recipe.limit:.3g} of full scale on" if recipe.limit else "",
            f"undamaged up to {recipe.cutoff:.0f} Hz" if recipe.cutoff else "",
            f"lowered by {down:.1f} dB, so that its peaks fit" if down else "",
        ]
        return (
            " · ".join(filter(None, facts)),
            sound(damaged, rate),
            sound(mended, rate),
            draw(damaged, rate, "Damaged", recipe.gap),
            draw(mended, rate, "Mended", recipe.gap),
        )


def damaged_example(rate: int, task: str) -> tuple[Sound, str, float, float]:
    """Damage a recording that ships, at the model's rate; returns it, the task, and where the gap is."""
    waveform, _ = audio.read(next(iter(examples().values())), rate)
    if task == "gap":
        waveform[:, int(GAP[0] * rate) : int(GAP[1] * rate)] = 0
    elif task == "declip":
        waveform = (waveform / waveform.abs().max()).clamp(-LIMIT, LIMIT)
    else:
        waveform = audio.resample(audio.resample(waveform, rate, TREBLE), TREBLE, rate)
    return sound(waveform, rate), task, *GAP


def lay_out(vocoder: Vocoder, stops: Stops) -> None:
    """Place the components of the tab."""
    model = str(vocoder.info.get("name") or registry.DEFAULT_MODEL)
    with gr.Row():
        with gr.Column(min_width=320):
            recording = gr.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                label="Damaged recording",
                buttons=[],
                elem_id="damaged-recording",
            )
            with gr.Row():
                chosen = [
                    gr.Button(f"Example: {name}", size="sm", min_width=80, visible=bool(examples())) for name in TASKS
                ]
            licences()
        with gr.Column(min_width=320):
            task = gr.Radio(list(TASKS.items()), value="gap", label="What is wrong")
            with gr.Row():
                begin = gr.Number(0.5, label="Gap from (s)")
                end = gr.Number(0.6, label="Gap to (s)")
                seed = gr.Number(0, precision=0, label="Seed")
            button, stop = buttons("Mend")
    status = status_line("mended-facts")
    with gr.Column(visible=False) as results, gr.Row():
        with gr.Column(min_width=320):
            before, drawn_before = player("Damaged", "damaged")
        with gr.Column(min_width=320):
            after, drawn_after = player("Mended", "mended")
    for example, name in zip(chosen, TASKS, strict=True):
        take = functools.partial(damaged_example, vocoder.sample_rate, TASKS[name])
        example.click(take, None, [recording, task, begin, end], api_visibility="private", queue=False)
    for field in (begin, end):
        task.change(lambda t: gr.update(interactive=t == "gap"), task, field, queue=False, api_visibility="private")

    def answer(
        recording: str | None, task: str, begin: float | None, end: float | None, seed: int | None, request: gr.Request
    ) -> Any:
        stops.begin(request)
        return mend(vocoder, model, recording, task, begin, end, seed)

    outputs = [status, before, after, drawn_before, drawn_after]
    run(button, stop, stops, answer, [recording, task, begin, end, seed], outputs, "restore", status, results)
