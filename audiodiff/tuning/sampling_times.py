"""Search the timesteps at which a model sounds best; with few steps, their position matters most.

Half of the clips serve the search: it takes the best of the named grids and improves it (Nelder & Mead, 1965). Up to
four steps, each time is free; above, the grid is bent by two parameters, so that a handful of clips cannot be fitted by
accident:

    t_i = start (g((i / n)^a) / start)^b,      g the named grid as a function from 0 to 1

The other half compares the result and the named grids with the even one, clip by clip: a grid replaces it only if it
gains more than two standard errors. Reference for the idea: noise-schedule search of BDDM (Lam et al., 2022,
arXiv:2203.13508).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from torch import Tensor

from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS, check_timesteps
from audiodiff.evaluation.metrics import MEASURES
from audiodiff.models.vocoder import Vocoder

BETTER_HIGH = ("pesq_wb", "stoi", "dnsmos_p808")  # the measures that are better if they are higher
FREE_STEPS = 4  # up to this number, each time is searched by itself
DEFAULT = "even-t"  # the grid of a model without searched times
FINE = 256  # points of a named grid that is used as a function


@dataclasses.dataclass(frozen=True)
class Search:
    """The result of a search.

    Args:
        best: Name of the best grid, one of TIMESTEP_GRIDS or "searched": "even-t" unless another gains enough.
        times: That grid, from the start's time to 0.
        scores: Measure of each grid on the clips that the search did not see: the named ones, and "searched".
        evaluations: Number of grids that the search tried.
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
    """Find the grid of `steps` steps with the best measure of resynthesised clips.

    Args:
        vocoder: The model; its start, solver and projection_iters count.
        clips: Recordings at its sample rate, [B, 1, T] with B at least 4.
        steps: Solver steps.
        measure: One of MEASURES.
        evaluations: Grids that the search may try beyond the named ones.
        seed: Of the noise, the same for every grid.
        progress: Called after each grid.

    Raises:
        ValueError: There is no such measure, or fewer than four clips.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}: choose one of {', '.join(MEASURES)}")
    if len(clips) < 4:
        raise ValueError("one half of the clips serves the search, the other compares: give at least four")
    hop, start = vocoder.hop_length, vocoder.start.time
    clips = clips[..., : clips.shape[-1] // hop * hop]
    sign = -1.0 if measure in BETTER_HIGH else 1.0

    def costs_of(subset: Tensor, times: Tensor) -> np.ndarray:
        mel = vocoder.spectrogram(subset.to(vocoder.device))[..., : subset.shape[-1] // hop]
        output = vocoder.generate(mel, times=times, seed=seed).cpu()
        progress()
        scores = [MEASURES[measure][0](a[0], b[0], vocoder.sample_rate) for a, b in zip(subset, output, strict=True)]
        return sign * np.array(scores)

    named = {name: grid(vocoder.denoiser.schedule, steps, start) for name, grid in TIMESTEP_GRIDS.items()}
    candidates, evaluated = dict(named), 0
    if steps > 1:
        candidates["searched"], evaluated = _search(vocoder, named, lambda t: costs_of(clips[::2], t), evaluations)
    costs = {name: costs_of(clips[1::2], times) for name, times in candidates.items()}
    means = {name: float(np.nanmean(values)) for name, values in costs.items()}
    better = [name for name, values in costs.items() if _gains(costs[DEFAULT] - values)]
    best = min([DEFAULT, *better], key=means.__getitem__)
    return Search(best, candidates[best].tolist(), {name: sign * mean for name, mean in means.items()}, evaluated)


def _search(
    vocoder: Vocoder, named: dict[str, Tensor], costs_of: Callable[[Tensor], np.ndarray], evaluations: int
) -> tuple[Tensor, int]:
    """Improve the best of the named grids; return the grid and the number of grids tried."""
    start, steps = vocoder.start.time, len(named[DEFAULT]) - 1
    first = min(named, key=lambda name: np.nanmean(costs_of(named[name])))
    if steps <= FREE_STEPS:
        initial, grid_of = _log_steps(named[first]), lambda p: _free_grid(p, start)
    else:
        curve = TIMESTEP_GRIDS[first](vocoder.denoiser.schedule, FINE, start).numpy() / start
        initial, grid_of = np.zeros(2), lambda p: _bent_grid(p, curve, steps, start)
    result = minimize(
        lambda p: np.nanmean(costs_of(grid_of(p))),
        initial,
        method="Nelder-Mead",
        options={
            "maxfev": evaluations,
            "initial_simplex": np.vstack([initial, initial + 0.7 * np.eye(len(initial))]),
        },
    )
    return grid_of(result.x), len(named) + int(result.nfev)


def _gains(differences: np.ndarray) -> bool:
    """Return whether the mean of paired differences is more than two standard errors above 0.

    >>> _gains(np.array([0.1, 0.2, 0.15])), _gains(np.array([0.4, -0.3, 0.1]))
    (True, False)
    """
    finite = differences[np.isfinite(differences)]
    if len(finite) < 2:
        return False
    return bool(finite.mean() > 2 * finite.std(ddof=1) / len(finite) ** 0.5)


def _log_steps(times: Tensor) -> np.ndarray:
    """Return the logarithms of all steps but the last, relative to the last."""
    steps = -np.diff(times.numpy())
    return np.log(steps[:-1] / steps[-1])


def _free_grid(parameters: Sequence[float], start: float) -> Tensor:
    """Divide [start, 0] in proportion to exp(parameters) and 1: the inverse of `_log_steps`."""
    shares = np.exp(np.clip([*parameters, 0.0], -12, 12))
    left = 1 - np.cumsum(shares)[:-1] / shares.sum()
    return check_timesteps([start, *(start * left), 0.0])


def _bent_grid(parameters: Sequence[float], curve: np.ndarray, steps: int, start: float) -> Tensor:
    """Return start g(u^a)^b with a, b = exp(parameters) at even u: zeros give the named grid."""
    a, b = np.exp(np.clip(parameters, -1.5, 1.5))
    u = np.linspace(0, 1, steps + 1) ** a
    return check_timesteps((start * np.interp(u, np.linspace(0, 1, len(curve)), curve) ** b).tolist())
