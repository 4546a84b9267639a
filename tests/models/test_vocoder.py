"""Vocoder and generator: one path to sound, that depends on nothing but mel, weights and seed."""

import copy
import dataclasses

import pytest
import torch
from support.processes import python
from torch.utils._python_dispatch import TorchDispatchMode

from audiodiff import audio
from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import VPrediction
from audiodiff.diffusion.schedules import CosineVP, ZeroTerminalSNR
from audiodiff.diffusion.solvers import DDIM, DPMSolver2M
from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS, linear_timesteps
from audiodiff.losses import DenoisingLoss, LogSpectral, PowerTimes
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models import registry
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.named_starts import describe_start
from audiodiff.models.starts import GriffinLim, PureNoise
from audiodiff.models.vocoder import Vocoder
from audiodiff.models.whitening import Identity, MelWhitening
from audiodiff.nn import HybridNetwork
from audiodiff.pipelines.resynthesis import analyse, noted_calls, resynthesise, vocode
from audiodiff.pipelines.vocoding import VocodeRecipe
from audiodiff.utils.config import build, choices, choose

# The pairs of rate and hop that the library promises: with a network hop that divides the mel's.
RATES = [
    (16000, 160, 80),
    (22050, 256, 128),
    (24000, 256, 128),
    (24000, 300, 100),
    (44100, 441, 147),
    (44100, 512, 128),
    (48000, 480, 120),
    (48000, 600, 150),
]


@pytest.fixture(scope="module")
def vocoder(tiny_model_path):
    return Vocoder.load(tiny_model_path)


@pytest.fixture(scope="module")
def mel(vocoder, waveform):
    return vocoder.spectrogram(waveform[None, :, : 40 * vocoder.hop_length])


@pytest.fixture(scope="module")
def generator():
    network = HybridNetwork(
        hop_length=64, n_fft=256, width=8, dilations=(1,), n_stages=1, n_heads=2, attention_window=4
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(network.outward.weight, std=0.05)
    return Generator(Denoiser(network, VPrediction(), CosineVP()), 16000, 64, Identity(0.1), steps=2).eval()


def build_vocoder(sample_rate, mel_hop, hop):
    n_fft = 1024 if sample_rate <= 24000 else 2048
    spec = MelSpec(
        sample_rate, n_fft=n_fft, win_length=n_fft, hop_length=mel_hop, n_mels=20, f_max=min(12000, sample_rate / 2)
    )
    network = HybridNetwork(
        hop_length=hop,
        n_fft=4 * hop,
        width=16,
        dilations=(1, 2),
        n_stages=1,
        n_heads=2,
        attention_window=4,
        embedding=16,
        n_mels=20,
        mel_hop_length=mel_hop,
    )
    return Vocoder(
        spec, Denoiser(network, VPrediction(), CosineVP()), MelWhitening(spec, block=hop), steps=2, projection_iters=1
    )


@pytest.mark.parametrize(("sample_rate", "mel_hop", "hop"), RATES)
def test_vocoder_of_any_rate_trains_and_gives_frames_times_hop_samples(sample_rate, mel_hop, hop):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vocoder = build_vocoder(sample_rate, mel_hop, hop)
    waveform = 0.1 * torch.randn(2, 1, 16 * mel_hop, generator=torch.Generator().manual_seed(1))
    mel = vocoder.spectrogram(waveform)
    assert mel.shape == (2, 20, 16)
    shape = vocoder.whitening.gains(mel)
    x = vocoder.whitening.encode(waveform, shape)
    assert torch.allclose(vocoder.whitening.decode(x, shape), waveform, atol=1e-5)
    loss = DenoisingLoss(PowerTimes())
    optimizer, losses = torch.optim.Adam(vocoder.parameters(), lr=3e-3), []
    for _ in range(4):
        condition = vocoder.denoiser.network.encode(mel)
        terms = loss(vocoder.denoiser, x, condition, lambda z: z, torch.Generator().manual_seed(2))
        losses.append(float(terms.total.mean()))
        optimizer.zero_grad()
        terms.total.mean().backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in vocoder.parameters())
        optimizer.step()
    assert losses[-1] < losses[0]  # the same noise and times every time
    for frames in (7, 16):
        out = vocoder.eval().generate(mel[..., :frames], seed=3)
        assert out.shape == (2, 1, frames * mel_hop)
        assert bool(out.isfinite().all())


