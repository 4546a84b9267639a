"""Muon: orthogonalised momentum for matrices, AdamW for all other weights.

References: Jordan et al., 2024, "Muon: an optimizer for hidden layers"; the size of a step: Liu et al., 2025,
arXiv:2502.16982, by which one learning rate serves both kinds of weights.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x x' x and (x x')² x: singular values end between 0.68 and 1.13
RMS = 0.2  # of a step of AdamW, roughly


class Muon(torch.optim.Optimizer):
    """Orthogonalise the momentum of matrices and give it the size of a step of AdamW.

        M ← μ M + G,    W ← (1 - lr decay) W - lr 0.2 sqrt(max(rows, columns)) NS(G + μ M)

    NS is five Newton-Schulz iterations, in single precision, which a CPU computes faster than bfloat16. Parameter
    groups with `matrices=True` are orthogonalised; `param_groups.optimizer_of` sets it.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate, as for AdamW.
        momentum: μ.
        betas: AdamW's.
        weight_decay: Weight decay of all weights.
        eps: AdamW's.

    Raises:
        ValueError: A group of matrices holds a weight that is none.
    """

    splits_matrices = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0.01,
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": tuple(betas), "weight_decay": weight_decay, "eps": eps}
        super().__init__(params, defaults | {"matrices": False})
        wrong = [p for group in self.param_groups if group["matrices"] for p in group["params"] if p.ndim != 2]
        if wrong:
            raise ValueError(f"a weight of shape {list(wrong[0].shape)} is no matrix: give it in another group")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every weight with a gradient; return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            direction = self._orthogonal if group["matrices"] else self._adam
            for p in group["params"]:
                if p.grad is not None:
                    move = direction(p.grad, self.state[p], group)
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(move, alpha=group["lr"])
        return loss

    def _orthogonal(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        momentum = state.setdefault("momentum", torch.zeros_like(gradient))
        momentum.mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["momentum"])
        return orthogonalised(ahead) * (RMS * max(gradient.shape) ** 0.5)

    def _adam(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        first, second = group["betas"]
        state["step"] = step = state.get("step", 0) + 1
        mean = state.setdefault("mean", torch.zeros_like(gradient)).lerp_(gradient, 1 - first)
        square = state.setdefault("square", torch.zeros_like(gradient)).lerp_(gradient.square(), 1 - second)
        return mean / (1 - first**step) / ((square / (1 - second**step)).sqrt() + group["eps"])


def orthogonalised(matrix: Tensor, n_iter: int = 5) -> Tensor:
    """Bring the singular values of a matrix near 1, and keep its singular vectors, by Newton-Schulz iterations.

    >>> values = torch.linalg.svdvals(orthogonalised(torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])))
    >>> bool(((values > 0.6) & (values < 1.2)).all())
    True
    """
    a, b, c = COEFFICIENTS
    x = matrix.float()
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(n_iter):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix)
