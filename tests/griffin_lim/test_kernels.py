"""The compiled rounds are the rounds of `consistency.MelProjection`, only sooner."""

import builtins
import math

import numpy as np
import pytest
import torch

from audiodiff.griffin_lim import projection as consistency
from audiodiff.griffin_lim.kernels import dispatch as fused
from audiodiff.griffin_lim.projection import MelProjection
from audiodiff.griffin_lim.subband import SubbandSTFT, lowest_octave
from audiodiff.mel import LogMel, MelSpec

SPECS = {
    "speech": MelSpec(16000),
    "centred": MelSpec(16000, center=True),
    "zeros beyond the ends": MelSpec(16000, pad_mode="constant"),
    "energies": MelSpec(16000, power=2.0, norm="none"),
    "htk, few bins, 24 bands": MelSpec(8000, 256, 256, 64, n_mels=24, f_max=4000.0, scale="htk"),
    "hop that does not divide": MelSpec(24000, 1200, 1200, 250, f_max=12000.0),
    "window shorter than the frame": MelSpec(16000, 1024, 640, 160, log="log10"),
    "normalised window": MelSpec(16000, power=2.0, normalized=True, scale="htk"),
}


def sound(spec: MelSpec, seed: int = 0, clips: int = 2, frames: int = 90) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = 0.05 * torch.randn(clips, 1, frames * spec.hop_length, generator=generator)
    tone = 0.3 * torch.sin(2 * math.pi * 220 / spec.sample_rate * torch.arange(noise.shape[-1]))
    return noise + tone


@pytest.fixture
def reference(monkeypatch):
    """Calls a projection without the compiled passes."""

    def call(project, waveform):
        with monkeypatch.context() as patch:
            patch.setattr(consistency, "is_fusable", lambda octave, signal: False)
            return project(waveform)

    return call


