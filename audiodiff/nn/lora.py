"""Low-rank adapters of a trained network, to be kept apart or merged.

    LoRA:  W' = W + alpha / rank B A,      A [rank, in], B [out, rank], B = 0 at first
    DoRA:  W' = m (W + alpha / rank B A) / |W + alpha / rank B A|,      a norm for each output, m = |W| at first

References: Hu et al., 2021, arXiv:2106.09685; Liu et al., 2024, arXiv:2402.09353.
"""

import fnmatch
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """Change a weight, [out, ...], by a low-rank product; all axes but the first are flattened.

    Args:
        weight: The weight.
        rank: Of the change.
        alpha: Scale of the change, in units of 1 / rank.
        dora: Whether norms and directions are learned separately.
        generator: Draws A.
    """

    def __init__(
        self, weight: Tensor, rank: int, alpha: float, dora: bool = False, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        flat = weight.detach().flatten(1)
        bound = flat.shape[1] ** -0.5
        self.a = nn.Parameter(torch.empty(rank, flat.shape[1]).uniform_(-bound, bound, generator=generator))
        self.b = nn.Parameter(torch.zeros(len(flat), rank))
        self.size = nn.Parameter(flat.norm(dim=1)) if dora else None
        self.register_buffer("scale", torch.tensor(alpha / rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return changed(weight, self.a, self.b, self.scale, self.size)


def changed(weight: Tensor, a: Tensor, b: Tensor, scale: Tensor, size: Tensor | None = None) -> Tensor:
    """Compute a changed weight from an adapter's tensors."""
    flat = weight.flatten(1) + scale * b @ a
    if size is not None:
        flat = size[:, None] * flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return flat.view_as(weight)


def adapt(
    module: nn.Module,
    targets: Sequence[str],
    rank: int = 8,
    alpha: float = 16.0,
    dora: bool = False,
    seed: int = 0,
) -> list[str]:
    """Add adapters to the weights whose names match, freeze everything else, and return the matching names.

    Args:
        targets: Patterns of names with * and ?, among weights with at least two axes.
        rank, alpha, dora: As for `LowRank`.
        seed: Of A.

    Raises:
        ValueError: A pattern matches nothing, or rank is not positive.
    """
    if rank < 1:
        raise ValueError(f"adapter.rank={rank}: at least 1 is wanted")
    names = [name for name, p in module.named_parameters() if p.ndim > 1]
    for pattern in targets:
        if not fnmatch.filter(names, pattern):
            raise ValueError(f"adapter.targets: {pattern!r} matches no weight with two axes, such as {names[-1]}")
    chosen = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in targets)]
    module.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in chosen:
        owner, _, leaf = name.rpartition(".")
        layer = module.get_submodule(owner)
        parametrize.register_parametrization(layer, leaf, LowRank(getattr(layer, leaf), rank, alpha, dora, generator))
    return chosen


def merged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Merge the adapters of a state into the weights: the state of a network without adapters."""
    plain = {}
    for name, tensor in state.items():
        owner, separator, rest = name.partition(".parametrizations.")
        if not separator:
            plain[name] = tensor
        elif rest.endswith(".original"):
            leaf = rest.removesuffix(".original")
            parts = [state.get(f"{owner}.parametrizations.{leaf}.0.{part}") for part in ("a", "b", "scale", "size")]
            plain[f"{owner}.{leaf}"] = changed(tensor, *parts)
    return plain


def adapter_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Extract the adapters of a state, under names such as `layers.0.weight.a`."""
    parts = {name: tensor for name, tensor in state.items() if ".parametrizations." in name}
    return {_short(name): tensor for name, tensor in parts.items() if not name.endswith(".original")}


def _short(name: str) -> str:
    owner, _, rest = name.partition(".parametrizations.")
    leaf, _, part = rest.rpartition(".0.")
    return f"{owner}.{leaf}.{part}"


def with_adapter(state: Mapping[str, Tensor], adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Merge adapters, as returned by `adapter_state`, into the state of a network without them.

    Raises:
        ValueError: An adapter belongs to no weight of the network, or has another shape.
    """
    result = dict(state)
    for weight in sorted({name.rpartition(".")[0] for name in adapter}):
        parts = [adapter.get(f"{weight}.{part}") for part in ("a", "b", "scale", "size")]
        if weight not in state or any(part is None for part in parts[:3]):
            raise ValueError(f"the adapter is of {weight}, which this model has not: give the model that was adapted")
        try:
            result[weight] = changed(state[weight].float(), *parts)
        except RuntimeError:
            raise ValueError(f"the adapter of {weight} has another shape: give the model that was adapted") from None
    return result
