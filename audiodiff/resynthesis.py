"""Audio → mel → audio: the one function behind `audiodiff resynth`, the training preview and the demo page."""

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from audiodiff.model import Vocoder
from audiodiff.solvers import Solver
from audiodiff.starts import Start

__all__ = ["Resynthesis", "resynthesise"]


@dataclasses.dataclass(frozen=True)
class Resynthesis:
    """Holds what came out: waveform, [C, T], and the number of network calls per channel."""

    waveform: Tensor
    network_calls: int


def resynthesise(
    vocoder: Vocoder,
    waveform: Tensor,
    *,
    steps: int | None = None,
    solver: Solver | None = None,
    start: Start | None = None,
    seed: int = 0,
    chunk_frames: int | None = None,
    callback: Any = None,
) -> Resynthesis:
    """Sends each channel of a recording through its mel spectrogram and back.

    Args:
        vocoder: The model; runs on its device.
        waveform: [C, T] with C = 1 or 2, at the vocoder's sample rate.
        steps, solver, start, seed, chunk_frames, callback: As for `Vocoder.generate`.

    Returns:
        A waveform of exactly the input's length.

    Raises:
        ValueError: The recording has more than two channels or is too short.
    """
    if len(waveform) > 2:
        raise ValueError(
            f"the recording has {len(waveform)} channels; mono and stereo are supported: mix it down first"
        )
    hop, length = vocoder.hop_length, waveform.shape[-1]
    padded = functional.pad(waveform, (0, -length % hop)).to(vocoder.device)
    calls = CallCounter(vocoder.denoiser.network)
    with torch.inference_mode(), calls:
        channels = [
            vocoder.generate(
                vocoder.spectrogram(channel[None, None]),
                steps=steps,
                solver=solver,
                start=start,
                seed=seed,
                chunk_frames=chunk_frames,
                callback=callback,
            )[0, :, :length]
            for channel in padded
        ]
    return Resynthesis(torch.cat(channels).cpu(), calls.count // len(channels))


class CallCounter:
    """Counts how often a network is called inside a `with` block."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network
        self.count = 0

    def __enter__(self) -> "CallCounter":
        """Starts counting."""
        self._hook = self.network.register_forward_hook(self._add)
        return self

    def __exit__(self, *_: object) -> None:
        """Stops counting."""
        self._hook.remove()

    def _add(self, *_: object) -> None:
        self.count += 1
