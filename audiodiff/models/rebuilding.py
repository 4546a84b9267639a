"""Rebuild a model from a configuration and tensors that a stranger may have written: any error becomes one sentence."""

import contextlib
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from audiodiff.utils import devices
from audiodiff.utils.config import build


def rebuild(path: Path, config: Any, size: int) -> Any:
    """Build what a configuration describes.

    Args:
        path: Its file, in messages.
        config: The configuration.
        size: Of all its tensors together, in numbers; a larger model is not built to its end.

    Raises:
        ValueError: It describes nothing that can be built, or something larger.
    """
    try:
        with _largest(size), devices.default_dtype(torch.float32):
            return build(config)
    except _TooLarge:
        raise _disagreement(path, f"the configuration wants more than the {size} numbers of the file") from None
    except ValueError as error:
        raise ValueError(f"{path}: {str(error)[:600]}") from None
    except Exception as error:
        raise ValueError(f"{path}: its configuration builds no model ({_reason(error)})") from None


def fill(path: Path, model: Any, state: Mapping[str, Tensor]) -> None:
    """Load tensors into a model, freeze it, and see that it answers.

    Raises:
        ValueError: The tensors are of another model, or its parts do not fit each other.
    """
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (RuntimeError, AttributeError) as error:
        raise _disagreement(path, str(error).splitlines()[-1].strip()) from None
    model.eval().requires_grad_(False)
    try:
        model.try_out()
    except Exception as error:
        raise ValueError(f"{path}: its configuration builds a model that fails ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _disagreement(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path}: tensors and configuration disagree ({reason[:300]}); give the pair of files that was saved together"
    )


class _TooLarge(Exception):
    """Say that a model has more numbers than its file."""


@contextlib.contextmanager
def _largest(size: int) -> Generator[None]:
    """Stop this thread from building modules of more than so many numbers, before memory is filled with them."""
    thread, left = threading.get_ident(), size

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        if parameter is not None and threading.get_ident() == thread:
            left -= parameter.numel()
            if left < 0:
                raise _TooLarge

    with register_module_parameter_registration_hook(count):
        yield
