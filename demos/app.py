"""The demo page: drop a recording, press the button, hear and see what comes back.

    recording → audio.read → resynthesise → to_pcm → players, spectrograms, one line of numbers

The page has no sampling of its own: `resynthesise` is what `audiodiff resynth` calls, and the WAV that is played and
downloaded holds the same bytes. Everything is served from this process; the browser needs nothing else.
"""

import functools
import html
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from audiodiff import audio, devices, files
from audiodiff.config import shipped_path
from audiodiff.figures import spectrogram_db
from audiodiff.metrics import log_mel_l1
from audiodiff.model import Vocoder
from audiodiff.recipes import describe_start
from audiodiff.resynthesis import resynthesise
from audiodiff.solvers import solver_named, solver_names
from audiodiff.starts import PureNoise, Start

__all__ = ["build", "draw", "launch", "main", "respond"]

MAX_SECONDS = 300
MAX_STEPS = 16
FLOOR_DB = -100.0
STARTS: dict[str, Start | None] = {"own": None, "noise": PureNoise()}
NAMES = ("Original", "Result")
PROGRESS = gr.Progress()

Sound = tuple[int, np.ndarray]  # sample rate in Hz and int16 samples: Gradio would normalise floats by their peak
Answer = tuple[str, Sound, Sound, Figure, Figure]

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO_FONTS = ["ui-monospace", "Consolas", "Liberation Mono", "monospace"]
CSS = """
.gradio-container { max-width: 1100px !important; margin: 0 auto !important; }
#numbers { text-align: center; }
#facts, #licence { font-size: 0.85em; opacity: 0.8; }
"""


def build(model: Vocoder | str | Path, device: str = "auto") -> gr.Blocks:
    """Lays out the page of a model.

    Args:
        model: A vocoder, or what `Vocoder.load` takes.
        device: Where a model that is loaded here goes.

    Raises:
        ValueError: The model or the device does not exist.
    """
    vocoder = model if isinstance(model, Vocoder) else Vocoder.load(model, devices.resolve(device))
    with gr.Blocks(title="audiodiff", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown("# audiodiff\nA recording becomes a mel spectrogram; the model makes a waveform of that alone.")
        gr.Markdown(_facts(vocoder), elem_id="facts")
        with gr.Row():
            with gr.Column(min_width=320):
                recording = _recording()
            with gr.Column(min_width=320):
                controls = _controls(vocoder)
                button = gr.Button("Resynthesise", variant="primary")
        answer = _answer()
        button.click(
            functools.partial(respond, vocoder),
            [recording, *controls],
            answer,
            api_name="resynthesise",
            concurrency_limit=1,  # one model, whose network calls are counted
            show_progress_on=answer[2:3],
        ).failure(lambda: [None] * len(answer), None, answer, show_progress="hidden", api_visibility="private")
    return page


def launch(page: gr.Blocks, host: str = "127.0.0.1", port: int = 7860, open_browser: bool = False) -> str:
    """Serves a page from a thread, to nobody but `host`, and returns its address.

    Raises:
        ValueError: The port is taken, or the host is not this machine's.
    """
    _bypass_proxy(host)
    example = _example()
    try:
        return page.launch(
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            inline=False,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            max_file_size="500mb",
            allowed_paths=[str(example)] if example else None,
            theme=gr.themes.Soft(font=FONTS, font_mono=MONO_FONTS),
            css=CSS,
        )[1]
    except OSError:
        raise ValueError(f"{host}:{port} cannot be served: the port is taken or the host unknown; try --port") from None


def main(
    model: Vocoder | str | Path = files.DEFAULT_MODEL,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 7860,
    open_browser: bool = False,
) -> None:
    """Serves the page of a model until Ctrl-C."""
    page = build(model, device)
    print(f"{launch(page, host, port, open_browser)} (stop with Ctrl-C)", flush=True)
    page.block_thread()


def respond(
    vocoder: Vocoder,
    recording: str | None,
    steps: int,
    solver: str,
    start: str,
    seed: int | None,
    progress: Callable[..., Any] = PROGRESS,
) -> Answer:
    """Does what the button does: resynthesises a file, measures it and draws it.

    Args:
        recording: Path of an audio file.
        steps: Solver steps.
        solver: One of `audiodiff.solvers.solver_names()`.
        start: "own" for the model's own start, "noise" for pure noise.
        seed: Of the noise.
        progress: Called with (steps done, steps).

    Returns:
        The line of numbers, original and result as Gradio's audio, and their spectrograms.

    Raises:
        gr.Error: An input is missing or unfit; one line says which and what to do.
    """
    with _one_message(recording):
        original = _read(recording, vocoder.sample_rate)
        if seed is None or not 0 <= seed < 2**63:
            raise ValueError(f"the seed is {'empty' if seed is None else seed}; give a whole number from 0 up")
        begun = time.perf_counter()
        result = resynthesise(
            vocoder,
            original,
            steps=int(steps),
            solver=solver_named(solver),
            start=STARTS[start],
            seed=int(seed),
            callback=lambda step, _: progress((step + 1, int(steps))),
        )
        taken = time.perf_counter() - begun
        numbers = _numbers(original, result.waveform, vocoder.sample_rate, taken, result.network_calls)
        sounds = [(vocoder.sample_rate, audio.to_pcm(w)[0]) for w in (original, result.waveform)]
        before = draw(original, vocoder.sample_rate, NAMES[0])
        after = draw(result.waveform, vocoder.sample_rate, NAMES[1])
        return numbers, sounds[0], sounds[1], before, after


def draw(waveform: Tensor, sample_rate: int, title: str) -> Figure:
    """Draws the spectrogram of each channel of a waveform, [C, T], with time in s and frequency in kHz."""
    figure = Figure(figsize=(6, 1 + 2.4 * len(waveform)), dpi=110, layout="constrained")
    seconds = waveform.shape[-1] / sample_rate
    panels = figure.subplots(len(waveform), sharex=True, squeeze=False)[:, 0]
    for panel, channel in zip(panels, waveform, strict=True):
        image = panel.imshow(
            spectrogram_db(channel),
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, sample_rate / 2000),
            vmin=FLOOR_DB,
            vmax=0,
            cmap="magma",
        )
        panel.set_ylabel("frequency (kHz)")
    panels[0].set_title(title)
    panels[-1].set_xlabel("time (s)")
    figure.colorbar(image, ax=panels, label="level (dB)", pad=0.02)
    return figure


