"""Denoisers that are exact, since the data's distribution is known in closed form."""

import torch

from audiodiff.diffusion.denoiser import scales
from audiodiff.diffusion.predictions import Estimate
from audiodiff.diffusion.schedules import CosineVP


class ExactGaussian:
    """The posterior means of x ~ N(mean, std²) in closed form, and the flow that solvers approximate.

    r² = alpha² std² + sigma²,   x̂ = mean + alpha std² (x_t - alpha mean) / r²,   ε̂ = sigma (x_t - alpha mean) / r²
    The probability-flow ODE conserves (x_t - alpha mean) / r.
    """

    def __init__(self, mean=0.7, std=0.3, schedule=None):
        self.mean, self.std, self.schedule = mean, std, schedule or CosineVP()
        self.calls = 0

    def __call__(self, x_t, t):
        self.calls += 1
        alpha, sigma = scales(self.schedule, t, x_t)
        residual = (x_t - alpha * self.mean) / ((alpha * self.std) ** 2 + sigma**2)
        return Estimate(self.mean + alpha * self.std**2 * residual, sigma * residual)

    def at(self, standardised, t):
        alpha, sigma = scales(self.schedule, t, standardised)
        return alpha * self.mean + ((alpha * self.std) ** 2 + sigma**2).sqrt() * standardised


class Mixture:
    """The posterior means of a mixture of two Gaussians: the shortest problem whose flow is not linear.

    Given a component, x̂ and ε̂ are those of ExactGaussian; they are averaged with the components' posterior weights.
    """

    weights, means, stds = (0.35, 0.65), (-0.8, 0.5), (0.15, 0.3)

    def __init__(self, schedule=None):
        self.schedule = schedule or CosineVP(-8, 8)
        self.calls = 0

    def __call__(self, x_t, t):
        self.calls += 1
        w, m, std = (torch.tensor(v, dtype=x_t.dtype) for v in (self.weights, self.means, self.stds))
        alpha, sigma = (v[..., None] for v in scales(self.schedule, t, x_t))
        variance = (alpha * std) ** 2 + sigma**2
        away = x_t[..., None] - alpha * m
        posterior = (w.log() - variance.log() / 2 - away**2 / variance / 2).softmax(-1)
        x = m + alpha * std**2 * away / variance
        return Estimate((posterior * x).sum(-1), (posterior * sigma * away / variance).sum(-1))

    def draw(self, n, generator):
        """Draws clean samples, [n, 1, 1]."""
        second = torch.rand(n, 1, 1, generator=generator, dtype=torch.float64) < self.weights[1]
        m, std = (torch.where(second, *reversed(pair)) for pair in (self.means, self.stds))
        return m + std * torch.randn(n, 1, 1, generator=generator, dtype=torch.float64)
