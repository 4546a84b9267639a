"""Detect the convention of a log-mel spectrogram and report a mismatch with the declared one.

A mel is read in turn as each convention of conf/mel. `features` describes each reading, and a small network computes
the log-odds that it is right, log(p / (1 - p)). Its weights, detection.safetensors, belong to no model: they were
learnt from many voices, levels and rooms, in all conventions and in random ones (demos/experiments/mel_detection).
"""

import functools
import logging
import math
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from audiodiff.mel.features import LEVEL_AT, features
from audiodiff.mel.spec import MelSpec, preset_of
from audiodiff.utils.config import choices

log = logging.getLogger(__name__)

DOUBTFUL = -2.0  # log-odds below which a declared convention is doubted if another is likelier
CLEARER = 6.0  # by which the other's must be higher
CLEARER_OF_RATE = 8.0  # likewise, if it differs in rate, hop or edges alone, which resembles another voice
CLEARER_OF_AXES = 4.0  # likewise, if its axes are swapped
UNLIKELY = -10.0  # log-odds below which it is doubted without another
NEAR = 0.03  # relative difference in time or frequency up to which no mel tells two conventions apart
FEWEST = 2  # frames
FEWEST_FRAMES = 24  # from which on a mismatch is warned of
FEWEST_BANDS = 20  # that are judged; the conventions of conf/mel have 64 and more
VALUES = ("n_mels", "scale", "norm", "power", "log", "mean", "std", "normalized", "dynamic_range")


class Candidate(NamedTuple):
    """A convention that a mel may be in: the log-odds that it is, its name, and the convention."""

    odds: float
    name: str
    spec: MelSpec


def presets() -> list[str]:
    """List the conventions of other libraries: the files of conf/mel whose names begin with a letter.

    >>> "hifigan" in presets(), "16k-hop256" in presets()
    (True, False)
    """
    return [name for name in choices("mel") if name[0].isalpha()]


def presets_with(n_mels: int) -> list[str]:
    """List those with a number of bands.

    >>> presets_with(100)
    ['bigvgan-24k-100', 'f5-tts', 'gpt-sovits-v4', 'rfwave', 'vocos-24k-100']
    """
    return [name for name in presets() if MelSpec.preset(name).n_mels == n_mels]


def equivalent(a: MelSpec, b: MelSpec) -> bool:
    """Whether two conventions give nearly the same values, so that no mel tells them apart.

    >>> equivalent(MelSpec.preset("hifigan"), MelSpec.preset("tacotron2"))
    True
    """
    return distance(a, b) <= NEAR


def distance(a: MelSpec, b: MelSpec) -> float:
    """Measure how far two conventions lie apart: in time and frequency, relatively; infinitely if in their values.

    >>> round(distance(MelSpec(16000), MelSpec(22050)), 2)
    0.32
    """
    if any(getattr(a, name) != getattr(b, name) for name in VALUES):
        return math.inf
    rate = b.sample_rate / a.sample_rate
    ratios = a.f_max / b.f_max, rate * a.hop_length / b.hop_length, rate * a.win_length / b.win_length
    return max(abs(math.log(ratio)) for ratio in ratios) + abs(a.f_min - b.f_min) / 1000


def rank_conventions(mel: Tensor, *others: MelSpec) -> list[Candidate]:
    """Order the conventions in which a log-mel, [M, F], may be by their log-odds, most likely first.

    Args:
        mel: The log-mel.
        others: Further conventions than those of conf/mel; their name is empty.

    Returns:
        Those that have M bands; none of a mel of less than two frames.
    """
    known = {name: MelSpec.preset(name) for name in choices("mel")}
    named = [*known.items(), *(("", spec) for spec in dict.fromkeys(others) if spec not in known.values())]
    fitting = [(name, spec) for name, spec in named if spec.n_mels == len(mel)]
    if not fitting or mel.shape[1] < FEWEST:
        return []
    odds = _network(torch.stack([features(mel, spec) for _, spec in fitting])).tolist()
    ranked = [Candidate(value, *item) for value, item in zip(odds, fitting, strict=True)]
    return sorted(ranked, key=lambda candidate: -candidate.odds)


