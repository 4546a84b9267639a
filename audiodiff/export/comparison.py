"""Try an exported graph: what onnxruntime makes of it beside what torch does."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from audiodiff.diffusion.noise import NoiseField
from audiodiff.export.hosts import Host, frame_noise
from audiodiff.export.targets import EXAMPLE, Target
from audiodiff.models.vocoder import Vocoder

if TYPE_CHECKING:
    import onnxruntime

HOPS = 3  # of a stream that are compared, from the first that sounds


def session_of(model: bytes | str | Path, threads: int = 1) -> "onnxruntime.InferenceSession":
    """Open an ONNX model for the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def difference(target: Target, encoded: bytes) -> float:
    """Return the largest difference of what onnxruntime and torch make, as a share of the loudest sample."""
    session, largest = session_of(encoded), 0.0
    for frames in (EXAMPLE[1], EXAMPLE[1] // 3):
        inputs = {name: _cut(z, frames) for name, z in target.inputs.items()}
        outputs = session.run(None, {name: z.numpy() for name, z in inputs.items()})
        with torch.no_grad():
            wanted = target.module(*inputs.values())
        for ours, theirs in zip([wanted] if isinstance(wanted, Tensor) else wanted, outputs, strict=True):
            largest = max(largest, _share(torch.from_numpy(theirs), ours))
    return largest


def difference_in_stream(target: Target, encoded: bytes, vocoder: Vocoder) -> float:
    """Return the same of what each of the first steps of a stream makes of one state, waveform and next state alike.

    Not of phases, which are anything where nothing sounds; and not of two streams side by side, since the iterations of
    the start make other phases of what rounding leaves.
    """
    session, hop, largest = session_of(encoded), vocoder.hop_length, 0.0
    frames = -(-target.module.delay // hop) + HOPS
    noise = NoiseField([0]).draw(torch.empty(1, 1, frames * hop))
    mel = vocoder.spectrogram(0.1 * NoiseField([1]).draw(noise))
    state = list(target.inputs.values())[2:]
    for n in range(frames):
        inputs = [mel[..., n : n + 1].contiguous(), noise[..., n * hop : (n + 1) * hop], *state]
        outputs = session.run(None, {name: z.numpy() for name, z in zip(target.inputs, inputs, strict=True)})
        with torch.no_grad():
            wanted = target.module(*inputs)
        for name, ours, theirs in zip(target.outputs, wanted, outputs, strict=True):
            if name != "next_phases" and ours.any():
                largest = max(largest, _share(torch.from_numpy(theirs), ours))
        state = wanted[1:]
    return largest


def difference_in_host(target: Target, encoded: bytes, host: Host, vocoder: Vocoder, seed: int) -> float:
    """Return the same of the waveform that a host makes of mels, with the noise that the file holds."""
    session, noise, largest = session_of(encoded), torch.from_numpy(frame_noise(vocoder, seed)), 0.0
    for frames in (EXAMPLE[1], EXAMPLE[1] // 3):
        mel = _cut(target.inputs["mel"], frames)
        outputs = session.run(None, host.feed(mel))
        with torch.no_grad():
            wanted = target.module(mel, noise[:frames].reshape(1, 1, -1))
        largest = max(largest, _share(host.listen(outputs, vocoder), wanted[0, 0]))
    return largest


def _cut(z: Tensor, frames: int) -> Tensor:
    """Return the first frames of the first clip of an example's input."""
    return z[:1, ..., : z.shape[-1] * frames // EXAMPLE[1]] if z.ndim == 3 else z[:1]


def _share(theirs: Tensor, ours: Tensor) -> float:
    return float((ours - theirs).abs().max() / ours.abs().max())
