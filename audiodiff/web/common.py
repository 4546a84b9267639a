"""What the tabs share: reading what a visitor gives, handing out sounds and pictures, messages, and stopping."""

import html
import logging
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from audiodiff import audio
from audiodiff.evaluation.plots import spectrogram_db
from audiodiff.utils import devices
from audiodiff.utils.config import shipped_path

MAX_SECONDS = 300
FLOOR_DB = -100.0
EXAMPLES = {
    "Italian": "demos/audio/speech.flac",
    "English": "demos/audio/voices/en-1.flac",
    "Russian": "demos/audio/voices/ru-1.flac",
}
LICENCES = ("demos/audio/speech.LICENCE.md", "demos/audio/voices/LICENCE.md")
QUEUE = {"concurrency_limit": 1, "concurrency_id": "models"}  # one at a time: network calls are counted, threads set

Sound = tuple[int, np.ndarray]  # sample rate in Hz and int16 samples: Gradio would normalise floats by their peak
Picture = Figure


class Stopped(Exception):
    """A visitor pressed Stop."""


class Stops:
    """Know which visitors want their work stopped.

    A function that runs in a thread cannot be killed, so it asks after every solver step, by the callback of `watch`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._over = False

    def begin(self, request: gr.Request | None) -> None:
        """Forget that a visitor wanted to stop."""
        with self._lock:
            self._wanted.discard(_visitor(request))

    def want(self, request: gr.Request) -> None:
        """Note that a visitor wants to stop, or has closed the page."""
        with self._lock:
            self._wanted.add(_visitor(request))

    def end(self) -> None:
        """Stop the work of everybody, for good: the page is closed."""
        self._over = True

    def watch(self, request: gr.Request | None, tell: Callable[[int], Any] | None = None) -> Callable[[int, Any], None]:
        """Return a solver's callback that raises `Stopped` if asked to, and else tells the number of steps done."""

        def after(step: int, _: Any) -> None:
            with self._lock:
                if self._over or _visitor(request) in self._wanted:
                    raise Stopped
            if tell is not None:
                tell(step + 1)

        return after


def _visitor(request: gr.Request | None) -> str:
    return str(getattr(request, "session_hash", None))


def run(
    button: gr.Button,
    stop: gr.Button,
    stops: Stops,
    function: Callable[..., Any],
    inputs: list[gr.components.Component],
    outputs: list[gr.components.Component],
    name: str,
    told: gr.Markdown,
    results: gr.Column,
) -> gr.events.Dependency:
    """Tie a function to its button, and Stop to both.

    From the click on `told` shows that work is done and how far it is; `results` are shown once there are some, and
    what failed leaves none on the page.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    button.click(lambda: "", None, told, **quiet)
    event = button.click(function, inputs, outputs, api_name=name, show_progress_on=told, **QUEUE)
    blank = [None] * len(outputs)
    event.success(lambda: gr.update(visible=True), None, results, **quiet)
    event.failure(lambda: [*blank, gr.update(visible=False)], None, [*outputs, results], **quiet)
    stop.click(stops.want, None, None, cancels=[event], queue=False, api_visibility="private")
    return event


@contextmanager
def one_message(path: str | None = None) -> Generator[None]:
    """Turn a ValueError into a message on the page, with the file's name instead of its place on the server.

    Whatever happened, the memory that the work took is given back.
    """
    try:
        yield
    except Stopped:
        raise gr.Error("stopped", title="Stopped", print_exception=False) from None
    except ValueError as error:
        message = str(error)
        if path:
            message = message.replace(str(path), Path(path).name)
        raise gr.Error(html.escape(message), print_exception=False) from None
    finally:
        devices.release_memory()


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def told_by(logger: logging.Logger) -> Generator[list[str]]:
    """Collect the warnings of a logger, which belong on the page and not in the server's terminal."""
    collector, passed_on = _Collector(), logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)
        logger.propagate = passed_on


def read(recording: str | None, sample_rate: int, most: float = MAX_SECONDS) -> Tensor:
    """Read an upload, [C, T], at a sample rate.

    Raises:
        ValueError: There is none, it cannot be read, or it is longer than `most` seconds.
    """
    if not recording:
        raise ValueError("no recording yet: drop a file, record something or take an example")
    _refuse_long(_seconds(recording), most)  # before anything is decoded
    waveform, _ = audio.read(recording, sample_rate)
    _refuse_long(waveform.shape[-1] / sample_rate, most)
    return waveform


