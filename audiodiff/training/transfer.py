"""Initialisation from another model's weights, with interpolation along frequency where the shapes differ.

Layers whose inputs or outputs lie along frequency are interpolated when rate, window or bands differ: a band or bin
takes the weights of the old ones at its frequency. A network at twice the rate, with windows of equal duration, does
exactly the same below the old limit. Positions are interpolated along time.
"""

import dataclasses
import logging

import torch
from torch import Tensor

from audiodiff.mel.filterbank import band_centres
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder
from audiodiff.nn.coefficients import CoefficientNetwork

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Transfer:
    """List tensors by how they were transferred.

    Args:
        same: Copied.
        carried: Interpolated to another shape.
        fresh: Tensors of the new model without a counterpart.
        unused: Tensors of the old model without a counterpart.
    """

    same: list[str] = dataclasses.field(default_factory=list)
    carried: list[str] = dataclasses.field(default_factory=list)
    fresh: list[str] = dataclasses.field(default_factory=list)
    unused: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        """Describe the transfer, with a line for each tensor that was not copied."""
        lines = [f"{len(self.same)} tensors are taken as they are"]
        for what in ("carried", "fresh", "unused"):
            lines += [f"  {what}: {line}" for line in getattr(self, what)]
        return "\n".join(lines)


def transfer(model: Model, first: Model, strict: bool = True) -> Transfer:
    """Copy the weights of one model into another.

    Args:
        model: The model to change, in place.
        first: The model whose weights are copied.
        strict: Whether all names and shapes must be equal.

    Raises:
        ValueError: Some tensor does not fit and `strict` is set, or none fits.
    """
    old, new = first.state_dict(), model.state_dict()
    result, state = Transfer(), {}
    for name, tensor in new.items():
        if name not in old:
            result.fresh.append(f"{name} {list(tensor.shape)}")
        elif old[name].shape == tensor.shape and not _means_another(name, model, first):
            state[name] = old[name]
            result.same.append(name)
        elif (moved := _carried(name, old[name], tensor, model, first)) is not None:
            state[name] = moved
            result.carried.append(f"{name} {list(old[name].shape)} → {list(tensor.shape)}")
        else:
            result.fresh.append(f"{name} {list(tensor.shape)}, and not {list(old[name].shape)}")
    result.unused = [f"{name} {list(tensor.shape)}" for name, tensor in old.items() if name not in new]
    misfits = result.carried + result.fresh + result.unused
    if misfits and strict:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise ValueError(
            f"init_from: {'; '.join(misfits[:3])}{more} do not fit: give the configuration of that model, or "
            "init_strict=false to take what fits"
        )
    if not state:
        raise ValueError("init_from: none of its tensors fits this model")
    model.load_state_dict(new | state)
    return result


def _means_another(name: str, model: Model, first: Model) -> bool:
    """Check whether a tensor of the same shape lies along another frequency axis."""
    if name.endswith("mel_encoder.layers.0.weight") and isinstance(model, Vocoder) and isinstance(first, Vocoder):
        return not torch.equal(band_centres(model.mel), band_centres(first.mel))
    return name.endswith(("network.inward.weight", "network.outward.weight")) and _spacing(model) != _spacing(first)


