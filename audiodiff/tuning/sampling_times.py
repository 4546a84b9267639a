"""Searches the grid of times on which a given model sounds best: with few steps, where they are matters most.

Half of the clips search: they choose the best of the grids that have names, and go on from there (Nelder & Mead,
1965). Up to four steps each time is free; above, the grid is bent by two parameters, so that a handful of clips cannot
be fitted by accident:

    t_i = start (g((i / n)^a) / start)^b,      g the named grid as a function from 0 to 1

The other half judges what was found and the named grids against the even one, clip by clip: what does not gain more
than two standard errors does not replace it.
Reference for the idea: noise-schedule search of BDDM (Lam et al., 2022, arXiv:2203.13508).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from torch import Tensor

from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS, check_timesteps
from audiodiff.evaluation.metrics import MEASURES
from audiodiff.models.vocoder import Vocoder

__all__ = ["BETTER_HIGH", "Search", "search_times"]

BETTER_HIGH = ("pesq_wb", "stoi", "dnsmos_p808")  # of the measures, those of which more is better
FREE_STEPS = 4  # up to as many, each time is searched alone
DEFAULT = "even-t"  # the grid that a model without searched times walks
FINE = 256  # steps by which a named grid becomes a function


@dataclasses.dataclass(frozen=True)
class Search:
    """Holds what a search found.

    Args:
        best: Name of the grid to walk, one of `schedules.GRIDS` or "searched": "even-t" unless another gains enough.
        times: That grid, from the start's time to 0.
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
        vocoder: The model; its start, solver and projection_iters count.
        clips: Recordings at its sample rate, [B, 1, T] with B at least 4.
        steps: Solver steps.
        measure: One of `metrics.MEASURES`.
        evaluations: Grids that the search may try beyond those with names.
        seed: Of the noise, the same for every grid.
        progress: Called after each grid.

    Raises:
        ValueError: There is no such measure, or fewer than four clips.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}: choose one of {', '.join(MEASURES)}")
    if len(clips) < 4:
        raise ValueError("one half of the clips searches and one judges: give at least four")
    hop, start = vocoder.hop_length, vocoder.start.time
    clips = clips[..., : clips.shape[-1] // hop * hop]
    sign = -1.0 if measure in BETTER_HIGH else 1.0

    def costs_of(chosen: Tensor, times: Tensor) -> np.ndarray:
        mel = vocoder.spectrogram(chosen.to(vocoder.device))[..., : chosen.shape[-1] // hop]
        out = vocoder.generate(mel, times=times, seed=seed).cpu()
        progress()
        found = [MEASURES[measure][0](a[0], b[0], vocoder.sample_rate) for a, b in zip(chosen, out, strict=True)]
        return sign * np.array(found)

    searching, judging = clips[::2], clips[1::2]
    named = {name: grid(vocoder.denoiser.schedule, steps, start) for name, grid in TIMESTEP_GRIDS.items()}
    candidates, tried = dict(named), 0
    if steps > 1:
        first = min(named, key=lambda name: np.nanmean(costs_of(searching, named[name])))
        if steps <= FREE_STEPS:
            begin, bent = _shares(named[first]), lambda p: _free(p, start)
        else:
            curve = TIMESTEP_GRIDS[first](vocoder.denoiser.schedule, FINE, start).numpy() / start
            begin, bent = np.zeros(2), lambda p: _bent(p, curve, steps, start)
        simplex = np.vstack([begin, begin + 0.7 * np.eye(len(begin))])
        result = minimize(
            lambda p: np.nanmean(costs_of(searching, bent(p))),
            begin,
            method="Nelder-Mead",
            options={"maxfev": evaluations, "initial_simplex": simplex},
        )
        candidates["searched"], tried = bent(result.x), len(named) + int(result.nfev)
    costs = {name: costs_of(judging, times) for name, times in candidates.items()}
    means = {name: float(np.nanmean(found)) for name, found in costs.items()}
    proven = [name for name, found in costs.items() if _gains(costs[DEFAULT] - found)]
    best = min([DEFAULT, *proven], key=means.__getitem__)
    return Search(best, candidates[best].tolist(), {name: sign * mean for name, mean in means.items()}, tried)


def _gains(differences: np.ndarray) -> bool:
    """Says whether paired differences have a mean of more than two standard errors above 0.

    >>> _gains(np.array([0.1, 0.2, 0.15])), _gains(np.array([0.4, -0.3, 0.1]))
    (True, False)
    """
    kept = differences[np.isfinite(differences)]
    if len(kept) < 2:
        return False
    return bool(kept.mean() > 2 * kept.std(ddof=1) / len(kept) ** 0.5)


def _shares(times: Tensor) -> np.ndarray:
    """Returns the logarithms of all steps but the last, relative to the last."""
    steps = -np.diff(times.numpy())
    return np.log(steps[:-1] / steps[-1])


def _free(parameters: Sequence[float], start: float) -> Tensor:
    """Divides [start, 0] in proportion to exp(parameters) and 1: the inverse of `_shares`."""
    shares = np.exp(np.clip([*parameters, 0.0], -12, 12))
    left = 1 - np.cumsum(shares)[:-1] / shares.sum()
    return check_timesteps([start, *(start * left), 0.0])


def _bent(parameters: Sequence[float], curve: np.ndarray, steps: int, start: float) -> Tensor:
    """Returns start g(u^a)^b with a, b = exp(parameters) at even u: zeros give the named grid."""
    a, b = np.exp(np.clip(parameters, -1.5, 1.5))
    u = np.linspace(0, 1, steps + 1) ** a
    return check_timesteps((start * np.interp(u, np.linspace(0, 1, len(curve)), curve) ** b).tolist())