def judge(ranked: list[Candidate], declared: MelSpec) -> Candidate | Literal["unknown"] | None:
    """Judge a declared convention by the ranking of all, which it is one of; of equivalent ones the likeliest counts.

    Returns:
        None if the mel may be in it; else the one that it looks like, or "unknown" if it looks like none of them.
    """
    odds = _odds_of(ranked, declared)
    if odds > DOUBTFUL:
        return None
    for candidate in ranked:
        apart = distance(candidate.spec, declared)
        if apart > NEAR and candidate.odds > odds + (CLEARER if apart == math.inf else CLEARER_OF_RATE):
            return candidate if candidate.odds > UNLIKELY else "unknown"
    return "unknown" if odds < UNLIKELY else None


def diagnose_mel(mel: Tensor, declared: MelSpec, own: MelSpec) -> str | None:
    """Say in one line what speaks against a declared convention, and which the mel looks like; None if nothing does.

    Args:
        mel: [M, F].
        declared: In what it is said to be; it has M bands.
        own: The model's convention, which needs no name.
    """
    mel = mel.detach()
    if len(mel) < FEWEST_BANDS or mel.shape[1] < FEWEST or not float(mel.std()):  # silence is like nothing else
        return None
    ranked = rank_conventions(mel, declared, own)
    if len(mel) == mel.shape[1]:
        swapped = _odds_of(rank_conventions(mel.mT, declared), declared)
        if swapped > max(UNLIKELY, _odds_of(ranked, declared) + CLEARER_OF_AXES):
            return "its axes look swapped: transpose it to [bands, frames]"
    verdict = judge(ranked, declared)
    if verdict is None:
        return None
    if verdict != "unknown":
        if verdict.spec == own:
            return "it looks like the model's own: try without --mel-preset"
        return f"it looks like {verdict.name}: try --mel-preset {verdict.name}"
    decibels = float(features(mel, declared)[LEVEL_AT] - _weights()["level"]) * 20 / math.log(10)
    return (
        f"it looks like no convention that is known here, and lies {decibels:+.0f} dB from them: check the unit of its "
        "logarithm and the scale of the samples behind it (full scale is 1), or describe it by --mel-spec"
    )


def warn_of_doubts(mel: Tensor, declared: MelSpec, own: MelSpec) -> None:
    """Warn of the first clip of log-mels, [B, M, F], that does not look like the declared convention.

    Mels too short to be judged, and those that cannot be in it at all, are passed over.
    """
    fits = mel.ndim == 3 and mel.shape[1] == declared.n_mels and mel.shape[2] >= FEWEST_FRAMES
    if not fits or not bool(torch.isfinite(mel).all()):
        return
    for clip in mel:
        if mismatch := diagnose_mel(clip.detach().float().cpu(), declared, own):
            name = "the model's own" if declared == own else preset_of(declared) or "that convention"
            log.warning("the mel is unlike %s; %s", name, mismatch)
            return


def _odds_of(ranked: list[Candidate], declared: MelSpec) -> float:
    """Return the log-odds of a convention in a ranking, the highest of its equivalents."""
    return max(candidate.odds for candidate in ranked if equivalent(candidate.spec, declared))


def _network(readings: Tensor) -> Tensor:
    """Apply the network to descriptions, [N, D]: [N]."""
    weights = _weights()
    hidden = ((readings.nan_to_num(0.0, 1e3, -1e3) - weights["mean"]) / weights["std"]).clamp(-5, 5)
    for layer in ("0", "1"):
        hidden = torch.nn.functional.silu(hidden @ weights[f"weight_{layer}"].T + weights[f"bias_{layer}"])
    return (hidden @ weights["weight_2"].T + weights["bias_2"])[:, 0]


@functools.cache
@torch.inference_mode(False)
def _weights() -> dict[str, Tensor]:
    import safetensors.torch

    stored = safetensors.torch.load_file(Path(__file__).with_name("detection.safetensors"))
    return {name: value.float() for name, value in stored.items()}
