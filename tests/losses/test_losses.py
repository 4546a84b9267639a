"""The loss as a whole: what it draws and compares, and that every config trains. Its parts: test_loss_parts.py."""

import pytest
import torch
from support.drawn import draw, seeded

from audiodiff.diffusion.denoiser import Denoiser, scales
from audiodiff.diffusion.predictions import Estimate, VPrediction
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.losses import (
    AuxiliaryLoss,
    DataWeight,
    DenoisingLoss,
    LogSpectral,
    Phase,
    PowerTimes,
    TimeSampler,
    VelocityWeight,
)
from audiodiff.training.hydra_config import composed, plain
from audiodiff.utils.config import build, choices

SCHEDULE = CosineVP()


class Oracle:
    """Knows the clean signal up to a given error, and remembers what it was asked."""

    def __init__(self, x, error=0.0, prediction=None):
        self.x, self.error = x, error
        self.prediction, self.schedule = prediction or VPrediction(), SCHEDULE

    def __call__(self, x_t, t, condition=None):
        self.x_t, self.t, self.condition = x_t, t, condition
        return Estimate(self.x + self.error, torch.zeros_like(x_t))


def unreachable(x):
    raise RuntimeError("nothing to decode")


def test_prediction_loss_shows_the_denoiser_signal_and_noise_at_its_times():
    x, oracle, condition = draw(8, 1, 256), Oracle(draw(8, 1, 256)), object()
    terms = DenoisingLoss(PowerTimes())(oracle, x, condition, unreachable, seeded(3))
    alpha, sigma = scales(SCHEDULE, oracle.t, x)
    eps = (oracle.x_t - alpha * x) / sigma
    assert torch.equal(oracle.t, PowerTimes()(8, seeded(3), SCHEDULE))
    assert oracle.condition is condition
    assert torch.allclose(terms.log_snr, SCHEDULE.log_snr(oracle.t))
    # White noise of unit variance, new for each clip: 2048 draws have standard errors of 0.016 and 0.022.
    assert float(eps.var()) == pytest.approx(1, abs=0.12)
    assert float(eps.mean()) == pytest.approx(0, abs=0.08)
    assert not torch.allclose(eps[0], eps[1])


@pytest.mark.parametrize("sigma_data", [1.0, 0.3])
@pytest.mark.parametrize("max_weight", [10.0, 2.0])
def test_prediction_loss_is_the_error_in_v_up_to_its_cut_off(sigma_data, max_weight):
    x = draw(16, 1, 64)
    oracle = Oracle(x, error=0.2, prediction=VPrediction(sigma_data))
    terms = DenoisingLoss(PowerTimes(), VelocityWeight(max_weight))(oracle, x, None, unreachable, seeded())
    alpha, sigma = (v.flatten() for v in SCHEDULE(oracle.t))
    weight = ((alpha * sigma_data) ** 2 + sigma**2) / (sigma * sigma_data) ** 2
    assert bool((weight > max_weight).any())
    assert bool((weight < max_weight).any() or sigma_data < 1)
    assert torch.allclose(terms.error, 0.04 * weight.clamp(max=max_weight))
    assert torch.equal(terms.total, terms.error)


def test_prediction_loss_is_a_mean_over_samples_and_unreduced_over_clips():
    x = draw(3, 1, 64)
    error = torch.zeros_like(x)
    error[1, 0, :16] = 1.0  # a quarter of clip 1
    terms = DenoisingLoss(PowerTimes(), VelocityWeight(1e-3))(Oracle(x, error), x, None, unreachable, seeded())
    assert torch.allclose(terms.error, torch.tensor([0, 0.25e-3, 0], dtype=torch.float64))


def test_prediction_loss_trains_by_its_total_alone():
    gain = torch.nn.Parameter(torch.tensor(1.2, dtype=torch.float64))
    x = draw(2, 1, 256)

    class Scaled(Oracle):
        def __call__(self, x_t, t, condition=None):
            return Estimate(gain * self.x, x_t)

    terms = DenoisingLoss(PowerTimes(), auxiliary={"spectral": LogSpectral(0.1, 64)})(
        Scaled(x), x, None, lambda z: z, seeded()
    )
    assert not terms.error.requires_grad
    assert not terms.auxiliary["spectral"].requires_grad
    terms.total.sum().backward()
    assert float(gain.grad) > 0


class Fixed(AuxiliaryLoss):
    """Answers with a number per clip."""

    def __init__(self, weight, *found):
        super().__init__(weight)
        self.found = torch.tensor(found, dtype=torch.float64)

    def __call__(self, test, reference):
        return self.found


