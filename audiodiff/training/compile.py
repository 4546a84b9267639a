"""Compilation of a network's blocks in training, by `torch.compile`."""

import logging
import os
import shutil
import sys

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from audiodiff.training.dropout import blocks_of

MOST_KINDS = 64  # recompilations of a block: one a dilation, with and without gradients
log = logging.getLogger(__name__)


def compile_blocks(network: nn.Module) -> None:
    """Compile the blocks of a network in place, at their first call; weights keep their names.

    Blocks repeat, so each kind is compiled once, in less time than the whole network.

    Args:
        network: The network.

    Raises:
        ValueError: The network has no blocks, or the machine no compiler.
    """
    blocks = blocks_of(network)
    if not blocks:
        raise ValueError(f"compile=true knows no block of a {type(network).__name__}: leave it out")
    if next(network.parameters()).device.type == "cpu" and not _finds_compiler():
        raise ValueError("compile=true needs a C++ compiler, such as g++: install one, or leave it out")
    config = torch._dynamo.config
    config.recompile_limit = max(MOST_KINDS, int(config.recompile_limit))  # ty: ignore[invalid-assignment]
    for block in blocks:
        block.compile()


def _finds_compiler() -> bool:
    names = ("cl",) if sys.platform == "win32" else ("g++", "clang++", "c++")
    return any(shutil.which(name) for name in (os.environ.get("CXX"), *names) if name)


class Compiled(Callback):
    """Compile a network's blocks for training steps.

    Validation and previews run uncompiled: each length of sound would be compiled anew.
    """

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Compile the blocks of the model that trains."""
        compile_blocks(pl_module.model.denoiser.network)
        log.info("the network is compiled in its first steps, which takes up to a minute")

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Switch to uncompiled code."""
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Switch back to compiled code."""
        torch.compiler.set_stance("default")

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, error: BaseException
    ) -> None:
        """Switch back to compiled code, for the next training of this process."""
        torch.compiler.set_stance("default")
