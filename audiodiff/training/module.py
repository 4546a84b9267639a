"""The denoising objective as a Lightning module: clips → mel → diffused space → loss."""

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
from audiodiff.training.dropout import Dropout
from audiodiff.training.lr_schedules import scheduled
from audiodiff.training.mel_augment import MelAugment
from audiodiff.training.nan_guard import NanGuard
from audiodiff.training.param_groups import freeze, optimizer_of
from audiodiff.utils import devices

BANDS = (-10.0, -4.0, 0.0, 4.0, 10.0)  # edges of the log-SNR bands in which the loss is logged


class PreparedBatch(NamedTuple):
    """Hold a batch in the diffused space: signals, conditions, maps to waveforms and to constrained estimates."""

    x: Tensor
    inputs: tuple[Tensor | None, ...]
    decode: Callable[[Tensor], Tensor]
    refine: Callable[[Tensor], Tensor] | None


def condition_of(network: nn.Module, inputs: tuple[Tensor | None, ...]) -> Tensor | None:
    """Compute a network's condition from a mel, or from labels and vectors; None without either."""
    if not inputs:
        return None
    return network.encode(*inputs) if len(inputs) == 1 else network.encode_clip(*inputs)


class LitModel(lightning.LightningModule):
    """Train a vocoder or a generator.

    Noise and times of step n come from a generator that is seeded by (seed, n, rank): a resumed run repeats an
    uninterrupted one.

    Args:
        model: The model to train.
        loss: The loss to minimise.
        optimizer: Builds an optimiser of parameters.
        lr_factor: Maps the step to a factor of the learning rate.
        seed: Seed of noise and times.
        resume_config: Configuration of the run as plain containers, stored in each checkpoint.
        projection_iters: Mel projections of a vocoder's estimate before the loss.
        label_dropout: Share of clips whose label is hidden, and share whose vector is, for classifier-free guidance
            (Ho & Salimans, 2022, arXiv:2207.12598).
        mel_augment: Augments the mel that conditions a vocoder in training.
        dropout, drop_path: As in `Dropout`.
        frozen: Patterns of names of weights that do not learn.
        lr_factors: Factors of the learning rate by patterns of names.
        anchor: Penalty on the weights, such as `continual.Anchor`.
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
        self.dropout = Dropout(model.denoiser.network, dropout, drop_path)
        self.lr_factors = lr_factors
        self.anchor = anchor
        self.guard = NanGuard()
        freeze(model, frozen)

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimiser and the schedule of its learning rate, which advances every step."""
        optimizer = optimizer_of(self.optimizer, self.model, self.lr_factors)
        schedule = scheduled(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def crop_and_mel(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Crop clips, [B, 1, T], to whole hops and compute their mels, [B, M, T / hop]."""
        frames = clips.shape[-1] // self.model.hop_length
        clips = clips[..., : frames * self.model.hop_length]
        with torch.no_grad(), devices.full_precision(clips.device):
            return clips, self.model.spectrogram(clips)[..., :frames]  # a centred mel has one more

    def penalty(self) -> Tensor | float:
        """Compute the anchor's penalty on the weights; 0 without an anchor."""
        if self.anchor is None:
            return 0.0
        penalty = self.anchor(self.model)
        self.log("train/anchor", penalty.detach())
        return penalty

    def augmented(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """Augment mels, [B, M, F], in training mode; return them as they are otherwise."""
        return self.mel_augment(mel, generator) if self.training else mel

    def drop_conditions(
        self, labels: Tensor, vectors: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor | None, Tensor | None]:
        """Hide the labels and, independently, the vectors of some clips; None for conditions the network lacks."""
        network = self.model.denoiser.network
        drop = torch.rand(len(labels), generator=generator) < self.label_dropout
        labels = labels.masked_fill(drop.to(labels.device), -1)
        if vectors is not None:
            drop = torch.rand(len(labels), generator=generator) < self.label_dropout
            vectors = vectors.masked_fill(drop.to(vectors.device)[:, None], torch.nan)
        return (labels if network.n_labels else None), vectors

    def prepare(self, batch: Tensor | Sequence[Tensor], generator: torch.Generator) -> "PreparedBatch":
        """Encode a batch: clips, [B, 1, T], alone or with labels, [B], and vectors, [B, D]."""
        clips, conditions = (batch, ()) if isinstance(batch, Tensor) else (batch[0], batch[1:])
        model, mel = self.model, clips  # a generator's gains do not depend on a mel
        inputs = self.drop_conditions(*conditions, generator=generator) if conditions else ()
        if isinstance(model, Vocoder):
            clips, mel = self.crop_and_mel(clips)
            mel = self.augmented(mel, generator)
            inputs = (mel,)
        with torch.no_grad(), devices.full_precision(clips.device):
            gains = model.whitening.gains(mel)
            x = model.whitening.encode(clips, gains)

        def decode(z: Tensor) -> Tensor:
            return model.whitening.decode(z, gains)

        refine = None
        if self.projection_iters:
            project = MelProjection(model.mel, mel, self.projection_iters, momentum=0)

            def refine(z: Tensor) -> Tensor:
                return model.whitening.encode(project(decode(z)), gains)

        return PreparedBatch(x, inputs, decode, refine)

    def compute_loss(self, batch: Tensor | Sequence[Tensor], generator: torch.Generator) -> LossTerms:
        """Compute the loss of a batch, per clip."""
        x, inputs, decode, refine = self.prepare(batch, generator)
        condition = condition_of(self.model.denoiser.network, inputs)
        return self.loss(self.model.denoiser, x, condition, decode, generator, *self._rank_and_world(), refine)

    def generator_of_step(self, batch_idx: int = 0) -> torch.Generator:
        """Seed the generator of a batch's noise and times by seed, step, rank, and part of an accumulated step."""
        key = (self.seed, self.global_step, self.global_rank)
        if part := batch_idx % (self.trainer.accumulate_grad_batches if self._trainer else 1):
            key += (part,)
        return torch.Generator().manual_seed(hash(key) % 2**63)

    def training_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> Tensor | None:
        """Compute the mean loss of a batch and log it, also by log-SNR band; return None if it is not finite."""
        generator = self.generator_of_step(batch_idx)
        self.dropout.seed(generator)
        terms = self.compute_loss(batch, generator)
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
        """Drop gradients that are not finite before clipping, whose common norm would spread them."""
        self.guard.gradient(self.parameters())

    def _least(self, flag: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(flag, reduce_op="min")

    def validation_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> None:
        """Log the loss of held-out clips, with the same noise and times at every validation."""
        terms = self.compute_loss(batch, self.validation_generator(batch_idx))
        metrics = {"valid/loss": terms.total.mean(), "valid/error": terms.error.mean()}
        self.log_dict(metrics, batch_size=len(terms.total), sync_dist=True)

    def validation_loss(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> Tensor:
        """Compute the loss of a held-out batch by which averages of the weights are compared."""
        return self.compute_loss(batch, self.validation_generator(batch_idx)).total.mean()

    def validation_generator(self, batch_idx: int) -> torch.Generator:
        """Seed the generator of a held-out batch's noise and times, the same at every validation."""
        rank, world = self._rank_and_world()
        return torch.Generator().manual_seed(batch_idx * world + rank)

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.global_rank, self.trainer.world_size) if self._trainer else (0, 1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint is of the same optimiser.

        Raises:
            ValueError: The run began with another one.
        """
        saved, current = (
            run.get("optimizer", {}).get("_target_")
            for run in (checkpoint.get("audiodiff", {}).get("run", {}), self.resume_config)
        )
        if saved != current and saved and current:
            raise ValueError(
                f"the run began with {saved}, which remembers other things than {current}; begin anew, or keep it"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add configuration and facts of the model, as plain containers."""
        averaging = checkpoint.get("averaging", {})
        ema = {name: averaging[name] for name in ("decay", "updates") if name in averaging}
        checkpoint["audiodiff"] = {
            "config": self.model.config,
            "info": {**self.model.info, "steps": int(self.global_step), "ema": ema},
            "run": self.resume_config,
        }


def by_band(terms: LossTerms) -> dict[str, Tensor]:
    """Average the denoising error over the clips of each log-SNR band; bands without clips are left out."""
    band = torch.bucketize(terms.log_snr, torch.tensor(BANDS, device=terms.error.device))
    names = [f"below{BANDS[0]:+g}", *(f"{low:+g}to{high:+g}" for low, high in itertools.pairwise(BANDS))]
    names.append(f"above{BANDS[-1]:+g}")
    return {f"log_snr/{name}": terms.error[band == i].mean() for i, name in enumerate(names) if bool((band == i).any())}
