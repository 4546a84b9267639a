"""Consistency distillation: jumps are inverted, an exact teacher is learned, and its runs resume."""

import itertools

import pytest
import torch
from support.drawn import draw
from support.exact import ExactGaussian
from support.generators import tiny
from torch import nn

from audiodiff.diffusion import XPrediction
from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.diffusion.solvers import DDIM
from audiodiff.diffusion.timesteps import linear_timesteps
from audiodiff.losses import DataWeight, DenoisingLoss, PowerTimes
from audiodiff.models import Generator
from audiodiff.training.distillation import LitDistillation, estimate_of_jump, jump, midpoint_step


def test_estimate_of_a_jump_inverts_it():
    schedule, t, s = CosineVP(), torch.tensor([1.0, 0.7, 0.1]), torch.tensor([0.5, 0.0, 0.05])
    x_t, x = draw(3, 1, 16), draw(3, 1, 16, seed=1)
    x_s = jump(x_t, x, schedule, t.double(), s.double())
    assert torch.allclose(estimate_of_jump(x_t, x_s, schedule, t.double(), s.double()), x, atol=1e-8)


def test_midpoint_step_follows_the_exact_flow_to_third_order():
    exact, noise = ExactGaussian(), draw(1, 1, 8)
    errors = []
    for size in (0.2, 0.1, 0.05):
        t, s = torch.tensor([0.6], dtype=torch.float64), torch.tensor([0.6 - size], dtype=torch.float64)
        error = midpoint_step(exact, exact.at(noise, t), t, s) - exact.at(noise, s)
        errors.append(float(error.abs().max()))
    assert all(a / b > 6 for a, b in itertools.pairwise(errors))  # 8 in the limit


class Pointwise(nn.Module):
    """A network of one sample: all that a mixture of Gaussians needs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(10, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x, log_snr, condition=None):
        time = (log_snr / 4).reshape(-1, 1, 1).expand_as(x)
        features = [x, *(f(time * k) for k in (0.25, 0.5, 1.0, 2.0) for f in (torch.sin, torch.cos)), time]
        return self.layers(torch.stack(features, -1))[..., 0]


def lit(calls, teacher=None, **settings):
    denoiser = Denoiser(Pointwise(), XPrediction(), CosineVP(-8, 8))
    model = Generator(denoiser, 8000, 1, solver=DDIM(), steps=calls, n_samples=1)
    module = LitDistillation(
        model, DenoisingLoss(PowerTimes(), DataWeight()), torch.optim.Adam, lambda step: 1.0, calls=calls, **settings
    )
    if teacher is not None:
        module._teacher = lambda prepared: teacher
    return module


@pytest.mark.parametrize("calls", [1, 2])
def test_student_of_an_exact_teacher_nears_its_flow(calls):
    """The flow of a Gaussian gives each noise one end; a student finds it in fewer calls than the teacher needs."""
    teacher, generator = ExactGaussian(schedule=CosineVP(-8, 8)), torch.Generator().manual_seed(0)
    module = lit(calls, teacher, substeps=16 // calls, target_decay=0.9)
    optimizer = torch.optim.Adam(module.model.parameters(), 8e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=250)
    for _ in range(250):
        clips = teacher.mean + teacher.std * torch.randn(128, 1, 1, generator=generator)
        loss = module.compute_loss(clips, generator).total.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        module.on_train_batch_end()
    noise = draw(2000, 1, 1, seed=5).float()
    with torch.no_grad():
        ends = teacher.mean + teacher.std * noise
        plain, found = (
            sample(denoise, DDIM(), noise, linear_timesteps(calls)) for denoise in (teacher, module.model.denoiser)
        )
    errors = [float((x - ends).abs().mean()) for x in (plain, found)]
    assert errors[1] < 0.6 * errors[0]  # of the teacher's own at as many calls; 0.45 and 0.54 were measured


def test_times_stay_within_their_interval_and_meet_its_end():
    module = lit(4, substeps=8)
    t, s, u, last = module.draw_times(2000, torch.Generator().manual_seed(0))
    assert bool(((t > s) & (s >= u)).all())
    assert torch.equal(last, (s - u).abs() < 1e-12)
    ends = linear_timesteps(4)
    assert all(float((ends - value).abs().min()) < 1e-12 for value in u.unique())
    assert float(t.max()) == pytest.approx(1.0)  # where sampling begins


def test_target_is_an_average_and_teacher_stays():
    module = lit(2, target_decay=0.9)
    before = module.teacher.network.layers[0].weight.clone()
    with torch.no_grad():
        module.model.denoiser.network.layers[0].weight += 1
    module.on_train_batch_end()
    assert torch.allclose(module.target.network.layers[0].weight, before + 0.1)
    assert torch.equal(module.teacher.network.layers[0].weight, before)
    assert not any(p.requires_grad for side in (module.teacher, module.target) for p in side.parameters())


def test_guided_teacher_is_its_guided_denoiser():
    """At scale 2 the teacher's estimate is twice the conditional one less the unconditional one."""
    model = tiny(solver={"_target_": "audiodiff.diffusion.solvers.DDIM"})
    model.requires_grad_(True)
    kwargs = {"calls": 2, "guidance": 2.0, "label_dropout": 0.0}
    module = LitDistillation(model, DenoisingLoss(PowerTimes()), torch.optim.Adam, lambda step: 1.0, **kwargs)
    clips, labels = torch.randn(2, 1, 1024, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    prepared = module.prepare((clips, labels), torch.Generator().manual_seed(0))
    t = torch.tensor(0.5, dtype=torch.float64)
    guided = module._teacher(prepared)(clips, t).x
    for i, label in enumerate(model.labels):
        wanted = model.denoise(1, label, 2.0)(clips[i : i + 1], t).x
        assert torch.allclose(guided[i], wanted[0], atol=1e-4)


def test_student_needs_no_guidance_and_a_resumed_one_keeps_its_teachers():
    def student():
        model = tiny(solver={"_target_": "audiodiff.diffusion.solvers.DDIM"}, guidance=guidance).requires_grad_(True)
        return LitDistillation(model, DenoisingLoss(PowerTimes()), torch.optim.Adam, lambda step: 1.0, calls=2)

    guidance = 2.0  # as shipped
    begun = student()
    assert (float(begun.guidance), begun.model.guidance, begun.model.config["guidance"]) == (2.0, 1.0, 1.0)
    guidance = 1.0  # as in the checkpoint
    resumed = student()
    resumed.load_state_dict(begun.state_dict())
    assert float(resumed.guidance) == 2.0


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"calls": 0}, "a whole number from 1"),
        ({"calls": 2, "substeps": 1}, "two substeps"),
        ({"calls": 2, "target_decay": 1.0}, "a decay in"),
        ({"calls": 2, "guidance": 2.0}, "this model has none"),
    ],
)
def test_bad_settings_are_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        lit(**settings)
