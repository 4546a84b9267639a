"""Guidance against truths: Gaussians whose denoisers and conditional means are exact; projections that are nearest."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.drawn import draw

from audiodiff.diffusion.constraints import BandwidthConstraint, ClippingConstraint, InpaintingConstraint
from audiodiff.diffusion.denoiser import ConstrainedDenoiser, Denoiser, scales
from audiodiff.diffusion.guidance import ClassifierFreeGuidance, ReconstructionGuidance, step_length
from audiodiff.diffusion.predictions import Estimate, VPrediction, noise_of
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.schedules import CosineVP, LinearVP, ZeroTerminalSNR
from audiodiff.diffusion.solvers import DDIM
from audiodiff.diffusion.timesteps import linear_timesteps, log_snr_timesteps
from audiodiff.models.starts import Variation
from audiodiff.utils.config import choices, choose

SCHEDULE, N = CosineVP(), 32
GAP = slice(12, 20)
TIMES = torch.tensor([1.0, 0.6, 0.2], dtype=torch.float64)


class Correlated:
    """The posterior means of x ~ N(mean, C), C[i, j] = std² rho^|i - j|, in closed form, and what one needs of them.

    x̂ = mean + J (x_t - alpha mean),      J = alpha C (alpha² C + sigma²)⁻¹
    """

    def __init__(self, mean=0.0, std=1.0, rho=0.9, schedule=SCHEDULE):
        index = torch.arange(N, dtype=torch.float64)
        self.covariance = std**2 * rho ** (index[:, None] - index).abs()
        self.mean, self.schedule, self.calls = mean, schedule, 0

    def __call__(self, x_t, t):
        self.calls += 1
        alpha, sigma = scales(self.schedule, t, x_t)
        noisy = alpha**2 * self.covariance.to(x_t) + sigma**2 * torch.eye(N).to(x_t)
        x = self.mean + alpha * torch.linalg.solve(noisy, (x_t - alpha * self.mean).mT).mT @ self.covariance.to(x_t)
        return Estimate(x, noise_of(x_t, x, alpha, sigma))

    def draw(self, batch, seed=0):
        return self.mean + draw(batch, 1, N, seed=seed) @ torch.linalg.cholesky(self.covariance).T

    def mean_of_gap(self, x, mask):
        """E[x[gap] | x[known]], [B, 1, gap]; mean 0."""
        known = self.covariance[mask][:, mask]
        return torch.linalg.solve(known, self.covariance[mask][:, ~mask]).T.matmul(x[..., mask].mT).mT


class Counting:
    """Counts the calls of a denoiser."""

    def __init__(self, denoise):
        self.denoise, self.schedule, self.calls = denoise, denoise.schedule, 0

    def __call__(self, x_t, t):
        self.calls += 1
        return self.denoise(x_t, t)


def gap_mask(batch=1):
    mask = torch.ones(batch, 1, N, dtype=torch.bool)
    mask[..., GAP] = False
    return mask


def rms(x):
    return float(x.square().mean().sqrt())


# Guided


@pytest.mark.parametrize("scale", [-0.5, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("t", TIMES)
def test_guidance_extrapolates_two_exact_gaussians(scale, t):
    one, free, x_t = Correlated(0.5, 0.3), Correlated(-0.2, 1.0), draw(3, 1, N)
    found = ClassifierFreeGuidance(one, free, scale)(x_t, t)
    alpha, sigma = scales(SCHEDULE, t, x_t)
    assert torch.allclose(found.x, (1 - scale) * free(x_t, t).x + scale * one(x_t, t).x, atol=1e-12)  # float64
    assert torch.allclose(alpha * found.x + sigma * found.eps, x_t, atol=1e-12)


def test_guidance_of_equal_variances_samples_the_shifted_gaussian():
    """x̂ is affine in the mean, so guiding N(1, C) against N(0, C) by 2.5 is to sample N(2.5, C)."""
    guided, wanted = ClassifierFreeGuidance(Correlated(1.0), Correlated(0.0), 2.5), Correlated(2.5)
    ends = [sample(denoise, DDIM(), draw(2, 1, N), linear_timesteps(6)) for denoise in (guided, wanted)]
    assert torch.allclose(*ends, atol=1e-10)  # float64


def test_guidance_at_scale_one_is_the_conditional_denoiser_and_one_call():
    one, free, x_t = Correlated(0.5), Correlated(-0.2), draw(1, 1, N)
    found, wanted = ClassifierFreeGuidance(one, free, 1.0, rescale=0.5)(x_t, TIMES[1]), one(x_t, TIMES[1])
    assert torch.equal(found.x, wanted.x)
    assert torch.equal(found.eps, wanted.eps)
    assert (one.calls, free.calls) == (2, 0)


def test_guidance_calls_the_unconditional_denoiser_only_inside_its_interval():
    one, free = Correlated(0.5), Correlated(-0.2)
    times = log_snr_timesteps(SCHEDULE, 30)  # log-SNR -15, -14, ..., 14: calls are at all but the last time
    sample(ClassifierFreeGuidance(one, free, 2.0, log_snr_min=-3.5, log_snr_max=5.5), DDIM(), draw(1, 1, N), times)
    assert (one.calls, free.calls) == (30, 9)  # -3 ... 5


def test_guidance_treats_each_clip_of_a_batch_at_its_own_time():
    guided, x_t = ClassifierFreeGuidance(Correlated(0.5), Correlated(-0.2), 2.0, 1.0, log_snr_min=0), draw(3, 1, N)
    together = guided(x_t, TIMES)  # log-SNR -15, -0.6, 2.2
    for i in range(3):
        alone = guided(x_t[i : i + 1], TIMES[i])
        assert torch.allclose(together.x[i], alone.x[0], atol=1e-12)
        assert torch.allclose(together.eps[i], alone.eps[0], atol=1e-12)
    plain = Correlated(0.5)(x_t, TIMES).x
    assert [bool(torch.allclose(together.x[i], plain[i])) for i in range(3)] == [True, True, False]


@pytest.mark.parametrize("rescale", [0.0, 0.3, 1.0])
def test_guidance_rescale_restores_the_standard_deviation_of_each_clip(rescale):
    one, free, x_t = Correlated(0.0, 1.0), Correlated(0.0, 0.3), draw(4, 1, N)
    plain, found, wanted = (
        d(x_t, TIMES[1]).x
        for d in (ClassifierFreeGuidance(one, free, 4.0), ClassifierFreeGuidance(one, free, 4.0, rescale=rescale), one)
    )
    before, after, true = (x.std(dim=(1, 2)) for x in (plain, found, wanted))
    assert bool((before > 1.2 * true).all())
    assert torch.allclose(after, (1 - rescale) * before + rescale * true)
    assert torch.allclose(found / plain, (after / before)[:, None, None].expand_as(found))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": math.inf}, "finite scale"),
        ({"scale": math.nan}, "finite scale"),
        ({"rescale": 1.1}, r"rescale=1.1.*\[0, 1\]"),
        ({"rescale": -0.1}, r"rescale=-0.1.*\[0, 1\]"),
        ({"rescale": math.nan}, r"rescale in \[0, 1\]"),
        ({"log_snr_min": 2.0, "log_snr_max": 1.0}, "set log_snr_min below"),
        ({"log_snr_min": math.nan}, "set log_snr_min below"),
        ({"unconditional": Correlated(schedule=LinearVP())}, "the same schedule"),
    ],
)
def test_guidance_refuses_what_makes_no_guidance(wrong, message):
    arguments = {"conditional": Correlated(), "unconditional": Correlated(schedule=CosineVP()), "scale": 2.0}
    ClassifierFreeGuidance(**arguments)
    with pytest.raises(ValueError, match=message):
        ClassifierFreeGuidance(**arguments | wrong)


# Measurements

OBSERVED = draw(1, 1, N, seed=9)
MEASUREMENTS = {
    "known": InpaintingConstraint(OBSERVED, gap_mask()),
    "known-with-nan": InpaintingConstraint(OBSERVED.masked_fill(~gap_mask(), math.nan), gap_mask()),
    "band-limited": BandwidthConstraint(OBSERVED, 2500, 16000),
    "band-limited-odd": BandwidthConstraint(OBSERVED[..., 1:], 2500, 16000),
    "clipped": ClippingConstraint(OBSERVED.clamp(-0.8, 0.8), 0.8),
}
every_measurement = pytest.mark.parametrize("known", MEASUREMENTS.values(), ids=MEASUREMENTS.keys())
seeds = st.integers(0, 2**31)


def like(known, batch=3, seed=0):
    return 2 * draw(batch, 1, known.observed.shape[-1], seed=seed)


@every_measurement
@given(seed=seeds)
def test_guidance_projection_is_idempotent_and_leaves_no_residual(known, seed):
    x = like(known, seed=seed)
    agreeing = known.project(x)
    assert torch.allclose(known.project(agreeing), agreeing, rtol=0, atol=1e-13)  # float64; two transforms of 32
    assert rms(known.residual(agreeing)) < 1e-13
    assert torch.equal(known.residual(x), x - agreeing)


@every_measurement
@given(seed=seeds)
def test_guidance_projection_is_the_nearest_that_agrees(known, seed):
    """Of all that agree none is nearer; by Pythagoras for a convex set, whatever the other is."""
    x, nearest = like(known, seed=seed), known.project(like(known, seed=seed))
    far, near = known.project(like(known, seed=seed + 1)), known.project(x + 0.1 * like(known, seed=seed + 2))
    for other in (far, near):
        distances = [(y - x).square().sum((1, 2)) for y in (nearest, other)]
        assert bool((distances[1] >= distances[0] + (other - nearest).square().sum((1, 2)) - 1e-9).all())


@pytest.mark.parametrize("name", ["known", "band-limited", "band-limited-odd", "clipped"])
def test_guidance_measurement_agrees_with_what_was_measured(name):
    known = MEASUREMENTS[name]
    source = OBSERVED[..., -known.observed.shape[-1] :]
    assert rms(known.residual(source)) < 1e-14  # the signal before the loss agrees, so the projection leaves it
    assert rms(known.residual(source + 0.1 * like(known, 1))) > 0.01


def test_guidance_known_replaces_the_known_samples_alone():
    x = like(MEASUREMENTS["known"])
    found = MEASUREMENTS["known"].project(x)
    assert torch.equal(found[..., GAP], x[..., GAP])
    assert torch.equal(found[gap_mask(3)], OBSERVED.expand_as(x)[gap_mask(3)])


@pytest.mark.parametrize(("cutoff", "n_known"), [(2500, 6), (2499, 5), (2501, 6), (8000, 17), (1, 1)])
def test_guidance_band_limited_replaces_the_spectrum_up_to_the_cutoff(cutoff, n_known):
    """Bins of 500 Hz; the one at the cutoff is known."""
    x = draw(2, 1, N)
    found, mine, theirs = (
        torch.fft.rfft(v) for v in (BandwidthConstraint(OBSERVED, cutoff, 16000).project(x), x, OBSERVED)
    )
    assert torch.allclose(found[..., :n_known], theirs[..., :n_known].expand(2, -1, -1), atol=1e-12)
    assert torch.allclose(found[..., n_known:], mine[..., n_known:], atol=1e-12)


def test_guidance_clipped_keeps_small_samples_and_pushes_the_others_out():
    observed = torch.tensor([[[0.3, 0.5, 0.5, -0.5, -0.5, -0.5]]])
    x = torch.tensor([[[0.1, 0.2, 0.9, -0.9, 0.4, -0.1]]])
    found = ClippingConstraint(observed, 0.5).project(x)
    assert torch.equal(found, torch.tensor([[[0.3, 0.5, 0.9, -0.9, -0.5, -0.5]]]))


def test_guidance_measurement_takes_the_dtype_of_the_estimate():
    for known in MEASUREMENTS.values():
        assert known.project(like(known).float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: InpaintingConstraint(OBSERVED[0], gap_mask()[0]),
            r"observed is torch.float64 \[1, 32\]: give .*\[B, 1, T\]",
        ),
        (lambda: ClippingConstraint(OBSERVED[0].T, 1.0), r"\[32, 1\]: give .*\[B, 1, T\]"),
        (lambda: ClippingConstraint(OBSERVED.expand(1, 2, N), 1.0), r"\[1, 2, 32\]: give .*\[B, 1, T\]"),
        (lambda: ClippingConstraint(OBSERVED.to(torch.int16), 1.0), "torch.int16 .* give floating-point"),
        (lambda: InpaintingConstraint(OBSERVED, gap_mask()[..., 1:]), r"mask is torch.bool \[1, 1, 31\].*\[1, 1, 32\]"),
        (lambda: InpaintingConstraint(OBSERVED, gap_mask().float()), "mask is torch.float32 .* give torch.bool"),
        (lambda: BandwidthConstraint(OBSERVED, 0.0, 16000), r"cutoff=0.0 Hz .*\(0, 8000.0\]"),
        (lambda: BandwidthConstraint(OBSERVED, 8001, 16000), r"cutoff=8001 Hz .*\(0, 8000.0\]"),
        (lambda: ClippingConstraint(OBSERVED, 0.0), "limit=0.0: give the positive amplitude"),
        (lambda: ClippingConstraint(OBSERVED, math.nan), "limit=nan: give the positive amplitude"),
        (lambda: ClippingConstraint(OBSERVED, 1.0).project(draw(1, 1, 31)), r"x is \[1, 1, 31\].* one shape"),
        (lambda: ClippingConstraint(OBSERVED, 1.0).residual(draw(1, 2, N)), r"x is \[1, 2, 32\].* one shape"),
        (
            lambda: ClippingConstraint(draw(2, 1, N), 1.0).project(draw(3, 1, N)),
            r"x is \[3, 1, 32\], the observed \[2, 1, 32\]",
        ),
    ],
)
def test_guidance_measurement_refuses_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Replacement and reconstruction guidance


@pytest.fixture(scope="module")
def inpainted():
    """64 clips with a gap, and what each way makes of them in 30 steps of DDIM."""
    exact, mask = Correlated(), gap_mask(64)
    observed = exact.draw(64, seed=3)
    known = InpaintingConstraint(observed.masked_fill(~mask, math.nan), mask)
    explained = ReconstructionGuidance(exact, known.residual)
    ways = {
        "unguided": exact,
        "replaced": ConstrainedDenoiser(exact, known.project),
        "explained": explained,
        "both": ConstrainedDenoiser(explained, known.project),
    }
    times = log_snr_timesteps(SCHEDULE, 30)
    ends = {name: sample(way, DDIM(), draw(64, 1, N, seed=4), times) for name, way in ways.items()}
    return exact, observed, known, ends, exact.mean_of_gap(observed, mask[0, 0])


@pytest.mark.parametrize("way", ["replaced", "both"])
def test_guidance_by_replacement_reproduces_the_known_samples_at_time_zero(inpainted, way):
    _, observed, known, ends, _ = inpainted
    mask = gap_mask(64)
    sigma = float(SCHEDULE(torch.tensor(0.0, dtype=torch.float64))[1])
    assert rms((ends[way] - observed)[mask]) < 2 * sigma  # the path's last noise, 5.5e-4
    assert torch.equal(known.project(ends[way])[mask], observed[mask])
    assert bool(torch.isfinite(ends[way]).all())


def test_guidance_moves_the_gap_to_its_mean_given_the_known_samples(inpainted):
    exact, _, _, ends, mean = inpainted
    mask = gap_mask()[0, 0]
    miss = {name: rms(end[..., GAP] - mean) for name, end in ends.items()}
    c = exact.covariance
    spread = c[~mask][:, ~mask] - c[~mask][:, mask] @ torch.linalg.solve(c[mask][:, mask], c[mask][:, ~mask])
    true = float(spread.diagonal().mean().sqrt())  # 0.58, by which exact posterior samples miss their mean
    # Measured: unguided 1.20, replaced 0.88, explained 0.64, both 0.63.
    assert miss["unguided"] > 1.1
    assert 0.8 < miss["replaced"] < 1.0
    assert max(miss["explained"], miss["both"]) < 1.2 * true
    assert rms(ends["unguided"][..., GAP]) > 0.8  # a gap of silence would be 0.84 away; DDIM shrinks by 0.16


@pytest.mark.parametrize(("rho", "part"), [(0.0, slice(None)), (0.5, GAP), (0.9, GAP)])
@pytest.mark.parametrize("t", TIMES)
def test_guidance_by_reconstruction_approaches_the_posterior_mean(rho, part, t):
    """E[x | x_t, known] in closed form; all of it is exact where the posterior covariance is a multiple of identity."""
    exact, observed = Correlated(rho=rho), Correlated(rho=rho).draw(50, seed=3)
    mask, (alpha, sigma) = gap_mask()[0, 0], SCHEDULE(t)
    x_t = alpha * observed + sigma * draw(50, 1, N, seed=4)
    x = exact(x_t, t).x
    eye = torch.eye(N, dtype=torch.float64)
    v = torch.linalg.inv(torch.linalg.inv(exact.covariance) + alpha**2 / sigma**2 * eye)
    true = x - (x - observed)[..., mask] @ torch.linalg.solve(v[mask][:, mask], v[mask])
    found = ReconstructionGuidance(exact, InpaintingConstraint(observed, gap_mask(50)).residual)(x_t, t)
    # Measured 0.46, 0.32, 0.06 of the unguided error at rho = 0.5 and 0.52, 0.59, 0.29 at 0.9; 0 at 0.
    bound = 0.65 if rho else 1e-12
    assert rms((found.x - true)[..., part]) < bound * rms((x - true)[..., part])
    assert torch.allclose(alpha * found.x + sigma * found.eps, x_t, atol=1e-12)  # float64
    assert not found.x.requires_grad


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e4])
def test_guidance_by_reconstruction_needs_no_scale(factor):
    """The same correction whatever the unit of the residual."""
    known, x_t = InpaintingConstraint(OBSERVED, gap_mask()), draw(2, 1, N)
    plain = ReconstructionGuidance(Correlated(), known.residual)(x_t, TIMES[1]).x
    other = ReconstructionGuidance(Correlated(), lambda x: factor * known.residual(x))(x_t, TIMES[1]).x
    assert torch.allclose(plain, other, rtol=1e-9)


@pytest.mark.parametrize("weight", [0.5, 1.0, 1.9])
def test_guidance_by_reconstruction_never_enlarges_a_linear_residual(weight):
    """Whatever the denoiser, even one that is no gradient of anything; the least is left at weight 1."""

    def odd(x_t, t):
        x = torch.tanh(x_t @ draw(N, N, seed=5))
        return Estimate(x, noise_of(x_t, x, *scales(SCHEDULE, t, x_t)))

    odd.schedule, x_t, known = SCHEDULE, draw(20, 1, N), MEASUREMENTS["band-limited"]

    def left(denoise):
        return known.residual(denoise(x_t, TIMES[1]).x).square().sum((1, 2))

    before, least = left(odd), left(ReconstructionGuidance(odd, known.residual))
    after = left(ReconstructionGuidance(odd, known.residual, weight))
    # A parabola in the weight: before at 0 and 2, least at 1.
    assert float(least.sum()) < 0.97 * float(before.sum())
    assert torch.allclose(after, least + (weight - 1) ** 2 * (before - least))


def test_guidance_step_is_zero_where_nothing_has_a_slope():
    assert torch.equal(step_length(torch.ones(2, 1, 3), torch.zeros(2, 1, 3)), torch.zeros(2, 1, 1))
    exact = Correlated(schedule=ZeroTerminalSNR(CosineVP()))
    x_t, known = draw(1, 1, N), MEASUREMENTS["known"]
    found = ReconstructionGuidance(exact, known.residual)(x_t, TIMES[0])  # alpha = 0: x_t says nothing of x
    assert torch.equal(found.x, exact(x_t, TIMES[0]).x)


class Gain(torch.nn.Module):
    """A network with a parameter that requires a gradient."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.7))

    def forward(self, x, log_snr, condition=None):
        return torch.tanh(self.gain * x + 0.1 * log_snr[:, None, None])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@every_measurement
