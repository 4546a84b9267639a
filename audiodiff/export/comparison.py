"""Try an exported graph: what onnxruntime makes of it beside what torch does."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from audiodiff.export.hosts import Host, frame_noise
from audiodiff.export.targets import EXAMPLE, Target
from audiodiff.models.vocoder import Vocoder

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["difference", "difference_in_host", "session_of"]


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
