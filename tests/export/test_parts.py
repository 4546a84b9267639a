"""What exported graphs compute is what the library computes: real numbers for complex ones, lists for solvers."""

import dataclasses

import pytest
import torch
from conftest import tiny_vocoder
from support.exact import Mixture
from support.export import CONVENTIONS, NETWORKS, SPEC

from audiodiff.audio.stft import hann, istft, stft
from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.schedules import CosineVP, RectifiedFlow
from audiodiff.diffusion.solvers import DDIM, Solver
from audiodiff.diffusion.timesteps import linear_timesteps
from audiodiff.export.networks import real_network
from audiodiff.export.parts import Sampler, Step
from audiodiff.export.plans import Sum, plan_of
from audiodiff.export.projection import RealProjection, hops, samples, start_of
from audiodiff.export.transforms import RealTransform
from audiodiff.griffin_lim.projection import MelProjection, pair_power
from audiodiff.mel import LogMel
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, Variation
from audiodiff.models.whitening import Identity
from audiodiff.utils.config import choices, choose


def noise(batch, length, seed=0):
    return torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(seed))


def mel_of(spec, waveform):
    frames = waveform.shape[-1] // spec.hop_length
    return LogMel(spec)(waveform[None, :, : frames * spec.hop_length])[..., :frames]


# --- transforms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", CONVENTIONS.values(), ids=CONVENTIONS)
def test_real_transform_and_its_inverse_are_the_complex_ones(spec):
    signal = noise(2, 12 * spec.hop_length)
    window = hann(spec.win_length, spec.n_fft, 1.0, torch.float32, torch.device("cpu"))
    real = RealTransform(window, spec.hop_length, spec.padding, spec.pad_mode)
    wanted = stft(signal[:, 0], window, spec.hop_length, spec.padding, spec.pad_mode)[:, :12]
    found = real.analyse(hops(signal, 12))
    torch.testing.assert_close(found, torch.stack([wanted.real, wanted.imag], 1), atol=2e-4, rtol=0)  # of values of 100
    torch.testing.assert_close(pair_power(*found.unbind(1)), wanted.abs().square(), atol=0.05, rtol=1e-4)
    back = istft(wanted, window, spec.hop_length, spec.padding, signal.shape[-1])
    torch.testing.assert_close(real.inverse(found, real.weights(found)).flatten(1), back, atol=1e-4, rtol=0)


# --- projection and starts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("octave", [0, 1, 3])
@pytest.mark.parametrize(("n_iter", "momentum"), [(0, 0.99), (1, 0.99), (6, 0.99), (3, 0.0)])
def test_real_projection_is_the_complex_one(n_iter, momentum, octave, waveform):
    mel = mel_of(SPEC, waveform)
    begin = noise(1, mel.shape[-1] * SPEC.hop_length // 2**octave)
    wanted = MelProjection(SPEC, mel, n_iter, momentum, octave)(begin)
    found = samples(RealProjection(SPEC, n_iter, momentum, octave)(hops(begin, mel.shape[-1]), mel))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)  # the rounds amplify what float32 rounds off


@pytest.mark.parametrize("name", ["hop does not divide", "centred", "powers"])
def test_real_projection_is_the_complex_one_in_other_conventions(name, waveform):
    spec = CONVENTIONS[name]
    mel = mel_of(spec, waveform)
    begin = noise(1, mel.shape[-1] * spec.hop_length)
    wanted = MelProjection(spec, mel, 4)(begin)
    found = samples(RealProjection(spec, 4)(hops(begin, mel.shape[-1]), mel))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "start", [MelNoise(SPEC), GriffinLim(SPEC, n_iter=5), CoarseToFine(SPEC, full=2, half=3, quarter=0, eighth=5)]
)
def test_real_start_is_the_complex_one(start, waveform):
    mel = mel_of(SPEC, waveform)
    drawn = noise(1, mel.shape[-1] * SPEC.hop_length)
    torch.testing.assert_close(start_of(start)(mel, drawn), start.waveform(mel, drawn), atol=1e-4, rtol=0)


def test_start_from_a_recording_cannot_be_exported():
    assert start_of(PureNoise()) is None
    with pytest.raises(ValueError, match="Variation cannot be exported: choose noise"):
        start_of(Variation(torch.zeros(1, 1, 256), 0.5))


# --- networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_real_network_is_the_complex_one(name):
    torch.manual_seed(0)
    network = NETWORKS[name]()
    for parameter in network.parameters():  # what begins at zero would hide what is behind it
        torch.nn.init.normal_(parameter, std=0.05)
    x, mel, log_snr = noise(2, 20 * 256), torch.randn(2, 80, 20) - 5, torch.tensor([-2.0, 3.0])
    with torch.no_grad():
        wanted = network(x, log_snr, network.encode(mel))
        real = real_network(network)
        found = real(x, log_snr, real.encode(mel))
    assert (wanted - x).abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=0)


