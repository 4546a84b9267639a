"""Weights that are shared out among processes (FSDP), for networks that no single device holds.

Each process keeps its rows of every weight, gradient and moment of the optimiser; a block's weights are gathered when
it is run, and let go. The engine is PyTorch's `fully_shard` under Lightning's `ModelParallelStrategy`. A checkpoint is
whole, the same file that one process or DDP writes, so that any of them goes on with it.

Reference: Zhao et al., 2023, "PyTorch FSDP", arXiv:2304.11277.
"""

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils.parametrize import is_parametrized

from audiodiff.nn.attention import AttentionBlock
from audiodiff.nn.conv import ConvBlock
from audiodiff.nn.mel_encoder import MelEncoder

__all__ = ["SharedOut", "load_whole", "piece_like", "whole"]


class SharedOut(ModelParallelStrategy):
    """Trains a network of which each process holds a piece, and saves it whole."""

    lightning_restore_optimizer = True

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Joins the processes, all of which see other clips."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def share(self, lit: lightning.LightningModule) -> None:
        """Leaves to this process its piece of the weights of a `LitModel`.

        Raises:
            ValueError: The training needs whole weights.
        """
        if not lit.automatic_optimization or lit.anchor is not None or any(map(is_parametrized, lit.modules())):
            raise ValueError("trainer=fsdp: stage=adversarial, continual= and adapter= want trainer=ddp")
        network, mesh = lit.model.denoiser.network, self.device_mesh["data_parallel"]
        for part in network.modules():
            if isinstance(part, ConvBlock | AttentionBlock | MelEncoder):
                fully_shard(part, mesh=mesh, reshard_after_forward=True)
        fully_shard(network, mesh=mesh, reshard_after_forward=True)
        for method in ("encode", "encode_labels", "encode_clip"):
            if hasattr(network, method):
                register_fsdp_forward_method(network, method)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Gathers the weights, in every process."""
        return whole(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Gathers what an optimiser remembers, in every process."""
        return whole(optimizer.state_dict())

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads the whole file in every process."""
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Takes this process's piece of the weights."""
        load_whole(self.lightning_module, checkpoint["state_dict"])

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes this process's piece of what the optimisers remember."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            pieces = {
                i: {key: piece_like(weights[i], value) for key, value in moments.items()}
                for i, moments in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": pieces})


def whole(values: Any) -> Any:
    """Gathers, in nested dictionaries and lists, every tensor that is shared out; all processes must ask.

    >>> whole({"a": [torch.ones(2)], "b": 1})
    {'a': [tensor([1., 1.])], 'b': 1}
    """
    if isinstance(values, DTensor):
        return values.full_tensor().detach()
    if isinstance(values, Mapping):
        return {key: whole(value) for key, value in values.items()}
    return [whole(value) for value in values] if isinstance(values, list) else values


def piece_like(weight: Tensor, value: Any) -> Any:
    """Returns this process's piece of a value of a weight's shape, where the weight is shared out."""
    if isinstance(weight, DTensor) and isinstance(value, Tensor) and value.shape == weight.shape:
        return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
    return value


def load_whole(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads whole weights into a module, each process its piece where they are shared out."""
    held = module.state_dict()
    module.load_state_dict({name: piece_like(held.get(name), value) for name, value in weights.items()})
