"""One training step: clips → mel → diffused space → loss."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import lightning
import torch
from torch import Tensor, nn

from audiodiff.griffin_lim.projection import MelProjection
from audiodiff.losses import DenoisingLoss, LossTerms
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder
from audiodiff.training.dropout import Regulariser
from audiodiff.training.lr_schedules import scheduled
from audiodiff.training.mel_augment import MelAugment
from audiodiff.training.nan_guard import FiniteGuard
from audiodiff.training.param_groups import freeze, optimizer_of
from audiodiff.utils import devices

__all__ = ["LitModel", "PreparedBatch", "condition_of"]

BANDS = (-10.0, -4.0, 0.0, 4.0, 10.0)  # edges of the log-SNR bands in which the loss is logged


class PreparedBatch(NamedTuple):
    """Hold a batch in the diffused space: signals, what conditions them, and the ways to waveforms and constraints."""

    x: Tensor
    inputs: tuple[Tensor | None, ...]
    decode: Callable[[Tensor], Tensor]
    refine: Callable[[Tensor], Tensor] | None


def condition_of(network: nn.Module, inputs: tuple[Tensor | None, ...]) -> Tensor | None:
    """Compute a network's condition from a mel, from labels and vectors, or from nothing."""
    if not inputs:
        return None
    return network.encode(*inputs) if len(inputs) == 1 else network.encode_clip(*inputs)


