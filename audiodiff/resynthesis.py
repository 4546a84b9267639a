"""Audio → mel → audio: what is behind `audiodiff resynth`, `mel` and `vocode`, the training preview and the demo."""

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from audiodiff.model import Vocoder
from audiodiff.solvers import Solver
from audiodiff.starts import Start

__all__ = ["Resynthesis", "analyse", "resynthesise", "vocode"]


@dataclasses.dataclass(frozen=True)
class Resynthesis:
    """Holds what came out: waveform, [C, T], and the number of network calls per channel."""

    waveform: Tensor
    network_calls: int


def analyse(vocoder: Vocoder, waveform: Tensor) -> Tensor:
    """Computes the log-mel spectrogram of each channel of a recording.

    Args:
        vocoder: Its contract counts; runs on its device.
        waveform: [C, T] with C = 1 or 2, at the vocoder's sample rate; lengthened to whole hops by zeros.

    Returns:
        [C, M, F].

    Raises:
        ValueError: The recording has more than two channels or is too short.
    """
    _check_channels(len(waveform), "recording")
    hop, length, rate = vocoder.hop_length, waveform.shape[-1], vocoder.sample_rate
    needed = vocoder.mel.min_samples
    if -(-length // hop) * hop < needed:
        raise ValueError(
            f"the recording has {length} samples ({length / rate:.3f} s at {rate} Hz); at least "
            f"{(needed - 1) // hop * hop + 1} are needed: give a longer one"
        )
    padded = functional.pad(waveform, (0, -length % hop)).to(vocoder.device)
    with torch.inference_mode():
        return torch.cat([vocoder.spectrogram(channel[None, None]) for channel in padded])


def vocode(
    vocoder: Vocoder,
    mel: Tensor,
    *,
    steps: int | None = None,
    solver: Solver | None = None,
    times: Tensor | None = None,
    start: Start | None = None,
    seed: int = 0,
    chunk_frames: int | None = None,
    callback: Any = None,
) -> Resynthesis:
    """Turns the log-mel spectrogram of each channel into sound; every channel gets the same noise.

    Args:
        vocoder: The model; runs on its device.
        mel: [C, M, F] with C = 1 or 2.
        steps, solver, times, start, seed, chunk_frames, callback: As for `Vocoder.generate`.

    Returns:
        A waveform of F hops.

    Raises:
        ValueError: The mel has more than two channels, the wrong shape, or is not finite.
    """
    _check_channels(len(mel), "mel")
    calls = CallCounter(vocoder.denoiser.network)
    with calls:
        channels = [
            vocoder.generate(
                channel[None],
                steps=steps,
                solver=solver,
                times=times,
                start=start,
                seed=seed,
                chunk_frames=chunk_frames,
                callback=callback,
            )[0]
            for channel in mel
        ]
    return Resynthesis(torch.cat(channels).cpu(), calls.count // len(channels))


def resynthesise(
    vocoder: Vocoder,
    waveform: Tensor,
    *,
    steps: int | None = None,
    solver: Solver | None = None,
    times: Tensor | None = None,
    start: Start | None = None,
    seed: int = 0,
    chunk_frames: int | None = None,
    callback: Any = None,
) -> Resynthesis:
    """Sends each channel of a recording through its mel spectrogram and back.

    Args:
        vocoder: The model; runs on its device.
        waveform: [C, T] with C = 1 or 2, at the vocoder's sample rate.
        steps, solver, times, start, seed, chunk_frames, callback: As for `Vocoder.generate`.

    Returns:
        A waveform of exactly the input's length.

    Raises:
        ValueError: The recording has more than two channels or is too short.
    """
    sound = vocode(
        vocoder,
        analyse(vocoder, waveform),
        steps=steps,
        solver=solver,
        times=times,
        start=start,
        seed=seed,
        chunk_frames=chunk_frames,
        callback=callback,
    )
    return Resynthesis(sound.waveform[:, : waveform.shape[-1]], sound.network_calls)


def _check_channels(channels: int, kind: str) -> None:
    if not 1 <= channels <= 2:
        raise ValueError(f"the {kind} has {channels} channels; mono and stereo are supported: mix it down first")


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
