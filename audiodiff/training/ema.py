"""Exponential moving averages of the weights, which validation, previews and exports use."""

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

Weights = dict[str, Tensor]
IN_PIECES = ("fsdp", "model_parallel", "deepspeed", "xla_fsdp")


class EMA(Callback):
    """Average the weights exponentially, with one or several decays that grow from 0 to their limits.

        average ← d average + (1 - d) weights,    d = min(decay, (1 + n) / (10 + n)) at the n-th update

    A checkpoint holds the trained weights, as `current_model_state`, and every average; its `state_dict` is the average
    with the least loss at the last validation. Validation and previews use that one, and the trained weights are
    swapped back afterwards. (Lightning's own callback, as of 2.6, swaps in an average that was never updated, its issue
    21724, and keeps one average.)
    Reference of the warm-up: `tf.train.ExponentialMovingAverage`, num_updates.

    Args:
        decay: Limit of the decay; validation chooses among several.

    Raises:
        ValueError: A decay is not in [0, 1).
    """

    def __init__(self, decay: float | Sequence[float] = 0.999) -> None:
        decays = [decay] if isinstance(decay, int | float) else list(decay)
        if not decays or not all(0 <= d < 1 for d in decays):
            raise ValueError(f"ema_decay={decay}: numbers in [0, 1) are wanted, such as 0.999 or [0.99, 0.999, 0.9999]")
        self.decays = sorted(set(decays))
        self.best = self.decays[-1]
        self.updates = 0
        self.averages: dict[float, Weights] = {}
        self._step = 0  # of the last update
        self._losses: dict[float, list[float]] = {}
        self._swapped = False  # whether the module has the best average, for validation

    @torch.no_grad()
    def update(self, weights: Weights) -> None:
        """Update every average by the weights of one more step."""
        for decay in self.decays:
            average = self.averages.setdefault(decay, {name: w.detach().clone() for name, w in weights.items()})
            share = 1 - min(decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 1.0
            for name, value in weights.items():
                average[name].lerp_(value.detach(), share)
        self.updates += 1

    @contextlib.contextmanager
    def swapped(self, module: torch.nn.Module, decay: float) -> Generator[None]:
        """Swap an average into a module inside a `with` block."""
        self._swap(module, decay)
        try:
            yield
        finally:
            self._swap(module, decay)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Move the averages of a checkpoint to the device of the weights."""
        weights = _weights(pl_module)
        for average in self.averages.values():
            average.update({n: tensor.to(weights[n].device) for n, tensor in average.items()})

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the averages after each optimiser step."""
        if trainer.global_step > self._step:
            self.update(_weights(pl_module))
            self._step = trainer.global_step

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Swap in the best average."""
        self._losses, self._swapped = {decay: [] for decay in self.decays}, True
        self._swap(pl_module, self.best)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compute the loss of the batch under each of several averages."""
        if len(self.averages) < 2:
            return
        self._swap(pl_module, self.best)
        for decay, losses in self._losses.items():
            with self.swapped(pl_module, decay):
                losses.append(float(pl_module.validation_loss(batch, batch_idx)))
        self._swap(pl_module, self.best)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Swap the trained weights back, and choose the best of several averages."""
        self._swap(pl_module, self.best)
        self._swapped = False
        if not any(self._losses.values()):
            return
        means = {d: torch.tensor(losses, device=pl_module.device).mean() for d, losses in self._losses.items()}
        means = {decay: float(trainer.strategy.reduce(mean, reduce_op="mean")) for decay, mean in means.items()}
        pl_module.log_dict({f"valid/loss-ema-{decay}": mean for decay, mean in means.items()})
        self.best = min(means, key=means.__getitem__)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Swap the trained weights back if validation was interrupted."""
        if self._swapped:
            self._swap(pl_module, self.best)
            self._swapped = False

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the best average as `state_dict`; trained weights and other averages beside it."""
        trained = checkpoint["state_dict"]
        checkpoint["current_model_state"] = trained
        checkpoint["state_dict"] = trained | self.averages.get(self.best, {})
        others = {str(decay): average for decay, average in self.averages.items() if decay != self.best}
        checkpoint["averaging"] = {"decay": self.best, "updates": self.updates, "step": self._step, "others": others}

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the averages, and load the trained weights into the module.

        Raises:
            ValueError: The checkpoint holds no averages.
        """
        if "averaging" not in checkpoint:
            raise ValueError("the checkpoint holds no averages: begin with init_from=RUN")
        state, names = checkpoint["averaging"], _weights(pl_module).keys()
        best = {name: tensor for name, tensor in checkpoint["state_dict"].items() if name in names}
        saved = {float(decay): average for decay, average in state["others"].items()} | {state["decay"]: best}
        self.updates, self._step = state["updates"], state["step"]
        if self.updates:  # a new decay begins with the best average
            self.averages = {d: {n: t.clone() for n, t in saved.get(d, best).items()} for d in self.decays}
        self.best = state["decay"] if state["decay"] in self.decays else self.decays[-1]
        pl_module.load_state_dict(checkpoint["current_model_state"])

    @torch.no_grad()
    def _swap(self, module: torch.nn.Module, decay: float) -> None:
        average = self.averages.get(decay, {})
        for name, weight in _weights(module).items() if average else ():
            trained = weight.clone()
            weight.copy_(average[name])
            average[name].copy_(trained)


def check_whole(strategy: Any) -> None:
    """Check that every process holds whole weights, which averages and checkpoints need.

    Raises:
        ValueError: The strategy shards the weights.

    >>> check_whole("ddp")
    """
    if str(strategy).startswith(IN_PIECES):
        raise ValueError(
            f"trainer.strategy={strategy}: shards the weights, and last.ckpt would hold a part of their average; "
            "use trainer=ddp, these models fit on one device"
        )


def _weights(module: torch.nn.Module) -> Weights:
    return dict(module.named_parameters())
