"""Fuse what a network does between its products, while it trains."""

import logging
import os
import shutil
import sys

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from audiodiff.training.dropout import blocks_of

__all__ = ["Compiled", "compile_blocks"]

MOST_KINDS = 64  # of blocks: their dilations, with and without gradients
log = logging.getLogger(__name__)


def compile_blocks(network: nn.Module) -> None:
    """Let `torch.compile` make one pass of the many over memory in a block; they are compiled when first called.

    A block is what repeats, so it is compiled once for each dilation, in half the time of the whole network and with
    the same gain. Weights keep their names.

    Args:
        network: Whose blocks are compiled, in place.

    Raises:
        ValueError: It has no blocks, or there is no compiler.
    """
    blocks = blocks_of(network)
    if not blocks:
        raise ValueError(f"compile=true knows no block of a {type(network).__name__}: leave it out")
    if next(network.parameters()).device.type == "cpu" and not _finds_compiler():
        raise ValueError("compile=true needs a C++ compiler, such as g++: install one, or leave it out")
    torch._dynamo.config.recompile_limit = max(MOST_KINDS, torch._dynamo.config.recompile_limit)
    for block in blocks:
        block.compile()


def _finds_compiler() -> bool:
    names = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")
    return any(shutil.which(name) for name in (os.environ.get("CXX"), *names) if name)


class Compiled(Callback):
    """Compile a network's blocks for training steps.

    Validation and previews run as they are: sounds of many lengths would each be compiled for.
    """

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Compile the blocks of the model that trains."""
        compile_blocks(pl_module.model.denoiser.network)
        log.info("the network is compiled in its first steps, which takes up to a minute")

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Set aside what is compiled."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take it up again."""
        torch.compiler.set_stance("default")

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, error: BaseException
    ) -> None:
        """Take it up again, for whoever trains next in this process."""
        torch.compiler.set_stance("default")
