"""Mend recordings with a vocoder: gaps, clipping, missing treble.

    recording → first estimate by linear prediction → its mel, completed → noised and denoised once, every estimate made
              to agree with what is known → made to agree once more

    gap         filled from both sides; where prediction dies away, the mel is interpolated over the gap
    declip      peaks by linear prediction
    bandwidth   missing bands expected from the others, by the covariance of the bands in the training data

Linear prediction does most for clipping and short gaps, the network for long gaps and treble.
Measured in demos/experiments/restoration.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.audio.linear_prediction import declipped, filled
from audiodiff.diffusion.constraints import BandwidthConstraint, ClippingConstraint, Constraint, InpaintingConstraint
from audiodiff.diffusion.denoiser import ConstrainedDenoiser, Denoise
from audiodiff.griffin_lim.projection import MelProjection
from audiodiff.mel.filterbank import band_centres
from audiodiff.mel.statistics import MelStatistics
from audiodiff.models.starts import Variation
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.recipe import RecipeBase, recipe_fields
from audiodiff.pipelines.resynthesis import Resynthesis
from audiodiff.utils.validation import is_interval

TASKS = ("gap", "declip", "bandwidth")
SHORT_GAP = 0.03  # seconds up to which linear prediction alone says what the mel is
TIMES = {"gap": 0.15, "declip": 0.3, "bandwidth": 0.3}  # to which the first estimate is noised
ITERATIONS = 8  # of projection onto the mel and what is known, for missing bands
MARGIN = 0.5  # nepers by which the interpolated mel of a gap is lowered, lest it be louder than its surroundings
SLOPE = 0.9  # of the cutoff: below, the spectrum is taken to be undamaged
FEWEST_CLIPPED = 8  # samples at one level that count as clipping


@dataclasses.dataclass(frozen=True)
class RestoreRecipe(RecipeBase):
    """Hold what decides the samples of a mended recording, as values that JSON can hold.

    Args:
        command: "restore"; the next six are those of `RecipeBase`.
        task: One of TASKS.
        gap: Seconds from and to which samples are missing.
        limit: Amplitude from which on samples are clipped.
        cutoff: Hz up to which the spectrum is undamaged.

    Raises:
        ValueError: A field has the wrong type or lies outside its range.
    """

    COMMANDS = ("restore",)
    MODEL = Vocoder
    LOWERED = True

    task: str
    gap: list[float] | None
    limit: float | None
    cutoff: float | None

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Map fields whose type does not say all to whether they are valid, and to what is wanted."""
        gap = is_interval(self.gap) if self.task == "gap" else self.gap is None
        return super().rules() | {
            "task": (self.task in TASKS, f"one of {', '.join(TASKS)}"),
            "gap": (gap, "two numbers of seconds for a gap, the first smaller"),
            "limit": (_positive(self.limit, self.task == "declip"), "an amplitude above 0 to declip"),
            "cutoff": (_positive(self.cutoff, self.task == "bandwidth"), "a frequency above 0 for bandwidth"),
        }

    @classmethod
    def from_options(cls, vocoder: Vocoder, model: str, waveform: Tensor, task: str, **options: Any) -> Self:
        """Build a recipe from user options; unset options come from the model, the machine and the recording.

        Args:
            vocoder: The loaded model.
            model: From where it was loaded.
            waveform: The recording, [C, T].
            task: One of TASKS.
            options: weights, seed, gap, limit, cutoff.

        Raises:
            ValueError: The recording does not show the damage, or a value lies outside its range.
        """
        if task == "declip" and options.get("limit") is None:
            options["limit"] = find_limit(waveform)
        if task == "bandwidth" and options.get("cutoff") is None:
            options["cutoff"] = find_cutoff(waveform, vocoder.sample_rate)
        return cls(
            **recipe_fields("restore", vocoder, model, options.get("weights", "ema"), options.get("seed", 0)),
            task=task,
            gap=options.get("gap"),
            limit=options.get("limit"),
            cutoff=options.get("cutoff"),
        )

    def run(self, model: Vocoder, path: str | Path | None = None) -> Resynthesis:
        """Read a recording and mend it; see `mend`."""
        waveform, _ = audio.read(path or "", model.sample_rate)
        return Resynthesis(mend(model, waveform, self), 1)