@contextmanager
def _one_message(recording: str | None) -> Generator[None]:
    """Turns a ValueError into a message on the page, with the file's name instead of its place on the server."""
    try:
        yield
    except ValueError as error:
        message = str(error).replace(str(recording), Path(recording or "").name)
        raise gr.Error(html.escape(message), print_exception=False) from None


def _bypass_proxy(host: str) -> None:
    """Keeps Gradio's question to its own server, whether it is up, from going to the proxy of the environment."""
    for name in ("NO_PROXY", "no_proxy"):  # where both are set, the small letters win
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", host]))


def _read(recording: str | None, sample_rate: int) -> Tensor:
    if not recording:
        raise ValueError("no recording yet: drop a file, record something or take the example")
    waveform, _ = audio.read(recording, sample_rate)
    seconds = waveform.shape[-1] / sample_rate
    if seconds > MAX_SECONDS:
        raise ValueError(
            f"the recording is {seconds:.0f} s long, and this page takes at most {MAX_SECONDS}; "
            "cut it, or use `audiodiff resynth`, which takes any length"
        )
    return waveform


def _numbers(original: Tensor, result: Tensor, sample_rate: int, taken: float, network_calls: int) -> str:
    seconds = original.shape[-1] / sample_rate
    distances = [log_mel_l1(a, b, sample_rate) for a, b in zip(original, result, strict=True)]
    calls = f"{network_calls} network call{'s' * (network_calls != 1)}" + " per channel" * (len(original) > 1)
    return (
        f"**{seconds:.2f} s** of audio in **{taken:.2f} s** · **{seconds / taken:.1f} ×** real time · {calls} · "
        f"log-mel L1 **{sum(distances) / len(distances):.3f}**"
    )


def _facts(vocoder: Vocoder) -> str:
    facts = [str(vocoder.info["name"])] if vocoder.info.get("name") else []
    facts += [f"{vocoder.sample_rate / 1000:g} kHz", f"{vocoder.mel.n_mels} mel bands", f"on {vocoder.device}"]
    facts += [f"{key}: {vocoder.info[key]}" for key in ("data", "licence") if vocoder.info.get(key)]
    return html.escape(" · ".join(facts))


def _recording() -> gr.Audio:
    """Places the input, and the example where one is shipped."""
    recording = gr.Audio(
        sources=["upload", "microphone"], type="filepath", label="Recording", buttons=[], elem_id="recording"
    )
    example = _example()
    if example:
        gr.Button("Take the example", size="sm").click(lambda: str(example), None, recording, api_visibility="private")
        licence = example.with_suffix(".LICENCE.md")
        if licence.is_file():
            gr.Markdown(licence.read_text(encoding="utf-8"), elem_id="licence")
    return recording


def _controls(vocoder: Vocoder) -> list[gr.components.Component]:
    own = describe_start(vocoder.start)["name"]
    steps = gr.Slider(1, max(MAX_STEPS, vocoder.steps), vocoder.steps, step=1, label="Solver steps")
    with gr.Row():
        solver = gr.Dropdown(solver_names(), value="ddim", label="Solver")
        seed = gr.Number(0, precision=0, label="Seed")
    start = gr.Radio([(f"the model's own ({own})", "own"), ("pure noise", "noise")], value="own", label="Start")
    return [steps, solver, start, seed]


def _answer() -> list[gr.components.Component]:
    numbers = gr.Markdown(elem_id="numbers")
    sounds, figures = [], []
    with gr.Row():
        for name in NAMES:
            with gr.Column(min_width=320):
                sounds.append(gr.Audio(label=name, interactive=False, buttons=["download"], elem_id=name.lower()))
                picture = gr.Plot(label=name, show_label=False, format="png", elem_id=f"{name.lower()}-picture")
                figures.append(picture)
    return [numbers, *sounds, *figures]


def _example() -> Path | None:
    try:
        return shipped_path("demos/speech.flac")
    except FileNotFoundError:
        return None


if __name__ == "__main__":  # `audiodiff demo` has the options
    main()
