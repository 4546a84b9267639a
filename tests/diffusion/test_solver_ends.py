"""Every path with every prediction and every solver, from one step to fifty, in the dtypes of networks."""

import re

import pytest
import torch
from torch import nn

from audiodiff.diffusion.denoiser import Denoiser, scales
from audiodiff.diffusion.predictions import EpsPrediction, FlowPrediction, VPrediction, XPrediction
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.timesteps import linear_timesteps
from audiodiff.utils.config import choices, choose, shipped_path

SEED = 3
MANY = {torch.float32: (), torch.bfloat16: (50,)}  # where what is rounded off adds up


class Smooth(nn.Module):
    """Something bounded that depends on all that a network is told."""

    def forward(self, x, log_snr, condition=None):
        return (0.7 * x.roll(1, -1) - 0.2 * x + 0.05 * log_snr[:, None, None].to(x)).tanh()


def pairs():
    """Every path with every prediction in float32; in bfloat16 every path, with one prediction after the other."""
    predictions = (XPrediction, EpsPrediction, VPrediction, FlowPrediction)
    for i, path in enumerate(choices("schedule")):
        for k, prediction in enumerate(predictions):
            if not (path == "zero-terminal" and prediction is EpsPrediction):
                dtypes = (torch.float32, torch.bfloat16) if (i + k) % len(predictions) == 0 else (torch.float32,)
                for dtype in dtypes:
                    yield pytest.param(path, prediction, dtype, id=f"{path}-{prediction.__name__}-{dtype}")


@pytest.mark.parametrize(("path", "prediction", "dtype"), pairs())
def test_solver_prediction_and_schedule_stay_finite_together(path, prediction, dtype):
    schedule = choose("schedule", path)
    denoiser = Denoiser(Smooth(), prediction(0.5), schedule)
    noise = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(SEED)).to(dtype)
    x = scales(schedule, torch.tensor(1.0, dtype=torch.float64), noise)[1] * noise
    for name in choices("solver"):
        for steps in (1, 2, 3, 5, *MANY[dtype]):
            generator = torch.Generator().manual_seed(SEED)
            end = sample(denoiser, choose("solver", name), x, linear_timesteps(steps), generator=generator)
            assert bool(end.isfinite().all()), f"{name}, {steps} steps"
            assert end.dtype == dtype


def test_prediction_of_eps_is_refused_on_a_path_that_ends_in_noise_alone():
    with pytest.raises(ValueError, match=r"zero SNR.*predict Data, Velocity or Flow"):
        Denoiser(Smooth(), EpsPrediction(), choose("schedule", "zero-terminal"))


def test_solver_of_the_guide_stays_finite_from_zero_snr():
    page = shipped_path("demos/docs/pages/guides/solver.md").read_text(encoding="utf-8")
    made = {}
    exec(re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)[0], made)
    schedule, noise = choose("schedule", "zero-terminal"), torch.randn(1, 1, 8)
    end = sample(Denoiser(Smooth(), VPrediction(), schedule), made["AdamsBashforth"](), noise, linear_timesteps(5))
    assert bool(end.isfinite().all())