@pytest.mark.parametrize("momentum", [0.0, 0.99])
@pytest.mark.parametrize("name", SPECS)
def test_fused_rounds_are_those_of_the_reference(name, momentum, reference):
    spec = SPECS[name]
    mel = LogMel(spec)(sound(spec))[..., :90]
    waveform = sound(spec, 1)
    for octave in range(min(lowest_octave(spec), 3) + 1):
        part = waveform[..., : waveform.shape[-1] // 2**octave]
        for n_iter in (1, 2, 7):
            project = MelProjection(spec, mel, n_iter, momentum, octave)
            assert fused.is_fusable(project.octave, part[:, 0])
            wanted = reference(project, part)
            # Single precision through seven rounds; phases of empty bins are the worst of it.
            assert (project(part) - wanted).abs().max() < 1e-4 * wanted.abs().max(), (octave, n_iter)


def test_fused_rounds_leave_what_they_begin_with_as_it_was():
    spec = SPECS["speech"]
    waveform = sound(spec)
    kept = waveform.clone()
    MelProjection(spec, LogMel(spec)(waveform), 3)(waveform)
    assert torch.equal(waveform, kept)


def test_fused_rounds_of_silence_are_finite_and_quiet():
    spec = SPECS["speech"]
    mel = torch.full((1, 80, 40), math.log(spec.floor))
    made = MelProjection(spec, mel, 8)(torch.zeros(1, 1, 40 * spec.hop_length))
    assert torch.isfinite(made).all() and made.abs().max() < 1e-3


def test_fused_frames_do_not_depend_on_which_others_are_worked_on_beside_them():
    """A clip among others, and a long clip whose tiles end elsewhere, come out with the same bits but for rounding."""
    spec = SPECS["speech"]
    mel, waveform = LogMel(spec)(sound(spec, clips=3, frames=300)), sound(spec, 1, 3, 300)
    together = MelProjection(spec, mel, 4)(waveform)
    for n in range(3):
        alone = MelProjection(spec, mel[n : n + 1], 4)(waveform[n : n + 1])
        assert torch.equal(alone[0], together[n])
    shorter = MelProjection(spec, mel[:1, :, :217], 4)(waveform[:1, :, : 217 * spec.hop_length])
    same = (217 - 16) * spec.hop_length  # what the end cannot reach in four rounds
    assert torch.equal(shorter[0, :, :same], together[0, :, :same])


@pytest.fixture
def threads():
    """Lets torch have so many threads, on however many cores, and puts back what there were."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["speech", "centred", "zeros beyond the ends", "hop that does not divide"])
def test_threads_that_share_a_clip_make_the_same_bits_as_one_alone(name, threads, monkeypatch):
    spec = SPECS[name]
    rounds = fused._rounds()
    mel, waveform = LogMel(spec)(sound(spec, frames=151))[..., :151], sound(spec, 1, frames=151)
    project = MelProjection(spec, mel, 9, 0.99)
    threads(1)
    alone = project(waveform)
    called = []
    monkeypatch.setattr(rounds, "crew_size", lambda most: min(most, 3))
    together = rounds.work_together
    monkeypatch.setattr(
        rounds, "work_together", lambda f, parts, idle: called.append(len(parts)) or together(f, parts, idle)
    )
    threads(3)
    assert torch.equal(project(waveform), alone)
    assert called == [3, 3] or called == [3, 1, 1]  # two clips, by three threads where this torch has them


def test_lack_of_memory_is_told_before_threads_wait_for_each_other(threads, monkeypatch):
    rounds, spec = fused._rounds(), SPECS["speech"]
    project, waveform = MelProjection(spec, LogMel(spec)(sound(spec, frames=120)), 3), sound(spec, 1, frames=120)
    wanted, rooms, asked = project(waveform), rounds.rooms, []

    def scarce(*given):
        asked.append(given)
        if len(asked) == 2:
            raise MemoryError
        return rooms(*given)

    monkeypatch.setattr(rounds, "crew_size", lambda most: 2)
    monkeypatch.setattr(rounds, "rooms", scarce)
    threads(2)
    with pytest.raises(MemoryError):
        project(waveform)
    assert torch.equal(project(waveform), wanted)


def test_rounds_within_another_team_of_threads_are_done_by_one(monkeypatch):
    """OpenMP gives no threads to who is one of a team already: then nobody may wait for others."""
    rounds, spec = fused._rounds(), SPECS["speech"]
    project = MelProjection(spec, LogMel(spec)(sound(spec, frames=120)), 3)
    wanted = project(sound(spec, 1, frames=120))
    monkeypatch.setattr(rounds, "crew_size", lambda most: 2)
    refused = []

    def refuse(function, parts, idle):
        refused.append(len(parts))
        return False

    monkeypatch.setattr(rounds, "work_together", refuse)
    assert torch.equal(project(sound(spec, 1, frames=120)), wanted)
    assert refused == [2, 1]


@pytest.mark.parametrize("size", [2, 4, 6, 10, 64, 90, 512, 600])
def test_compiled_transform_is_that_of_numpy_and_its_inverse_leads_back(size):
    fused.prepare()
    from audiodiff.griffin_lim.kernels import fft as fourier

    rng = np.random.default_rng(size)
    values = (rng.standard_normal((size, 7)) + 1j * rng.standard_normal((size, 7))).astype(np.complex64)
    roots, _ = fused._tables(2 * size)

    def transformed(z, sign):
        parts = [np.ascontiguousarray(part).ravel() for part in (z.real, z.imag)]
        spare = [np.empty_like(part) for part in parts]
        there = fourier.transform(*parts, *spare, size, 7, roots, sign)
        re, im = spare if there else parts
        return (re + 1j * im).reshape(size, 7)

    wanted = np.fft.fft(values, axis=0)
    found = transformed(values, 1.0)
    assert np.abs(found - wanted).max() < 3e-7 * np.sqrt(size) * np.abs(wanted).max()
    assert np.abs(transformed(found, -1.0) / size - values).max() < 1e-5


def test_transform_with_another_prime_factor_is_left_to_the_reference():
    assert fused._tables(1024) is not None and fused._tables(1200) is not None
    assert fused._tables(2 * 7 * 16) is None and fused._tables(15) is None


def test_fused_logarithms_are_exact_to_single_precision():
    values = np.geomspace(1e-30, 1e30, 4001).astype(np.float32)
    wanted = np.log(values.astype(np.float64))
    fused.prepare()
    from audiodiff.griffin_lim.kernels import frames as passes

    passes.take_logarithm(values)
    assert np.abs(values - wanted).max() < 1e-5  # of values up to 69: half a unit in the last place is 4e-6


def test_fused_rounds_are_left_to_the_reference_where_they_cannot_serve():
    spec = SPECS["speech"]
    octave, signal = SubbandSTFT(spec, LogMel(spec)(sound(spec))), sound(spec)[:, 0]
    assert fused.is_fusable(octave, signal)
    assert not fused.is_fusable(octave, signal.double())
    assert not fused.is_fusable(octave, signal.requires_grad_())
    with torch.no_grad():
        assert fused.is_fusable(octave, signal)
    other = SubbandSTFT(MelSpec(16000, power=1.5), LogMel(MelSpec(16000, power=1.5))(sound(spec)))
    assert not fused.is_fusable(other, sound(spec)[:, 0])
    assert fused._found(np.eye(4, 3, dtype=np.float32), np.ones((4, 3), np.float32)) is None  # no triangles


def test_gradients_through_a_projection_are_there():
    spec = SPECS["speech"]
    waveform = sound(spec, clips=1, frames=12).requires_grad_()
    MelProjection(spec, LogMel(spec)(sound(spec, 1, 1, 12)), 2, momentum=0)(waveform).square().sum().backward()
    assert waveform.grad.abs().max() > 0


def test_fused_rounds_are_done_without_where_numba_cannot_be_imported(monkeypatch):
    imported = builtins.__import__

    def refuse(name, *given, **more):
        if name.startswith("numba") or "rounds" in (given[2] or () if len(given) > 2 else ()):
            raise ImportError("no numba")
        return imported(name, *given, **more)

    spec = SPECS["speech"]
    project = MelProjection(spec, LogMel(spec)(sound(spec)), 2)
    wanted = project(sound(spec, 1))
    monkeypatch.setattr(builtins, "__import__", refuse)
    fused._rounds.cache_clear()
    try:
        assert not fused.is_fusable(project.octave, sound(spec, 1)[:, 0])
        found = project(sound(spec, 1))
    finally:
        fused._rounds.cache_clear()
    assert torch.allclose(found, wanted, atol=1e-4)


def test_passes_are_compiled_when_imported_for_one_kind_of_arguments():
    fused.prepare()
    from audiodiff.griffin_lim.kernels import fft as fourier
    from audiodiff.griffin_lim.kernels import iterations as rounds

    for function in (rounds.do_rounds, fourier.transform):
        assert len(function.signatures) == 1
        with pytest.raises(TypeError):
            function()
