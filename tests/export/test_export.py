"""`audiodiff export` and what onnxruntime makes of it, without torch: the sound of the library, to 1e-4."""

import functools
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import tiny_vocoder
from support.export import CONVENTIONS, NETWORKS, hybrid
from support.processes import without_torch
from support.tree import ROOT, load_script

from audiodiff import audio, export
from audiodiff.cli import main
from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.predictions import XPrediction
from audiodiff.diffusion.schedules import RectifiedFlow
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel import io as mel_io
from audiodiff.models.named_starts import named_start
from audiodiff.models.starts import GriffinLim, MelNoise
from audiodiff.models.vocoder import Vocoder
from audiodiff.models.whitening import MelWhitening
from audiodiff.utils.config import choose

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SCRIPT = ROOT / "demos/examples/onnx_vocode.py"
ROUNDS = 9


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    """A tiny model whose start takes rounds, saved."""
    vocoder = tiny_vocoder()
    spec = vocoder.config["mel"]
    vocoder.start = GriffinLim(MelSpec(16000), time=0.5, n_iter=ROUNDS)
    vocoder.config["start"] = {"_target_": "audiodiff.models.GriffinLim", "mel": spec, "time": 0.5, "n_iter": ROUNDS}
    vocoder.config |= {"projection_iters": 0, "final_iters": 1}
    path = tmp_path_factory.mktemp("exported") / "tiny.safetensors"
    vocoder.save(path)
    return path


@pytest.fixture(scope="module")
def sampler(model_path):
    """The model as `audiodiff export` writes it."""
    path = model_path.with_name("tiny.onnx")
    assert main(["export", str(model_path), str(path), "--steps", "2"]) == 0
    return path


@pytest.fixture(scope="module")
def step(model_path):
    path = model_path.with_name("step.onnx")
    assert main(["export", str(model_path), str(path), "--part", "step", "--start", "noise", "--steps", "3"]) == 0
    return path


