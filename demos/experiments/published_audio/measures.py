"""Measures of one clip, and bootstrap intervals of their means: what the tables of these experiments are made of.

DistillMOS (Stahl & Gamper, 2025, arXiv:2502.05356) comes with the package `distillmos`, which imports torchaudio for
reading files alone. Where torchaudio does not load, as beside a CPU build of torch, an empty module stands in for it
while the package is imported.
"""

import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from audiodiff.audio import resample
from audiodiff.evaluation.metrics import score

OWN = ("distill_mos", "mr_stft_wide")  # which the package does not have
MEASURES = ("pesq_wb", "stoi", "dnsmos_p808", "distill_mos", "mr_stft", "mr_stft_wide")
RESAMPLES = 2000  # of the bootstrap


@functools.cache
def distill_mos_model() -> torch.nn.Module:
    """Load the weights of DistillMOS, once.

    Raises:
        ValueError: The package is missing.
    """
    if not importlib.util.find_spec("distillmos"):
        raise ValueError("DistillMOS is missing: pip install distillmos, or leave it out with --without distill_mos")
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
        package = importlib.import_module("distillmos")
        del sys.modules["torchaudio"]
    else:
        package = importlib.import_module("distillmos")
    return package.ConvTransformerSQAModel().eval()


@torch.no_grad()
def distill_mos(waveform: Tensor, sample_rate: int) -> float:
    """Predict the opinion score, 1 to 5, of a waveform, [T]; the package normalises its peak."""
    return float(distill_mos_model()(resample(waveform[None].float(), sample_rate, 16000)))


def mr_stft_wide(reference: Tensor, test: Tensor) -> float:
    """Compute the multi-resolution STFT distance of two waveforms, [T], with windows as long as their transforms.

    Windows of 512, 1024 and 2048 samples every quarter of a window; auraloss' own, which `mr_stft` has, are of 240, 600
    and 1200 samples every 50, 120 and 240.
    """
    import auraloss

    sizes = [512, 1024, 2048]
    distance = auraloss.freq.MultiResolutionSTFTLoss(sizes, [size // 4 for size in sizes], sizes)
    length = min(len(reference), len(test))
    return float(distance(test[None, None, :length], reference[None, None, :length]))


def measure(reference: Tensor, test: Tensor, sample_rate: int, names: Sequence[str] = MEASURES) -> dict[str, float]:
    """Score a waveform against its recording, [T] each; the shorter length counts.

    Args:
        names: Of `MEASURES`.

    Raises:
        ValueError: A package is missing, or the lengths differ by more than 50 ms.
    """
    found = score(reference, test, sample_rate, [name for name in names if name not in OWN])
    if missing := set(names) - set(found) - set(OWN):
        raise ValueError(f"{', '.join(sorted(missing))} cannot be measured: pip install 'audiodiff-torch[eval]'")
    if "distill_mos" in names:
        found["distill_mos"] = distill_mos(test, sample_rate)
    if "mr_stft_wide" in names:
        found["mr_stft_wide"] = mr_stft_wide(reference, test)
    return {name: found[name] for name in names}


def intervals(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Compute the mean of each measure over clips, and half of its 95 % bootstrap interval."""
    picks = torch.randint(len(rows), (RESAMPLES, len(rows)), generator=torch.Generator().manual_seed(0))
    table = {}
    for name in names:
        values = torch.tensor([row[name] for row in rows], dtype=torch.float64)
        low, high = values[picks].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        table[name] = (float(values.mean()), (high - low) / 2)
    return table
