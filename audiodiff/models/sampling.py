"""Sampling settings, and what streaming needs of a vocoder."""

import dataclasses
from typing import Any, Protocol

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise, Denoiser
from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.solvers import Solver
from audiodiff.diffusion.solvers.base import Callback
from audiodiff.mel import MelSpec
from audiodiff.models.starts import Start
from audiodiff.models.whitening import Whitening

__all__ = ["SamplingConfig", "Streamable"]


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Sampling settings.

    Args:
        start: Gives the state at the first time.
        solver: Takes the steps.
        times: Timesteps from the start's time to 0, [steps + 1], float64 on the CPU.
        seed: Of the noise; clip i of a batch has seed + i.
        callback: Called after each step with its index and the diffused signal.
    """

    start: Start
    solver: Solver
    times: Tensor
    seed: int = 0
    callback: Callback | None = None

    def noise(self, batch: int, begin: int = 0) -> NoiseField:
        """Return the noise of a batch from a sample on."""
        return NoiseField(range(self.seed, self.seed + batch), begin)


class Streamable(Protocol):
    """Describe what streaming needs of a vocoder; `models.vocoder.Vocoder` provides it."""

    mel: MelSpec
    denoiser: Denoiser
    whitening: Whitening
    sample_rate: int
    hop_length: int
    precision: str
    projection_iters: int
    final_iters: int

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        ...

    def sampling(self, *args: Any, seed: int = 0, **options: Any) -> SamplingConfig:
        """Fill in what is left open with the model's own settings."""
        ...

    def check_mel(self, mel: Tensor, convention: MelSpec | None = None, whole: bool = True) -> None:
        """Raise ValueError unless a mel, [B, M, F], suits the model."""
        ...

    def initial_state(self, mel: Tensor, start: Start, noise: NoiseField) -> Tensor:
        """Make the diffused signal from which sampling starts, [B, 1, F hop]."""
        ...

    def make_denoiser(self, mel: Tensor) -> Denoise:
        """Make the denoiser of a mel."""
        ...

    def to_waveform(self, mel: Tensor, x: Tensor) -> Tensor:
        """Map a diffused signal to a waveform, [B, 1, F hop]."""
        ...