@pytest.mark.parametrize("start", [PureNoise(), "griffin-lim"])
@pytest.mark.parametrize("solver", choices("solver"))
def test_generate_makes_each_clip_from_its_own_seed(vocoder, mel, start, solver):
    start = GriffinLim(vocoder.mel, n_iter=2) if start == "griffin-lim" else start
    mels = torch.cat([mel, mel.flip(-1), mel + 0.5, mel.roll(7, -1)])
    options = dict(solver=choose("solver", solver), start=start, steps=3)
    together = vocoder.generate(mels, seed=10, **options)
    for i in range(4):
        alone = vocoder.generate(mels[i : i + 1], seed=10 + i, **options)
        # Sums of other batch sizes round anew in float32; some solvers divide by alpha = 5e-4.
        assert float((together[i : i + 1] - alone).abs().max()) < 1e-3 * float(alone.abs().max())
    assert not torch.allclose(together[:1], vocoder.generate(mel, seed=11, **options), atol=1e-3)


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m", "unipc", "heun"])
def test_generate_walks_the_grid_that_suits_the_solver(vocoder, mel, name):
    solver = choose("solver", name)
    wanted = TIMESTEP_GRIDS["even-t" if name == "ddim" else "even-log-snr"](vocoder.denoiser.schedule, 3, 1.0)
    assert torch.equal(vocoder.grid(3, solver=solver), wanted)
    assert torch.equal(
        vocoder.generate(mel, steps=3, solver=solver), vocoder.generate(mel, times=wanted, solver=solver)
    )


def test_generate_walks_even_times_from_zero_snr_with_any_solver(tiny_model_path):
    vocoder = Vocoder.load(tiny_model_path)
    vocoder.denoiser.schedule = ZeroTerminalSNR(CosineVP())
    assert torch.equal(vocoder.grid(3, solver=choose("solver", "unipc")), linear_timesteps(3))
    assert torch.equal(
        vocoder.grid(3, 0.5, choose("solver", "unipc")),
        TIMESTEP_GRIDS["even-log-snr"](vocoder.denoiser.schedule, 3, 0.5),
    )


def test_generate_is_reproducible_and_leaves_global_randomness_alone(vocoder, mel):
    before = torch.random.get_rng_state()
    first = vocoder.generate(mel, seed=3)
    torch.manual_seed(99)
    assert torch.equal(vocoder.generate(mel, seed=3), first)
    assert torch.equal(vocoder.generate(mel), vocoder.generate(mel, seed=0))
    torch.random.set_rng_state(before)
    vocoder.generate(mel, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_generate_encodes_the_mel_once_whatever_the_steps(vocoder, mel, steps):
    network = vocoder.denoiser.network
    with noted_calls(network.mel_encoder) as encodings, noted_calls(network) as calls:
        vocoder.generate(mel, steps=steps)
    assert (len(encodings), len(calls)) == (1, steps)


def test_generate_follows_steps_times_solver_and_callback(vocoder, mel):
    def calls(**options):
        seen = []
        vocoder.generate(mel, callback=lambda i, x: seen.append((i, tuple(x.shape))), **options)
        assert [i for i, _ in seen] == list(range(len(seen)))
        assert all(shape == (1, 1, mel.shape[-1] * vocoder.hop_length) for _, shape in seen)
        return len(seen)

    assert calls() == vocoder.steps == 2
    assert calls(steps=5) == 5
    assert calls(times=linear_timesteps(3), solver=DPMSolver2M()) == 3
    assert torch.equal(vocoder.generate(mel, steps=3), vocoder.generate(mel, times=linear_timesteps(3)))
    with pytest.raises(ValueError, match="make them equal"):
        vocoder.generate(mel, times=linear_timesteps(3, start=0.5))
    assert not torch.equal(vocoder.generate(mel, steps=3), vocoder.generate(mel, steps=3, solver=DPMSolver2M()))


def test_generate_begins_where_its_start_says(vocoder, mel):
    start, times = GriffinLim(vocoder.mel, time=0.3, n_iter=1), []

    class Spy(DDIM):
        def step(self, denoise, x_t, t, s, memory=None, generator=None):
            times.append(float(t))
            return super().step(denoise, x_t, t, s, memory, generator)

    vocoder.generate(mel, start=start, steps=3, solver=Spy())
    assert times == pytest.approx([0.3, 0.2, 0.1])


def test_one_step_starts_quickly_and_more_steps_start_well(vocoder, mel):
    model = copy.deepcopy(vocoder)
    model.start, model.one_step_start = (GriffinLim(model.mel, time=0.3, n_iter=n) for n in (3, 1))
    for steps, start in ((1, model.one_step_start), (2, model.start)):
        found = model.generate(mel, steps=steps)
        assert torch.equal(found, vocoder.generate(mel, steps=steps, start=start))
        assert torch.equal(found, model.generate(mel, times=model.grid(steps, 0.3)))
        assert VocodeRecipe.from_options("vocode", model, "speech-16k", steps=steps).start == describe_start(start)
    assert torch.equal(
        model.generate(mel, steps=1, start=model.start), vocoder.generate(mel, steps=1, start=model.start)
    )
    assert (
        VocodeRecipe.from_options("vocode", model, "speech-16k", steps=1, start="griffin-lim").start["n_iter"] == 3
    )  # if asked for
    assert model.look_ahead(steps=1) < model.look_ahead(steps=2)


def test_two_starts_must_begin_at_one_time(vocoder):
    starts = [GriffinLim(vocoder.mel, time=time) for time in (0.3, 0.4)]
    with pytest.raises(ValueError, match=r"begin at t = 0\.3 and 0\.4: make them equal"):
        Vocoder(vocoder.mel, vocoder.denoiser, vocoder.whitening, starts[0], one_step_start=starts[1])


def test_generate_gives_the_sound_the_mel_it_was_asked_for(vocoder, mel, monkeypatch):
    def error(projection_iters):
        monkeypatch.setattr(vocoder, "projection_iters", projection_iters)
        return float((vocoder.spectrogram(vocoder.generate(mel)) - mel).abs().mean())

    assert error(2) < 0.5 * error(0)  # random weights; measured 0.18 against 0.75 nepers


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((80, 40), r"\[80, 40\]; \[clips, 80 bands, frames\] is wanted"),
        ((1, 40, 80), r"\[40, 80\]; this model wants \[80 bands, frames\] \(the axes look swapped: transpose it\)"),
        ((1, 100, 40), r"\[100, 40\]; this model wants \[80 bands"),
        ((1, 1, 80, 40), r"\[1, 1, 80, 40\]"),
        ((1, 80, 0), "no frames"),
        ((1, 80, 1), "1 frames of 256 samples; at least 385"),
    ],
)
def test_generate_refuses_a_mel_of_another_shape(vocoder, shape, message):
    with pytest.raises(ValueError, match=message):
        vocoder.generate(torch.full(shape, -5.0))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_generate_refuses_a_mel_that_is_not_finite(vocoder, mel, value):
    broken = mel.clone()
    broken[0, 3, 4] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        vocoder.generate(broken)


