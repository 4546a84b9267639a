"""Consistency distillation: a student learns to jump over the steps of a trained teacher.

Sampling takes `calls` intervals of time. Within an interval, from t down to its end u, the teacher takes one small step
from t to s, and the student's own average the rest from s to u:

    x_s = teacher(x_t, t → s),    x_u = jump(x_s, average(x_s, s), s → u),    jump(x_t, student(x_t, t), t → u) ≈ x_u

`jump` is a step of DDIM, so the student is an ordinary denoiser, sampled by DDIM on the grid of that many steps. Each
interval is divided into `substeps`, which the teacher takes by the midpoint rule; the student is never trained nearer
than one of them to the end of an interval, where its target is discontinuous. With one interval and many substeps it is
the consistency model of the reference.
References: Song et al., 2023, arXiv:2303.01469 (one interval); Heek et al., 2024, arXiv:2403.06807 (several).
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Conditioned, ConstrainedDenoiser, Denoise, Denoiser, scales
from audiodiff.diffusion.guidance import ClassifierFreeGuidance, ProjectedGuidance
from audiodiff.diffusion.predictions import noise_of
from audiodiff.diffusion.schedules import Schedule
from audiodiff.diffusion.solvers import DDIM
from audiodiff.losses import DenoisingLoss, LossTerms
from audiodiff.models.base import Model
from audiodiff.training.module import LitModel, PreparedBatch, condition_of


class LitDistillation(LitModel):
    """Distil a trained model, vocoder or generator, into one that takes a few calls.

    Args:
        model: Trained model; it is the teacher, and what the student begins as.
        loss: Its weighting, distance and auxiliary losses compare the student's estimate with the target.
        calls: Network calls of the student.
        substeps: Steps of the teacher in each interval.
        guidance: Scale of the teacher's guidance, which the student learns to do without a second call; 1 for none,
            the model's own by default. The student's own becomes 1.
        projected: Whether the teacher's guidance is `ProjectedGuidance`.
        target_decay: Decay of the student's average that completes a jump; 0 takes the student itself.
        kwargs: Further arguments of `LitModel`.

    Raises:
        ValueError: A number is out of range, the model's solver is not DDIM, or guidance is asked of a vocoder.
    """

    def __init__(
        self,
        model: Model,
        loss: DenoisingLoss,
        *args: Any,
        calls: int = 4,
        substeps: int = 8,
        guidance: float | None = None,
        projected: bool = False,
        target_decay: float = 0.98,
        **kwargs: Any,
    ) -> None:
        teacher, target = (copy.deepcopy(model.denoiser).requires_grad_(False) for _ in range(2))
        super().__init__(model, loss, *args, **kwargs)
        if calls < 1 or substeps < 2 or not 0 <= target_decay < 1:
            raise ValueError(
                f"calls={calls}, substeps={substeps}, target_decay={target_decay}: need at least one call, two "
                "substeps, and a decay in [0, 1)"
            )
        if not isinstance(model.solver, DDIM) or model.solver.eta:
            raise ValueError("a distilled model jumps by DDIM without noise: leave init_model.solver as it is")
        guidance = getattr(model, "guidance", 1.0) if guidance is None else guidance
        if guidance != 1 and not (getattr(model, "labels", []) or getattr(model, "vector_size", 0)):
            raise ValueError(f"guidance={guidance:g} strengthens a label or a vector, and this model has none")
        self.teacher, self.target = teacher, target
        self.calls = calls
        self.substeps = substeps
        self.guidance: Tensor
        self.register_buffer("guidance", torch.tensor(guidance, dtype=torch.float32))  # a resumed student has 1
        if hasattr(model, "guidance"):
            model.guidance = model.config["guidance"] = 1.0  # ty: ignore[invalid-assignment]
        self.projected = projected
        self.target_decay = target_decay
        start = model.start_for(calls).time if hasattr(model, "start_for") else model.start.time
        self.ends = model.grid(calls, start)

    def compute_loss(self, batch: Tensor | Sequence[Tensor], generator: torch.Generator) -> LossTerms:
        """Compute the loss of the student's jumps against teacher steps completed by the average."""
        prepared = self.prepare(batch, generator)
        x, schedule = prepared.x, self.model.denoiser.schedule
        t, s, u, last = self.draw_times(len(x), generator)
        eps = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        alpha, sigma = scales(schedule, t, x)
        x_t = alpha * x + sigma * eps
        with torch.no_grad():
            x_s = midpoint_step(self._teacher(prepared), x_t, t, s)
            x_u = jump(x_s, self._denoise(self.target, prepared)(x_s, s).x, schedule, s, u)
            x_u = torch.where(last.to(x.device).reshape(-1, 1, 1), x_s, x_u)
            target = estimate_of_jump(x_t, x_u, schedule, t, u)
        return self._compared(self._denoise(self.model.denoiser, prepared)(x_t, t).x, target, t, prepared.decode)

    def draw_times(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw the beginning of each jump, the end of the teacher's step, that of the interval, and their equality."""
        interval = torch.randint(self.calls, (batch,), generator=generator)
        step = torch.randint(1, self.substeps + 1, (batch,), generator=generator)
        above, end = self.ends[interval], self.ends[interval + 1]
        size = (above - end) / self.substeps
        return end + size * step, end + size * (step - 1), end, step == 1

    def on_train_batch_end(self, *args: Any) -> None:
        """Update the average that completes the jumps."""
        with torch.no_grad():
            for average, weight in zip(self.target.parameters(), self.model.denoiser.parameters(), strict=True):
                average.lerp_(weight, 1 - self.target_decay)

    def _compared(self, estimate: Tensor, target: Tensor, t: Tensor, decode: Callable[[Tensor], Tensor]) -> LossTerms:
        log_snr = self.model.denoiser.schedule.log_snr(t)
        weight = self.loss.weighting(log_snr, self.model.denoiser.prediction.sigma_data).to(estimate)
        error = weight * self.loss.distance(estimate, target, decode)
        return self.loss.total(error, estimate, target, decode, log_snr)

    def _denoise(self, denoiser: Denoiser, prepared: PreparedBatch) -> Denoise:
        denoise = Conditioned(denoiser, condition_of(denoiser.network, prepared.inputs))
        return ConstrainedDenoiser(denoise, prepared.refine) if prepared.refine else denoise

    def _teacher(self, prepared: PreparedBatch) -> Denoise:
        scale = float(self.guidance)
        if scale == 1:
            return self._denoise(self.teacher, prepared)
        strong = Conditioned(self.teacher, condition_of(self.teacher.network, prepared.inputs))
        weak = Conditioned(self.teacher, condition_of(self.teacher.network, unconditioned(prepared.inputs)))
        return (ProjectedGuidance if self.projected else ClassifierFreeGuidance)(strong, weak, scale)


def unconditioned(inputs: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Hide the labels and the vectors of all clips."""
    labels, vectors = inputs
    return (
        None if labels is None else torch.full_like(labels, -1),
        None if vectors is None else torch.full_like(vectors, torch.nan),
    )


def jump(x_t: Tensor, x: Tensor, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """Move x_t from times t, [B], to s, [B], as if x were the clean signal: x_s = alpha_s x + sigma_s eps."""
    (alpha, sigma), (alpha_s, sigma_s) = scales(schedule, t, x_t), scales(schedule, s, x_t)
    return alpha_s * x + sigma_s * noise_of(x_t, x, alpha, sigma)


def estimate_of_jump(x_t: Tensor, x_s: Tensor, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """Return the estimate x with which `jump` leads from x_t to x_s: its inverse in x."""
    (alpha, sigma), (alpha_s, sigma_s) = scales(schedule, t, x_t), scales(schedule, s, x_t)
    ratio = sigma_s / sigma
    return (x_s - ratio * x_t) / (alpha_s - ratio * alpha)


def midpoint_step(denoise: Denoise, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Take a step of second order with two calls, clip by clip from t, [B], to s, [B]."""
    middle = (t + s) / 2
    x_middle = jump(x_t, denoise(x_t, t).x, denoise.schedule, t, middle)
    return jump(x_t, denoise(x_middle, middle).x, denoise.schedule, t, s)
