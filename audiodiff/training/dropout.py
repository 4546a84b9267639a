"""Dropout and stochastic depth, by hooks on the blocks of a network."""

import torch
from torch import Tensor, nn

from audiodiff.nn.attention import AttentionBlock
from audiodiff.nn.conv import ConvBlock


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """List the convolution and attention blocks of a network in order of depth."""
    return [m for m in network.modules() if isinstance(m, ConvBlock | AttentionBlock)]


class Dropout:
    """Drop hidden values, and whole blocks, at random.

        dropout:   hidden ← hidden mask / (1 - p), a mask for each value behind an MLP's GELU
        drop_path: block(h) ← h + mask / (1 - p) (block(h) - h), a mask for each clip, p rising from block to block

    The expectation equals the network in evaluation mode. Masks depend on the step's seed alone, so that a resumed run
    repeats them.
    References: Srivastava et al., 2014; Huang et al., 2016, arXiv:1603.09382 (linear rise).

    Args:
        network: The network, whose blocks get hooks.
        dropout: Share of hidden values.
        drop_path: Share of clips for which the last block is skipped; the first block never is.

    Raises:
        ValueError: A share is not in [0, 1), or the network has none of the blocks.
    """

    def __init__(self, network: nn.Module, dropout: float = 0.0, drop_path: float = 0.0) -> None:
        if not (0 <= dropout < 1 and 0 <= drop_path < 1):
            raise ValueError(f"dropout={dropout}, drop_path={drop_path}: shares in [0, 1) are wanted")
        self.dropout = dropout
        self.active = bool(dropout or drop_path)
        self._generator: torch.Generator | None = None
        self._seed = 0
        if not self.active:
            return
        blocks = blocks_of(network)
        if not blocks:
            raise ValueError(f"dropout and drop_path know no block of a {type(network).__name__}: leave them at 0")
        for i, block in enumerate(blocks):
            share = drop_path * i / max(1, len(blocks) - 1)
            if dropout:
                block.mlp[1].register_forward_hook(self._drop_values)
            if share:
                block.register_forward_hook(self._path_hook(share))

    def seed(self, generator: torch.Generator) -> None:
        """Draw the seed of a step's masks; draw nothing if there are no masks."""
        if self.active:
            self._seed, self._generator = int(torch.randint(2**62, (), generator=generator)), None

    def _masks(self, shape: tuple[int, ...], share: float, like: Tensor) -> Tensor:
        if self._generator is None:
            self._generator = torch.Generator(like.device).manual_seed(self._seed)
        kept = torch.rand(shape, generator=self._generator, device=like.device) >= share
        return kept.to(like.dtype) / (1 - share)

    def _drop_values(self, module: nn.Module, inputs: tuple[Tensor, ...], hidden: Tensor) -> Tensor:
        return hidden * self._masks(tuple(hidden.shape), self.dropout, hidden) if module.training else hidden

    def _path_hook(self, share: float):  # noqa: ANN202 (a hook)
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
            if not module.training:
                return out
            mask = self._masks((out.shape[0], *[1] * (out.ndim - 1)), share, out)
            return torch.lerp(inputs[0], out, mask)

        return hook
