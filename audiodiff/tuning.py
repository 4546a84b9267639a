"""Searches the grid of times on which a given model sounds best: with few steps, where they are matters most.

Up to three steps the times are searched one by one; above, along a family of two parameters that has the even and the
quadratic grid in it, so that a handful of clips cannot be fitted by accident:

    t_i = start (1 - (i / n)^a)^b

Half of the clips search (Nelder & Mead, 1965), the other half judges the winner against the grids that have names.
Reference for the idea: noise-schedule search of BDDM (Lam et al., 2022, arXiv:2203.13508).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from audiodiff.metrics import MEASURES
from audiodiff.model import Vocoder
from audiodiff.schedules import GRIDS, explicit

__all__ = ["BETTER_HIGH", "Search", "search_times"]

BETTER_HIGH = ("pesq_wb", "stoi", "dnsmos_p808")  # of the measures, those of which more is better
FREE_STEPS = 3  # up to as many, each time is searched alone


@dataclasses.dataclass(frozen=True)
class Search:
    """Holds what a search found.

    Args:
        best: Name of the best grid: one of `schedules.GRIDS`, or "searched".
        times: The best grid, from the start's time to 0.
        scores: Measure of each grid on the clips that judge: those with names, and "searched".
        evaluations: Grids tried by the search.
    """

    best: str
    times: list[float]
    scores: dict[str, float]
    evaluations: int


def search_times(
    vocoder: Vocoder,
    clips: Tensor,
    steps: int,
    measure: str = "mr_stft",
    evaluations: int = 30,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Search:
    """Finds the grid of `steps` steps with the best measure of resynthesised clips.

    Args:
        vocoder: The model; its start, solver and projections count.
        clips: Recordings at its sample rate, [B, 1, T] with B at least 2.
        steps: Solver steps.
        measure: One of `metrics.MEASURES`.
        evaluations: Grids that the search may try.
        seed: Of the noise, the same for every grid.
        progress: Called after each grid.

    Raises:
        ValueError: There is no such measure, or fewer than two clips.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}: choose one of {', '.join(MEASURES)}")
    if len(clips) < 2:
        raise ValueError("one half of the clips searches and one judges: give at least two")
    hop, start = vocoder.hop_length, vocoder.start.time
    clips = clips[..., : clips.shape[-1] // hop * hop]
    sign = -1.0 if measure in BETTER_HIGH else 1.0

    def cost(chosen: Tensor, times: Tensor) -> float:
        mel = vocoder.spectrogram(chosen.to(vocoder.device))[..., : chosen.shape[-1] // hop]
        out = vocoder.generate(mel, times=times, seed=seed).cpu()
        progress()
        found = [MEASURES[measure][0](a[0], b[0], vocoder.sample_rate) for a, b in zip(chosen, out, strict=True)]
        return sign * float(np.nanmean(found))

    searching, judging = clips[::2], clips[1::2]
    candidates = {name: grid(vocoder.denoiser.schedule, steps, start) for name, grid in GRIDS.items()}
    tried = 0
    if steps > 1:
        free = _free if steps <= FREE_STEPS else _family
        n_free = steps - 1 if steps <= FREE_STEPS else 2
        result = minimize(
            lambda p: cost(searching, free(p, steps, start)),
            np.zeros(n_free),
            method="Nelder-Mead",
            options={"maxfev": evaluations, "initial_simplex": np.vstack([np.zeros(n_free), 0.7 * np.eye(n_free)])},
        )
        candidates["searched"], tried = free(result.x, steps, start), int(result.nfev)
    costs = {name: cost(judging, times) for name, times in candidates.items()}
    best = min(costs, key=costs.__getitem__)
    return Search(best, candidates[best].tolist(), {name: sign * c for name, c in costs.items()}, tried)


def _free(parameters: Sequence[float], steps: int, start: float) -> Tensor:
    """Divides [start, 0] in proportion to exp(parameters) and 1: zeros give the even grid."""
    shares = np.exp(np.clip([*parameters, 0.0], -6, 6))
    left = 1 - np.cumsum(shares)[:-1] / shares.sum()
    return explicit([start, *(start * left), 0.0])


def _family(parameters: Sequence[float], steps: int, start: float) -> Tensor:
    """Returns start (1 - (i / n)^a)^b with a, b = exp(parameters): zeros give the even grid."""
    a, b = np.exp(np.clip(parameters, -1.5, 1.5))
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return explicit((start * (1 - u**a) ** b).tolist())