def test_generate_takes_the_shortest_mel_that_its_padding_allows(vocoder, mel, monkeypatch):
    monkeypatch.setattr(vocoder, "mel", dataclasses.replace(vocoder.mel, pad_mode="constant"))
    assert vocoder.generate(mel[..., :1]).shape == (1, 1, 256)


class NoWideFloat64(TorchDispatchMode):
    """Lists operations that make a float64 tensor larger than a handful of times.

    Apple's devices have no float64. Times live on the CPU in float64, [] or [B] or a grid; all else must not.
    """

    def __init__(self):
        super().__init__()
        self.found, self.operations = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.operations += 1
        for tensor in out if isinstance(out, tuple | list) else (out,):
            wide = isinstance(tensor, torch.Tensor) and tensor.dtype in (torch.float64, torch.complex128)
            if wide and (tensor.ndim > 1 or tensor.numel() > 8):
                self.found.append((str(function), tuple(tensor.shape)))
        return out


def test_generate_makes_no_float64_tensor_but_times(vocoder, mel):
    start = GriffinLim(vocoder.mel, n_iter=2)
    vocoder.generate(mel, start=start)  # fills the caches of windows and filters, which are computed on the CPU
    with NoWideFloat64() as mode:
        vocoder.generate(mel, start=start, steps=3, solver=DPMSolver2M(), chunk_frames=9)
        vocoder.generate(torch.cat([mel, mel]))
        vocoder.spectrogram(torch.zeros(1, 1, 2560))
    assert mode.operations > 1000
    assert mode.found == []
    with NoWideFloat64() as mode:  # the mode itself notices
        torch.zeros(9).double()
    assert mode.found


def test_training_makes_no_float64_tensor_but_times(vocoder, mel):
    x, shape = torch.randn(2, 1, 40 * 256), vocoder.whitening.gains(mel)
    loss = DenoisingLoss(PowerTimes(), auxiliary={"spectral": LogSpectral(0.1)})
    condition = vocoder.denoiser.network.encode(torch.cat([mel, mel]))

    def once():
        loss(vocoder.denoiser, x, condition, lambda z: vocoder.whitening.decode(z, shape), torch.Generator())

    once()
    with NoWideFloat64() as mode:
        once()
    assert mode.found == []