def test_prediction_loss_is_its_error_plus_the_weighted_sum_of_its_terms():
    x, terms = draw(2, 1, 64), {"b": Fixed(0.3, 1.0, 2.0), "a": Fixed(2.0, 10.0, 0.0)}
    found = DenoisingLoss(PowerTimes(), auxiliary=terms)(Oracle(x, error=0.1), x, None, lambda z: z, seeded())
    assert list(found.auxiliary) == ["b", "a"]
    for name, term in terms.items():
        assert torch.equal(found.auxiliary[name], term.found)  # before its weight
    assert torch.allclose(found.total - found.error, torch.tensor([20.3, 0.6]).double(), atol=1e-12)
    assert bool((found.error > 0).all())


def test_prediction_loss_compares_the_estimate_with_the_truth_in_that_order():
    class Signed(Fixed):
        def __call__(self, test, reference):
            return (test - reference).mean((1, 2))

    x = draw(2, 1, 64)
    loss = DenoisingLoss(
        PowerTimes(),
        DataWeight(),
        lambda estimate, x, decode: decode(estimate - x).mean((1, 2)),
        {"signed": Signed(1.0)},
    )
    found = loss(Oracle(x, error=0.5), x, None, lambda z: 3 * z, seeded())
    assert torch.allclose(found.error, torch.full((2,), 1.5).double())
    assert torch.allclose(found.auxiliary["signed"], torch.full((2,), 1.5).double())


@pytest.mark.parametrize("world", [2, 4])
def test_prediction_loss_shares_out_its_times_between_ranks(world):
    x, seen = draw(4, 1, 64), []
    for rank in range(world):
        oracle = Oracle(x)
        DenoisingLoss(PowerTimes())(oracle, x, None, unreachable, seeded(rank), rank, world)
        seen += (oracle.t * 4 * world).floor().int().tolist()
    assert sorted(seen) == list(range(4 * world))


class Ends(TimeSampler):
    """Puts every other clip at t = 0, the rest at t = 1."""

    def quantile(self, u, schedule):
        return u.round()

    def __call__(self, batch, generator, schedule, rank=0, world=1):
        return self.quantile(torch.linspace(0, 1, 2, dtype=torch.float64).repeat(batch // 2), schedule)


class Small(torch.nn.Module):
    """Two convolutions, told the log-SNR."""

    def __init__(self):
        super().__init__()
        self.inward, self.outward = torch.nn.Conv1d(2, 4, 5, padding=2), torch.nn.Conv1d(4, 1, 5, padding=2)

    def forward(self, x, log_snr, condition=None):
        level = (log_snr / 20)[:, None, None].expand_as(x)
        return self.outward(self.inward(torch.cat([x, level], 1)).tanh())


GROUPS = ("time_sampling", "weighting", "distance", "auxiliary")
CHOICES = [f"{group}={name}" for group in GROUPS for name in choices(group)]


BOTH = [f"weighting={name}" for name in choices("weighting")]  # what counts depends on the prediction


@pytest.mark.parametrize(
    ("choice", "prediction"),
    [(choice, "data") for choice in (*CHOICES, "auxiliary=[log-spectral,mel,stft,phase]")] + [(c, "v") for c in BOTH],
)
def test_prediction_loss_of_every_config_is_finite_and_trains_on_the_whole_path(choice, prediction):
    cfg = composed([choice, f"prediction={prediction}", "data.path=recordings"])
    loss, denoiser = build(plain(cfg.loss)), plain(cfg.model)["denoiser"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = Denoiser(Small(), build(denoiser["prediction"]), build(denoiser["schedule"]))
    if choice.startswith("auxiliary=["):
        assert len(loss.auxiliary) == choice.count(",") + 1
        assert isinstance(loss.auxiliary["phase"], Phase)
    x = draw(4, 1, 4096, dtype=torch.float32)
    x[3] = 0  # a silent clip
    for times in (loss.time_sampling, Ends()):
        loss.time_sampling = times
        denoiser.zero_grad()
        found = loss(denoiser, x, None, lambda z: 0.1 * z, seeded())
        found.total.mean().backward()
        for value in (found.total, found.error, *found.auxiliary.values()):
            assert value.shape == (4,)
            assert value.dtype == torch.float32
            assert bool(value.isfinite().all())
        for weight in denoiser.parameters():
            assert bool(weight.grad.isfinite().all())
            assert float(weight.grad.abs().max()) > 0
    assert float(found.log_snr.min()) == pytest.approx(-15, abs=1e-3)  # both ends were there
    assert float(found.log_snr.max()) == pytest.approx(20, abs=1e-3)
