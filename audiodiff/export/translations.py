"""What torch.export leaves in a program and torch.onnx knows only after a second trace, said in ONNX' operators."""

from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Callable, Callable]:
    """Return functions that write ONNX, by operator of torch."""
    from onnxscript import opset18 as op

    def same(x: Any, *options: Any, **named: Any) -> Any:
        return op.Identity(x)

    def cast(x: Any, dtype: int, *options: Any, **named: Any) -> Any:
        return op.Cast(x, to=dtype)

    def both(x: Any, y: Any) -> Any:
        return op.And(x, y)  # of truth values: no network counts bits

    def subtract_from(x: Any, other: Any, alpha: Any = 1.0) -> Any:
        return op.Sub(op.CastLike(other, x), op.Mul(x, op.CastLike(alpha, x)))

    aten = torch.ops.aten
    return {
        aten.detach_.default: same,
        aten.to.device: same,
        aten.to.dtype: cast,
        aten.__and__.Tensor: both,
        aten.rsub.Scalar: subtract_from,
    }
