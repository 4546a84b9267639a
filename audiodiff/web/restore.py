"""The tab Restore: mends a gap, clipping, or missing treble."""

from typing import Any

import gradio as gr

from audiodiff import audio
from audiodiff.models import registry
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines import restoration
from audiodiff.web.common import (
    Picture,
    Sound,
    Stops,
    buttons,
    draw,
    one_message,
    player,
    read,
    recording_input,
    run,
    seed_of,
    sound,
)

__all__ = ["lay_out", "mend"]

MAX_SECONDS = 60
TASKS = {"a gap": "gap", "clipping": "declip", "missing treble": "bandwidth"}

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
    """Mends a file as `audiodiff restore` does, and draws both.

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
        how = restoration.RestoreRecipe.from_options(vocoder, model, damaged, task, seed=seed_of(seed), gap=gap)
        mended, down = audio.lowered(restoration.mend(vocoder, damaged, how))
        found = [
            f"clipped from {how.limit:.3g} of full scale on" if how.limit else "",
            f"undamaged up to {how.cutoff:.0f} Hz" if how.cutoff else "",
            f"lowered by {down:.1f} dB, so that its peaks fit" if down else "",
        ]
        return (
            " · ".join(filter(None, found)) or "mended",
            sound(damaged, rate),
            sound(mended, rate),
            draw(damaged, rate, "Damaged"),
            draw(mended, rate, "Mended"),
        )


def lay_out(vocoder: Vocoder, stops: Stops) -> None:
    """Places the components of the tab."""
    model = str(vocoder.info.get("name") or registry.DEFAULT_MODEL)
    with gr.Row():
        with gr.Column(min_width=320):
            recording = recording_input("Damaged recording", "damaged-recording")
        with gr.Column(min_width=320):
            task = gr.Radio(list(TASKS.items()), value="gap", label="What is wrong")
            with gr.Row():
                begin = gr.Number(0.5, label="Gap from (s)")
                end = gr.Number(0.6, label="Gap to (s)")
                seed = gr.Number(0, precision=0, label="Seed")
            button, stop = buttons("Mend")
    told = gr.Markdown(elem_id="mended-facts", elem_classes="numbers")
    with gr.Row():
        with gr.Column(min_width=320):
            before, drawn_before = player("Damaged", "damaged")
        with gr.Column(min_width=320):
            after, drawn_after = player("Mended", "mended")
    for field in (begin, end):
        task.change(lambda t: gr.update(interactive=t == "gap"), task, field, queue=False, api_visibility="private")

    def answer(
        recording: str | None, task: str, begin: float | None, end: float | None, seed: int | None, request: gr.Request
    ) -> Any:
        stops.begin(request)
        return mend(vocoder, model, recording, task, begin, end, seed)

    outputs = [told, before, after, drawn_before, drawn_after]
    run(button, stop, stops, answer, [recording, task, begin, end, seed], outputs, "restore", after)
