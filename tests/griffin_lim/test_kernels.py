"""The compiled iterations are those of `projection.MelProjection`, only sooner."""

import builtins
import math

import numpy as np
import pytest
import torch
from numba.core.codegen import CodeLibrary

from audiodiff.griffin_lim.kernels import dispatch, objects
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
            patch.setattr(dispatch, "can_project", lambda octave, signal: False)
            return project(waveform)

    return call


@pytest.mark.parametrize("momentum", [0.0, 0.99])
@pytest.mark.parametrize("name", SPECS)
def test_compiled_iterations_are_those_of_the_reference(name, momentum, reference):
    spec = SPECS[name]
    mel = LogMel(spec)(sound(spec))[..., :90]
    waveform = sound(spec, 1)
    for octave in range(min(lowest_octave(spec), 3) + 1):
        part = waveform[..., : waveform.shape[-1] // 2**octave]
        for n_iter in (1, 2, 7):
            project = MelProjection(spec, mel, n_iter, momentum, octave)
            assert dispatch.can_project(project.octave, part[:, 0])
            wanted = reference(project, part)
            # Single precision through seven rounds; phases of empty bins are the worst of it.
            assert (project(part) - wanted).abs().max() < 1e-4 * wanted.abs().max(), (octave, n_iter)


def test_compiled_iterations_leave_what_they_begin_with_as_it_was():
    spec = SPECS["speech"]
    waveform = sound(spec)
    kept = waveform.clone()
    MelProjection(spec, LogMel(spec)(waveform), 3)(waveform)
    assert torch.equal(waveform, kept)


def test_compiled_iterations_of_silence_are_finite_and_quiet():
    spec = SPECS["speech"]
    mel = torch.full((1, 80, 40), math.log(spec.floor))
    made = MelProjection(spec, mel, 8)(torch.zeros(1, 1, 40 * spec.hop_length))
    assert torch.isfinite(made).all() and made.abs().max() < 1e-3


def test_compiled_frames_do_not_depend_on_which_others_are_worked_on_beside_them():
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


@pytest.mark.parametrize("size", [2, 4, 6, 10, 64, 90, 512, 600])
def test_compiled_transform_is_that_of_numpy_and_its_inverse_leads_back(size):
    dispatch.prepare()
    from audiodiff.griffin_lim.kernels import fft as fourier

    rng = np.random.default_rng(size)
    values = (rng.standard_normal((size, 7)) + 1j * rng.standard_normal((size, 7))).astype(np.complex64)
    roots, _ = dispatch.roots_of(2 * size)

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
    assert dispatch.roots_of(1024) is not None and dispatch.roots_of(1200) is not None
    assert dispatch.roots_of(2 * 7 * 16) is None and dispatch.roots_of(15) is None


def test_compiled_logarithms_are_exact_to_single_precision():
    values = np.geomspace(1e-30, 1e30, 4001).astype(np.float32)
    wanted = np.log(values.astype(np.float64))
    dispatch.prepare()
    from audiodiff.griffin_lim.kernels import frames as passes

    passes.take_logarithm(values)
    assert np.abs(values - wanted).max() < 1e-5  # of values up to 69: half a unit in the last place is 4e-6


def test_compiled_iterations_are_left_to_the_reference_where_they_cannot_serve():
    spec = SPECS["speech"]
    octave, signal = SubbandSTFT(spec, LogMel(spec)(sound(spec))), sound(spec)[:, 0]
    assert dispatch.can_project(octave, signal)
    assert not dispatch.can_project(octave, signal.double())
    assert not dispatch.can_project(octave, signal.requires_grad_())
    with torch.no_grad():
        assert dispatch.can_project(octave, signal)
    other = SubbandSTFT(MelSpec(16000, power=1.5), LogMel(MelSpec(16000, power=1.5))(sound(spec)))
    assert not dispatch.can_project(other, sound(spec)[:, 0])
    assert dispatch.bank_from(np.eye(4, 3, dtype=np.float32), np.ones((4, 3), np.float32)) is None  # no triangles


def test_gradients_through_a_projection_are_there():
    spec = SPECS["speech"]
    waveform = sound(spec, clips=1, frames=12).requires_grad_()
    MelProjection(spec, LogMel(spec)(sound(spec, 1, 1, 12)), 2, momentum=0)(waveform).square().sum().backward()
    assert waveform.grad.abs().max() > 0


def test_compiled_iterations_are_done_without_where_numba_cannot_be_imported(monkeypatch):
    imported = builtins.__import__

    def refuse(name, *given, **more):
        if name.startswith("numba") or "iterations" in (given[2] or () if len(given) > 2 else ()):
            raise ImportError("no numba")
        return imported(name, *given, **more)

    spec = SPECS["speech"]
    project = MelProjection(spec, LogMel(spec)(sound(spec)), 2)
    wanted = project(sound(spec, 1))
    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.setattr(objects, "folders", lambda: [])
    dispatch._kernels.cache_clear()
    try:
        assert not dispatch.can_project(project.octave, sound(spec, 1)[:, 0])
        found = project(sound(spec, 1))
    finally:
        dispatch._kernels.cache_clear()
    assert torch.allclose(found, wanted, atol=1e-4)


def test_passes_are_compiled_when_imported_for_one_kind_of_arguments():
    dispatch.prepare()
    from audiodiff.griffin_lim.kernels import fft, iterations, real_time

    for function in (iterations.iterate, real_time.iterate_open, fft.transform):
        assert len(function.signatures) == 1
        with pytest.raises(TypeError):
            function()


# --- machine code on disk ------------------------------------------------------------------------------------------


def test_object_gives_the_bits_of_numbas_own_call(monkeypatch):
    from audiodiff.griffin_lim.kernels import iterations, real_time

    spec = SPECS["speech"]
    project = MelProjection(spec, LogMel(spec)(sound(spec)), 3)
    loaded = project(sound(spec, 1))
    assert not hasattr(dispatch._kernels()[0], "signatures")  # it is no dispatcher of Numba's
    monkeypatch.setattr(dispatch, "_kernels", lambda: (iterations.iterate, real_time.iterate_open))
    assert torch.equal(project(sound(spec, 1)), loaded)


def test_numba_that_was_not_tried_is_called_its_own_way(monkeypatch):
    monkeypatch.setattr(objects.importlib.metadata, "version", lambda name: "0.99.1")
    assert objects.kernel("iterations", "iterate").signatures  # a dispatcher of Numba's


def test_damaged_object_is_not_used(tmp_path):
    dispatch.prepare()
    name = f"iterations.iterate-{objects._key()}.o"
    kept = next(folder / name for folder in objects.folders() if (folder / name).is_file())
    content, place = kept.read_bytes(), tmp_path / "damaged.o"
    flipped = content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]
    for damaged in (b"", content[:50], content[: len(content) // 2], flipped, b"[]\n" + content, b"{}\n"):
        place.write_bytes(damaged)
        assert objects._first([place]) is None
    assert objects._first([tmp_path / "missing.o", place, kept]) is not None


@pytest.mark.parametrize("wrong", [np.zeros(4), np.zeros((2, 2), np.float32), np.zeros(8, np.float32)[::2], [0.0]])
def test_array_of_another_kind_is_refused(wrong):
    assert objects._values(["float32", 1], np.ones(3, np.float32))[2:4] == [3, 4]
    with pytest.raises(TypeError, match="contiguous array of 1 dimensions of float32"):
        objects._values(["float32", 1], wrong)


def test_object_that_numba_does_not_hand_out_is_done_without(monkeypatch):
    from audiodiff.griffin_lim.kernels import iterations

    monkeypatch.setattr(objects, "folders", lambda: [])
    monkeypatch.setattr(
        CodeLibrary, "_get_compiled_object", lambda self: (_ for _ in ()).throw(RuntimeError("none yet"))
    )
    assert objects.kernel("iterations", "iterate") is iterations.iterate