class LitModel(lightning.LightningModule):
    """Train a vocoder or a generator.

    Noise and times of step n come from a generator that is seeded by (seed, n, rank): a resumed run repeats an
    uninterrupted one.

    Args:
        model: What is trained.
        loss: What is minimised.
        optimizer: Makes an optimiser of parameters.
        lr_factor: Maps the step to a factor of the learning rate.
        seed: Of noise and times.
        resume_config: Plain configuration of the run, stored in each checkpoint.
        projection_iters: Mel projections of a vocoder's estimate before the loss.
        label_dropout: Share of clips whose label is hidden from a conditional generator, and share of those whose
            vector is, so that it learns to do without (Ho & Salimans, 2022, arXiv:2207.12598).
        mel_augment: Spoils the mel that a vocoder sees while it trains.
        dropout, drop_path: As in `Regulariser`.
        frozen: Patterns of the model's weights that do not learn.
        lr_factors: Factors of the learning rate by patterns of the model's weights.
        anchor: Penalty of the model's weights, such as `continual.Anchor`.
    """

    def __init__(
        self,
        model: Model,
        loss: DenoisingLoss,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        lr_factor: Callable[[int], float],
        seed: int = 0,
        resume_config: dict[str, Any] | None = None,
        projection_iters: int = 0,
        label_dropout: float = 0.1,
        mel_augment: MelAugment | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        frozen: Sequence[str] = (),
        lr_factors: Mapping[str, float] | None = None,
        anchor: Callable[[nn.Module], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.lr_factor = lr_factor
        self.seed = seed
        self.resume_config = resume_config or {}
        self.projection_iters = projection_iters
        self.label_dropout = label_dropout
        self.mel_augment = mel_augment or MelAugment()
        self.regulariser = Regulariser(model.denoiser.network, dropout, drop_path)
        self.lr_factors = lr_factors
        self.anchor = anchor
        self.guard = FiniteGuard()
        freeze(model, frozen)

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimiser and the learning rate's schedule, which moves every step."""
        optimizer = optimizer_of(self.optimizer, self.model, self.lr_factors)
        schedule = scheduled(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def analysed(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Cut clips, [B, 1, T], to whole hops and compute a vocoder's mel of as many frames, [B, M, F]."""
        frames = clips.shape[-1] // self.model.hop_length
        clips = clips[..., : frames * self.model.hop_length]
        with torch.no_grad(), devices.full_precision(clips.device):
            return clips, self.model.spectrogram(clips)[..., :frames]  # a centred mel has one more

    def penalty(self) -> Tensor | float:
        """Measure how far the weights have gone from where they began, if that matters."""
        if self.anchor is None:
            return 0.0
        penalty = self.anchor(self.model)
        self.log("train/anchor", penalty.detach())
        return penalty

    def spoilt(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """Spoil mels while the model trains, as `mel_augment` says."""
        return self.mel_augment(mel, generator) if self.training else mel

    def hidden(
        self, labels: Tensor, vectors: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor | None, Tensor | None]:
        """Hide the label and the vector of some clips, each on its own; None for what the model does not know."""
        network = self.model.denoiser.network
        drop = torch.rand(len(labels), generator=generator) < self.label_dropout
        labels = labels.masked_fill(drop.to(labels.device), -1)
        if vectors is not None:
            drop = torch.rand(len(labels), generator=generator) < self.label_dropout
            vectors = vectors.masked_fill(drop.to(vectors.device)[:, None], torch.nan)
        return (labels if network.n_labels else None), vectors

    def prepare(self, batch: Tensor | Sequence[Tensor], generator: torch.Generator) -> "PreparedBatch":
        """Bring a batch into the diffused space: clips, [B, 1, T], alone or with classes, [B], and vectors, [B, D]."""
        clips, given = (batch, ()) if isinstance(batch, Tensor) else (batch[0], batch[1:])
        model, announced = self.model, clips
        inputs = self.hidden(*given, generator=generator) if given else ()
        if isinstance(model, Vocoder):
            clips, announced = self.analysed(clips)
            announced = self.spoilt(announced, generator)
            inputs = (announced,)
        with torch.no_grad(), devices.full_precision(clips.device):
            shape = model.whitening.gains(announced)
            x = model.whitening.encode(clips, shape)

        def decode(z: Tensor) -> Tensor:
            return model.whitening.decode(z, shape)

        refine = None
        if self.projection_iters:
            project = MelProjection(model.mel, announced, self.projection_iters, momentum=0)

            def refine(z: Tensor) -> Tensor:
                return model.whitening.encode(project(decode(z)), shape)

        return PreparedBatch(x, inputs, decode, refine)

    def terms(self, batch: Tensor | Sequence[Tensor], generator: torch.Generator) -> LossTerms:
        """Measure the loss of a batch."""
        x, inputs, decode, refine = self.prepare(batch, generator)
        condition = condition_of(self.model.denoiser.network, inputs)
        return self.loss(self.model.denoiser, x, condition, decode, generator, *self._place(), refine)

    def generator_of_step(self, batch_idx: int = 0) -> torch.Generator:
        """Make the generator of this step's noise and times; of several batches to a step, each has its own."""
        place = (self.seed, self.global_step, self.global_rank)
        if part := batch_idx % (self.trainer.accumulate_grad_batches if self._trainer else 1):
            place += (part,)
        return torch.Generator().manual_seed(hash(place) % 2**63)

    def training_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> Tensor | None:
        """Return the mean loss of a batch and logs it, also by log-SNR band; None if it is not finite."""
        generator = self.generator_of_step(batch_idx)
        self.regulariser.seed(generator)
        terms = self.terms(batch, generator)
        loss = terms.total.mean() + self.penalty()
        self.log("train/left_out", float(self.guard.left_out))
        if not self.guard.loss(loss, self._least):
            return None
        self.log_dict({"train/loss": loss.detach(), "train/error": terms.error.mean()})
        self.log_dict({f"train/{name}": value.mean() for name, value in terms.auxiliary.items()})
        self.log_dict(by_band(terms))
        self.log("lr", self.optimizers().param_groups[0]["lr"])
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Drop gradients that are not finite, before they are clipped: the norm of one would spoil all."""
        self.guard.gradient(self.parameters())

    def _least(self, flag: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(flag, reduce_op="min")

    def validation_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> None:
        """Log the loss on held-out clips, with noise and times that are the same at every validation."""
        terms = self._validation_terms(batch, batch_idx)
        found = {"valid/loss": terms.total.mean(), "valid/error": terms.error.mean()}
        self.log_dict(found, batch_size=len(terms.total), sync_dist=True)

    def validation_loss(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> Tensor:
        """Measure by what one set of weights is preferred to another on a held-out batch."""
        return self._validation_terms(batch, batch_idx).total.mean()

    def _validation_terms(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> LossTerms:
        return self.terms(batch, self.validation_generator(batch_idx))

    def validation_generator(self, batch_idx: int) -> torch.Generator:
        """Make the generator of a held-out batch's noise and times, the same at every validation."""
        rank, world = self._place()
        return torch.Generator().manual_seed(batch_idx * world + rank)

    def _place(self) -> tuple[int, int]:
        return (self.global_rank, self.trainer.world_size) if self._trainer else (0, 1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse what another optimiser remembers.

        Raises:
            ValueError: The run began with another one.
        """
        began, now = (
            run.get("optimizer", {}).get("_target_")
            for run in (checkpoint.get("audiodiff", {}).get("run", {}), self.resume_config)
        )
        if began != now and began and now:
            raise ValueError(
                f"the run began with {began}, which remembers other things than {now}; begin anew, or keep it"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model's configuration and facts, as plain containers."""
        averaging = checkpoint.get("averaging", {})
        ema = {name: averaging[name] for name in ("decay", "updates") if name in averaging}
        checkpoint["audiodiff"] = {
            "config": self.model.config,
            "info": {**self.model.info, "steps": int(self.global_step), "ema": ema},
            "run": self.resume_config,
        }


def by_band(terms: LossTerms) -> dict[str, Tensor]:
    """Average the denoising error over the clips of each log-SNR band that the batch has clips in."""
    band = torch.bucketize(terms.log_snr, torch.tensor(BANDS, device=terms.error.device))
    names = [f"below{BANDS[0]:+g}", *(f"{low:+g}to{high:+g}" for low, high in itertools.pairwise(BANDS))]
    names.append(f"above{BANDS[-1]:+g}")
    return {f"log_snr/{name}": terms.error[band == i].mean() for i, name in enumerate(names) if bool((band == i).any())}
