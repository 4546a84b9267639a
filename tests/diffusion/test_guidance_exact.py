"""Projected guidance and auto-guidance against Gaussians, whose guided paths end in closed form."""

import math

import pytest
import torch
from support.drawn import draw
from support.exact import ExactGaussian

from audiodiff.diffusion.denoiser import scales
from audiodiff.diffusion.guidance import ClassifierFreeGuidance, ProjectedGuidance
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.timesteps import log_snr_timesteps
from audiodiff.utils.config import choose

N, T = 64, torch.tensor(0.4, dtype=torch.float64)


def sampled(denoise, noise, steps=400):
    return sample(denoise, choose("solver", "dpmpp-2m"), noise, log_snr_timesteps(denoise.schedule, steps))


@pytest.mark.parametrize("scale", [1.5, 2.0, 3.0])
def test_auto_guidance_sharpens_and_keeps_the_mean(scale):
    """N(m, s²) against its blurred N(m, r²) ends as N(m, (s^w r^(1 - w))²), sample by sample."""
    mean, sharp, blurred = 0.7, 0.3, 0.6
    noise = draw(1, 1, N)
    guided = ClassifierFreeGuidance(ExactGaussian(mean, sharp), ExactGaussian(mean, blurred), scale)
    spread = sharp**scale * blurred ** (1 - scale)
    assert torch.allclose(sampled(guided, noise), mean + spread * noise, atol=2e-3)  # of the solver, 400 steps


def test_classifier_free_guidance_of_a_class_moves_the_mean():
    """The contrast: of N(m, s²) against N(0, s²) the mean of the samples is scale m."""
    guided = ClassifierFreeGuidance(ExactGaussian(0.7, 0.3), ExactGaussian(0.0, 0.3), 3.0)
    noise = draw(1, 1, N)
    assert torch.allclose(sampled(guided, noise), 3 * 0.7 + 0.3 * noise, atol=2e-3)


def test_projected_guidance_with_all_of_the_parallel_part_is_plain():
    one, free, x_t = ExactGaussian(0.5, 0.3), ExactGaussian(-0.2, 1.0), draw(3, 1, N)
    plain, projected = (
        ClassifierFreeGuidance(one, free, 3.0)(x_t, T),
        ProjectedGuidance(one, free, 3.0, parallel=1.0)(x_t, T),
    )
    assert torch.allclose(plain.x, projected.x, atol=1e-12)
    assert torch.allclose(plain.eps, projected.eps, atol=1e-12)


def test_projected_guidance_moves_across_the_estimate_alone():
    """Pythagoras: the guided clip is longer by the projected difference, and by nothing else."""
    one, free, x_t = ExactGaussian(0.5, 0.3), ExactGaussian(-0.2, 1.0), draw(3, 1, N)
    x, plain = one(x_t, T).x, ClassifierFreeGuidance(one, free, 3.0)(x_t, T).x
    guided = ProjectedGuidance(one, free, 3.0)(x_t, T)
    moved = guided.x - x
    assert torch.allclose((moved * x).sum((1, 2)), torch.zeros(3, dtype=torch.float64), atol=1e-10)
    assert bool((guided.x.norm(dim=2) < plain.norm(dim=2)).all())
    direction = plain - x
    across = direction - x * (direction * x).sum((1, 2), keepdim=True) / x.square().sum((1, 2), keepdim=True)
    assert torch.allclose(moved, across, atol=1e-10)
    alpha, sigma = scales(one.schedule, T, x_t)
    assert torch.allclose(alpha * guided.x + sigma * guided.eps, x_t, atol=1e-12)


def test_projected_guidance_keeps_the_level_of_a_louder_class():
    """A class that is its background, louder: plain guidance makes it louder still, projected leaves it."""
    loud, quiet, x_t = ExactGaussian(0.0, 1.0), ExactGaussian(0.0, 0.2), draw(2, 1, N)
    assert torch.allclose(ProjectedGuidance(loud, quiet, 4.0)(x_t, T).x, loud(x_t, T).x, atol=1e-10)
    assert bool(
        (ClassifierFreeGuidance(loud, quiet, 4.0)(x_t, T).x.norm(dim=2) > 1.5 * loud(x_t, T).x.norm(dim=2)).all()
    )


@pytest.mark.parametrize("radius", [0.01, 0.1])
def test_radius_bounds_the_step_of_each_clip(radius):
    one, free, x_t = ExactGaussian(0.5, 0.3), ExactGaussian(-0.2, 1.0), draw(3, 1, N)
    guided = ProjectedGuidance(one, free, 3.0, parallel=1.0, radius=radius)(x_t, T)
    steps = (guided.x - one(x_t, T).x).square().mean((1, 2)).sqrt()
    assert torch.allclose(steps, torch.full((3,), 2 * radius, dtype=torch.float64))


@pytest.mark.parametrize("wrong", [{"parallel": 1.5}, {"parallel": math.nan}, {"radius": 0.0}, {"radius": math.nan}])
def test_projected_guidance_refuses_bad_numbers(wrong):
    with pytest.raises(ValueError, match="need parallel in"):
        ProjectedGuidance(ExactGaussian(), ExactGaussian(), 2.0, **wrong)
