"""The tab Vocode: a recording becomes a mel spectrogram, and the model makes a waveform of that alone."""

import html
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from audiodiff import audio
from audiodiff.evaluation import dnsmos
from audiodiff.evaluation.metrics import log_mel_l1, multi_resolution_stft
from audiodiff.models.named_starts import name_start
from audiodiff.models.starts import GriffinLim, PureNoise, Start
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import Resynthesis, analyse, resynthesise, vocode_stream
from audiodiff.utils.config import choices, choose
from audiodiff.web.common import (
    Picture,
    Sound,
    buttons,
    draw,
    player,
    read,
    recording_input,
    seed_of,
    sound,
    status_line,
)
from audiodiff.web.live import LiveSounds, LiveStream
from audiodiff.web.work import Stops, one_message, run

MAX_STEPS = 16
LIVE_FRAMES = 16  # mel frames that are handed to the stream at once
LONGEST_KEPT = 30.0  # seconds of which the estimates are kept
STARTS: dict[str, Start | None] = {"own": None, "noise": PureNoise()}
NAMES = ("Original", "Result", "Griffin-Lim")
PROGRESS = gr.Progress()

Answer = tuple[str, Sound, Sound, Sound, Picture, Picture, Picture, Picture, list[Sound]]


def decoded(vocoder: Vocoder, estimates: list[Tensor], mel: Tensor, length: int) -> list[Tensor]:
    """Decode the denoiser's estimates of the channels, one after the other: a waveform, [C, length], for each call."""
    calls = len(estimates) // len(mel)
    gains = [vocoder.whitening.gains(channel[None].cpu()) for channel in mel]
    return [
        torch.cat(
            [vocoder.whitening.decode(x, g)[0, :, :length] for x, g in zip(estimates[i::calls], gains, strict=True)]
        )
        for i in range(calls)
    ]


def respond(
    vocoder: Vocoder,
    recording: str | None,
    steps: int,
    solver: str,
    start: str,
    seed: int | None,
    progress: Any = PROGRESS,
    stops: Stops | None = None,
    request: gr.Request | None = None,
    live: LiveStream | None = None,
) -> Answer:
    """Do what the button does: resynthesise a file, measure it and draw it.

    Args:
        recording: Path of an audio file.
        steps: Solver steps.
        solver: One of `audiodiff.utils.config.choices("solver")`.
        start: "own" for the model's own start, "noise" for pure noise.
        seed: Of the noise.
        progress: Called with (steps done, steps).
        stops, request: Whether this visitor wants to stop.
        live: Where the sound goes while it is made with the least delay; solver, steps and start are then decided.

    Returns:
        The numbers; original, result and Griffin-Lim as Gradio's audio; the mel and the three spectrograms; and the
        estimates after each call, for recordings of at most LONGEST_KEPT seconds.

    Raises:
        gr.Error: An input is missing or unfit; one line says which and what to do.
    """
    stops = stops or Stops()
    stops.begin(request)
    rate = vocoder.sample_rate
    with one_message(recording):
        original = read(recording, rate)
        mel = analyse(vocoder, original)
        estimates: list[Tensor] = []  # of the clean signal, at each call of the denoiser
        progress((0, int(steps)))
        begun = time.perf_counter()
        with vocoder.denoiser.register_forward_hook(lambda *call: estimates.append(call[-1].x.detach().cpu())):
            if live is not None:
                result = _while_it_plays(vocoder, mel, original.shape[-1], seed_of(seed), live, stops, request)
            else:
                result = resynthesise(
                    vocoder,
                    original,
                    steps=int(steps),
                    solver=choose("solver", solver),
                    start=STARTS[start],
                    seed=seed_of(seed),
                    callback=stops.watch(request, lambda done: progress((done, int(steps)))),
                )
        taken = time.perf_counter() - begun
        plain = _griffin_lim(vocoder, mel, original.shape[-1])
        sounds = (original, result.waveform, plain)
        short = original.shape[-1] <= LONGEST_KEPT * rate and live is None
        kept = decoded(vocoder, estimates, mel, original.shape[-1]) if short else []
        return (
            _numbers(sounds, rate, taken, result.network_calls),
            *(sound(waveform, rate) for waveform in sounds),
            draw_mel(mel, vocoder.hop_length / rate),
            *(draw(waveform, rate, name) for waveform, name in zip(sounds, NAMES, strict=True)),
            [sound(waveform, rate) for waveform in kept],
        )


