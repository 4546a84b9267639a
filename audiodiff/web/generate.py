"""The tab Generate: sounds of a class, each with its picture, and variations of one of them."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch

from audiodiff import audio
from audiodiff.evaluation.contact_sheet import SPECTRUM, log_frequency
from audiodiff.evaluation.plots import FLOOR_DB, magma
from audiodiff.models.generator import Generator
from audiodiff.pipelines import generation
from audiodiff.web.common import Sound, buttons, seed_of, sound, status_line
from audiodiff.web.work import Stops, one_message, run

MOST = 12
NO_CLASS = "any"
WIDE = 240  # pixels: two controls side by side, one on a telephone
PICTURE = 248  # pixels across, of a sound
PROGRESS = gr.Progress()

Images = list[np.ndarray | None]


def make(
    generator: Generator,
    model: str,
    label: str,
    guidance: float,
    n: int,
    seed: int | None,
    progress: Any = PROGRESS,
    stops: Stops | None = None,
    request: gr.Request | None = None,
    vary: tuple[Sound, float] | None = None,
) -> Iterator[Sound]:
    """Make n sounds of a class, or n variations of a sound, one by one; sound i takes its noise from seed + i.

    Args:
        generator, model: The model and its name.
        label: A class, or NO_CLASS.
        guidance: Scale of classifier-free guidance.
        n: How many, up to MOST.
        seed: Of the first.
        progress: Called with (sounds done, sounds) and their unit.
        stops, request: Whether this visitor wants to stop.
        vary: The sound that is varied, and how far: above 0 and up to 1.

    Raises:
        gr.Error: A value lies outside its range; one line says which.
    """
    stops = stops or Stops()
    stops.begin(request)
    with one_message(), tempfile.TemporaryDirectory(prefix="audiodiff-demo-") as folder:
        if not 1 <= n <= MOST:
            raise ValueError(f"{n:g} sounds: a whole number from 1 to {MOST} is wanted")
        path: Path | None = None
        settings: dict[str, Any] = {"seed": seed_of(seed), "label": None if label == NO_CLASS else label}
        if settings["label"] is not None:
            settings["guidance"] = float(guidance)
        if vary is not None:
            (rate, samples), strength = vary
            path = Path(folder) / "varied.wav"
            audio.write(path, torch.from_numpy(samples.reshape(len(samples), -1).T.copy()).float() / 32767, rate)
            settings |= {"strength": float(strength), "seconds": len(samples) / rate}
        progress((0, int(n)), unit="sounds")
        for i in range(int(n)):
            recipe = generation.GenerateRecipe.from_options(generator, model, **settings | {"seed": seed_of(seed) + i})
            waveform = recipe.run(generator, path).waveform
            yield sound(audio.lowered(waveform)[0], generator.sample_rate)
            stops.watch(request, lambda done: progress((done, int(n)), unit="sounds"))(i, None)


def lay_out(generator: Generator, model: str, stops: Stops) -> None:
    """Place the components of the tab."""
    gr.Markdown(f"Sounds of {generator.n_samples / generator.sample_rate:g} s by `{model}`.", elem_classes="facts")
    classes = [NO_CLASS, *generator.labels]
    with gr.Row():
        label = gr.Dropdown(classes, value=classes[:2][-1], label="Class", min_width=WIDE)
        guidance = gr.Slider(
            0, 5, generator.guidance, step=0.1, label="Guidance", info="1 obeys, more exaggerates", min_width=WIDE
        )
    with gr.Row():
        n = gr.Slider(1, MOST, 4, step=1, label="Sounds", min_width=WIDE)
        seed = gr.Number(0, precision=0, label="Seed of the first", min_width=WIDE)
    button, stop = buttons("Generate")
    status = status_line("generated")
    kept = gr.State([], time_to_live=600)
    cells: list[gr.components.Component] = []
    pictures: list[gr.components.Component] = []
    place: dict[str, Any] = {"visible": False, "interactive": False}
    shown = {"show_label": False, "height": SPECTRUM, "elem_classes": "sound-picture"} | place
    for row in range(0, MOST, 4):
        with gr.Row():
            for i in range(row, row + 4):
                with gr.Column(min_width=220):
                    cells.append(gr.Audio(buttons=["download"], elem_id=f"made-{i}", **place))
                    pictures.append(gr.Image(buttons=[], container=False, **shown))
    with gr.Column(visible=False) as results, gr.Row(equal_height=True):
        which = gr.Number(1, precision=0, minimum=1, maximum=MOST, label="Vary sound number")
        strength = gr.Slider(0.05, 1, 0.5, step=0.05, label="How far")
        again = gr.Button("Vary this one")
    outputs = [status, kept, *cells, *pictures]

    def answer(
        label: str, guidance: float, n: int, seed: int | None, request: gr.Request, progress: Any = PROGRESS
    ) -> Iterator[list[Any]]:
        yield from _shown(make(generator, model, label, guidance, n, seed, progress, stops, request), int(n or 0))

    def variations(
        kept: list[Sound] | None,
        which: int | None,
        strength: float,
        label: str,
        guidance: float,
        n: int,
        seed: int | None,
        request: gr.Request,
        progress: Any = PROGRESS,
    ) -> Iterator[list[Any]]:
        with one_message():
            if not kept or not which or not 1 <= which <= len(kept):
                raise ValueError(f"there is no sound number {which or '?'} to vary: generate some first")
        vary = (kept[int(which) - 1], strength)
        yield from _shown(make(generator, model, label, guidance, n, seed, progress, stops, request, vary), int(n or 0))

    run(button, stop, stops, answer, [label, guidance, n, seed], outputs, "generate", status, results)
    inputs = [kept, which, strength, label, guidance, n, seed]
    run(again, stop, stops, variations, inputs, outputs, "vary", status, results)


def _shown(sounds: Iterable[Sound], n: int) -> Iterator[list[Any]]:
    """Fill the grid as sounds come: the first empties the players and pictures of earlier ones."""
    finished: list[Sound] = []
    for i, one in enumerate(sounds):
        finished.append(one)
        players = [gr.update(value=None, visible=False)] * MOST if i == 0 else [gr.skip()] * MOST
        images = list(players)
        players[i], images[i] = (
            gr.update(value=one, label=f"{i + 1}", visible=True),
            gr.update(value=_picture(one), visible=True),
        )
        status = f"{n} sound{'s' * (n != 1)}" if i + 1 == n else gr.skip()
        yield [status, list(finished), *players, *images]


def _picture(one: Sound) -> np.ndarray:
    rate, samples = one
    levels = log_frequency(torch.from_numpy(samples[:, 0].copy()).float() / 32767, rate, PICTURE)
    return magma(levels / -FLOOR_DB + 1)
