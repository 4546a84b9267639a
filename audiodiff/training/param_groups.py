"""Parameter groups: frozen weights, learning rates by name, and weight decay."""

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

MakeOptimizer = Callable[[Iterable[Any]], torch.optim.Optimizer]


def freeze(module: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze the weights whose names match a pattern; return the names.

    Args:
        module: The module.
        patterns: Patterns with * and ?, as in `denoiser.network.stages.0.*`.

    Raises:
        ValueError: A pattern matches nothing, or nothing is left to learn.
    """
    names = [name for name, _ in module.named_parameters()]
    frozen = {name for pattern in patterns for name in matching(pattern, names, "freeze")}
    for name, parameter in module.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(f"freeze={list(patterns)} leaves nothing that could learn")
    return sorted(frozen)


def parameter_groups(module: nn.Module, lr_factors: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Group the trained weights by weight decay and by the factor of their learning rate.

    Matrices and kernels decay; biases, norms, gains, embeddings and positions do not.

    Args:
        module: The module.
        lr_factors: Factors by pattern of names; the last match counts.

    Returns:
        Groups for an optimiser, with `params`, `names`, `factor`, and `weight_decay` = 0 where there is none.

    Raises:
        ValueError: A pattern matches nothing.
    """
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    factors = dict.fromkeys(named, 1.0)
    for pattern, factor in (lr_factors or {}).items():
        factors |= dict.fromkeys(matching(pattern, list(named), "lr_factors"), float(factor))
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for name, parameter in named.items():
        leaf = name.rpartition(".")[2]
        decays = parameter.ndim > 1 and leaf not in ("bias", "positions") and id(parameter) not in embeddings
        group = groups.setdefault((decays, factors[name]), {"params": [], "names": [], "factor": factors[name]})
        group["params"].append(parameter)
        group["names"].append(name)
        if not decays:
            group["weight_decay"] = 0.0
    return list(groups.values())


def optimizer_of(
    make: MakeOptimizer, module: nn.Module, lr_factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """Build the optimiser of a module's trained weights.

    For one that treats matrices in its own way (`muon.Muon`), decaying weights of two axes go into groups with
    `matrices=True`.
    """
    groups = parameter_groups(module, lr_factors)
    if getattr(getattr(make, "func", make), "splits_matrices", False):
        groups = [part for group in groups for part in _by_axes(group)]
    factors = [group.pop("factor") for group in groups]
    for group in groups:
        group.pop("names")
    optimizer = make(groups)
    for group, factor in zip(optimizer.param_groups, factors, strict=True):
        group["lr"] = group["lr"] * factor
    # A fused optimiser would undo the scale of float16 by itself, and Lightning clips no gradient that is still scaled.
    optimizer._step_supports_amp_scaling = False
    return optimizer


def _by_axes(group: dict[str, Any]) -> list[dict[str, Any]]:
    parts = []
    for matrices in (True, False):
        chosen = [
            (p, n)
            for p, n in zip(group["params"], group["names"], strict=True)
            if (p.ndim == 2 and "weight_decay" not in group) == matrices
        ]
        if chosen:
            params, names = (list(z) for z in zip(*chosen, strict=True))
            parts.append(group | {"params": params, "names": names, "matrices": matrices})
    return parts


def matching(pattern: str, names: Sequence[str], option: str) -> list[str]:
    """Return the names that match a pattern.

    Raises:
        ValueError: None matches.
    """
    matches = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    if not matches:
        raise ValueError(f"{option}: {pattern!r} matches none of the weights, such as {names[0] if names else 'none'}")
    return matches
