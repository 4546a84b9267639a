"""Makes the cheap twin of a trained model, whose network has half as many frames, for training to go on with.

    python demos/experiments/flagship/coarser.py speech-24k runs/coarser.safetensors --deeper 1
    python -m audiodiff.train experiment=speech-24k-few init_from=runs/coarser.safetensors trainer.precision=bf16-mixed

The window of a frame stays, its hop doubles, so a trunk frame of the twin is every second one of the first. What it
mixes along time keeps its duration: a dilation is halved; where it is 1 already, the taps are interpolated. Attention
sees half as many frames, the mel encoder computes the mean of the two it had. New blocks begin with closed gates, as
the identity.
"""

import argparse
import copy
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from audiodiff.models.base import Model
from audiodiff.utils.config import build


def coarser_twin(model: Model, deeper: int = 0) -> Model:
    """Build the twin, at twice the hop, of a model of `HybridNetwork`.

    Args:
        model: The model.
        deeper: Convolution blocks that each stage gets beside those it has, before its attention.
    """
    config = copy.deepcopy(model.config)
    settings = config["denoiser"]["network"]
    old, depth = list(settings["dilations"]), len(settings["dilations"])
    dilations = [max(1, dilation // 2) for dilation in old] + [2, 1, 4][:deeper]
    settings |= {
        "hop_length": 2 * settings["hop_length"],
        "dilations": dilations,
        "attention_window": settings["attention_window"] // 2,
    }
    twin = build(config)
    state, first = twin.state_dict(), model.state_dict()
    for name, tensor in first.items():
        state[moved(name, depth, depth + deeper)] = halved(name, tensor, old)
    twin.load_state_dict(state)
    twin.config, twin.info = config, dict(model.info)
    return twin


def moved(name: str, depth: int, deeper: int) -> str:
    """Name a tensor of the twin: attention comes after the blocks that are new."""
    prefix, stages, rest = name.partition("network.stages.")
    stage, _, inner = rest.partition(".")
    block, _, end = inner.partition(".")
    return f"{prefix}{stages}{stage}.{deeper}.{end}" if stages and int(block) == depth else name


def halved(name: str, tensor: Tensor, dilations: Sequence[int]) -> Tensor:
    """Carry a tensor over to half as many frames."""
    if name.endswith("conv.weight") and dilations[int(name.split(".")[-3])] == 1:
        return between(tensor)
    if name.endswith("attention.bias"):  # [heads, 2 window + 1], by distance
        return tensor[:, ::2]
    if "mel_encoder.outward" in name:  # [2 features, ...]: the first half of the channels is the first frame's
        return tensor.unflatten(0, (2, -1)).mean(0)
    return tensor


def between(taps: Tensor) -> Tensor:
    """Resample a kernel, [C, 1, K], to taps twice as far apart, sharing those between two among them."""
    middle, out = taps.shape[-1] // 2, torch.zeros_like(taps)
    for offset, tap in enumerate(taps.unbind(-1), -middle):
        for place in (offset // 2, -(-offset // 2)):  # the same if offset is even
            out[..., middle + place] += tap / 2
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a model, write its twin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="shipped name, file or run folder")
    parser.add_argument("out", help=".safetensors")
    parser.add_argument("--deeper", type=int, default=0, help="new convolution blocks of each stage (0)")
    options = parser.parse_args(arguments)
    coarser_twin(Model.load(options.model), options.deeper).save(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
