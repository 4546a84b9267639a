"""Adapters in files of their own: what a model has learned beyond another, in a hundredth of the space.

vocoder = adapters.load(Vocoder.load("speech-16k"), "runs/my-voice/adapter.safetensors")
"""

from pathlib import Path

import safetensors
import safetensors.torch
import torch

from audiodiff.models.base import Model
from audiodiff.nn.lora import adapter_state, merged, with_adapter
from audiodiff.utils import files

NOTHING = 1e-6  # relative change of a weight below which an adapter has learned nothing


def export(ckpt: str | Path, path: str | Path) -> bool:
    """Write the adapters of a trainer's checkpoint to PATH, safetensors; return whether it has any."""
    state = torch.load(ckpt, map_location="cpu", weights_only=True)["state_dict"]
    model = {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}
    tensors = {name: tensor.contiguous() for name, tensor in adapter_state(model).items()}  # judges have such names too
    if tensors:
        with files.atomic_file(path) as file:
            file.write(safetensors.torch.save(tensors))
    return bool(tensors)


def describe_change(ckpt: str | Path) -> str:
    """Say by how much the adapters of a trainer's checkpoint change the weights, and name those that change nothing."""
    state = torch.load(ckpt, map_location="cpu", weights_only=True)["state_dict"]
    names = [n for n in state if n.startswith("model.") and n.endswith(".original")]
    after = merged(state)
    changes = {}
    for name in names:
        weight = name.replace(".parametrizations", "").removesuffix(".original")
        changes[weight] = float((after[weight] - state[name]).norm() / state[name].norm().clamp(min=1e-12))
    idle = [name.removeprefix("model.") for name, change in changes.items() if change < NOTHING]
    message = f"adapters change the weights by {100 * max(changes.values()):.2g} % at most"
    return message + (f"; {len(idle)} changed nothing: {', '.join(idle[:3])} …" if idle else "")


def load(model: Model, path: str | Path) -> Model:
    """Merge an adapter, PATH, into the model on whose weights it was trained; change it in place and return it.

    Raises:
        ValueError: The file cannot be read, or is of another model.
    """
    try:
        adapter = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: is no safetensors file ({str(error)[:200]}); give a run's adapter.safetensors"
        ) from None
    try:
        model.load_state_dict(with_adapter(model.state_dict(), adapter))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model
