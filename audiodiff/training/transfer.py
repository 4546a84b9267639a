"""Begin with another model's weights: what fits is taken, what can be is carried over, the rest is named.

Carried over are the layers whose inputs or outputs lie along frequency, when rate, window or bands differ: a band or
bin takes the weights of the old ones at its frequency. A network at twice the rate, with windows as long in seconds,
does with what lies below the old limit exactly what the old one did.
"""

import dataclasses
import logging

import torch
from torch import Tensor

from audiodiff.mel.filterbank import band_centres
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder

__all__ = ["Transfer", "transfer"]

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Transfer:
    """List tensors by what became of them.

    Args:
        same: Taken as they are.
        carried: Carried over to another shape.
        fresh: Of the new model, with no counterpart that fits.
        unused: Of the old model.
    """

    same: list[str] = dataclasses.field(default_factory=list)
    carried: list[str] = dataclasses.field(default_factory=list)
    fresh: list[str] = dataclasses.field(default_factory=list)
    unused: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        """Tell what is not as it was, a line a tensor."""
        lines = [f"{len(self.same)} tensors are taken as they are"]
        for what in ("carried", "fresh", "unused"):
            lines += [f"  {what}: {line}" for line in getattr(self, what)]
        return "\n".join(lines)


def transfer(model: Model, first: Model, strict: bool = True) -> Transfer:
    """Give a model the weights of another.

    Args:
        model: Is changed in place.
        first: Whose weights these are.
        strict: Whether anything else than equal names and shapes is refused.

    Raises:
        ValueError: It is strict and something does not fit, or nothing fits at all.
    """
    old, new = first.state_dict(), model.state_dict()
    told, state = Transfer(), {}
    for name, tensor in new.items():
        if name not in old:
            told.fresh.append(f"{name} {list(tensor.shape)}")
        elif old[name].shape == tensor.shape and not _means_another(name, model, first):
            state[name] = old[name]
            told.same.append(name)
        elif (moved := _carried(name, old[name], tensor, model, first)) is not None:
            state[name] = moved
            told.carried.append(f"{name} {list(old[name].shape)} → {list(tensor.shape)}")
        else:
            told.fresh.append(f"{name} {list(tensor.shape)}, and not {list(old[name].shape)}")
    told.unused = [f"{name} {list(tensor.shape)}" for name, tensor in old.items() if name not in new]
    misfits = told.carried + told.fresh + told.unused
    if misfits and strict:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise ValueError(
            f"init_from: {'; '.join(misfits[:3])}{more} do not fit: give the configuration of that model, or "
            "init_strict=false to take what fits"
        )
    if not state:
        raise ValueError("init_from: none of its tensors fits this model")
    model.load_state_dict(new | state)
    return told


def _means_another(name: str, model: Model, first: Model) -> bool:
    """Say whether a tensor of the same shape lies along another axis of frequency."""
    if name.endswith("mel_encoder.layers.0.weight") and isinstance(model, Vocoder) and isinstance(first, Vocoder):
        return not torch.equal(band_centres(model.mel), band_centres(first.mel))
    return name.endswith(("network.inward.weight", "network.outward.weight")) and _spacing(model) != _spacing(first)


def _carried(name: str, old: Tensor, new: Tensor, model: Model, first: Model) -> Tensor | None:
    """Carry a tensor over to another shape; None where that makes no sense.

    What goes in is read off the new places at the old ones, what comes out is read off the old places at the new ones.
    """
    if name.endswith("mel_encoder.layers.0.weight") and isinstance(model, Vocoder) and isinstance(first, Vocoder):
        if not _alike_but(old, new, 1):
            return None
        matrix = interpolation(band_centres(model.mel), band_centres(first.mel))
        return torch.einsum("cok,on->cnk", old.double(), matrix).to(old)
    if name.endswith("network.inward.weight") and _alike_but(old, new, 1):  # [width, bins, re | im]
        matrix = interpolation(_bins(model), _bins(first)) / _louder(model, first)
        return torch.einsum("wbc,bn->wnc", old.double().unflatten(1, (-1, 2)), matrix).flatten(1).to(old)
    if name.endswith("network.outward.weight") and _alike_but(old, new, 0):  # [mask | residual, bins, re | im, width]
        parts = torch.einsum("pbcw,nb->pncw", old.double().unflatten(0, (2, -1, 2)), _outward(model, first))
        return torch.cat([parts[:1], parts[1:] * _louder(model, first)]).flatten(0, 2).to(old)
    return None


def _outward(model: Model, first: Model) -> Tensor:
    return interpolation(_bins(first), _bins(model))


def _bins(model: Model) -> Tensor:
    return torch.arange(model.denoiser.network.transform.n_bins, dtype=torch.float64) * _spacing(model)


def _louder(model: Model, first: Model) -> float:
    """Return by how much a tone grows: the transform has unit variance for noise, whatever its window."""
    return (model.denoiser.network.transform.n_fft / first.denoiser.network.transform.n_fft) ** 0.5


def _alike_but(old: Tensor, new: Tensor, axis: int) -> bool:
    others = [[n for i, n in enumerate(t.shape) if i != axis] for t in (old, new)]
    return others[0] == others[1]


def _spacing(model: Model) -> float:
    return model.sample_rate / model.denoiser.network.transform.n_fft


def interpolation(known: Tensor, wanted: Tensor) -> Tensor:
    """Return the matrix, [len(wanted), len(known)], of linear interpolation; no row reaches beyond the last place.

    Args:
        known, wanted: Places in rising order.
    """
    known, wanted = known.to(torch.float64), wanted.to(torch.float64)
    after = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
    share = ((wanted - known[after - 1]) / (known[after] - known[after - 1])).clamp(0, 1)
    matrix = torch.zeros(len(wanted), len(known), dtype=torch.float64)
    matrix.scatter_(1, (after - 1)[:, None], (1 - share)[:, None]).scatter_add_(1, after[:, None], share[:, None])
    return matrix * (wanted <= known[-1] * (1 + 1e-9))[:, None]
