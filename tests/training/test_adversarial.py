"""The few-step stage: what judges see and say, what learns, and that a resumed run repeats an uninterrupted one."""

import json

import pytest
import torch
from conftest import tiny_vocoder as make_tiny_vocoder
from support.training import TINY, equal, states, steps

from audiodiff.diffusion.noise import NoiseField
from audiodiff.griffin_lim.projection import MelProjection
from audiodiff.losses.adversarial import discriminator_loss, feature_distance, generator_loss
from audiodiff.models.base import Model
from audiodiff.models.starts import GriffinLim
from audiodiff.nn.discriminators import DiscriminatorOutput, Discriminators, Period, Resolution
from audiodiff.training.adversarial import LastCallLearns, LitAdversarial
from audiodiff.training.hydra_config import composed
from audiodiff.training.run import train

FEW = [
    *(override for override in TINY if not override.startswith("model.")),
    "objective=adversarial",
    "optimizer=adamw-few",  # quickstart brings its own
    "start=griffin-lim",
    "start.n_iter=1",
    "start.time=0.5",
    "objective.warmup_steps=2",
    "objective.discriminators.period_channels=[2,2]",
    "objective.discriminators.resolution_channels=[2,2]",
    "objective.discriminators.periods=[2,3]",
    "objective.discriminators.resolutions=[256]",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A denoiser of two steps, to begin with."""
    folder = tmp_path_factory.mktemp("base")
    train(composed([*TINY, f"run_dir={folder}", *steps(2)]))
    return folder


def few(base, folder, *overrides):
    return train(composed([*FEW, f"init_from={base}", f"run_dir={folder}", *overrides]))


def judges(folder):
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    return {
        f"{key}.{name}": tensor
        for key in ("state_dict", "current_model_state")
        for name, tensor in checkpoint[key].items()
        if name.startswith("discriminators.")
    }


def test_resumed_stage_repeats_an_uninterrupted_one_bit_for_bit(base, tmp_path):
    few(base, tmp_path / "whole", *steps(8, every=4))
    few(base, tmp_path / "parts", *steps(4, every=4))
    half = states(tmp_path / "parts"), judges(tmp_path / "parts")
    few(base, tmp_path / "parts", *steps(8, every=4))
    for weights in ("raw", "ema"):
        assert equal(states(tmp_path / "whole")[weights], states(tmp_path / "parts")[weights])
        assert not equal(half[0][weights], states(tmp_path / "parts")[weights])
    assert equal(judges(tmp_path / "whole"), judges(tmp_path / "parts"))
    assert not equal(half[1], judges(tmp_path / "parts"))


def test_stage_keeps_the_model_but_for_what_it_names(base, tmp_path):
    few(base, tmp_path, *steps(1), "optimizer.lr=0.0")
    model, before = Model.load(tmp_path), Model.load(base)
    assert equal(model.state_dict(), before.state_dict())
    assert (model.final_iters, model.projection_iters, model.start.time) == (2, 0, 0.5)
    assert model.config["denoiser"] == before.config["denoiser"]


def test_step_counts_the_models_steps_and_logs_both_sides(base, tmp_path):
    metrics = few(base, tmp_path, *steps(6))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if "train/" in line]
    assert lines[-1]["step"] == 6
    assert {"train/discriminators", "train/generator", "train/features", "train/mel"} <= lines[-1].keys()
    assert "train/generator" not in lines[0]  # judges warm up first
    assert {"valid/mel-1", "valid/mel-2", "valid/mel-4"} <= metrics.keys()


@pytest.mark.parametrize(
    ("name", "remembers"), [("sgd", "momentum_buffer"), ("rmsprop", "square_avg"), ("muon", "mean")]
)
def test_stage_uses_the_optimiser_that_is_chosen_for_both_sides(base, tmp_path, name, remembers):
    few(base, tmp_path, *steps(2), f"optimizer={name}", "data.validation_clips=1")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    rate = composed([f"optimizer={name}", "data.path=recordings"]).optimizer.lr
    for side, schedule in zip(checkpoint["optimizer_states"], checkpoint["lr_schedulers"], strict=True):
        assert any(remembers in moments for moments in side["state"].values())
        assert schedule["base_lrs"] == [rate] * len(side["param_groups"])
    with pytest.raises(ValueError, match=r"remembers other things than torch\.optim\.Adam;"):
        few(base, tmp_path, *steps(3), "optimizer=adam")


def test_checkpoint_of_when_the_stage_wrote_its_rate_itself_is_resumed_bit_for_bit(base, tmp_path):
    """As it was composed then: the rate and momentum laid over whatever optimiser there was."""
    before = ["optimizer=adamw-fast", "optimizer.lr=2e-4", "optimizer.betas=[0.8,0.99]"]
    few(base, tmp_path / "whole", *steps(4, every=2))
    few(base, tmp_path / "parts", *steps(2, every=2), *before)
    few(base, tmp_path / "parts", *steps(4, every=2))
    for weights in ("raw", "ema"):
        assert equal(states(tmp_path / "whole")[weights], states(tmp_path / "parts")[weights])
    assert equal(judges(tmp_path / "whole"), judges(tmp_path / "parts"))


def test_stage_asks_for_a_model_to_go_on_with(tmp_path):
    with pytest.raises(ValueError, match="init_from=speech-16k"):
        train(composed([*FEW, f"run_dir={tmp_path}", *steps(1)]))


@pytest.fixture
def tiny_vocoder():
    return make_tiny_vocoder()


def lit(tiny_vocoder, **changes):
    return LitAdversarial(tiny_vocoder, None, torch.optim.AdamW, lambda step: 1.0, Discriminators(), **changes)


def test_unrolled_sampler_is_generate(tiny_vocoder):
    """The stage trains what `generate` does: same start, grid, solver and projection, given the same noise."""
    tiny_vocoder.projection_iters, tiny_vocoder.final_iters = 0, 1
    tiny_vocoder.start, tiny_vocoder.one_step_start = (GriffinLim(tiny_vocoder.mel, 0.5, n_iter=n) for n in (2, 1))
    mel = torch.randn(1, tiny_vocoder.mel.n_mels, 24, generator=torch.Generator().manual_seed(1)) - 5
    for calls in (1, 3):
        made = lit(tiny_vocoder).unrolled(mel, calls, NoiseField([7]))
        assert torch.allclose(made, tiny_vocoder.generate(mel, steps=calls, seed=7), atol=1e-6)


def test_gradients_reach_the_last_call_alone(tiny_vocoder):
    asked = []

    class Spy:
        schedule = tiny_vocoder.denoiser.schedule

        def __call__(self, x_t, t):
            asked.append(torch.is_grad_enabled())
            return x_t

    denoise = LastCallLearns(Spy(), 3)
    for _ in range(3):
        denoise(torch.zeros(1, 1, 4), torch.tensor(0.5))
    assert asked == [False, False, True]
    stage = lit(tiny_vocoder)
    mel = torch.full((1, tiny_vocoder.mel.n_mels, 24), -5.0)
    stage.unrolled(mel, 3, torch.Generator().manual_seed(0)).square().sum().backward()
    gradients = [p.grad for p in tiny_vocoder.denoiser.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_stage_refuses_what_it_cannot_judge(tiny_vocoder):
    from audiodiff.models.generator import Generator

    with pytest.raises(ValueError, match="at least one number of network calls"):
        lit(tiny_vocoder, calls=[])
    with pytest.raises(ValueError, match="no recording to be compared with"):
        lit(Generator(tiny_vocoder.denoiser, 16000, 256))
    with pytest.raises(ValueError, match="knows no labels"):
        lit(tiny_vocoder, conditional=True)


def judged(score, feature):
    return [DiscriminatorOutput(torch.full((2, 1, 3, 3), score), [torch.full((2, 4, 3, 3), feature)])]


def test_losses_are_least_squares_and_a_relative_distance():
    real, fake = judged(0.75, 2.0), judged(0.5, 3.0)
    assert float(discriminator_loss(real, fake)) == pytest.approx(0.25**2 + 0.5**2)
    assert float(generator_loss(fake)) == pytest.approx(0.5**2)
    assert float(feature_distance(real, fake)) == pytest.approx(0.5)


def test_feature_distance_moves_the_fake_alone():
    real, fake = judged(0.0, 2.0), judged(0.0, 3.0)
    for judgement in real + fake:
        judgement.features[0].requires_grad_(True)
    feature_distance(real, fake).backward()
    assert real[0].features[0].grad is None
    assert bool((fake[0].features[0].grad > 0).all())


@pytest.mark.parametrize("judge", [Period(3, (4, 4)), Resolution(64, (4, 4))])
@pytest.mark.parametrize("length", [100, 301])
def test_judges_hear_every_sample(judge, length):
    x = torch.randn(1, 1, length, generator=torch.Generator().manual_seed(0)).requires_grad_()
    judgement = judge(x)
    judgement.score.sum().backward()
    assert bool((x.grad != 0).all())
    assert len(judgement.features) == 2


def test_period_judge_keeps_the_columns_apart():
    """A sample moves the scores of its own column alone: that is what finds a wrong period."""
    judge, x = Period(5, (4, 4)), torch.zeros(1, 1, 200)
    moved = x.clone()
    moved[..., 103] = 1
    changed = (judge(moved).score - judge(x).score).abs().sum((0, 1, 2))
    assert changed.nonzero().flatten().tolist() == [103 % 5]


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_projection_passes_bounded_gradients_where_there_is_silence(tiny_vocoder, rounds):
    sound = torch.zeros(1, 1, 24 * tiny_vocoder.hop_length)
    sound[..., 2000:3000] = 0.1 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    mel = tiny_vocoder.spectrogram(sound)
    sound.requires_grad_()
    made = MelProjection(tiny_vocoder.mel, mel, rounds, momentum=0)(sound)
    (gradient,) = torch.autograd.grad(made.abs().mean(), sound)
    assert float(gradient.abs().max()) < 1  # 1 / T each, times gains of about one


def test_stage_trains_in_bfloat16(base, tmp_path):
    metrics = few(base, tmp_path, *steps(3), "trainer.precision=bf16-mixed")
    assert all(value == value and abs(value) < 1e3 for value in metrics.values())


def test_discriminators_learn_at_a_rate_of_their_own(base, tmp_path):
    few(base, tmp_path, "objective.discriminator_lr=5", *steps(3))
    ours, theirs = torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"]
    assert theirs["param_groups"][0]["lr"] == pytest.approx(5 * ours["param_groups"][0]["lr"])
