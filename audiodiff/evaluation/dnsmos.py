"""The opinion score that DNSMOS predicts for a sound alone: its P.808 model, one ONNX session in a process.

The package speechmos brings the model along, and is not imported: it would import librosa and open a second model.
Reference: Reddy et al., 2021, arXiv:2010.15258; windows and features as in speechmos.dnsmos.
"""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiodiff.audio import resample
from audiodiff.mel import LogMel, MelSpec

RATE = 16000
WINDOW, STEP = int(9.01 * RATE), RATE  # samples
CUT = 160  # at the end of each window
MEL = MelSpec(
    RATE, n_fft=321, win_length=321, hop_length=160, n_mels=120, power=2.0, center=True, pad_mode="constant",
    log="log10", floor=1e-10,
)  # fmt: skip


def is_available() -> bool:
    """Tell whether the model and onnxruntime are installed."""
    return all(importlib.util.find_spec(name) for name in ("speechmos", "onnxruntime"))


def predict_opinion(waveform: Tensor, sample_rate: int) -> float:
    """Predict the mean opinion score of a waveform, [T], 1 to 5; a short one is repeated until it fills a window."""
    sound = resample(waveform[None].float().clamp(-1, 1), sample_rate, RATE)[0].clamp(-1, 1)
    sound = sound.repeat(2 ** max(0, (-(-WINDOW // len(sound)) - 1).bit_length()))
    begins = range(0, (int(len(sound) // RATE - 9.01) + 1) * STEP, STEP)
    windows = torch.stack([sound[k : k + WINDOW - CUT] for k in begins])
    scores = [_session().run(None, {"input_1": _features(window)})[0][0, 0] for window in windows]
    return float(sum(scores) / len(scores))


def _features(window: Tensor) -> Any:
    """Compute levels in dB below the largest, [1, frames, bands], scaled to about [-1, 1]."""
    levels = 10 * LogMel(MEL)(window[None, None]).mT
    return (((levels - levels.max()).clamp(min=-80) + 40) / 40).numpy()


@functools.cache
def _session() -> Any:
    import onnxruntime

    spec = importlib.util.find_spec("speechmos")
    folder = Path(spec.submodule_search_locations[0]) / "dnsmos_models"  # type: ignore[union-attr,index]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(folder / "model_v8.onnx", options, providers=["CPUExecutionProvider"])