def _while_it_plays(
    vocoder: Vocoder,
    mel: Tensor,
    length: int,
    seed: int,
    live: LiveStream,
    stops: Stops,
    request: gr.Request | None,
) -> Resynthesis:
    """Vocode a mel, [C, M, F], with the least delay, handing each piece out; whatever happens, the stream ends."""
    after, pieces = stops.watch(request), list[Tensor]()
    try:
        for number, piece in enumerate(vocode_stream(vocoder, mel.split(LIVE_FRAMES, -1), seed=seed, live=True)):
            piece = piece[:, : length - sum(done.shape[-1] for done in pieces)]
            pieces.append(piece)
            live.put(audio.to_pcm(piece)[0])
            after(number, None)
    finally:
        live.end()
    return Resynthesis(torch.cat(pieces, -1), 0)


def show_estimate(kept: list[Sound] | None, call: float) -> tuple[Sound | None, Picture | None]:
    """Show and plays what the model believed after a call, counted from 1."""
    if not kept:
        return None, None
    number = min(max(int(call), 1), len(kept))
    rate, samples = kept[number - 1]
    waveform = torch.from_numpy(np.ascontiguousarray(samples.T)).float() / 32767
    return (rate, samples), draw(waveform, rate, f"Estimate after call {number} of {len(kept)}")


def draw_mel(mel: Tensor, frame_seconds: float) -> Figure:
    """Draw the log-mel, [C, M, F], with time in s; of stereo the mean."""
    figure, mean = Figure(figsize=(12, 2.6), dpi=110, layout="constrained"), mel.cpu().mean(0)
    panel, extent = figure.subplots(), (0, mean.shape[1] * frame_seconds, 0, len(mean))
    panel.imshow(mean.numpy(), origin="lower", aspect="auto", extent=extent, cmap="magma")
    title = "All that the model is given" + ", mean of both channels" * (len(mel) > 1)
    panel.set(ylabel="mel band", xlabel="time (s)", title=title)
    return figure


def _griffin_lim(vocoder: Vocoder, mel: Tensor, length: int) -> Tensor:
    """Invert the mel by 32 iterations of Griffin-Lim, [C, length]."""
    noise = torch.randn(1, 1, mel.shape[-1] * vocoder.hop_length, generator=torch.Generator().manual_seed(0)).to(mel)
    plain = GriffinLim(vocoder.mel, n_iter=32)
    with torch.inference_mode():
        return torch.cat([plain.waveform(channel[None], noise)[0] for channel in mel])[:, :length].cpu()


def _numbers(sounds: tuple[Tensor, ...], rate: int, taken: float, network_calls: int) -> str:
    original = sounds[0]
    seconds = original.shape[-1] / rate
    calls = f"{network_calls} network call{'s' * (network_calls != 1)}" + " per channel" * (len(original) > 1)
    columns = {
        "log-mel distance (less is better)": [f"{_mean(log_mel_l1, original, other, rate):.3f}" for other in sounds],
        "STFT distance (less)": [f"{_mean(multi_resolution_stft, original, other, rate):.3f}" for other in sounds],
    }
    if dnsmos.is_available():
        natural = [sum(dnsmos.predict_opinion(channel, rate) for channel in s) / len(s) for s in sounds]
        columns = {"naturalness, 1 to 5 (more is better)": [f"{value:.2f}" for value in natural]} | columns
    rows = "".join(f"\n| {' | '.join(row)} |" for row in zip(NAMES, *columns.values(), strict=True))
    return (
        f"**{seconds:.2f} s** of audio in **{taken:.2f} s** · **{seconds / taken:.1f} ×** real time · {calls}\n\n"
        f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}{rows}"
    )


def _mean(measure: Any, original: Tensor, other: Tensor, rate: int) -> float:
    return sum(measure(a, b, rate) for a, b in zip(original, other, strict=True)) / len(original)


