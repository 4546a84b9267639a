"""Sampling as a chain of stages, which whole sounds, windows of long ones, and training walk alike.

    condition ─► begin ─► step ─► … ─► step ─► land ─► waveform

A condition is a log-mel, [B, M, F], or for a generator an empty signal, [B, 1, T]. Each stage maps what the one before
returned, and the position of its first frame, to what the next one takes; so a stage works on a whole sound as on a
window of it (`models.streaming`). A model says by a `Bound` how a condition decides its maps and its denoiser.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise, Denoiser
from audiodiff.diffusion.sampling import take_step
from audiodiff.diffusion.schedules import Schedule
from audiodiff.diffusion.solvers.base import NoiseSource, SolverState, white_noise
from audiodiff.mel import MelSpec
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.starts import Start
from audiodiff.models.whitening import Whitening
from audiodiff.utils import devices


class Bound:
    """Hold what a model computes from one condition.

    Args:
        encode: Maps waveforms, [B, 1, T], to the diffused space.
        decode: Maps the diffused space to waveforms, projected onto the mel where there is one.
        make_denoiser: Builds the denoiser of the condition when the first step asks for it.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        decode: Callable[[Tensor], Tensor],
        make_denoiser: Callable[[], Denoise],
    ) -> None:
        self.encode, self.decode, self._make_denoiser = encode, decode, make_denoiser

    @functools.cached_property
    def denoise(self) -> Denoise:
        """The denoiser under the condition."""
        return self._make_denoiser()


class State(NamedTuple):
    """Hold what passes from stage to stage, all aligned in time."""

    condition: Tensor
    x: Tensor
    memory: SolverState


class Stages:
    """Sample in stages: `begin`, a `step` for each interval of time, and `land`; calling it does all of them.

    Args:
        bind: Binds a condition.
        sampling: Start, solver, times, and the callback after each step.
        schedule: The path.
        hop_length: Samples per frame of the condition.
        noise: Gives the noise of a number of clips from a sample on; `sampling.noise` by default.
    """

    def __init__(
        self,
        bind: Callable[[Tensor], Bound],
        sampling: SamplingConfig,
        schedule: Schedule,
        hop_length: int = 1,
        noise: Callable[[int, int], NoiseSource] | None = None,
    ) -> None:
        self.sampling = sampling
        self.n_steps = len(sampling.times) - 1
        self._bind, self._schedule, self._hop = bind, schedule, hop_length
        self._noise = noise or sampling.noise
        self._last: tuple[Tensor, Bound] | None = None

    def __call__(self, condition: Tensor) -> Tensor:
        """Map a whole condition to waveforms, [B, 1, F hop]."""
        state = self.begin(condition)
        for i in range(self.n_steps):
            state = self.step(i, state)
        return self.land(state)

    def begin(self, condition: Tensor, at: int = 0, start: Start | None = None) -> State:
        """Make the state at the first time, by the sampling's start or another."""
        length = condition.shape[-1]
        drawn = white_noise(
            condition.new_empty(len(condition), 1, length * self._hop), self._noise(len(condition), at * self._hop)
        )
        start = start or self.sampling.start.part(at * self._hop, (at + length) * self._hop)
        with devices.full_precision(condition.device):
            x = start(condition, drawn, self._bound(condition).encode, self._schedule)
        return State(condition, x, None)

    def step(self, i: int, state: State, at: int = 0) -> State:
        """Move the state from `times[i]` to `times[i + 1]`."""
        condition, x, memory = state
        noise = self._noise(len(x), at * self._hop)
        sampling = self.sampling
        x, memory = take_step(
            self._bound(condition).denoise, sampling.solver, sampling.times, i, x, memory, noise, sampling.callback
        )
        return State(condition, x, memory)

    def land(self, state: State, at: int = 0) -> Tensor:
        """Map the state at t = 0 to waveforms."""
        with devices.full_precision(state.x.device):
            return self._bound(state.condition).decode(state.x)

    def _bound(self, condition: Tensor) -> Bound:
        """Bind a condition once for all stages that get the same tensor."""
        if self._last is None or self._last[0] is not condition:
            self._last = condition, self._bind(condition)
        return self._last[1]


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

    def stages(self, sampling: SamplingConfig) -> Stages:
        """Return sampling as a chain of stages."""
        ...
