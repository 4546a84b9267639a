"""Real-time inversion: the samples do not depend on how frames arrive, and come as early as the look-ahead allows."""

import math

import pytest
import torch

from audiodiff.griffin_lim.kernels import dispatch
from audiodiff.griffin_lim.real_time import RealTimeInversion, iterate_open_frames
from audiodiff.griffin_lim.subband import SubbandSTFT
from audiodiff.mel import LogMel, MelSpec

SPECS = {
    "centred": MelSpec(8000, 256, 256, 64, n_mels=24, f_max=4000.0, center=True),
    "HiFi-GAN's frames": MelSpec(8000, 256, 256, 64, n_mels=24, f_max=4000.0),
    "zeros beyond the ends": MelSpec(8000, 256, 256, 64, n_mels=24, f_max=4000.0, pad_mode="constant"),
    "energies, a window of 200": MelSpec(8000, 256, 200, 50, n_mels=20, f_max=4000.0, power=2.0, scale="htk"),
}
FRAMES = 30


def sound(spec, clips=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(FRAMES * spec.hop_length) / spec.sample_rate
    tone = 0.3 * torch.sin(2 * math.pi * (300 + 200 * time) * time)
    return tone + 0.02 * torch.randn(clips, 1, len(time), generator=generator)


def inverted(spec, mel, chunk=FRAMES, **how):
    inversion, hop = RealTimeInversion(spec, **how), spec.hop_length
    noise = torch.randn(len(mel), 1, FRAMES * hop, generator=torch.Generator().manual_seed(1)).to(mel)
    pieces = zip(mel.split(chunk, -1), noise.split(chunk * hop, -1), strict=True)
    return [*(inversion.push(*piece) for piece in pieces), inversion.finish()]


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "torch"])
@pytest.mark.parametrize("name", SPECS)
def test_real_time_chunks_of_any_size_give_the_same_bits(name, compiled):
    spec = SPECS[name]
    mel = LogMel(spec)(sound(spec))[..., :FRAMES]
    whole = torch.cat(inverted(spec, mel, compiled=compiled, n_iter=4), -1)
    assert whole.shape == (2, 1, FRAMES * spec.hop_length)
    for chunk in (1, 3, 7):
        assert torch.equal(torch.cat(inverted(spec, mel, chunk, compiled=compiled, n_iter=4), -1), whole)


@pytest.mark.parametrize("look_ahead", [0, 1, 3])
def test_real_time_samples_are_final_after_the_look_ahead(look_ahead):
    spec = SPECS["centred"]
    mel = LogMel(spec)(sound(spec))[..., :FRAMES]
    heard = 0
    for frame, piece in enumerate(inverted(spec, mel, 1, look_ahead=look_ahead, n_iter=1)[:-1], 1):
        heard += piece.shape[-1]
        assert heard == max(0, (frame - look_ahead) * spec.hop_length - spec.padding[0])


@pytest.mark.parametrize("name", SPECS)
def test_real_time_kernel_does_the_iterations_of_the_torch_twin(name):
    """From a given state: over many frames, rounding alone makes the two choose other phases."""
    spec, n_open, generator = SPECS[name], 4, torch.Generator().manual_seed(2)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    octave = SubbandSTFT(spec, LogMel(spec)(sound(spec))[..., 9 : 9 + n_open])
    bins, samples = spec.n_fft // 2 + 1, (n_open + -(-spec.n_fft // spec.hop_length) - 1) * spec.hop_length
    frames = 0.1 * draw(2, n_open, spec.n_fft)
    frames[:, -1] = 0
    phases = torch.fft.rfft(draw(2, n_open, spec.n_fft))
    phases /= phases.abs()
    phases[:, -1] = 0
    hint = torch.fft.rfft(0.1 * draw(2, spec.n_fft))
    signals = (0.1 * draw(2, samples), 1.5 + 0 * draw(samples), frames, phases, draw(2, bins).abs(), hint)
    for n_iter in (1, 3):
        for begin in (-50, 0, spec.padding[0]):
            wanted = iterate_open_frames(octave, *signals, begin, n_iter, 0.49)
            assert dispatch.can_iterate_open_frames(octave)
            found = dispatch.iterate_open_frames(octave, *signals, begin, n_iter, 0.49)
            pairs = [(found[0], wanted[0]), (found[1][..., 1:], wanted[1][..., 1:])]  # nothing sounds at 0 Hz
            for a, b in pairs:
                assert float((a - b).abs().quantile(0.999)) < 1e-4 * float(b.abs().max()), (n_iter, begin)


def test_real_time_sound_has_the_mel_the_better_the_more_it_looks_ahead():
    spec = SPECS["centred"]
    mel = LogMel(spec)(sound(spec))[..., :FRAMES]

    def miss(**how):
        found = LogMel(spec)(torch.cat(inverted(spec, mel, **how), -1))[..., 4 : FRAMES - 4]
        return float((found - mel[..., 4:-4]).abs().mean())

    misses = [miss(look_ahead=0, n_iter=1), miss(look_ahead=1, n_iter=4), miss(look_ahead=3, n_iter=16)]
    assert misses == sorted(misses, reverse=True)
    assert misses[-1] < 0.5 * misses[0]


def test_real_time_inversion_of_digital_silence_is_finite_and_silent():
    spec = SPECS["centred"]
    mel = LogMel(spec)(torch.zeros(1, 1, FRAMES * spec.hop_length))[..., :FRAMES]
    found = torch.cat(inverted(spec, mel), -1)
    assert float(found.abs().max()) < 1e-4


def test_real_time_state_does_not_grow():
    spec, held = SPECS["centred"], []
    inversion = RealTimeInversion(spec, n_iter=1)
    mel = LogMel(spec)(sound(spec, 1))[..., :FRAMES]
    for _ in range(4):
        inversion.push(mel, torch.zeros(1, 1, FRAMES * spec.hop_length))
        held.append([z.numel() for z in (inversion.mel, inversion.committed, inversion.frames, inversion.phases)])
    assert held[1:] == held[:-1]


@pytest.mark.parametrize("wrong", [{"look_ahead": -1}, {"n_iter": 0}, {"momentum": 1.0}])
def test_real_time_inversion_refuses_senseless_numbers(wrong):
    with pytest.raises(ValueError, match="need look_ahead >= 0, n_iter >= 1"):
        RealTimeInversion(SPECS["centred"], **wrong)


def test_real_time_inversion_refuses_a_change_of_the_batch():
    spec = SPECS["centred"]
    inversion = RealTimeInversion(spec)
    inversion.push(torch.zeros(1, 24, 1), torch.zeros(1, 1, 64))
    with pytest.raises(ValueError, match="a batch of 2 clips follows one of 1"):
        inversion.push(torch.zeros(2, 24, 1), torch.zeros(2, 1, 64))
