"""A generator without torch: from noise and a class to the sound of `Generator.generate`, to 1e-4."""

import json

import numpy as np
import pytest
import soundfile
import torch
from conftest import tiny_vocoder
from support.export import tiny_generator
from support.processes import without_torch
from support.tree import ROOT

from audiodiff import export
from audiodiff.cli import main
from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.predictions import VPrediction
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.diffusion.solvers import DPMSolver2M
from audiodiff.export.generators import ClassSampler, ClassStep
from audiodiff.export.plans import plan_of
from audiodiff.export.targets import target_of
from audiodiff.models.generator import Generator
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.starts import Variation
from audiodiff.models.whitening import PowerMDCT
from audiodiff.nn.coefficients import CoefficientNetwork
from audiodiff.utils.config import choose

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
EXAMPLES = ROOT / "demos/examples"


def drawn(length, seeds=(0,)):
    return NoiseField(seeds).draw(torch.empty(len(seeds), 1, length))


def own(generator, solver=None):
    return SamplingConfig(generator.start, solver or generator.solver, generator.grid(solver=solver))


def told(path):
    return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("generator") / "tiny.safetensors"
    tiny_generator().save(path)
    return path


@pytest.fixture(scope="module")
def sampler(model_path):
    """The model as `audiodiff export` writes it."""
    path = model_path.with_name("tiny.onnx")
    assert main(["export", str(model_path), str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def guided(model_path):
    path = model_path.with_name("guided.onnx")
    assert main(["export", str(model_path), str(path), "--guidance", "2.5", "--steps", "2"]) == 0
    return path


# --- before there is a graph -------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("solver", ["ddim", "unipc", "heun", "midpoint"])
def test_sampler_of_classes_makes_what_generate_makes(solver, guidance):
    generator, rule = tiny_generator(), choose("solver", solver)
    target = target_of(generator, "sampler", own(generator, rule), guidance)
    given = [drawn(1280, (4, 5))] + ([torch.tensor([1, 1])] if guidance else [])
    with torch.no_grad():
        found = target.module(*given)
    wanted = generator.generate(1280, label="high", guidance=guidance, batch=2, seed=4, solver=rule)
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert ("label" in target.inputs) == (guidance != 0)


def coefficients():
    """Build a generator that diffuses compressed coefficients, its last layer drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CoefficientNetwork(64, 16, n_stages=1, n_heads=2, attention_window=8, n_labels=2, n_positions=8)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    denoiser = Denoiser(network, VPrediction(), CosineVP(-8, 8))
    return Generator(denoiser, 16000, 64, PowerMDCT(64, 0.4, 0.2), 3, DPMSolver2M(), None, ["low", "high"])


def test_sampler_of_coefficients_makes_what_generate_makes():
    generator = coefficients()
    with torch.no_grad():
        found = target_of(generator, "sampler").module(drawn(1280), torch.tensor([1]))
    wanted = generator.generate(1280, label="high")
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_coefficients_without_torch_make_the_sound_of_the_library(tmp_path):
    generator = coefficients()
    inputs = drawn(1280), torch.tensor([1])
    path = tmp_path / "tiny.onnx"
    assert export.export(generator, path) < 1e-4
    session = onnxruntime.InferenceSession(path)
    names = ("noise", "label")
    made = session.run(None, dict(zip(names, (z.numpy() for z in inputs), strict=True)))[0]
    np.testing.assert_allclose(made, generator.generate(1280, label="high").numpy(), atol=1e-4, rtol=0)


def test_sampler_of_a_model_without_classes_makes_what_generate_makes():
    generator = tiny_generator(labels=())
    target = target_of(generator, "sampler")
    assert list(target.inputs) == ["noise"]
    with torch.no_grad():
        found = target.module(drawn(1280))
    torch.testing.assert_close(found, generator.generate(1280), atol=1e-5, rtol=0)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_step_of_classes_estimates_what_the_bound_denoiser_does(guidance):
    generator, t = tiny_generator(), torch.tensor(0.4, dtype=torch.float64)
    x_t, label = drawn(640, (0, 1)), torch.tensor([0, 0])
    wanted = generator.denoise(2, "low", guidance)(x_t, t)
    alpha, sigma = (scale.float().expand(2) for scale in generator.denoiser.schedule(t))
    with torch.no_grad():
        x, eps, sound = ClassStep(generator, guidance)(x_t, alpha, sigma, label)
    for found, asked in ((x, wanted.x), (eps, wanted.eps), (sound, 0.1 * wanted.x)):
        torch.testing.assert_close(found, asked.detach(), atol=1e-5, rtol=1e-4)


def test_graph_of_a_generator_does_not_grow_with_its_steps():
    """The calls are a loop: what is traced has the network once, whatever the steps."""
    generator, sizes = tiny_generator(labels=()), []
    for steps in (2, 9):
        plan = plan_of(generator.solver, generator.denoiser.schedule, generator.grid(steps))
        traced = torch.export.export(ClassSampler(generator, plan, 1.0, 1.0), (drawn(640),))
        sizes.append(
            sum(len(module.graph.nodes) for module in traced.graph_module.modules() if hasattr(module, "graph"))
        )
    assert sizes[0] == sizes[1]


# --- the graph ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [100, 1234, 3000, 20000])
def test_generator_without_torch_makes_the_sound_of_the_library(length, sampler, model_path):
    whole = -(-length // 64) * 64
    session = onnxruntime.InferenceSession(sampler)
    made = session.run(None, {"noise": drawn(whole, (0, 1)).numpy(), "label": np.array([1, 1])})[0][..., :length]
    wanted = Generator.load(model_path).generate(length, label="high", batch=2)
    assert wanted.abs().max() > 0.01
    np.testing.assert_allclose(made, wanted.numpy(), atol=1e-4, rtol=0)


def test_clips_of_a_batch_have_classes_of_their_own_or_none(sampler, model_path):
    session, generator = onnxruntime.InferenceSession(sampler), Generator.load(model_path)
    made = session.run(None, {"noise": drawn(1280, (0, 1, 2)).numpy(), "label": np.array([0, 1, -1])})[0]
    for seed, label in enumerate(("low", "high", None)):
        wanted = generator.generate(1280, label=label, seed=seed)
        np.testing.assert_allclose(made[seed], wanted[0].numpy(), atol=1e-4, rtol=0)


@pytest.mark.slow  # a second export
def test_guidance_of_a_file_is_the_guidance_of_generate(guided, model_path):
    session = onnxruntime.InferenceSession(guided)
    made = session.run(None, {"noise": drawn(1280).numpy(), "label": np.array([0])})[0]
    generator = Generator.load(model_path)
    wanted = generator.generate(1280, label="low", guidance=2.5, steps=2)
    assert (wanted - generator.generate(1280, label="low", steps=2)).abs().max() > 1e-3
    np.testing.assert_allclose(made, wanted.numpy(), atol=1e-4, rtol=0)
    assert json.loads(told(guided)["guidance"]) == 2.5


def test_file_says_what_a_generator_wants_and_does(sampler):
    facts = told(sampler)
    assert (facts["kind"], facts["part"], facts["licence"]) == ("generator", "sampler", "CC0-1.0")
    assert [json.loads(facts[key]) for key in ("labels", "n_samples", "sample_rate")] == [["low", "high"], 3000, 16000]
    assert json.loads(facts["guidance"]) == 1.0
    assert not facts.keys() & {"mel", "reach_frames"}


# --- without torch -----------------------------------------------------------------------------------------------


def test_script_makes_what_audiodiff_generate_makes(sampler, model_path, tmp_path):
    how = ["--label", "high", "--seed", "7", "--seconds", "0.15"]
    done = without_torch(EXAMPLES / "onnx_generate.py", sampler, tmp_path / "onnx.wav", *how)
    assert done.returncode == 0, done.stderr
    assert "licence CC0-1.0" in done.stderr
    assert main(["generate", str(tmp_path / "torch"), "--model", str(model_path), *how]) == 0
    (ours, rate), (theirs, their_rate) = (
        soundfile.read(tmp_path / name) for name in ("onnx.wav", "torch/high-0007.wav")
    )
    assert (rate, ours.shape) == (their_rate, theirs.shape) == (16000, (2400,))
    assert abs(theirs).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def test_scripts_refuse_in_one_line(sampler, tmp_path):
    (tmp_path / "there.wav").write_bytes(b"mine")
    np.save(tmp_path / "mel.npy", np.zeros((80, 30), np.float32))
    for script, *arguments in (
        ("onnx_generate.py", sampler, tmp_path / "out.wav", "--label", "middle"),
        ("onnx_generate.py", sampler, tmp_path / "out.wav", "--seconds", "0.001"),
        ("onnx_generate.py", sampler, tmp_path / "there.wav"),
        ("onnx_generate.py", tmp_path / "none.onnx", tmp_path / "out.wav"),
        ("onnx_vocode.py", sampler, tmp_path / "mel.npy", tmp_path / "out.wav"),
    ):
        done = without_torch(EXAMPLES / script, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not (tmp_path / "out.wav").exists()
    assert (tmp_path / "there.wav").read_bytes() == b"mine"


# --- what is refused ---------------------------------------------------------------------------------------------


def test_what_of_a_generator_no_graph_can_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export.writing, "_converted", lambda *_: pytest.fail("refused too late"))
    generator = tiny_generator()
    start = Variation(torch.zeros(1, 1, 1280), 0.5)
    sampling = SamplingConfig(start, generator.solver, generator.grid(2, 0.5))
    with pytest.raises(ValueError, match="Variation cannot be exported: choose noise"):
        export.export(generator, tmp_path / "out.onnx", "sampler", sampling)
    with pytest.raises(ValueError, match="knows no labels"):
        export.export(tiny_generator(labels=()), tmp_path / "out.onnx", guidance=2.0)
    with pytest.raises(ValueError, match="this is a vocoder"):
        export.export(tiny_vocoder(), tmp_path / "out.onnx", guidance=2.0)
    with pytest.raises(ValueError, match="draws noise"):
        export.export(generator, tmp_path / "out.onnx", sampling=own(generator, choose("solver", "ancestral")))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [None, 2.0])
def test_shipped_generator_without_torch_sounds_as_with_it(guidance, tmp_path):
    path = tmp_path / "drums.onnx"
    assert export.export(Generator.load("drums"), path, guidance=guidance) < 1e-4
    session, drums = onnxruntime.InferenceSession(path), Generator.load("drums")
    hop = drums.hop_length
    for length, label in ((2000, "hat-closed"), (8000, "kick"), (48128, "snare")):  # two blocks are the fewest
        given = {"noise": drawn(-(-length // hop) * hop).numpy(), "label": np.array([drums.labels.index(label)])}
        made = session.run(None, given)[0][..., :length]
        np.testing.assert_allclose(
            made, drums.generate(length, label=label, guidance=guidance).numpy(), atol=1e-4, rtol=0
        )
