"""The stages that give a generator few calls: distillation, and discriminators without a recording to compare with."""

import pytest
import torch
from support.generators import LABELS, RATE, tiny
from support.training import equal, states, steps

from audiodiff import audio
from audiodiff.diffusion.noise import NoiseField
from audiodiff.models import Generator
from audiodiff.nn.discriminators import Discriminators
from audiodiff.training.adversarial import LitAdversarial
from audiodiff.training.hydra_config import composed
from audiodiff.training.run import train

NETWORK = "model.denoiser.network"
SMALL = [
    *(f"{NETWORK}.width=8", f"{NETWORK}.n_stages=1", f"{NETWORK}.attention_window=8", f"{NETWORK}.n_heads=2"),
    *(f"{NETWORK}.hop_length=64", f"{NETWORK}.n_fft=256", f"{NETWORK}.embedding=8", "model.sample_rate=8000"),
]
DATA = ["data=one-shots", "data.batch_size=2", "data.validation_clips=2", "data.n_workers=0", "previews=0"]
JUDGES = [
    *("objective.discriminators.periods=[2]", "objective.discriminators.resolutions=[256]", "objective.warmup_steps=1"),
    *("objective.discriminators.period_channels=[2,2]", "objective.discriminators.resolution_channels=[2,2]"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A generator of two steps, and the tones that it was trained on."""
    folder = tmp_path_factory.mktemp("few")
    for label, step in (("high", 1.5), ("low", 0.2)):
        (folder / "data" / label).mkdir(parents=True)
        for i in range(2):
            audio.write(folder / "data" / label / f"{i}.wav", 0.5 * torch.sin(torch.arange(900) * step)[None], RATE)
    run(folder, "base", "model=one-shots", "model.n_samples=1024", *SMALL, *steps(2))
    return folder


def run(folder, name, *overrides):
    return train(composed([*DATA, f"data.path={folder}/data", f"run_dir={folder}/{name}", *overrides]))


def few(base, name, stage, *overrides):
    model = ["model=one-shots", "model.n_samples=1024", *SMALL]
    return run(base, name, f"objective={stage}", f"init_from={base}/base", *model, *overrides)


def test_distillation_gives_a_model_of_as_many_calls_and_resumes(base):
    few(base, "whole", "distillation", "objective.calls=2", *steps(4, every=2))
    few(base, "parts", "distillation", "objective.calls=2", *steps(2, every=2))
    few(base, "parts", "distillation", "objective.calls=2", *steps(4, every=2))
    assert equal(states(base / "whole")["raw"], states(base / "parts")["raw"])
    model = Generator.load(base / "whole")
    assert (model.steps, type(model.solver).__name__, model.labels) == (2, "DDIM", LABELS)
    assert not equal(states(base / "whole")["raw"], states(base / "base")["raw"])
    assert bool(model.generate(label="low").isfinite().all())


@pytest.mark.parametrize("conditional", ["true", "false"])
def test_discriminators_train_a_generator(base, conditional):
    name = f"judged-{conditional}"
    metrics = few(base, name, "adversarial_generator", f"objective.conditional={conditional}", *JUDGES, *steps(3))
    assert {"train/generator", "train/discriminators", "train/denoising"} <= metrics.keys()
    assert "train/features" not in metrics
    assert bool(Generator.load(base / name).generate(label="low").isfinite().all())


@pytest.fixture
def judged():
    model = tiny(solver={"_target_": "audiodiff.diffusion.solvers.DDIM"}).requires_grad_(True)
    parts = Discriminators([2], [256], [2, 2], [2, 2])
    kwargs = {"auxiliary": None, "feature_weight": 0.0, "projection_iters": 0, "conditional": True}
    return LitAdversarial(model, None, torch.optim.AdamW, lambda step: 1.0, parts, **kwargs)


@pytest.mark.parametrize("calls", [1, 3])
def test_unrolled_generator_is_generate(judged, calls):
    labels = torch.tensor([1, 1])
    unrolled = judged.unrolled_generator((2, 1, 1024), (labels, None), calls, NoiseField([7, 8]))
    wanted = judged.model.generate(1024, label=LABELS[1], steps=calls, batch=2, seed=7)
    assert torch.allclose(unrolled, wanted, atol=1e-6)
    unrolled.square().sum().backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in judged.model.parameters())


def test_label_scores_change_nothing_before_they_are_trained(judged):
    sound, labels = torch.randn(2, 1, 1024, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    plain, labelled = judged.discriminators(sound), judged.discriminators(sound, labels)
    assert all(torch.equal(a.score, b.score) for a, b in zip(plain, labelled, strict=True))
    for score in judged.discriminators.label_scores:
        torch.nn.init.normal_(score.embedding.weight)
    first, second = (judged.discriminators(sound, torch.full((2,), i)) for i in (0, 1))
    assert all(not torch.allclose(a.score, b.score) for a, b in zip(first, second, strict=True))
