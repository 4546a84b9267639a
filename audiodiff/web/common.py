"""What the tabs share: reading what a visitor gives, handing out sounds and pictures, and components."""

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import gradio as gr
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from audiodiff import audio
from audiodiff.evaluation.plots import spectrogram_db
from audiodiff.utils.config import shipped_path

MAX_SECONDS = 300
FLOOR_DB = -100.0
EXAMPLES = {
    "Italian": "demos/audio/speech.flac",
    "English": "demos/audio/voices/en-1.flac",
    "Russian": "demos/audio/voices/ru-1.flac",
}
LICENCES = ("demos/audio/speech.LICENCE.md", "demos/audio/voices/LICENCE.md")

Sound = tuple[int, np.ndarray]  # sample rate in Hz and int16 samples: Gradio would normalise floats by their peak
Picture = Figure


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
    paths = []
    for name in names:
        with suppress(FileNotFoundError):
            paths.append(shipped_path(name))
    return paths


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


def status_line(elem_id: str) -> gr.Markdown:
    """Place the line that tells how far the work is, and then what came of it."""
    return gr.Markdown(elem_id=elem_id, elem_classes=["numbers", "status"])


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
