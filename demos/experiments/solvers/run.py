"""Draws the error of every solver against network calls, on a distribution whose denoiser is known exactly.

    python demos/experiments/solvers/run.py demos/docs/pages/pictures/solvers.png

Clean samples are a mixture of two Gaussians; x̂ and ε̂ are their exact posterior means. Deterministic solvers: root mean
square error over trajectories, against 20,000 steps of UniPC. Stochastic ones have no trajectory to be compared with:
1-Wasserstein distance of 20,000 results from true draws. Each solver walks the grid that suits it best of even t and
even log-SNR. The numbers are printed as a table.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import scales
from audiodiff.diffusion.predictions import Estimate
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.diffusion.solvers import Solver, UniPC
from audiodiff.diffusion.timesteps import linear_timesteps, log_snr_timesteps
from audiodiff.utils.config import choices, choose
from audiodiff.utils.files import atomic_file

CALLS = (2, 4, 8, 16, 32, 64, 128)
WEIGHTS, MEANS, STDS = (0.35, 0.65), (-0.8, 0.5), (0.15, 0.3)
DRAWS = 20_000
FINE = torch.linspace(-2, 2, 41, dtype=torch.float64).reshape(1, 1, -1)  # where trajectories start


class Mixture:
    """Estimate x and eps of a mixture of two Gaussians exactly, by Bayes' rule."""

    def __init__(self) -> None:
        self.schedule = CosineVP(-8, 8)

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        """Average the posterior means of the components with the components' posterior weights."""
        weight, mean, std = (torch.tensor(v, dtype=x_t.dtype) for v in (WEIGHTS, MEANS, STDS))
        alpha, sigma = (v[..., None] for v in scales(self.schedule, t, x_t))
        variance = (alpha * std) ** 2 + sigma**2
        away = x_t[..., None] - alpha * mean
        posterior = (weight.log() - variance.log() / 2 - away**2 / variance / 2).softmax(-1)
        x = (posterior * (mean + alpha * std**2 * away / variance)).sum(-1)
        return Estimate(x, (posterior * sigma * away / variance).sum(-1))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw clean samples, [1, 1, n]."""
        second = torch.rand(1, 1, n, generator=generator, dtype=torch.float64) < WEIGHTS[1]
        mean, std = (torch.where(second, b, a) for a, b in (MEANS, STDS))
        return mean + std * torch.randn(1, 1, n, generator=generator, dtype=torch.float64)

    def noisy(self, generator: torch.Generator) -> Tensor:
        """Draw the signal at t = 1, [1, 1, DRAWS]."""
        x = self.draw(DRAWS, generator)
        alpha, sigma = scales(self.schedule, torch.ones((), dtype=torch.float64), x)
        return alpha * x + sigma * torch.randn(x.shape, generator=generator, dtype=torch.float64)


def error_of(solver: Solver, steps: int, true: Tensor) -> float:
    """Return the error on the better of two grids."""
    exact = Mixture()
    found = []
    for times in (linear_timesteps(steps), log_snr_timesteps(exact.schedule, steps)):
        generator = torch.Generator().manual_seed(0)
        if solver.stochastic:
            end = sample(exact, solver, exact.noisy(generator), times, generator=generator)
            found.append(float((end.sort().values - exact.draw(DRAWS, generator).sort().values).abs().mean()))
        else:
            found.append(float((sample(exact, solver, FINE, times) - true).square().mean().sqrt()))
    return min(found)


def main() -> None:
    """Measure, print, draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="PNG")
    parser.add_argument(
        "--table", type=Path, default=Path(__file__).with_name("results.csv"), help="CSV (default: beside this script)"
    )
    options = parser.parse_args()
    exact = Mixture()
    true = sample(exact, UniPC(), FINE, log_snr_timesteps(exact.schedule, 20_000))
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharex=True)
    table = [["solver", "calls_per_step", *(f"{n} calls" for n in CALLS)]]
    for name in choices("solver"):
        solver = choose("solver", name)
        errors = {n: error_of(solver, n // solver.calls_per_step, true) for n in CALLS if n >= solver.calls_per_step}
        table.append([name, str(solver.calls_per_step), *(f"{errors[n]:.1e}" for n in CALLS)])
        print("| " + " | ".join(table[-1]) + " |", flush=True)
        line = "o--" if name == "dpmpp-1" else "o-"  # it lies on ddim
        axes[int(solver.stochastic)].loglog(list(errors), list(errors.values()), line, label=name, markersize=3)
    with options.table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    generator = torch.Generator().manual_seed(1)
    first, second = (exact.draw(DRAWS, generator).sort().values for _ in range(2))
    axes[1].axhline(float((first - second).abs().mean()), color="grey", linestyle=":", label="two sets of true draws")
    for axis, title, unit in zip(
        axes, ("on the ODE", "with noise"), ("rms error", "1-Wasserstein distance"), strict=True
    ):
        axis.set(xlabel="network calls", ylabel=unit, title=title, xticks=CALLS, xticklabels=[str(n) for n in CALLS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    with atomic_file(options.out) as file:
        figure.savefig(file, format="png", dpi=110)


if __name__ == "__main__":
    main()
