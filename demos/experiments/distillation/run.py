"""Compares three ways to distil a few-step sampler from a teacher that is exact: a mixture of eight Gaussians.

    python demos/experiments/distillation/run.py --steps 6000 > demos/experiments/distillation/results.csv

Consistency in as many intervals as calls, shortcut models (Frans et al., 2024, arXiv:2410.12557) and MeanFlow (Geng et
al., 2025, arXiv:2505.13447) train the same perceptron for as many steps; the latter two are told where a jump ends,
which doubles their time embedding. `pair` is the mean distance between the end of a jump and the end of the teacher's
own flow from the same noise; `sliced` is the sliced Wasserstein distance to fresh draws of the mixture.
"""

import argparse
import copy
import itertools
import math
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from audiodiff.diffusion.denoiser import scales
from audiodiff.diffusion.predictions import Estimate, noise_of
from audiodiff.diffusion.schedules import CosineVP
from audiodiff.diffusion.timesteps import linear_timesteps
from audiodiff.training.distillation import estimate_of_jump, jump, midpoint_step

SCHEDULE = CosineVP()
CALLS = (1, 2, 4, 8)
SUBSTEPS = 32  # of the teacher, over all intervals
FINEST = 7  # halvings of a shortcut model
DECAY = 0.98


class Ring:
    """Eight Gaussians on a circle, with their exact posterior means: an oracle for signals [B, 1, 2]."""

    schedule = SCHEDULE

    def __init__(self) -> None:
        angle = torch.arange(8) * (2 * math.pi / 8)
        self.means = 1.2 * torch.stack([angle.cos(), angle.sin()], 1)
        self.stds = torch.tensor([0.05, 0.1, 0.2, 0.1] * 2)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        which = torch.randint(8, (n,), generator=generator)
        noise = torch.randn(n, 2, generator=generator)
        return (self.means[which] + self.stds[which, None] * noise)[:, None]

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = scales(SCHEDULE, t, x_t)
        away = x_t - alpha * self.means  # [B, 8, 2]
        variance = (alpha * self.stds[:, None]) ** 2 + sigma**2
        logits = -away.square().sum(-1, keepdim=True) / variance / 2 - variance.log()
        x = (logits.softmax(1) * (self.means + alpha * self.stds[:, None] ** 2 * away / variance)).sum(1, keepdim=True)
        return Estimate(x, noise_of(x_t, x, alpha, sigma))

    def velocity(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return dx_t / dt of the probability flow."""
        estimate, (d_alpha, d_sigma) = self(x_t, t), SCHEDULE.derivatives(t)
        return d_alpha.to(x_t).reshape(-1, 1, 1) * estimate.x + d_sigma.to(x_t).reshape(-1, 1, 1) * estimate.eps


class Student(nn.Module):
    """A perceptron of a noisy point and one or two times."""

    def __init__(self, times: int, width: int = 128) -> None:
        super().__init__()
        self.frequencies = torch.exp(torch.linspace(-3, 3, 16))
        sizes = [2 + 32 * times, width, width, width]
        layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, x_t: Tensor, *times: Tensor) -> Tensor:
        alpha, sigma = scales(SCHEDULE, times[0], x_t)
        angles = [t.to(x_t)[:, None] * self.frequencies for t in times]
        features = [
            (x_t / (0.73 * alpha**2 + sigma**2).sqrt())[:, 0],
            *(f(a) for a in angles for f in (torch.sin, torch.cos)),
        ]
        return self.layers(torch.cat(features, 1))[:, None]


class Consistency:
    """Jump of DDIM within each of so many intervals; told t alone."""

    def __init__(self, calls: int) -> None:
        self.calls, self.student = calls, Student(1)

    def pair(self, average: nn.Module, teacher: Ring, x: Tensor, eps: Tensor, generator: torch.Generator) -> tuple:
        ends, n = linear_timesteps(self.calls), SUBSTEPS // self.calls
        k, j = (torch.randint(high, (len(x),), generator=generator) for high in (self.calls, n))
        end, size = ends[k + 1], (ends[k] - ends[k + 1]) / n
        t, s = end + size * (j + 1), end + size * j
        x_t = noised(x, eps, t)
        with torch.no_grad():
            x_s = midpoint_step(teacher, x_t, t, s)
            x_u = torch.where((j == 0).reshape(-1, 1, 1), x_s, jump(x_s, average(x_s, s), SCHEDULE, s, end))
            wanted = estimate_of_jump(x_t, x_u, SCHEDULE, t, end)
        return self.student(x_t, t), wanted, 1.0

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, student: nn.Module) -> Tensor:
        return jump(x_t, student(x_t, t), SCHEDULE, t, s)


class Shortcut:
    """Jump from t to s that equal two of half their length; the shortest are the teacher's."""

    def __init__(self) -> None:
        self.student = Student(2)

    def pair(self, average: nn.Module, teacher: Ring, x: Tensor, eps: Tensor, generator: torch.Generator) -> tuple:
        level = torch.randint(FINEST, (len(x),), generator=generator)
        n = 2.0 ** level.double()
        j = (torch.rand(len(x), generator=generator) * n).floor()
        t, s = (j + 1) / n, j / n
        m, x_t = (t + s) / 2, noised(x, eps, t)
        with torch.no_grad():
            x_m = jump(x_t, average(x_t, t, m), SCHEDULE, t, m)
            x_s = jump(x_m, average(x_m, m, s), SCHEDULE, m, s)
            shortest = (level == FINEST - 1).reshape(-1, 1, 1)
            x_s = torch.where(shortest, midpoint_step(teacher, x_t, t, s), x_s)
            wanted = estimate_of_jump(x_t, x_s, SCHEDULE, t, s)
        return self.student(x_t, t, s), wanted, 1.0

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, student: nn.Module) -> Tensor:
        return jump(x_t, student(x_t, t, s), SCHEDULE, t, s)


