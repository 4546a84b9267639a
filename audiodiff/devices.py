"""The one module that names devices."""

import torch

__all__ = ["CHOICES", "resolve"]

CHOICES = ("auto", "cpu", "cuda", "mps")


def resolve(name: str = "auto") -> torch.device:
    """Turns a choice into a device; "auto" takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        ValueError: The device is unknown or not present.

    >>> resolve("cpu").type
    'cpu'
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in present.items() if there)
    if name not in present:
        raise ValueError(f"unknown device {name!r}: choose one of {', '.join(CHOICES)}")
    if not present[name]:
        raise ValueError(f"device {name} is not present on this machine: use --device auto or --device cpu")
    return torch.device(name)
