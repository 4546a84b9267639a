"""Weights in eight bits each, to keep files small; nothing is computed with them.

    w ≈ step n,    n in -127 … 127,    step = max |w| / 127 over a row, rounded to 16 bits

A row is what one output channel or one hidden value is made of. With a rounded step the products are exact, so what was
packed once is the same when it is packed again. On ten recordings of the validation half the shipped
vocoder's PESQ-wb and p808 were those of 16-bit weights within 0.04, with six bits too (measured once).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

STEP = ".step"
FEWEST = 4096  # weights of a tensor that is worth it
LARGEST = 127


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Store large tensors as int8, [rows, …], with NAME.step, [rows], beside each; small ones as float16.

    >>> {name: t.dtype for name, t in packed({"w": torch.ones(64, 64), "b": torch.ones(64)}).items()}
    {'w': torch.int8, 'w.step': torch.float32, 'b': torch.float16}
    """
    stored = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            stored[name] = tensor
        elif tensor.ndim < 2 or tensor.numel() < FEWEST:
            stored[name] = tensor.half()
        else:
            rows = tensor.float().flatten(1)
            step = _rounded(rows.abs().amax(1) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
            stored[name] = (rows / step[:, None]).round().to(torch.int8).view_as(tensor)
            stored[name + STEP] = step
    return stored


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what `packed` was given, to half a step; tensors that were not packed come back as they are."""
    restored = {}
    for name, tensor in tensors.items():
        step = tensors.get(name + STEP)
        if step is not None:
            restored[name] = tensor.float() * step.view(-1, *[1] * (tensor.ndim - 1))
        elif not (name.endswith(STEP) and name.removesuffix(STEP) in tensors):
            restored[name] = tensor
    return restored


def narrowest(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """Return the narrowest of int8, float16 and float32 that keeps all tensors exactly, as those of shipped models.

    >>> narrowest({"w": torch.full((64, 64), 127.0)}), narrowest({"w": torch.rand(64, 64)})
    (torch.int8, torch.float32)
    """
    back = unpacked(packed(tensors))
    if all(torch.equal(back[name].float(), tensor.float()) for name, tensor in tensors.items()):
        return torch.int8
    exact = all(bool((tensor == tensor.half().float()).all()) for tensor in tensors.values())
    return torch.float16 if exact else torch.float32


def _rounded(steps: Tensor) -> Tensor:
    """Round float32 to 16 significant bits."""
    return ((steps.view(torch.int32) + 0x80) & ~0xFF).view(torch.float32)
