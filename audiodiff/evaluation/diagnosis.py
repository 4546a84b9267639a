"""Tell a bug from too little training: is a denoiser better than what needs no training at all?

At each noise level the error of the estimate of x is compared with three that need only x_t = alpha x + sigma eps:

    zero:    0                      input:  x_t / alpha
    Wiener:  alpha P / (alpha² P + sigma² N) x_t in each bin of a short-time transform; P, N the mean powers of x, eps

A network that has learned anything at all beats the best of them; one that is wired wrongly, fed at another level or
read from the wrong weights does not, however long it trains. Judged are the levels in the middle: a network that
predicts x loses to its input where there is hardly any noise, and nobody hears it.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.manifest import Recording
from audiodiff.mel.detection import diagnose_mel
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder

LEVELS = (-10.0, -8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 12.0)  # log-SNR, nepers of power
JUDGED = (-6.0, 4.0)  # above, an error is 30 dB and more below the sound whatever one does; below, nobody knows much
WINDOW = 512
LOUDER_DB = 12.0  # beyond what was seen in training
YOUNG = 3.0  # lengths of an average that must have passed


@dataclasses.dataclass(frozen=True)
class Level:
    """Hold errors at one noise level, in dB of the power of x: less is better."""

    log_snr: float
    model: float
    zero: float
    input: float
    wiener: float

    @property
    def gain(self) -> float:
        """By how many dB the model beats the best of the three."""
        return min(self.zero, self.input, self.wiener) - self.model


@dataclasses.dataclass(frozen=True)
class Report:
    """Hold what an examination found.

    Args:
        levels: Errors by noise level.
        troubles: What speaks against the model, a sentence each; it fails if there is one.
        remarks: What else is worth knowing.
    """

    levels: list[Level]
    troubles: list[str]
    remarks: list[str]


def verdict(report: Report) -> str:
    """Say in a sentence how it is with a model.

    >>> verdict(Report([Level(0.0, -12.0, 0.0, 3.0, -9.0)], [], []))
    'Good: the model is better than what needs no training, by 3.0 dB at its best noise level.'
    """
    if report.troubles:
        count = len(report.troubles)
        return f"TROUBLE: {count} thing{'s' * (count != 1)} speak{'s' * (count == 1)} against the model, named above."
    best = max(level.gain for level in report.levels)
    if best <= 0:
        return "Good: nothing speaks against the model; how it sounds, `audiodiff eval` tells."
    return f"Good: the model is better than what needs no training, by {best:.1f} dB at its best noise level."


def examine(
    model: Model, recordings: Sequence[Recording], seconds: float = 4.0, raw: Model | None = None, seed: int = 0
) -> Report:
    """Compare a model with what needs no training, and its data with those that are given.

    Args:
        model: With its averaged weights.
        recordings: What it should be good at; the beginnings are used.
        seconds: How much of each.
        raw: The same model with its last weights.
        seed: Of the noise.

    Raises:
        ValueError: No recording is long enough for the model.
    """
    clips = _clips(model, recordings, seconds)
    levels = levels_of(model, clips, seed)
    troubles, remarks = _of_levels(levels, _first_log_snr(model))
    for found in (_of_level(model, clips), _of_mel(model, clips), _of_average(model, levels, clips, raw, seed)):
        troubles += found[0]
        remarks += found[1]
    return Report(levels, troubles, remarks)


@torch.no_grad()
def levels_of(model: Model, clips: Sequence[Tensor], seed: int = 0) -> list[Level]:
    """Measure errors by noise level, over clips of [1, 1, T]; the same noise for all models."""
    encoded = [_encoded(model, clip) for clip in clips]
    schedule = model.denoiser.schedule
    power = _mean([x.square().mean() for x, _ in encoded])
    spectrum = torch.stack([_transformed(x).abs().square().mean(-1) for x, _ in encoded]).mean(0)
    found = []
    for log_snr in LEVELS:
        t = schedule.time(torch.tensor(log_snr, dtype=torch.float64)).clamp(0, 1)  # the nearest that the path has
        alpha, sigma = (float(s) for s in schedule(t))
        errors: dict[str, list[Tensor]] = {name: [] for name in ("model", "zero", "input", "wiener")}
        for i, (x, condition) in enumerate(encoded):
            eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + i)).to(x)
            x_t = alpha * x + sigma * eps
            guesses = {
                "model": model.denoiser(x_t, t, condition).x,
                "zero": torch.zeros_like(x),
                "input": x_t / max(alpha, 1e-6),
                "wiener": _wiener(x_t, spectrum, alpha, sigma),
            }
            for name, guess in guesses.items():
                errors[name].append((guess - x).square().mean())
        db = {name: 10 * math.log10(max(_mean(e) / power, 1e-12)) for name, e in errors.items()}
        found.append(Level(float(schedule.log_snr(t)), **db))
    return found


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.stack(list(values)).mean())


def _clips(model: Model, recordings: Sequence[Recording], seconds: float) -> list[Tensor]:
    """Read the beginnings of recordings, [1, 1, T] each, of whole hops."""
    least = model.mel.min_samples if isinstance(model, Vocoder) else WINDOW
    clips = []
    for recording in recordings:
        waveform = audio.read(recording.path, model.sample_rate, seconds=seconds)[0]
        waveform = audio_io.mono(waveform, recording.path)[0]
        whole = waveform[: len(waveform) // model.hop_length * model.hop_length]
        if len(whole) >= max(least, WINDOW) and float(whole.abs().max()) > 0:
            clips.append(whole[None, None].to(model.device))
    if not clips:
        raise ValueError("none of the recordings is long enough for this model: give longer ones")
    return clips


def _encoded(model: Model, clip: Tensor) -> tuple[Tensor, Tensor | None]:
    """Map a clip to the diffused space and compute its condition; a class stays unsaid."""
    network, announced, condition = model.denoiser.network, clip, None
    if isinstance(model, Vocoder):
        announced = model.spectrogram(clip)[..., : clip.shape[-1] // model.hop_length]
        condition = network.encode(announced)
    else:
        condition = model.condition(1)
    return model.whitening.encode(clip, model.whitening.gains(announced)), condition


def _transformed(x: Tensor) -> Tensor:
    window = torch.hann_window(WINDOW, device=x.device).sqrt()
    return torch.stft(x[:, 0], WINDOW, WINDOW // 2, window=window, return_complex=True)[0]


def _wiener(x_t: Tensor, spectrum: Tensor, alpha: float, sigma: float) -> Tensor:
    """Filter each bin by its mean power, [bins]; white noise has the power of the window's energy in each."""
    window = torch.hann_window(WINDOW, device=x_t.device).sqrt()
    noise = window.square().sum()
    gain = alpha * spectrum / (alpha**2 * spectrum + sigma**2 * noise).clamp(min=1e-20)
    frames = _transformed(x_t) * gain[:, None]
    return torch.istft(frames[None], WINDOW, WINDOW // 2, window=window, length=x_t.shape[-1])[:, None]


def _first_log_snr(model: Model) -> float:
    """Return the log-SNR at which the model's sampling starts."""
    return float(model.denoiser.schedule.log_snr(torch.tensor(model.start.time, dtype=torch.float64)))


def _of_levels(levels: list[Level], first: float = -math.inf) -> tuple[list[str], list[str]]:
    """Judge the errors, of a model that samples from a log-SNR on; where there is less noise than is judged, do not."""
    judged = [level for level in levels if JUDGED[0] - 0.1 <= level.log_snr <= JUDGED[1] + 0.1] or levels
    better = sum(level.gain > 0 for level in judged)
    mean = sum(level.gain for level in judged) / len(judged)
    text = f"better than what needs no training at {better} of {len(judged)} noise levels, by {mean:.1f} dB on average"
    text += f" (log-SNR {JUDGED[0]:+g} to {JUDGED[1]:+g})"
    if first > JUDGED[1]:
        about = f"sampling starts at log-SNR {first:+.0f}, where there is next to no noise"
        return [], [f"{about}: errors of denoising say little of this model, `audiodiff eval` says more"]
    if better * 2 < len(judged) or mean <= 0:
        return [f"{text}: it has not learned, or is fed something else than in training"], []
    return [], [text]


def _of_level(model: Model, clips: Sequence[Tensor]) -> tuple[list[str], list[str]]:
    """Compare the level of the recordings with that of the training data."""
    trained = model.info.get("level") if isinstance(model.info.get("level"), dict) else {}
    if not trained.get("rms"):
        return [], ["its file does not say how loud the training data were"]
    rms = math.sqrt(_mean([clip.square().mean() for clip in clips]))
    apart = 20 * math.log10(rms / trained["rms"])
    text = f"the recordings are {apart:+.1f} dB louder than the training data"
    return ([f"{text}: bring them to one level"], []) if abs(apart) > LOUDER_DB else ([], [text])


def _of_mel(model: Model, clips: Sequence[Tensor]) -> tuple[list[str], list[str]]:
    """Check that the mels look like sound in the model's convention, as those of recordings at another scale do not."""
    if not isinstance(model, Vocoder):
        return [], []
    doubts = [diagnose_mel(model.spectrogram(clip)[0].cpu(), model.mel, model.mel) for clip in clips]
    odd = [text for text in doubts if text]
    if len(odd) * 2 > len(clips):
        return [f"{len(odd)} of {len(clips)} mels are unlike speech in the model's convention: {odd[0]}"], []
    return [], [f"{len(clips) - len(odd)} of {len(clips)} mels are like speech in the model's convention"]


def _of_average(
    model: Model, levels: list[Level], clips: Sequence[Tensor], raw: Model | None, seed: int
) -> tuple[list[str], list[str]]:
    """Ask whether the averaged weights are old enough, and whether they are better than the last ones."""
    ema = model.info.get("ema") if isinstance(model.info.get("ema"), dict) else {}
    troubles, remarks = [], []
    if ema.get("decay") and ema.get("updates"):
        length = 1 / (1 - ema["decay"])
        text = f"the weights are averaged over {length:.0f} steps, and {ema['updates']} have passed"
        (troubles if ema["updates"] < length else remarks).append(
            text + (": train longer, or lower ema_decay" if ema["updates"] < YOUNG * length else "")
        )
    if raw is not None:
        apart = [r.model - level.model for r, level in zip(levels_of(raw, clips, seed), levels, strict=True)]
        mean = sum(apart) / len(apart)
        remarks.append(f"the averaged weights are better than the last ones by {mean:.1f} dB on average")
        if mean < -1:
            troubles.append("the averaged weights are worse than the last ones: use --weights raw, or lower ema_decay")
    return troubles, remarks
