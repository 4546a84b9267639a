"""The tab Mel: a mel spectrogram of another program becomes sound, in the convention that is chosen or detected."""

import html
from pathlib import Path
from typing import Any

import gradio as gr
from torch import Tensor

from audiodiff.mel import MelSpec
from audiodiff.mel.detection import presets, rank_conventions
from audiodiff.mel.io import read_mel
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines import resynthesis
from audiodiff.pipelines.resynthesis import FEWEST_FRAMES
from audiodiff.web.common import MAX_SECONDS, Picture, Sound, buttons, draw, player, seed_of, sound, status_line
from audiodiff.web.vocode import draw_mel
from audiodiff.web.work import Stops, one_message, run, warnings_of

OWN, DETECT = "the model's own", "detect"
SUFFIXES = (".npy", ".safetensors")  # never a pickle from a visitor
SHOWN = 5


def speak(
    vocoder: Vocoder,
    upload: str | None,
    convention: str,
    seed: int | None,
    stops: Stops | None = None,
    request: gr.Request | None = None,
) -> tuple[str, Sound, Picture, Picture]:
    """Make a sound of a mel file as `audiodiff vocode` does.

    Args:
        upload: Path of the file.
        convention: OWN, DETECT, or a preset's name.
        seed: Of the noise.

    Returns:
        What the mel looks like, most likely first; the sound; pictures of the mel and of the sound.

    Raises:
        gr.Error: There is no mel, it cannot be read, or is not in the convention.
    """
    stops = stops or Stops()
    stops.begin(request)
    with one_message(upload):
        if not upload:
            raise ValueError("no mel yet: drop a .npy file of log-mels, [bands, frames]")
        if Path(upload).suffix.lower() not in SUFFIXES:
            raise ValueError(f"{upload}: {' or '.join(SUFFIXES)} is wanted")
        chosen = None if convention in (OWN, DETECT) else MelSpec.preset(convention)
        mel = read_mel(upload, (chosen or vocoder.mel).n_mels if convention != DETECT else None)
        order = _order(vocoder, mel[0])
        if convention == DETECT:
            mel, chosen, order = _detected(vocoder, mel, order)
        spec = chosen or vocoder.mel
        seconds = mel.shape[-1] * spec.hop_length / spec.sample_rate
        if seconds > MAX_SECONDS:
            raise ValueError(f"the mel lasts {seconds:.0f} s, and this page takes at most {MAX_SECONDS}: cut it")
        with warnings_of(resynthesis.log) as warnings:
            result = resynthesis.vocode(
                vocoder, mel, seed=seed_of(seed), convention=chosen, callback=stops.watch(request)
            )
        rate = vocoder.sample_rate
        return (
            _told(order, warnings),
            sound(result.waveform, rate),
            draw_mel(mel, spec.hop_length / spec.sample_rate),
            draw(result.waveform, rate, "Result"),
        )


def _order(vocoder: Vocoder, mel: Tensor) -> list[tuple[float, str, MelSpec]]:
    if mel.shape[-1] < FEWEST_FRAMES or not bool(mel.isfinite().all()):
        return []
    return rank_conventions(mel.cpu(), vocoder.mel)


def _detected(vocoder: Vocoder, mel: Tensor, order: Any) -> tuple[Tensor, MelSpec, Any]:
    """Take the most likely convention; tries the other axis order where the first fits none."""
    if not order:
        mel = mel.mT.contiguous()
        order = _order(vocoder, mel[0])
    if not order:
        raise ValueError("no convention can be told from this mel: choose one, or give a longer one")
    return mel, order[0][2], order


def _told(order: list[tuple[float, str, MelSpec]], warnings: list[str]) -> str:
    lines = "".join(f"{html.escape(warning)}\n\n" for warning in warnings)
    if not order:
        return lines
    rows = "".join(f"\n| {name or 'the model'} | {odds:+.1f} |" for odds, name, _ in order[:SHOWN])
    return f"{lines}| looks like | log-odds |\n|---|---|{rows}"


def lay_out(vocoder: Vocoder, stops: Stops) -> None:
    """Place the components of the tab."""
    gr.Markdown("Drop the log-mel spectrogram that a text-to-speech program made: `.npy` or `.safetensors`.")
    with gr.Row():
        upload = gr.File(label="Mel", file_types=list(SUFFIXES), type="filepath", elem_id="mel-file")
        with gr.Column():
            convention = gr.Dropdown([OWN, DETECT, *presets()], value=OWN, label="Convention")
            seed = gr.Number(0, precision=0, label="Seed")
            button, stop = buttons("Vocode")
    status = status_line("looks-like")
    with gr.Column(visible=False) as results, gr.Row():
        with gr.Column(min_width=320):
            heard, drawn = player("Sound", "spoken")
        with gr.Column(min_width=320):
            mel = gr.Plot(show_label=False, format="png", elem_id="given-mel-picture")

    def answer(upload: str | None, convention: str, seed: int | None, request: gr.Request) -> Any:
        return speak(vocoder, upload, convention, seed, stops, request)

    run(button, stop, stops, answer, [upload, convention, seed], [status, heard, mel, drawn], "vocode", status, results)