def seed_of(seed: float | None) -> int:
    """Return a seed that was typed.

    Raises:
        ValueError: It is empty, or no whole number from 0 up.
    """
    if seed is None or not 0 <= seed < 2**63:
        raise ValueError(f"the seed is {'empty' if seed is None else seed}; give a whole number from 0 up")
    return int(seed)


def sound(waveform: Tensor, sample_rate: int) -> Sound:
    """Hand out a waveform, [C, T], as the 16-bit samples that the command line writes."""
    return sample_rate, audio.to_pcm(waveform)[0]


def draw(waveform: Tensor, sample_rate: int, title: str, marked: tuple[float, float] | None = None) -> Picture:
    """Draw the spectrogram of a waveform, [C, T], with time in s and frequency in kHz; of stereo the mean power.

    Args:
        waveform, sample_rate, title: What is drawn.
        marked: Beginning and end, in s, of what lies between two lines.
    """
    figure = Figure(figsize=(6, 3.4), dpi=110, layout="constrained")
    seconds, panel = waveform.shape[-1] / sample_rate, figure.subplots()
    power = np.mean([10 ** (spectrogram_db(channel) / 10) for channel in waveform], axis=0)
    image = panel.imshow(
        10 * np.log10(power),
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, sample_rate / 2000),
        vmin=FLOOR_DB,
        vmax=0,
        cmap="magma",
    )
    for place in marked or ():
        panel.axvline(place, color="cyan", linewidth=1.2, linestyle="--")
    if marked is not None:
        panel.annotate("gap", (sum(marked) / 2, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom")
    mixed = ", both channels" if len(waveform) > 1 else ""
    panel.set_title(f"{title}{mixed}", loc="left" if marked else "center")
    panel.set(xlabel="time (s)", ylabel="frequency (kHz)")
    figure.colorbar(image, ax=panel, label="level (dB)", pad=0.02)
    return figure


def shipped(names: Iterable[str]) -> list[Path]:
    """Find those files that ship, in the checkout or in the wheel."""
    found = []
    for name in names:
        with suppress(FileNotFoundError):
            found.append(shipped_path(name))
    return found


def examples() -> dict[str, Path]:
    """Find the recordings that ship as examples, by the language that is spoken."""
    return {name: path for name, place in EXAMPLES.items() for path in shipped([place])}


def recording_input(label: str, elem_id: str) -> gr.Audio:
    """Place an input for a recording, and the examples that ship, with their licences."""
    recording = gr.Audio(sources=["upload", "microphone"], type="filepath", label=label, buttons=[], elem_id=elem_id)
    with gr.Row():
        for name, path in examples().items():
            button = gr.Button(f"Example: {name}", size="sm", min_width=80)
            button.click(partial(str, path), None, recording, api_visibility="private")
    licences()
    return recording


def licences() -> None:
    """Place the licences of the examples, folded."""
    with gr.Accordion("Licences of the examples", open=False, visible=bool(examples()), elem_classes="facts"):
        gr.Markdown("\n\n".join(path.read_text(encoding="utf-8") for path in shipped(LICENCES)))


def player(label: str, elem_id: str) -> tuple[gr.Audio, gr.Plot]:
    """Place a player and, below it, a picture."""
    sounds = gr.Audio(label=label, interactive=False, buttons=["download"], elem_id=elem_id)
    return sounds, gr.Plot(label=label, show_label=False, format="png", elem_id=f"{elem_id}-picture")


def told_line(elem_id: str) -> gr.Markdown:
    """Place the line that tells how far the work is, and then what came of it."""
    return gr.Markdown(elem_id=elem_id, elem_classes=["numbers", "told"])


def buttons(label: str) -> tuple[gr.Button, gr.Button]:
    """Place the button that works and the one that stops."""
    with gr.Row():
        return gr.Button(label, variant="primary", scale=3, min_width=100), gr.Button("Stop", scale=1, min_width=100)


def _seconds(recording: str) -> float:
    try:
        with audio.opened(recording) as file:
            return file.n_samples / file.sample_rate
    except ValueError:
        return 0.0  # audio.read says what is wrong


def _refuse_long(seconds: float, most: float) -> None:
    if seconds > most:
        raise ValueError(
            f"the recording is {seconds:.0f} s long, and this page takes at most {most:.0f}; "
            "cut it, or use the command line, which takes any length"
        )
