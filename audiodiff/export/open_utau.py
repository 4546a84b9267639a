"""OpenUtau: singing, with acoustic models of DiffSinger and a vocoder as a folder of two files.

    mel [1, F, M], f0 [1, F] → waveform [1, F hop]        vocoder.yaml: the file's name and the mel's numbers

The frequencies are taken and not used: pitch is in the mel. So the pitch of a note follows the acoustic model alone,
and `pitch_controllable` is false.

Source: openvpi/DiffSinger, deployment/exporters/nsf_hifigan_exporter.py; OpenUtau.Core/DiffSinger/DiffSingerVocoder.cs.
"""

from typing import ClassVar

import numpy as np
import torch
import yaml
from torch import Tensor

from audiodiff.export.hosts import Host
from audiodiff.mel import MelSpec
from audiodiff.models.vocoder import Vocoder

WAVEFORM = """
waveform (float[1, 1, made] host_sound, int64[1] host_frames_after) => (float[1, n_samples] waveform)
{{
    host_hop = Constant <value_ints = [{hop}]> ()
    host_length = Mul (host_frames_after, host_hop)
    host_first = Constant <value_ints = [0]> ()
    host_time = Constant <value_ints = [2]> ()
    host_cut = Slice (host_sound, host_first, host_length, host_time)
    host_channel = Constant <value_ints = [1]> ()
    waveform = Squeeze (host_cut, host_channel)
}}
"""


class OpenUtau(Host):
    """The contract of OpenUtau and of DiffSinger's exporter."""

    name: ClassVar[str] = "openutau"
    newest_opset: ClassVar[int] = 19  # onnxruntime 1.16
    inputs: ClassVar[str] = "float[1, n_frames, {bands}] mel, float[1, n_frames] f0"
    to_bands_first: ClassVar[str] = "host_mel = Transpose <perm = [0, 2, 1]> (mel)"

    def check(self, vocoder: Vocoder) -> None:
        """Raise ValueError if vocoder.yaml cannot say what the mel is."""
        spec = vocoder.mel
        like = MelSpec(
            spec.sample_rate, spec.n_fft, spec.win_length, spec.hop_length, spec.n_mels, spec.f_min, spec.f_max
        )
        names = ("norm", "power", "center", "mean", "std", "normalized", "dynamic_range", "ceiling", "guard")
        if strange := [f"{name}={getattr(spec, name)}" for name in names if getattr(spec, name) != getattr(like, name)]:
            raise ValueError(f"OpenUtau knows no mels with {', '.join(strange)}: choose another model")

    def after(self, vocoder: Vocoder) -> str:
        """Cut the sound to length."""
        return WAVEFORM.format(hop=vocoder.hop_length)

    def tensors_after(self, vocoder: Vocoder) -> dict[str, np.ndarray]:
        """Return nothing."""
        return {}

    def metadata(self, vocoder: Vocoder) -> dict[str, str]:
        """Return nothing: what OpenUtau reads lies in vocoder.yaml."""
        return {}

    def feed(self, mel: Tensor) -> dict[str, np.ndarray]:
        """Return the mel, frames first, and frequencies."""
        return {"mel": mel.transpose(1, 2).contiguous().numpy(), "f0": np.full((1, mel.shape[-1]), 220.0, np.float32)}

    def listen(self, outputs: list[np.ndarray], vocoder: Vocoder) -> Tensor:
        """Return the samples."""
        return torch.from_numpy(outputs[0])[0]

    def companions(self, vocoder: Vocoder, model_file: str) -> dict[str, bytes]:
        """Return vocoder.yaml."""
        spec = vocoder.mel
        known = {
            "name": vocoder.info.get("name", "audiodiff"),
            "model": model_file,
            "sample_rate": spec.sample_rate,
            "hop_size": spec.hop_length,
            "win_size": spec.win_length,
            "fft_size": spec.n_fft,
            "num_mel_bins": spec.n_mels,
            "mel_fmin": spec.f_min,
            "mel_fmax": spec.f_max,
            "mel_base": "e" if spec.log == "ln" else "10",
            "mel_scale": spec.scale,
            "pitch_controllable": False,
            "force_on_cpu": False,
        }
        return {"vocoder.yaml": yaml.safe_dump(known, sort_keys=False).encode()}