def mend(vocoder: Vocoder, waveform: Tensor, recipe: RestoreRecipe) -> Tensor:
    """Mend each channel of a recording, [C, T] at the vocoder's sample rate, and return one of the same length.

    Raises:
        ValueError: The gap or the cutoff lies outside of the recording, or it is too short.
    """
    hop, length = vocoder.hop_length, waveform.shape[-1]
    whole = -(-max(length, vocoder.mel.min_samples) // hop) * hop
    padded = torch.nn.functional.pad(waveform, (0, whole - length))
    with recipe.arithmetic(vocoder):
        channels = [
            _mend_channel(vocoder, channel[None, None].to(vocoder.device), recipe, length) for channel in padded
        ]
    return torch.cat(channels)[:, :length].cpu()


def _mend_channel(vocoder: Vocoder, x: Tensor, recipe: RestoreRecipe, length: int) -> Tensor:
    """Mend [1, 1, T]; return [1, T]."""
    spec, n_iter = vocoder.mel, 0
    if recipe.task == "gap":
        first, known, mel = _across_gap(vocoder, x, recipe.gap or [], length)
    elif recipe.task == "declip":
        limit = recipe.limit or math.inf
        known = ClippingConstraint(x, limit)
        first = torch.from_numpy(declipped(x[0, 0].double().cpu().numpy(), limit)).to(x)[None, None]
        mel = vocoder.spectrogram(first)[..., : x.shape[-1] // spec.hop_length]
    else:
        first, n_iter = x, ITERATIONS
        known, mel = _beyond_cutoff(vocoder, x, recipe.cutoff or 0.0)
    shape, project = vocoder.whitening.gains(mel), MelProjection(spec, mel, 1, momentum=0)
    if n_iter:
        noise = torch.randn(x.shape, dtype=torch.float32, generator=torch.Generator().manual_seed(recipe.seed)).to(x)
        estimate = vocoder.start.waveform(mel, noise)
        first = known.project(first if estimate is None else estimate)
    for _ in range(n_iter):
        first = known.project(project(first))

    def agreeing(denoise: Denoise) -> Denoise:
        return ConstrainedDenoiser(
            denoise, lambda z: vocoder.whitening.encode(known.project(vocoder.whitening.decode(z, shape)), shape)
        )

    start = Variation(first, TIMES[recipe.task])
    return known.project(vocoder.generate(mel, steps=1, start=start, known=agreeing, seed=recipe.seed))[0]


def _across_gap(vocoder: Vocoder, x: Tensor, gap: list[float], length: int) -> tuple[Tensor, Constraint, Tensor]:
    """Return the gap filled by linear prediction, what is known, and the mel."""
    spec = vocoder.mel
    begin, end = (round(g * spec.sample_rate) for g in gap)
    if end > length:
        raise ValueError(
            f"the gap from {gap[0]:g} to {gap[1]:g} s ends after the {length / spec.sample_rate:.2f} s there are"
        )
    first, mask = x.clone(), torch.ones_like(x, dtype=torch.bool)
    mask[..., begin:end] = False
    first[..., begin:end] = torch.from_numpy(filled(x[0, 0].double().cpu().numpy(), begin, end)).to(x)
    mel = vocoder.spectrogram(first)[..., : x.shape[-1] // spec.hop_length]
    if end - begin > SHORT_GAP * spec.sample_rate:
        reach, hop = spec.n_fft // 2, spec.hop_length
        left = max(int((begin - reach) / hop), 1) - 1
        right = min(-(-(end + reach) // hop), mel.shape[-1] - 1)
        between = torch.linspace(0, 1, right - left + 1, dtype=torch.float32).to(mel)
        bridge = mel[..., left, None] * (1 - between) + mel[..., right, None] * between - MARGIN
        mel[..., left + 1 : right] = mel[..., left + 1 : right].maximum(bridge[..., 1:-1])
    return first, InpaintingConstraint(x, mask), mel


def _beyond_cutoff(vocoder: Vocoder, x: Tensor, cutoff: float) -> tuple[Constraint, Tensor]:
    """Return what is known, and the mel with its upper bands expected from the lower ones."""
    spec = vocoder.mel
    statistics = MelStatistics.from_dict(vocoder.info.get("mel_statistics"), spec.n_mels)
    if statistics is None:
        raise ValueError("this model does not know how its bands belong together: train it anew, or take speech-24k")
    if cutoff >= spec.sample_rate / 2:
        raise ValueError(
            f"cutoff={cutoff:g} Hz: a recording at {spec.sample_rate} Hz ends at {spec.sample_rate // 2} Hz"
        )
    known = BandwidthConstraint(x, SLOPE * cutoff, spec.sample_rate)
    mel = vocoder.spectrogram(x)[..., : x.shape[-1] // spec.hop_length]
    lower = band_centres(spec) < SLOPE * cutoff
    if not bool(lower.any()) or bool(lower.all()):
        raise ValueError(f"cutoff={cutoff:g} Hz leaves no band to go by, or none that is missing")
    logs = statistics.expected(spec.log_magnitudes(mel[0].mT).cpu(), lower)
    return known, torch.where(lower.to(mel.device)[:, None], mel, spec.compress((spec.power * logs.to(mel)).exp()).mT)


def find_limit(waveform: Tensor) -> float:
    """Return the level at which a recording is clipped, just below the highest sample.

    Raises:
        ValueError: Too few samples are as high as that.
    """
    limit = 0.999 * float(waveform.detach().abs().max())
    if limit <= 0 or int((waveform.abs() >= limit).sum()) < FEWEST_CLIPPED:
        raise ValueError("the recording does not look clipped; say from which amplitude on it is by --limit")
    return limit


def find_cutoff(waveform: Tensor, sample_rate: int, below_db: float = 70.0) -> float:
    """Return the highest frequency, Hz, whose level in the mean spectrum is within 70 dB of the highest.

    Raises:
        ValueError: Nothing is missing.
    """
    n_fft = min(2048, waveform.shape[-1])
    window = torch.hann_window(n_fft, dtype=torch.float32)
    power = torch.stft(waveform.float(), n_fft, window=window, return_complex=True).abs().square().mean((0, 2))
    heard = torch.nonzero(power >= power.max() * 10 ** (-below_db / 10))[-1]
    cutoff = float(heard) * sample_rate / n_fft
    if cutoff > 0.95 * sample_rate / 2:
        raise ValueError(f"the recording reaches {cutoff:.0f} Hz already; say up to where it is sound by --cutoff")
    return cutoff


def _positive(value: float | None, wanted: bool) -> bool:
    return value is not None and value > 0 if wanted else value is None