def test_network_without_a_counterpart_is_refused():
    with pytest.raises(ValueError, match=r"kind Linear cannot be exported: .*HybridNetwork"):
        real_network(torch.nn.Linear(1, 1))


# --- plans -------------------------------------------------------------------------------------------------------


def resolve_timesteps(plan, denoise, x, schedule):
    """Does what a plan says, and nothing else."""
    signals = [x]
    for call in plan.calls:
        x_t = sum(weight * signals[key] for key, weight in call.weights.items())
        assert float(schedule.log_snr(torch.tensor(call.time, dtype=torch.float64))) == pytest.approx(call.log_snr)
        signals += denoise(x_t, torch.tensor(call.time, dtype=torch.float64))
    return sum(weight * signals[key] for key, weight in plan.end.items())


@pytest.mark.parametrize("schedule", [CosineVP(-8, 8), RectifiedFlow()], ids=["cosine", "flow"])
@pytest.mark.parametrize("name", [name for name in choices("solver") if not choose("solver", name).stochastic])
def test_plan_of_a_solver_arrives_where_the_solver_does(name, schedule):
    solver, denoise = choose("solver", name), Mixture(schedule)
    times = 0.9 * linear_timesteps(5)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(9, 1, 1)
    wanted = sample(denoise, solver, x, times)
    plan = plan_of(solver, schedule, times)
    assert len(plan.calls) == denoise.calls
    torch.testing.assert_close(resolve_timesteps(plan, Mixture(schedule), x, schedule), wanted, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in choices("solver") if choose("solver", name).stochastic])
def test_plan_is_refused_to_solvers_that_draw_noise(name):
    with pytest.raises(ValueError, match="draws noise"):
        plan_of(choose("solver", name), CosineVP(), linear_timesteps(2))


def test_plan_is_refused_to_solvers_that_do_more_than_add():
    class Clipping(Solver):
        order = calls_per_step = 1

        def step(self, denoise, x_t, t, s, memory=None, generator=None):
            return denoise(x_t, t).x.clamp(-1, 1), None

    with pytest.raises(ValueError, match="Clipping does more with signals than to add them"):
        plan_of(Clipping(), CosineVP(), linear_timesteps(2))


def test_sum_of_signals_adds_as_signals_do():
    a, b = Sum({0: 1.0, 2: 3.0}), Sum({1: 2.0, 2: -3.0})
    assert sum([a, 2 * b, b / 4]).weights == {0: 1.0, 1: 4.5, 2: 3.0 - 6.75}
    with pytest.raises(TypeError):
        a + 1.0


# --- parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [{}, {"projection_iters": 0, "final_iters": 3}, {"whitening": Identity(0.1)}],
    ids=["as it is", "no projection_iters", "another whitening"],
)
def test_sampler_makes_what_generate_makes(how, waveform):
    vocoder = tiny_vocoder()
    for name, value in how.items():
        setattr(vocoder, name, value)
    mel = mel_of(SPEC, waveform)
    sampling = vocoder.sampling(3, choose("solver", "dpmpp-2m"), None, GriffinLim(SPEC, n_iter=3), seed=4)
    drawn = NoiseField([4]).draw(torch.empty(1, 1, mel.shape[-1] * SPEC.hop_length))
    plan = plan_of(sampling.solver, vocoder.denoiser.schedule, sampling.times)
    with torch.no_grad():
        found = Sampler(vocoder, sampling, plan)(mel, drawn)
    wanted = vocoder.generate(mel, **{f.name: getattr(sampling, f.name) for f in dataclasses.fields(sampling)})
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_step_estimates_what_the_bound_denoiser_does(waveform):
    vocoder, mel = tiny_vocoder(), mel_of(SPEC, waveform)
    for parameter in vocoder.parameters():  # the noise level's part in it begins at zero
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
    x_t, t = noise(1, mel.shape[-1] * SPEC.hop_length), torch.tensor(0.2, dtype=torch.float64)
    wanted = vocoder.bind(mel).denoise(x_t, t)
    alpha, sigma = (scale.float()[None] for scale in vocoder.denoiser.schedule(t))
    with torch.no_grad():
        x, eps, sound = Step(vocoder)(x_t, alpha, sigma, mel)
    torch.testing.assert_close(x, wanted.x, atol=1e-4, rtol=0)
    torch.testing.assert_close(eps, wanted.eps, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        sound, vocoder.whitening.decode(wanted.x, vocoder.whitening.gains(mel)), atol=1e-4, rtol=0
    )


def test_ddim_in_a_plan_is_the_mix_that_its_paper_says():
    schedule, times = CosineVP(), linear_timesteps(1)
    plan = plan_of(DDIM(), schedule, times)
    alpha, sigma = (float(scale) for scale in schedule(times[1]))
    assert plan.calls[0].weights == {0: 1.0}
    assert plan.end == pytest.approx({1: alpha, 2: sigma})