def mel_of(waveform, frames):
    sound = waveform.repeat(1, -(-frames * 256 // waveform.shape[-1]))
    return LogMel(MelSpec(16000))(sound[None])[..., :frames].contiguous()


def drawn(frames, seeds=(0,)):
    return NoiseField(seeds).draw(torch.empty(len(seeds), 1, frames * 256))


def told(path):
    return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map


# --- what comes out ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [2, 37, 300])
def test_sampler_without_torch_makes_the_sound_of_the_library(frames, sampler, model_path, waveform):
    mel = mel_of(waveform, frames)
    session = onnxruntime.InferenceSession(sampler)
    made = session.run(None, {"mel": mel.numpy(), "noise": drawn(frames).numpy()})[0]
    wanted = Vocoder.load(model_path).generate(mel, steps=2)
    assert wanted.abs().max() > 0.01
    np.testing.assert_allclose(made, wanted.numpy(), atol=1e-4, rtol=0)


def test_sampler_takes_several_clips_at_once(sampler, model_path, waveform):
    mel = torch.cat([mel_of(waveform, 20), mel_of(waveform, 45)[..., 25:], mel_of(waveform, 20) - 1])
    made = onnxruntime.InferenceSession(sampler).run(None, {"mel": mel.numpy(), "noise": drawn(20, (0, 1, 2)).numpy()})
    wanted = Vocoder.load(model_path).generate(mel, steps=2)  # clip i takes the seed 0 + i
    np.testing.assert_allclose(made[0], wanted.numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames", [2, 37, 300])
def test_step_walked_as_the_file_says_makes_the_sound_of_the_library(frames, step, model_path, waveform):
    """NumPy goes through the list of calls that lies in the file: no solver, no schedule."""
    session, facts, mel = onnxruntime.InferenceSession(step), told(step), mel_of(waveform, frames)
    plan, (_, sigma) = json.loads(facts["plan"]), json.loads(facts["start_scales"])
    signals = [sigma * drawn(frames).numpy()]
    for call in plan["calls"]:
        x_t = sum(weight * signals[int(key)] for key, weight in call["weights"].items()).astype(np.float32)
        scales = {name: np.array([call[name]], np.float32) for name in ("alpha", "sigma")}
        x, eps, _ = session.run(None, {"x_t": x_t, "mel": mel.numpy(), **scales})
        signals += [x, eps]
    end = torch.from_numpy(sum(weight * signals[int(key)] for key, weight in plan["end"].items())).float()
    vocoder = Vocoder.load(model_path)
    vocoder.final_iters = 0
    wanted = vocoder.generate(mel, steps=3, start=named_start("noise", vocoder))
    found = vocoder.whitening.decode(end, vocoder.whitening.gains(mel))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_rounds_are_a_loop_and_no_copies(sampler):
    graph = onnx.load(sampler).graph
    loops = [node for node in graph.node if node.op_type == "Loop"]
    assert len(loops) == 2  # the start's and the finish
    inner = [node.op_type for node in loops[0].attribute[0].g.node]
    assert inner.count("Exp") == 1  # one round: one step towards the mel
    weights = [node for node in graph.node if node.op_type == "MatMul"]
    assert len(weights) < 60


# --- what the file says ------------------------------------------------------------------------------------------


def test_file_says_all_that_one_must_know(sampler, model_path):
    facts, vocoder = told(sampler), Vocoder.load(model_path)
    assert MelSpec.from_dict(json.loads(facts["mel"])) == vocoder.mel
    assert (facts["part"], facts["licence"], facts["solver"]) == ("sampler", "CC0-1.0", "ddim")
    assert (json.loads(facts["sample_rate"]), json.loads(facts["hop_length"])) == (16000, 256)
    assert json.loads(facts["times"]) == pytest.approx(vocoder.grid(2, 0.5).tolist())
    assert json.loads(facts["start_time"]) == 0.5
    # Windows look as far as all stages together; a stream that keeps state looks less far.
    assert json.loads(facts["reach_frames"])[1] >= vocoder.look_ahead(steps=2)
    assert facts["model_hash"] == vocoder.fingerprint()


def test_file_tells_nothing_of_the_machine_that_wrote_it(sampler):
    encoded = sampler.read_bytes()
    assert b"licence" in encoded
    assert not [
        place for place in (ROOT, Path(torch.__file__).parents[1], Path.home()) if str(place).encode() in encoded
    ]


# --- without torch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["mono", "frames first", "stereo"])
def test_script_makes_what_audiodiff_vocode_makes(layout, sampler, model_path, waveform, tmp_path):
    mel = mel_of(waveform, 120)[0].numpy()
    mel = {"mono": mel, "frames first": mel.T, "stereo": np.stack([mel, mel - 1])}[layout]
    np.save(tmp_path / "mel.npy", mel)
    done = without_torch(SCRIPT, sampler, tmp_path / "mel.npy", tmp_path / "onnx.wav", "--seed", 7)
    assert done.returncode == 0, done.stderr
    assert "licence CC0-1.0" in done.stderr
    how = ["--model", str(model_path), "--seed", "7", "--steps", "2"]
    assert main(["vocode", str(tmp_path / "mel.npy"), str(tmp_path / "torch.wav"), *how]) == 0
    (ours, rate), (theirs, their_rate) = (soundfile.read(tmp_path / name) for name in ("onnx.wav", "torch.wav"))
    assert (rate, ours.shape) == (their_rate, theirs.shape)
    assert abs(theirs).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def test_script_in_windows_makes_what_it_makes_at_once(sampler, waveform, tmp_path):
    np.save(tmp_path / "mel.npy", mel_of(waveform, 700)[0].numpy())
    assert 2 * sum(json.loads(told(sampler)["reach_frames"])) < 700  # windows do not reach over everything
    for name, seconds in (("whole.wav", 60), ("windows.wav", 1.1)):
        done = without_torch(SCRIPT, sampler, tmp_path / "mel.npy", tmp_path / name, "--seconds", seconds)
        assert done.returncode == 0, done.stderr
    whole, windows = (soundfile.read(tmp_path / name)[0] for name in ("whole.wav", "windows.wav"))
    np.testing.assert_allclose(windows, whole, atol=1e-4, rtol=0)


def test_script_refuses_in_one_line(sampler, step, tmp_path):
    np.save(tmp_path / "narrow.npy", np.zeros((40, 30), np.float32))
    np.save(tmp_path / "mel.npy", np.full((80, 30), np.nan, np.float32))
    (tmp_path / "there.wav").write_bytes(b"mine")
    for model, mel, out in (
        (sampler, "narrow.npy", "out.wav"),
        (sampler, "mel.npy", "out.wav"),
        (sampler, "none.npy", "out.wav"),
        (step, "narrow.npy", "out.wav"),
        (sampler, "narrow.npy", "there.wav"),
    ):
        done = without_torch(SCRIPT, model, tmp_path / mel, tmp_path / out)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not (tmp_path / "out.wav").exists()
    assert (tmp_path / "there.wav").read_bytes() == b"mine"


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["MODEL", "out.onnx", "--solver", "ancestral"], "draws noise"),
        (["MODEL", "out.onnx", "--part", "whole"], "choose one of sampler, step"),
        (["MODEL", "out.wav"], "ends in .onnx"),
        (["MODEL", "there.onnx"], "exists; give -f"),
        (["MODEL", "out.onnx", "--steps", "0"], "--steps: 0: "),
        (["MODEL", "out.onnx", "--guidance", "2"], "this is a vocoder: leave it out"),
        (["drums", "out.onnx", "--start", "griffin-lim"], "a generator starts from noise"),
        (["drums", "out.onnx", "--solver", "dpmpp-2m-sde"], "draws noise"),
        (["nowhere", "out.onnx"], "no such model"),
        (["MODEL", "missing/out.onnx"], "does not exist"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(arguments, line, model_path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_bytes(b"mine")
    monkeypatch.setattr(export.writing, "_converted", lambda *_: pytest.fail("refused too late"))
    assert main(["export", *[str(model_path) if word == "MODEL" else word for word in arguments]]) == 2
    shown = capsys.readouterr().err
    assert line in shown
    assert shown.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert Path("there.onnx").read_bytes() == b"mine"


def test_missing_libraries_are_named_with_the_command_that_installs_them(model_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["export", str(model_path), str(tmp_path / "out.onnx")]) == 2
    assert "export needs onnx and onnxscript and onnxruntime: pip install 'audiodiff-torch[export]'" in (
        capsys.readouterr().err
    )


def test_file_that_onnxruntime_reads_otherwise_is_not_written(model_path, tmp_path, monkeypatch):
    monkeypatch.setattr(export.writing, "_converted", lambda *_: b"")
    monkeypatch.setattr(export.writing.comparison, "difference", lambda *_: float("nan"))
    with pytest.raises(ValueError, match="differs from torch by nan"):
        export.export(Vocoder.load(model_path), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_model_that_torch_cannot_trace_is_refused_in_one_line(model_path, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise RuntimeError("an operator\nof tomorrow")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    assert main(["export", str(model_path), str(tmp_path / "out.onnx")]) == 2
    assert "torch cannot make a graph of this model (an operator)\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class Rotated(torch.nn.Module):
    """What torch.export leaves as it is, and torch.onnx does not know: a constant, a cast and a bitwise and."""

    def forward(self, x):
        rising = (x[..., 1:] > x[..., :-1]) & (x[..., 1:] > 0)
        return torch.tensor(2.0) * x[..., 1:] * rising.to(torch.float32) + (1 - x[..., :-1])


@pytest.mark.parametrize("known", [True, False])
def test_program_is_traced_once_where_translations_suffice(known, monkeypatch):
    programs, whole = [], torch.onnx.export
    monkeypatch.setattr(
        torch.onnx, "export", lambda program, *_, **how: programs.append(program) or whole(program, *_, **how)
    )
    if not known:
        monkeypatch.setattr(export.writing, "translations", dict)
    x = torch.linspace(-1, 1, 7).sin()[None] * torch.tensor([[1.0], [-1.0]])
    how = {"input_names": ["x"], "output_names": ["y"], "opset_version": 18, "optimize": False, "verbose": False}
    program = export.writing._traced(Rotated().eval(), (x,), ({0: torch.export.Dim("batch")},), **how)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    np.testing.assert_allclose(session.run(None, {"x": x[:1].numpy()})[0], Rotated()(x[:1]).numpy(), atol=1e-6)
    assert [isinstance(program, torch.export.ExportedProgram) for program in programs] == [True] + [False] * (not known)


def test_graph_of_fixed_size_is_refused():
    class Fixed(torch.nn.Module):
        def forward(self, mel):
            return mel.reshape(len(mel), -1)  # a length is a plain number

    example = {"mel": torch.zeros(2, 80, 61)}
    with pytest.raises(ValueError, match="axis 0 of mel would be fixed"):
        target = types.SimpleNamespace(
            module=Fixed(), inputs=example, outputs=["out"], metadata={"min_frames": "2"}, is_open=True
        )
        export.writing._converted(target, 256, export.writing.OPSET, {}, lambda stage: None)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_becomes_a_graph(name, tmp_path, waveform):
    torch.manual_seed(0)
    vocoder = tiny_vocoder()
    vocoder.denoiser.network = NETWORKS[name]().eval()
    for parameter in vocoder.denoiser.network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    rule = choose("solver", "heun" if name == "causal" else "unipc")
    sampling = vocoder.sampling(2, rule, None, MelNoise(MelSpec(16000)))
    assert export.export(vocoder, tmp_path / "out.onnx", "sampler", sampling) < 1e-4
    session, mel = onnxruntime.InferenceSession(tmp_path / "out.onnx"), mel_of(waveform, 50)
    made = session.run(None, {"mel": mel.numpy(), "noise": drawn(50).numpy()})[0]
    wanted = vocoder.generate(mel, times=sampling.times, solver=sampling.solver, start=sampling.start)
    np.testing.assert_allclose(made, wanted.numpy(), atol=1e-4 * float(wanted.abs().max()), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hop does not divide", "centred", "powers"])
def test_vocoders_of_other_conventions_become_graphs(name, tmp_path, waveform):
    spec = CONVENTIONS[name]
    network = {"hop_length": spec.hop_length // 2, "mel_hop_length": spec.hop_length}
    vocoder = Vocoder(
        spec,
        Denoiser(hybrid(**network), XPrediction(), RectifiedFlow()),
        MelWhitening(spec, block=spec.hop_length // 2),
        GriffinLim(spec, 0.5, 3),
        steps=2,
        projection_iters=2,
        final_iters=1,
    ).eval()
    vocoder.config = {"_target_": "audiodiff.models.Vocoder"}
    assert export.export(vocoder, tmp_path / "out.onnx") < 1e-4


@pytest.mark.slow
def test_shipped_vocoder_without_torch_sounds_as_with_it(tmp_path):
    # Speech, since on bare pulses a hundred iterations amplify rounding more.
    speech, _ = audio.read(ROOT / "demos/audio/speech.flac", 16000)
    path = tmp_path / "speech.onnx"
    assert main(["export", "speech-16k", str(path)]) == 0
    session, vocoder = onnxruntime.InferenceSession(path), Vocoder.load("speech-16k")
    for frames, apart in (
        (5, 1e-4),
        (30, 3e-4),
        (60, 5e-4),
        (400, 1e-3),
    ):  # float32 is as far from float64 itself: demos/experiments/rounding/run.py; seen were .5, 1.3, 2.2 and 3.8e-4
        mel = mel_of(speech, frames)
        made = session.run(None, {"mel": mel.numpy(), "noise": drawn(frames).numpy()})[0]
        np.testing.assert_allclose(made, vocoder.generate(mel).numpy(), atol=apart, rtol=0)


def test_example_of_the_script_reads_a_mel_as_audiodiff_does(sampler, tmp_path, waveform):
    import runpy

    script = runpy.run_path(str(SCRIPT))
    np.save(tmp_path / "mel.npy", mel_of(waveform, 30)[0].T.numpy())
    ours = script["read_mel"](tmp_path / "mel.npy", {"mel": {"n_mels": 80}, "min_frames": 2})
    np.testing.assert_array_equal(ours, mel_io.read_mel(tmp_path / "mel.npy", 80).numpy())
    field = NoiseField([2**63 + 5], begin=5000).draw(torch.empty(1, 1, 9000))[0, 0]
    np.testing.assert_array_equal(script["noise"](2**63 + 5, 5000, 9000), field.numpy())


def test_comparison_of_an_exported_vocoder_with_torch_prints_a_row_for_each_length(
    sampler, model_path, monkeypatch, capsys
):
    onnx_times = load_script("demos/benchmarks/onnx_times.py")
    monkeypatch.setattr(Vocoder, "generate", functools.partialmethod(Vocoder.generate, steps=2))  # as exported
    monkeypatch.setattr(
        sys,
        "argv",
        ["onnx_times", str(sampler), "--model", str(model_path), "--seconds", "0.3", "0.5", "--rounds", "2"],
    )
    onnx_times.main()
    head, _, *rows = [
        line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")
    ]
    assert head == ["seconds", "torch, float32", "tiny", "apart: torch, float32", "apart: tiny"]
    assert [row[0] for row in rows] == ["0.3", "0.5"]
    for row in rows:
        assert all(float(cell.split(" ")[0]) > 0 for cell in row[1:3])
        assert float(row[3]) == 0 < float(row[4]) < 1e-4