class MeanFlow:
    """Mean velocities from t to s by the identity u = v - (t - s) du/dt, with the reference's adaptive weight."""

    def __init__(self) -> None:
        self.student = Student(2)

    def pair(self, average: nn.Module, teacher: Ring, x: Tensor, eps: Tensor, generator: torch.Generator) -> tuple:
        s, t = torch.rand(2, len(x), generator=generator, dtype=torch.float64).sort(0).values
        s = torch.where(torch.rand(len(x), generator=generator) < 0.25, t, s)
        x_t = noised(x, eps, t)
        v = teacher.velocity(x_t, t)
        u, change = torch.func.jvp(lambda x_, t_: self.student(x_, t_, s), (x_t, t), (v, torch.ones_like(t)))
        wanted = (v - (t - s).to(x_t).reshape(-1, 1, 1) * change).detach()
        weight = 1 / ((u - wanted).square().sum((1, 2), keepdim=True).detach() + 1e-2)
        return u, wanted, weight / weight.mean()

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, student: nn.Module) -> Tensor:
        return x_t - (t - s).to(x_t).reshape(-1, 1, 1) * student(x_t, t, s)


def noised(x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    alpha, sigma = scales(SCHEDULE, t, x)
    return alpha * x + sigma * eps


def trained(method: Consistency | Shortcut | MeanFlow, teacher: Ring, steps: int, seed: int) -> nn.Module:
    """Train a student, a third of the time as a denoiser, and return its average."""
    generator, batch, rate = torch.Generator().manual_seed(seed), 256, 2e-3
    student, average = method.student, copy.deepcopy(method.student)
    optimizer = torch.optim.Adam(student.parameters(), rate)
    times = 1 if isinstance(method, Consistency) else 2
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        x, eps = teacher.draw(batch, generator), torch.randn(batch, 1, 2, generator=generator)
        if step < steps // 3:
            t = torch.rand(batch, generator=generator, dtype=torch.float64)
            x_t = noised(x, eps, t)
            output, wanted, weight = student(x_t, *([t] * times)), teacher(x_t, t).x, 1.0
        else:
            output, wanted, weight = method.pair(average, teacher, x, eps, generator)
        loss = (weight * (output - wanted).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(average.parameters(), student.parameters(), strict=True):
                a.lerp_(b, 1 - DECAY)
    return average


def walked(step: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, calls: int) -> Tensor:
    times = linear_timesteps(calls)
    for t, s in itertools.pairwise(times):
        x = step(x, t.expand(len(x)), s.expand(len(x)))
    return x


def sliced(a: Tensor, b: Tensor) -> float:
    angle = torch.arange(32) * math.pi / 32
    lines = torch.stack([angle.cos(), angle.sin()])
    return float(((a[:, 0] @ lines).sort(0).values - (b[:, 0] @ lines).sort(0).values).abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    teacher = Ring()
    noise = torch.randn(4000, 1, 2, generator=torch.Generator().manual_seed(99))
    real = teacher.draw(4000, torch.Generator().manual_seed(5))
    with torch.no_grad():
        flow = walked(lambda x, t, s: midpoint_step(teacher, x, t, s), noise, 400)
    print("method,calls,seed,pair,sliced,cpu_seconds")

    def report(name: str, calls: int, seed: int, found: Tensor, seconds: float) -> None:
        pair = float((found - flow).norm(dim=-1).mean())
        print(f"{name},{calls},{seed},{pair:.4f},{sliced(found, real):.4f},{seconds:.0f}", flush=True)

    report("flow", 800, 0, flow, 0)
    for calls in CALLS:
        report("teacher", calls, 0, walked(lambda x, t, s: jump(x, teacher(x, t).x, SCHEDULE, t, s), noise, calls), 0)
    for seed in range(options.seeds):
        for calls in CALLS[:3]:
            began, method = time.process_time(), Consistency(calls)
            torch.manual_seed(seed)
            student = trained(method, teacher, options.steps, seed)
            seconds = time.process_time() - began
            with torch.no_grad():
                found = walked(lambda x, t, s, m=method, n=student: m.step(x, t, s, n), noise, calls)
            report("consistency", calls, seed, found, seconds)
        for name, kind in (("shortcut", Shortcut), ("meanflow", MeanFlow)):
            began, method = time.process_time(), kind()
            student = trained(method, teacher, options.steps, seed)
            seconds = time.process_time() - began
            for calls in CALLS:
                with torch.no_grad():
                    found = walked(lambda x, t, s, m=method, n=student: m.step(x, t, s, n), noise, calls)
                report(name, calls, seed, found, seconds)


if __name__ == "__main__":
    sys.exit(main())