def _carried(name: str, old: Tensor, new: Tensor, model: Model, first: Model) -> Tensor | None:
    """Interpolate a tensor to another shape; return None for layers that do not lie along frequency.

    Inputs are interpolated from the new frequencies to the old ones, outputs from the old to the new.
    """
    if name.endswith("mel_encoder.layers.0.weight") and isinstance(model, Vocoder) and isinstance(first, Vocoder):
        if not _alike_but(old, new, 1):
            return None
        matrix = interpolation(band_centres(model.mel), band_centres(first.mel))
        return torch.einsum("cok,on->cnk", old.double(), matrix).to(old)
    if name.endswith("network.positions") and _alike_but(old, new, 0):
        return (interpolation(_centres(first), _centres(model), centres=True) @ old.double()).to(old)
    if isinstance(model.denoiser.network, CoefficientNetwork):
        return _coefficients_carried(name, old, new, model, first)
    if name.endswith("network.inward.weight") and _alike_but(old, new, 1):  # [width, bins, re | im]
        matrix = interpolation(_bins(model), _bins(first)) / _louder(model, first)
        return torch.einsum("wbc,bn->wnc", old.double().unflatten(1, (-1, 2)), matrix).flatten(1).to(old)
    if name.endswith("network.outward.weight") and _alike_but(old, new, 0):  # [mask | residual, bins, re | im, width]
        parts = torch.einsum("pbcw,nb->pncw", old.double().unflatten(0, (2, -1, 2)), _outward(model, first))
        return torch.cat([parts[:1], parts[1:] * _louder(model, first)]).flatten(0, 2).to(old)
    return None


def _coefficients_carried(name: str, old: Tensor, new: Tensor, model: Model, first: Model) -> Tensor | None:
    """Interpolate the ends of a network of coefficients: in [width, 2 bins], out [2 bins] or [2 bins, width].

    Both halves of the input, coefficients and magnitudes, and of the output, mask and residual, lie along frequency.
    """
    if name.endswith("network.inward.weight") and _alike_but(old, new, 1):
        matrix = interpolation(_bins(model), _bins(first), centres=True)
        return torch.einsum("wpb,bn->wpn", old.double().unflatten(1, (2, -1)), matrix).flatten(1).to(old)
    if name.endswith(("network.outward.weight", "network.outward.bias")) and _alike_but(old, new, 0):
        matrix = interpolation(_bins(first), _bins(model), centres=True)
        return torch.einsum("nb,pb...->pn...", matrix, old.double().unflatten(0, (2, -1))).flatten(0, 1).to(old)
    return None


def _outward(model: Model, first: Model) -> Tensor:
    return interpolation(_bins(first), _bins(model))


def _centres(model: Model) -> Tensor:
    network = model.denoiser.network
    return (torch.arange(len(network.positions)) + 0.5) * network.hop_length / model.sample_rate


def _bins(model: Model) -> Tensor:
    if isinstance(model.denoiser.network, CoefficientNetwork):  # half a bin higher, and none at half the rate
        return (torch.arange(model.denoiser.network.hop_length, dtype=torch.float64) + 0.5) * _spacing(model)
    return torch.arange(int(model.denoiser.network.transform.n_bins), dtype=torch.float64) * _spacing(model)


def _louder(model: Model, first: Model) -> float:
    """Return the factor by which a tone grows in a transform that has unit variance for noise."""
    return (model.denoiser.network.transform.n_fft / first.denoiser.network.transform.n_fft) ** 0.5


def _alike_but(old: Tensor, new: Tensor, axis: int) -> bool:
    others = [[n for i, n in enumerate(t.shape) if i != axis] for t in (old, new)]
    return others[0] == others[1]


def _spacing(model: Model) -> float:
    return model.sample_rate / model.denoiser.network.transform.n_fft


def interpolation(known: Tensor, wanted: Tensor, centres: bool = False) -> Tensor:
    """Return the matrix of linear interpolation, [len(wanted), len(known)]; rows beyond the last known place are zero.

    Args:
        known, wanted: Places in rising order.
        centres: Whether known places are centres of bins, so that the last one's value holds to the end of its bin.
    """
    known, wanted = known.to(torch.float64), wanted.to(torch.float64)
    after = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
    share = ((wanted - known[after - 1]) / (known[after] - known[after - 1])).clamp(0, 1)
    matrix = torch.zeros(len(wanted), len(known), dtype=torch.float64)
    matrix.scatter_(1, (after - 1)[:, None], (1 - share)[:, None]).scatter_add_(1, after[:, None], share[:, None])
    end = known[-1] + (known[-1] - known[-2]) / 2 if centres else known[-1]
    return matrix * (wanted <= end * (1 + 1e-9))[:, None]
