"""Tells whether a log-mel looks like the convention it is said to be in, and which it looks like instead.

A mel is read in turn as each convention of conf/mel and brought to the model's own, band by band. What comes out is
compared with what the model was trained on: the mean of each band over the clip, but for the level, and its spread.

    D = mean_b ((mean_b - c - M_b) / S_b)² + mean_b ((spread_b - T_b) / U_b)² + (c / 15 dB)² + values out of range
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from audiodiff.audio.io import cancels, mono
from audiodiff.data.manifest import Recording, readable
from audiodiff.mel.filterbank import band_centres, mel_filters
from audiodiff.mel.spec import MelSpec
from audiodiff.mel.spectrogram import LogMel
from audiodiff.utils.config import choices

__all__ = ["MelStatistics", "alike", "doubt", "likely", "presets", "presets_with"]

LEVEL = 1.75  # nepers, 15 dB: how far recordings lie from the training data in level
LEAST = 0.25  # nepers: a band's own deviation from clip to clip is at least this
STRANGE = 6.0  # D beyond which another convention is asked for; recordings of other speakers and rooms lie below 4
CLEARER = 0.4  # by which the other's D must be smaller
UNLIKE = 30.0  # D beyond which there is a doubt without another convention; sines, drums and noise lie below 22
BEYOND_HZ = 60.0, 200.0  # how far below and above the outermost bands they still speak for others
OUT_OF_RANGE = 200.0  # added to D in proportion to the share of values that the convention cannot give


@dataclasses.dataclass(frozen=True)
class MelStatistics:
    """Holds what log-mels were like in training, per band, in nepers of magnitude.

    Args:
        mean: Mean over clips of the mean over time.
        mean_std: Standard deviation over clips of the mean over time, the clip's level taken out.
        spread: Mean over clips of the standard deviation over time.
        spread_std: Standard deviation over clips of it.
        frame_mean: Mean over all frames.
        covariance: Of the bands over all frames, [M, M]; None where it was not measured.
    """

    mean: Tensor
    mean_std: Tensor
    spread: Tensor
    spread_std: Tensor
    frame_mean: Tensor | None = None
    covariance: Tensor | None = None

    @classmethod
    def of(cls, mels: list[Tensor], spec: MelSpec) -> Self:
        """Measures log-mels, [M, F] each, of one convention."""
        features = [_features(spec.log_magnitudes(mel.mT)) for mel in mels]
        if not features:
            raise ValueError("no recording is long enough for a frame of the mel: give longer ones")
        means, spreads = (torch.stack(values) for values in zip(*features, strict=True))
        level = (means - means.mean(0)).mean(1, keepdim=True)
        off, some = means - level, max(1, len(mels) - 1)
        deviations = [((v - v.mean(0)).square().sum(0) / some).sqrt() for v in (off, spreads)]
        frames = torch.cat([spec.log_magnitudes(mel.mT) for mel in mels])
        return cls(means.mean(0), deviations[0], spreads.mean(0), deviations[1], frames.mean(0), frames.T.cov())

    @classmethod
    def measure(cls, recordings: Sequence[Recording], spec: MelSpec, limit: int = 200, seconds: float = 10.0) -> Self:
        """Measures the beginnings of at most `limit` recordings, evenly taken from the list."""
        mels = []
        for waveform in readable(recordings[:: max(1, len(recordings) // limit)], spec.sample_rate):
            waveform = waveform[:, : int(seconds * spec.sample_rate)]
            if waveform.shape[-1] >= spec.min_samples and not cancels(waveform):
                mels.append(LogMel(spec)(mono(waveform)[None])[0])
        return cls.of(mels, spec)

    @classmethod
    def from_dict(cls, told: Any, n_mels: int) -> Self | None:
        """Reads what `to_dict` wrote; None if it is nothing of the kind."""
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(told, Mapping) or any(name not in told for name in names[:4]):
            return None
        try:
            found = {
                name: torch.tensor(told[name], dtype=torch.float32) for name in names if told.get(name) is not None
            }
        except (TypeError, ValueError, RuntimeError):
            return None
        square = {"covariance": (n_mels, n_mels)}
        return cls(**found) if all(v.shape == square.get(name, (n_mels,)) for name, v in found.items()) else None

    def to_dict(self) -> dict[str, Any]:
        """Writes the statistics as plain lists."""

        def rounded(values: Any) -> Any:
            return [rounded(v) for v in values] if isinstance(values, list) else round(values, 3)

        return {name: rounded(value.tolist()) for name, value in vars(self).items() if value is not None}

    def expected(self, logs: Tensor, known: Tensor) -> Tensor:
        """Returns log band magnitudes, [F, M], with the unknown bands expected from the known ones, as of a Gaussian.

        E[u | k] = m_u + C_uk (C_kk + 0.05 I)⁻¹ (k - m_k)
        """
        covariance, mean = self.covariance, self.frame_mean
        if covariance is None or mean is None:
            raise ValueError("the covariance of the bands was not measured")
        inner = covariance[known][:, known] + 0.05 * torch.eye(int(known.sum()))
        guessed = (logs[:, known] - mean[known]) @ torch.linalg.solve(inner, covariance[known][:, ~known]) + mean[
            ~known
        ]
        out = logs.clone()
        out[:, ~known] = guessed
        return out

    def level(self, logs: Tensor, known: Tensor) -> float:
        """Returns how far natural-log band magnitudes, [F, M], lie above those of training on average, in nepers."""
        return float((logs.mean(0) - self.mean)[known].mean())

    def distance(self, logs: Tensor, known: Tensor) -> float:
        """Returns D of natural-log band magnitudes, [F, M], over the bands that are known, [M] of bool."""
        mean, spread = _features(logs)
        off, level = mean - self.mean, self.level(logs, known)
        shape = (off - level) / self.mean_std.clamp(min=LEAST)
        width = (spread - self.spread) / self.spread_std.clamp(min=LEAST)
        return float((shape[known].square().mean() + width[known].square().mean()) + (level / LEVEL) ** 2)


def presets() -> list[str]:
    """Lists the conventions of other libraries: the files of conf/mel whose names begin with a letter.

    >>> "hifigan" in presets(), "16k-hop256" in presets()
    (True, False)
    """
    return [name for name in choices("mel") if name[0].isalpha()]


def presets_with(n_mels: int) -> list[str]:
    """Lists those of a number of bands.

    >>> presets_with(100)
    ['bigvgan-24k-100', 'rfwave', 'vocos-24k-100']
    """
    return [name for name in presets() if MelSpec.preset(name).n_mels == n_mels]


def alike(a: MelSpec, b: MelSpec) -> bool:
    """Whether two conventions give nearly the same values, so that no mel tells them apart.

    >>> from audiodiff.utils.config import choose
    >>> alike(choose("mel", "hifigan"), choose("mel", "tacotron2"))
    True
    """
    same = ("n_mels", "scale", "norm", "power", "log", "mean", "std", "normalized", "dynamic_range")
    near = abs(a.f_min - b.f_min) <= 100 and 0.9 <= a.f_max / b.f_max <= 1.1
    return near and all(getattr(a, name) == getattr(b, name) for name in same)


def likely(mel: Tensor, statistics: MelStatistics, spec: MelSpec) -> list[tuple[float, str, MelSpec]]:
    """Orders the conventions in which a log-mel, [M, F], may be by D, most likely first."""
    conventions = {name: MelSpec.preset(name) for name in presets()}
    found = [
        (_distance(mel, convention, statistics, spec), name, convention)
        for name, convention in conventions.items()
        if convention.n_mels == len(mel)
    ]
    return sorted(found, key=lambda item: item[0])


def doubt(mel: Tensor, claimed: MelSpec, statistics: MelStatistics, spec: MelSpec) -> str | None:
    """Says in one line what speaks against a log-mel being in a convention, and which it looks like; None if nothing.

    Args:
        mel: [M, F].
        claimed: In what it is said to be.
        statistics: Of the model, in the model's own convention.
        spec: The model's own convention.
    """
    distance = _distance(mel, claimed, statistics, spec)
    if distance < STRANGE:
        return None
    if len(mel) == mel.shape[1] and _distance(mel.mT, claimed, statistics, spec) < CLEARER * distance:
        return "its axes look swapped: transpose it to [bands, frames]"
    others = [item for item in likely(mel, statistics, spec) if not alike(item[2], claimed)]
    if not alike(spec, claimed) and spec.n_mels == len(mel):
        others = sorted([*others, (_distance(mel, spec, statistics, spec), "", spec)], key=lambda item: item[0])
    if others and others[0][0] < CLEARER * distance:
        name = others[0][1]
        remedy = f"{name}: try --mel-preset {name}" if name else "the model's own: try without --mel-preset"
        return f"it looks like {remedy}"
    logs, known, _ = _read(mel, claimed, spec)
    if distance < UNLIKE or not float(logs.std()):  # silence is like nothing else
        return None
    decibels = statistics.level(logs, known) * 20 / math.log(10)
    return (
        f"it looks like no convention that is known here, and lies {decibels:+.0f} dB from them: check the unit of its "
        "logarithm and the scale of the samples behind it (full scale is 1), or describe it by --mel-spec"
    )


def _distance(mel: Tensor, convention: MelSpec, statistics: MelStatistics, spec: MelSpec) -> float:
    """D of a log-mel, [M, F], read as a convention."""
    logs, known, impossible = _read(mel, convention, spec)
    return statistics.distance(logs, known) + OUT_OF_RANGE * impossible


def _read(mel: Tensor, convention: MelSpec, spec: MelSpec) -> tuple[Tensor, Tensor, float]:
    """Reads a log-mel, [M, F], as a convention.

    Returns:
        Natural-log magnitudes of the model's bands, [F, M']; which of them are known, [M'] of bool; and the share of
        values that the convention cannot give.
    """
    values = mel.mT
    low, high = (
        convention.compress(torch.full((len(mel),), limit)) for limit in (convention.floor, convention.ceiling or 1e6)
    )
    slack = 0.02 * (high - low)
    impossible = float(((values < low - slack) | (values > high + slack)).float().mean())
    across = _Bands(convention, spec)
    # What lies at the floor may have been anywhere below; bands that mostly do so say nothing.
    unheard = across.between((values < low + 0.1 * slack).float()).mean(0) > 0.5
    heard = across.known & ~unheard
    known = heard if heard.sum() >= across.known.sum() / 4 else across.known
    logs = convention.log_magnitudes(values).clamp(-30.0, 30.0)  # a wrong reading gives any power of ten
    logs = (across.between(logs - across.weights[0]) + across.weights[1]).clamp(min=math.log(spec.floor) / spec.power)
    return logs, known, impossible


class _Bands:
    """Where the bands of one spec lie among those of another.

    Attributes:
        known: Which bands of the other lie inside, [M'] of bool.
        weights: Log of what each spec's bands add up, and for the first, how much smaller its window is.
    """

    def __init__(self, convention: MelSpec, spec: MelSpec) -> None:
        have, want = band_centres(convention).float(), band_centres(spec).float()
        self.right = torch.searchsorted(have, want).clamp(1, len(have) - 1)
        self.part = ((want - have[self.right - 1]) / (have[self.right] - have[self.right - 1])).clamp(0, 1)
        self.known = (want >= have[0] - BEYOND_HZ[0]) & (want <= have[-1] + BEYOND_HZ[1])
        mine, others = (mel_filters(s, want).sum(0).clamp(min=1e-8).log() / s.power for s in (convention, spec))
        # A sine's magnitude grows with the sum of the window.
        self.weights = mine - math.log(spec.win_length / convention.win_length), others

    def between(self, values: Tensor) -> Tensor:
        """Interpolates values of the first's bands, [F, M], at the other's, [F, M']."""
        return values[:, self.right - 1] * (1 - self.part) + values[:, self.right] * self.part


def _features(logs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation over time, [M] each, of [F, M]."""
    return logs.mean(0), logs.std(0, correction=0)
