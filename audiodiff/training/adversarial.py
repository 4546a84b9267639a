"""The adversarial objective: train the unrolled few-step sampler against discriminators.

    clips → mel → start → solver steps (gradients through the last call) → waveform → discriminators, auxiliary losses

A denoiser trained at random times estimates a mean, and after few calls that mean is audible. Here the sampler's output
is judged as sound; the denoising loss continues beside it, so that the network stays a denoiser.
Reference: PeriodWave-Turbo (Lee et al., 2024, arXiv:2408.08019).
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.predictions import Estimate
from audiodiff.diffusion.solvers.base import NoiseSource
from audiodiff.losses import AuxiliaryLoss, DenoisingLoss
from audiodiff.losses.adversarial import discriminator_loss, feature_distance, generator_loss
from audiodiff.models.base import Model
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.vocoder import Vocoder
from audiodiff.nn.discriminators import DiscriminatorOutput, Discriminators
from audiodiff.training.lr_schedules import scheduled
from audiodiff.training.module import LitModel, condition_of
from audiodiff.training.param_groups import optimizer_of
from audiodiff.utils import devices


class LitAdversarial(LitModel):
    """Train the unrolled sampler of a vocoder or a generator against discriminators, which step in turn with it.

    A vocoder's sounds are also compared with the recording, by features and auxiliary losses; a generator's have none.

    Args:
        model: A trained model.
        loss: The denoising loss that continues.
        optimizer: Builds an optimiser of parameters, for model and discriminators.
        lr_factor: Maps the step to a factor of both learning rates.
        discriminators: The discriminators.
        auxiliary: Auxiliary losses on waveforms by name; their weights are relative to an adversarial 1.
        calls: Numbers of network calls that are unrolled, in turn.
        feature_weight: Weight of the feature distance.
        denoising_weight: Weight of the denoising loss.
        warmup_steps: Steps in which the discriminators alone learn adversarially.
        clip_norm: Norm to which the gradients of model and discriminators are clipped.
        discriminator_lr: Factor of the discriminators' learning rate.
        conditional: Whether discriminators also score how well a generator's sound fits its class.
        kwargs: Further arguments of `LitModel`.

    Raises:
        ValueError: A number of calls is below 1, a generator is to be compared with recordings, or `conditional` is
            set for a model without labels.
    """

    def __init__(
        self,
        model: Model,
        loss: DenoisingLoss,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        lr_factor: Callable[[int], float],
        discriminators: Discriminators,
        auxiliary: Mapping[str, AuxiliaryLoss] | None = None,
        calls: Sequence[int] = (1, 2, 4),
        feature_weight: float = 2.0,
        denoising_weight: float = 1.0,
        warmup_steps: int = 50,
        clip_norm: float = 1.0,
        discriminator_lr: float = 1.0,
        conditional: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, loss, optimizer, lr_factor, **kwargs)
        self.has_reference = isinstance(model, Vocoder)
        if not self.has_reference and (auxiliary or feature_weight):
            raise ValueError(
                "a generator's sounds have no recording to be compared with: take objective=adversarial_generator"
            )
        if conditional and not getattr(model, "labels", []):
            raise ValueError("objective.conditional=true: this model knows no labels")
        if conditional:
            discriminators.add_labels(len(model.labels))
        self.conditional = conditional
        if not calls or min(calls) < 1:
            raise ValueError(f"calls={list(calls)}: name at least one number of network calls, each at least 1")
        self.automatic_optimization = False
        self.discriminators = discriminators
        self.auxiliary = dict(auxiliary or {})
        self.calls = list(calls)
        self.feature_weight = feature_weight
        self.denoising_weight = denoising_weight
        self.warmup_steps = warmup_steps
        self.clip_norm = clip_norm
        self.discriminator_lr = discriminator_lr

    def configure_optimizers(self) -> list[Any]:
        """Return the optimisers of model and discriminators, and a schedule for each."""
        sides = ((self.model, self.lr_factors), (self.discriminators, {"*": self.discriminator_lr}))
        optimizers = [optimizer_of(self.optimizer, side, factors) for side, factors in sides]
        return optimizers, [scheduled(o, self.lr_factor) for o in optimizers]

    def unrolled(self, mel: Tensor, calls: int, noise: NoiseSource) -> Tensor:
        """Sample waveforms, [B, 1, F hop], as `Vocoder.generate` does; gradients flow through the last call."""
        sampling = self.model.sampling(calls)
        wrap = functools.partial(LastCallLearns, calls=calls * sampling.solver.calls_per_step)
        return self.model.stages(sampling, noise=lambda *_: noise, wrap=wrap, momentum=0.0)(mel)

    def unrolled_generator(
        self, shape: torch.Size, inputs: tuple[Tensor | None, ...], calls: int, noise: NoiseSource
    ) -> Tensor:
        """Sample waveforms, [B, 1, T], as `Generator.generate` does; gradients flow through the last call."""
        model = self.model
        sampling = SamplingConfig(model.start, model.solver, model.grid(calls, model.start.time))
        denoise = model.conditioned(condition_of(model.denoiser.network, inputs))
        denoise = LastCallLearns(denoise, calls * model.solver.calls_per_step)
        return model.stages(sampling, denoise, lambda *_: noise)(torch.empty(shape, device=model.device))

    def distances(self, fake: Tensor, clips: Tensor) -> dict[str, Tensor]:
        """Compute every auxiliary loss, averaged over the clips."""
        with devices.full_precision(clips.device):
            return {name: loss(fake, clips).mean() for name, loss in self.auxiliary.items()}

    def training_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> None:
        """Step the model, then the discriminators; `global_step` counts the model's steps."""
        ours, theirs = self.optimizers()
        theirs = theirs.optimizer  # stepped behind Lightning's back, which would count it too
        generator = self.generator_of_step()
        self.dropout.seed(generator)
        clips, fake, level, labels = self.fake(batch, self.calls[self.global_step % len(self.calls)], generator)
        real = self.discriminators(clips / level, labels)

        losses, weights = self.losses(clips, fake, level, labels, real)
        if self.denoising_weight:
            losses["denoising"] = self.compute_loss(batch, generator).total.mean()
            weights["denoising"] = self.denoising_weight
        total = sum(weights[name] * value for name, value in losses.items()) + self.penalty()
        norm = self._learn(self.model, ours, total)

        discriminators = discriminator_loss(real, self.discriminators(fake.detach() / level, labels))
        self._learn(self.discriminators, theirs, discriminators)
        for schedule in self.lr_schedulers():
            schedule.step()
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()})
        metrics = {"train/loss": total.detach(), "train/discriminators": discriminators.detach(), "train/norm": norm}
        self.log_dict(metrics)
        self.log("lr", ours.param_groups[0]["lr"])

    def fake(
        self, batch: Tensor | Sequence[Tensor], calls: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Sample a counterpart of each clip of a batch.

        Returns:
            Real and generated clips, [B, 1, T]; the level by which both are divided before they are judged; and the
            labels by which they are, or None.
        """
        if self.has_reference:
            clips, mel = self.crop_and_mel(batch)
            fake = self.unrolled(self.augmented(mel, generator), calls, generator)
            return clips, fake, clips.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-4), None
        clips, conditions = (batch, ()) if isinstance(batch, Tensor) else (batch[0], batch[1:])
        inputs = self.drop_conditions(*conditions, generator=generator) if conditions else ()
        clips = clips[..., : clips.shape[-1] // self.model.hop_length * self.model.hop_length]
        fake = self.unrolled_generator(clips.shape, inputs, calls, generator)
        level = clips.square().mean().sqrt().clamp(min=1e-4)  # one for all: how loud a sound is counts
        return clips, fake, level, next(iter(inputs), None) if self.conditional else None

    def losses(
        self, clips: Tensor, fake: Tensor, level: Tensor, labels: Tensor | None, real: list[DiscriminatorOutput]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Compute the model's losses on generated clips, and their weights; adversarial ones only after the warm-up."""
        losses = self.distances(fake, clips) if self.auxiliary else {}
        weights = {name: loss.weight for name, loss in self.auxiliary.items()}
        if self.global_step >= self.warmup_steps:
            self.discriminators.requires_grad_(False)
            judged = self.discriminators(fake / level, labels)
            self.discriminators.requires_grad_(True)
            losses["generator"], weights["generator"] = generator_loss(judged), 1.0
            if self.feature_weight:
                losses["features"], weights["features"] = feature_distance(real, judged), self.feature_weight
        return losses, weights

    def _learn(self, side: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        """Take one optimiser step and return the norm of the gradient before clipping."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.guard.gradient(side.parameters())
        norm = nn.utils.clip_grad_norm_(side.parameters(), self.clip_norm)
        optimizer.step()
        return norm

    def validation_step(self, clips: Tensor | Sequence[Tensor], batch_idx: int) -> None:
        """Log the denoising loss, and the auxiliary losses after each number of calls, always from the same noise."""
        super().validation_step(clips, batch_idx)
        if not self.auxiliary:
            return
        for calls in self.calls:
            distances = self._validation_distances(clips, batch_idx, calls)
            metrics = {f"valid/{name}-{calls}": value for name, value in distances.items()}
            self.log_dict(metrics, batch_size=len(clips), sync_dist=True)

    def validation_loss(self, clips: Tensor, batch_idx: int) -> Tensor:
        """Compute the weighted auxiliary losses, averaged over `calls`; without any, the denoising loss."""
        if not self.auxiliary:
            return super().validation_loss(clips, batch_idx)
        distances = [self._validation_distances(clips, batch_idx, calls) for calls in self.calls]
        return sum(self.auxiliary[name].weight * one[name] for one in distances for name in one) / len(distances)

    def _validation_distances(self, clips: Tensor, batch_idx: int, calls: int) -> dict[str, Tensor]:
        clips, mel = self.crop_and_mel(clips)
        return self.distances(self.unrolled(mel, calls, self.validation_generator(batch_idx)), clips)


class LastCallLearns:
    """Let gradients flow through the last call of a denoiser alone, which bounds memory and time.

    Args:
        denoise: The denoiser.
        calls: Number of calls of a trajectory.
    """

    def __init__(self, denoise: Denoise, calls: int) -> None:
        self.schedule = denoise.schedule
        self.denoise = denoise
        self.left = calls

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        """Estimate as the denoiser does."""
        self.left -= 1
        with torch.set_grad_enabled(self.left <= 0 and torch.is_grad_enabled()):
            return self.denoise(x_t, t)