def lay_out(vocoder: Vocoder, stops: Stops, lives: LiveSounds) -> None:
    """Place the components of the tab."""
    gr.Markdown(_facts(vocoder), elem_classes="facts")
    with gr.Row():
        with gr.Column(min_width=320):
            recording = recording_input("Recording", "recording")
        with gr.Column(min_width=320):
            controls = _controls(vocoder)
            live = gr.Checkbox(
                False,
                label="Play while it is made",
                info=f"{1000 * vocoder.live_delay():.0f} ms behind the mel; steps, solver and start are then decided",
                elem_id="play-live",
            )
            button, stop = buttons("Resynthesise")
    numbers = status_line("numbers")
    playing = gr.HTML(visible=False, elem_id="live")
    with gr.Column(visible=False) as results:
        with gr.Row():
            sounds, figures = [], []
            for name in NAMES:
                with gr.Column(min_width=300):
                    heard, picture = player(name, name.lower())
                    sounds.append(heard)
                    figures.append(picture)
        mel = gr.Plot(label="Mel", show_label=False, format="png", elem_id="mel-picture")
        with gr.Accordion("Step by step", open=False) as steps_shown:
            gr.Markdown(f"What the model believed after each network call (recordings up to {LONGEST_KEPT:.0f} s).")
            call = gr.Slider(1, MAX_STEPS, 1, step=1, label="After call")
            estimate, estimated = player("Estimate", "estimate")
    kept = gr.State([], time_to_live=600)

    def answer(
        recording: str | None,
        steps: int,
        solver: str,
        start: str,
        seed: int | None,
        live: bool,
        request: gr.Request,
        progress: Any = PROGRESS,
    ) -> Iterator[Any]:
        hidden = gr.update(value="", visible=False)
        if not live:
            yield *respond(vocoder, recording, steps, solver, start, seed, progress, stops, request), hidden
            return
        with one_message(recording):
            stream = lives.open(vocoder.sample_rate, len(read(recording, vocoder.sample_rate)))
        yield *[gr.skip()] * 9, gr.update(value=stream.player(), visible=True)
        answered = respond(vocoder, recording, steps, solver, start, seed, progress, stops, request, stream)
        yield *answered, gr.skip()

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    outputs = [numbers, *sounds, mel, *figures, kept, playing]
    event = run(button, stop, stops, answer, [recording, *controls, live], outputs, "resynthesise", numbers, results)
    event.success(lambda kept: gr.update(visible=bool(kept)), kept, steps_shown, queue=False, **quiet)
    event.success(_calls, kept, call, **quiet).then(show_estimate, [kept, call], [estimate, estimated], **quiet)
    call.input(show_estimate, [kept, call], [estimate, estimated], trigger_mode="always_last", **quiet)


def _calls(kept: list[Sound] | None) -> Any:
    return gr.update(value=1, maximum=max(len(kept or []), 2))


def _facts(vocoder: Vocoder) -> str:
    facts = [str(vocoder.info["name"])] if vocoder.info.get("name") else []
    facts += [f"{vocoder.sample_rate / 1000:g} kHz", f"{vocoder.mel.n_mels} mel bands", f"on {vocoder.device}"]
    facts += [f"{key}: {vocoder.info[key]}" for key in ("data", "licence") if vocoder.info.get(key)]
    return html.escape(" · ".join(facts))


def _controls(vocoder: Vocoder) -> list[gr.components.Component]:
    once, more = (name_start(vocoder.start_for(steps)) for steps in (1, 2))
    own = once if once == more else f"{once}, for one step; {more}, for more"
    steps = gr.Slider(1, max(MAX_STEPS, vocoder.steps), vocoder.steps, step=1, label="Solver steps")
    with gr.Row():
        solver = gr.Dropdown(choices("solver"), value="ddim", label="Solver")
        seed = gr.Number(0, precision=0, label="Seed")
    starts = [("the model's own", "own"), ("pure noise", "noise")]
    start = gr.Radio(starts, value="own", label="Start", info=f"the model's own: {own}")
    return [steps, solver, start, seed]