def test_training_may_follow_sampling_in_one_process():
    # Windows and filters that sampling caches must not be inference tensors; sizes that no other test uses.
    vocoder = build_vocoder(16000, 168, 56)
    waveform = 0.1 * torch.randn(1, 1, 20 * 168, generator=torch.Generator().manual_seed(0))
    vocoder.generate(vocoder.spectrogram(waveform))
    vocoder.train()
    x = vocoder.generate(vocoder.spectrogram(waveform)).clone().requires_grad_()
    mel = vocoder.spectrogram(x)
    shape = vocoder.whitening.gains(mel)
    estimate = vocoder.denoiser(
        vocoder.whitening.encode(x, shape), torch.tensor(0.5).double(), vocoder.denoiser.network.encode(mel)
    )
    vocoder.whitening.decode(estimate.x, shape).square().sum().backward()
    assert bool((x.grad != 0).any())


def test_resynthesis_returns_the_length_and_channels_of_its_input(vocoder, waveform):
    for length in (5120, 5121, 5375):
        assert resynthesise(vocoder, waveform[:, :length]).waveform.shape == (1, length)
    stereo = torch.cat([waveform, waveform.flip(-1)])[:, :6000]
    out = resynthesise(vocoder, stereo, steps=3)
    assert out.waveform.shape == (2, 6000)
    assert out.network_calls == 3
    mono = resynthesise(vocoder, stereo[1:], steps=3)
    assert torch.equal(out.waveform[1:], mono.waveform)


def test_resynthesis_is_analysis_and_vocoding_of_each_channel(vocoder, waveform):
    stereo = torch.cat([waveform, waveform.flip(-1)])[:, :6000]
    mel = analyse(vocoder, stereo)
    padded = torch.nn.functional.pad(stereo, (0, 144))  # to whole hops of 256
    assert torch.allclose(mel, vocoder.spectrogram(padded[:, None]), atol=1e-5)  # float32, batched or not
    sound = vocode(vocoder, mel, seed=3, steps=2, solver=DPMSolver2M(), chunk_frames=7)
    assert sound.waveform.shape == (2, 24 * 256)
    assert sound.network_calls > 2  # in chunks
    again = resynthesise(vocoder, stereo, seed=3, steps=2, solver=DPMSolver2M(), chunk_frames=7)
    assert torch.equal(sound.waveform[:, :6000], again.waveform)
    one = vocoder.generate(mel[1:], seed=3, steps=2, solver=DPMSolver2M(), chunk_frames=7)
    assert torch.equal(sound.waveform[1:], one[0])  # every channel has the same noise


@pytest.mark.parametrize("channels", [0, 3])
def test_vocoding_takes_one_or_two_channels(vocoder, channels):
    with pytest.raises(ValueError, match=f"the mel has {channels} channels; mono and stereo"):
        vocode(vocoder, torch.full((channels, 80, 10), -5.0))


def test_resynthesis_refuses_what_it_cannot_take(vocoder):
    with pytest.raises(ValueError, match="8 channels; mono and stereo"):
        resynthesise(vocoder, torch.zeros(8, 16000))
    for length in (0, 96, 256):
        with pytest.raises(ValueError, match=rf"{length} samples .* at least 257 are needed"):
            resynthesise(vocoder, torch.zeros(1, length))
    assert resynthesise(vocoder, torch.zeros(1, 257)).waveform.shape == (1, 257)


@pytest.mark.parametrize("n_samples", [1, 64, 1000])
def test_generator_gives_exactly_the_samples_asked_for(generator, n_samples):
    assert generator.generate(n_samples, batch=2).shape == (2, 1, n_samples)


def test_generator_follows_steps_times_and_solver(generator):
    seen = []
    generator.generate(64, steps=5, callback=lambda i, x: seen.append(i))
    assert seen == [0, 1, 2, 3, 4]
    assert torch.equal(generator.generate(640, steps=3), generator.generate(640, times=linear_timesteps(3)))
    assert not torch.equal(generator.generate(640), generator.generate(640, solver=DPMSolver2M()))


