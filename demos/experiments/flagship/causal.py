"""Makes a model that sees no later frames out of one that does, for training to go on with: its live twin.

    python demos/experiments/flagship/causal.py speech-24k runs/causal.safetensors
    python -m audiodiff.train experiment=speech-24k-live init_from=runs/causal.safetensors

Convolutions keep the taps of the present and of the past, in the places that they have in a causal kernel; what looked
ahead is left out, and attention sees half its window. The mel encoder stays as it is: the start waits for its frames.
"""

import argparse
import copy
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from audiodiff.models.base import Model
from audiodiff.nn.conv import DepthwiseConv
from audiodiff.utils.config import build


def causal_twin(model: Model) -> Model:
    """Build the causal twin of a model of `HybridNetwork`, with what fits of its weights."""
    config = copy.deepcopy(model.config)
    config["denoiser"]["network"] |= {"causal": True, "encoder_causal": False}
    twin = build(config)
    state = model.state_dict()
    for name, module in twin.named_modules():
        if isinstance(module, DepthwiseConv):
            state[f"{name}.weight"] = behind(state[f"{name}.weight"])
    twin.load_state_dict(state)
    twin.config, twin.info = config, dict(model.info)
    return twin


def behind(taps: Tensor) -> Tensor:
    """Keep the present and past taps of a kernel, [C, 1, K], where a causal kernel has them."""
    middle = taps.shape[-1] // 2
    return torch.nn.functional.pad(taps[..., : middle + 1], (middle, 0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a model, write its twin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="shipped name, file or run folder")
    parser.add_argument("out", help=".safetensors")
    options = parser.parse_args(arguments)
    causal_twin(Model.load(options.model)).save(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