def test_guidance_by_reconstruction_works_in_every_gradient_mode(known, mode):
    denoiser = Denoiser(Gain(), VPrediction(), SCHEDULE)
    wanted = ReconstructionGuidance(denoiser, known.residual)(like(known), TIMES[1]).x
    with mode():
        if isinstance(known, InpaintingConstraint):
            known = InpaintingConstraint(known.observed + 0, known.mask | False)  # tensors that were made in this mode
        found = ReconstructionGuidance(denoiser, known.residual)(like(known), TIMES[1] + 0)
    assert torch.equal(found.x, wanted)
    assert not torch.allclose(wanted, denoiser(like(known), TIMES[1]).x, atol=1e-3)
    assert not found.x.requires_grad
    assert denoiser.network.gain.grad is None


def test_guidance_by_reconstruction_leaves_its_input_alone():
    x_t = draw(1, 1, N)
    before = x_t.clone()
    ReconstructionGuidance(Correlated(), MEASUREMENTS["known"].residual)(x_t, TIMES[1])
    assert torch.equal(x_t, before)
    assert not x_t.requires_grad


def test_guidance_by_reconstruction_treats_each_clip_of_a_batch_alone():
    guided = ReconstructionGuidance(Correlated(), MEASUREMENTS["band-limited"].residual)
    x_t = draw(3, 1, N) * torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    together, alone = guided(x_t, TIMES[1]).x, torch.cat([guided(x_t[i : i + 1], TIMES[1]).x for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-10)  # float64


@pytest.mark.parametrize("weight", [0.0, -1.0, 2.0, math.nan])
def test_guidance_by_reconstruction_refuses_a_weight_that_diverges(weight):
    with pytest.raises(ValueError, match=r"weight=.*\(0, 2\)"):
        ReconstructionGuidance(Correlated(), MEASUREMENTS["known"].residual, weight)


# With every solver

WRAPPED = {
    "guided": lambda exact, known: ClassifierFreeGuidance(exact, Correlated(-0.2), 1.5, 0.5, -5, 5),
    "replaced": lambda exact, known: ConstrainedDenoiser(exact, known.project),
    "explained": lambda exact, known: ReconstructionGuidance(exact, known.residual),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
@pytest.mark.parametrize("name", choices("solver"))
def test_guidance_serves_every_solver(name, wrap):
    solver, inner = choose("solver", name), Counting(Correlated())
    known, x = InpaintingConstraint(OBSERVED, gap_mask()), draw(2, 1, N)
    times = log_snr_timesteps(SCHEDULE, 40)  # Euler-Maruyama diverges at 6
    with torch.inference_mode():
        guided, plain = (
            sample(denoise, solver, x, times, generator=torch.Generator().manual_seed(1))
            for denoise in (wrap(inner, known), Correlated())
        )
    assert inner.calls == 40 * solver.calls_per_step
    assert bool(torch.isfinite(guided).all())
    if known.project in vars(wrap(inner, known)).values():
        # The last step lands on the estimate to within the path's last noise.
        assert rms(known.residual(guided)) < 0.1 * rms(known.residual(plain))
    assert not torch.allclose(guided, plain, atol=1e-2)


# Variation


def test_start_from_a_recording_at_a_small_time_ends_near_it():
    exact = Correlated()
    recording, noise, mel = exact.draw(4, seed=3), draw(4, 1, N), torch.zeros(4, 80, 1)

    def distance(time):
        x = Variation(recording, time)(mel, noise, lambda waveform: waveform, SCHEDULE)
        return rms(sample(exact, DDIM(), x, linear_timesteps(10, time)) - recording)

    distances = [distance(time) for time in (0.02, 0.3, 0.6, 1.0)]
    assert distances == sorted(distances)
    assert distances[0] < 0.05  # the noise at 0.02 is 0.03
    assert distances[-1] > 1  # two draws of unit variance are 1.41 apart; DDIM shrinks one


def test_start_from_a_recording_returns_it_and_is_noised_to_its_time():
    recording, noise = draw(1, 1, N, seed=3), draw(2, 1, N)
    start = Variation(recording, 0.4)
    alpha, sigma = SCHEDULE(torch.tensor(0.4, dtype=torch.float64))
    assert start.time == 0.4
    assert torch.equal(start.waveform(torch.zeros(2, 80, 1), noise), recording.expand(2, -1, -1))
    assert start.waveform(torch.zeros(2, 80, 1), noise.float()).dtype == torch.float32
    found = start(torch.zeros(2, 80, 1), noise, lambda waveform: 5 * waveform, SCHEDULE)
    assert torch.allclose(found, alpha * 5 * recording + sigma * noise, atol=1e-12)  # float64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Variation(OBSERVED, 0.0), r"time=0.0.*\(0, 1\]"),
        (lambda: Variation(OBSERVED, 1.1), r"time=1.1.*\(0, 1\]"),
        (lambda: Variation(OBSERVED[0], 0.5), r"recording is \[1, 32\]: give \[B, 1, T\]"),
        (lambda: Variation(OBSERVED[0].T, 0.5), r"recording is \[32, 1\]: give \[B, 1, T\]"),
        (lambda: Variation(OBSERVED, 0.5).waveform(None, draw(1, 1, 40)), r"\[1, 1, 32\].*\[1, 1, 40\]: cut or pad"),
        (lambda: Variation(draw(2, 1, N), 0.5).waveform(None, draw(3, 1, N)), r"\[2, 1, 32\].*\[3, 1, 32\]"),
    ],
)
def test_start_from_a_recording_refuses_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