def test_generator_scales_what_it_makes_by_its_prior(generator, monkeypatch):
    plain = generator.generate(640)
    monkeypatch.setattr(generator, "whitening", Identity(0.3))
    assert torch.allclose(generator.generate(640), 3 * plain, rtol=1e-4, atol=1e-6)  # float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"solver": "ddim"}, "is no Solver: give one"),
        ({"start": "mel"}, "is no Start: give one"),
        ({"steps": 1.5}, "whole number from 1"),
        ({"steps": 0}, "steps=0.*whole number from 1"),
        ({"steps": 10**6}, "whole number from 1 to"),
        ({"times": torch.linspace(1, 0, 20_000)}, "steps=19999: a whole number from 1 to"),
    ],
)
def test_both_models_tell_what_they_want_instead_of_another_kind_of_value(vocoder, generator, mel, wrong, message):
    for make in (lambda: vocoder.generate(mel, **wrong), lambda: generator.generate(64, **wrong)):
        with pytest.raises((TypeError, ValueError), match=message):
            make()


@pytest.mark.parametrize("wrong", [None, [[0.0]]])
def test_generate_wants_a_tensor_for_a_mel(vocoder, mel, wrong):
    with pytest.raises(TypeError, match="give a tensor"):
        vocoder.generate(wrong)
    with pytest.raises(TypeError, match="the mel is a ndarray"):
        vocoder.generate(mel.numpy())


def test_times_in_single_precision_are_those_in_double(vocoder, mel):
    start = GriffinLim(vocoder.mel, time=0.3, n_iter=1)
    times = torch.tensor([0.3, 0.1, 0.0], dtype=torch.float64)
    sounds = [vocoder.generate(mel, times=grid, start=start) for grid in (times, times.float())]
    assert torch.allclose(*sounds, atol=1e-4)
    with pytest.raises(ValueError, match="make them equal"):
        vocoder.generate(mel, times=times + 1e-3 * (times > 0), start=start)


@pytest.mark.parametrize("wrong", [{"n_samples": 0}, {"n_samples": 64, "batch": 0}])
def test_generator_refuses_nothing(generator, wrong):
    with pytest.raises(ValueError, match=r"at least 1|from 1 to"):
        generator.generate(**wrong)


def test_vocoder_defaults_to_pure_noise_and_the_mel_of_its_spec(vocoder, waveform):
    assert isinstance(build_vocoder(16000, 160, 80).start, PureNoise)
    assert torch.equal(vocoder.spectrogram(waveform[None]), LogMel(vocoder.mel)(waveform[None]))
    assert (vocoder.sample_rate, vocoder.hop_length) == (16000, 256)


@pytest.mark.parametrize("name", registry.shipped_mels())
def test_shipped_vocoder_keeps_its_promises(name, waveform):
    model = Model.load(name)
    clip = audio.resample(waveform, 16000, model.sample_rate)
    sound = resynthesise(model, clip + 0.01).waveform  # an offset that no output may have
    assert sound.shape == clip.shape
    assert abs(float(sound.mean())) < 2e-3  # its leakage into the lowest band sounds as rumble, whose mean this is
    mels = [analyse(model, w).clamp(min=-5) for w in (clip, sound)]  # 90 dB below a full tone nothing is heard
    assert float((mels[0] - mels[1]).abs().mean()) < 0.15  # nepers; measured 0.02 to 0.1
    silence = resynthesise(model, torch.zeros(1, model.sample_rate)).waveform
    assert float(20 * silence.square().mean().sqrt().log10()) < -60  # dBFS; measured -109


def test_models_need_no_torchaudio(tiny_model_path):
    """Imports and vocodes in a process where torchaudio cannot be imported."""
    script = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchaudio":
            raise OSError("libcudart.so.13: cannot open shared object file")
sys.meta_path.insert(0, Blocker())
import torch, audiodiff
vocoder = audiodiff.Vocoder.load({str(tiny_model_path)!r})
sound = audiodiff.resynthesise(vocoder, 0.1 * torch.sin(torch.arange(4000) / 10)[None]).waveform
print(tuple(sound.shape), bool(sound.isfinite().all()))
"""
    done = python("-c", script)
    assert done.stdout.strip() == "(1, 4000) True", done.stderr


def test_import_is_light():
    """Neither the package nor any of its public names loads what only training, the demo or files need."""
    heavy = [
        "lightning",
        "hydra",
        "librosa",
        "gradio",
        "torchaudio",
        "matplotlib",
        "soundfile",
        "auraloss",
        "diffusers",
    ]
    script = f"""
import sys, audiodiff
names = [getattr(audiodiff, name) for name in audiodiff.__all__]
print([name for name in {heavy!r} if name in sys.modules], len(names) > 10)
"""
    done = python("-c", script)
    assert done.stdout.strip() == "[] True", done.stdout + done.stderr


def test_vocoder_can_be_built_from_its_own_configuration(vocoder):
    twin = build(vocoder.config)
    assert {n: p.shape for n, p in twin.state_dict().items()} == {n: p.shape for n, p in vocoder.state_dict().items()}
