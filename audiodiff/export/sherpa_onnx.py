"""sherpa-onnx: text-to-speech on phones, single-board computers and in browsers.

It knows two kinds of vocoders, by `model_type` in the metadata:

    hifigan   mel [1, 80, F] → samples                            for acoustic models of the Matcha type
    vocos     mel [1, M, F] → magnitude, cosine, sine, [1, K, L]  for ZipVoice too; the host inverts the transform

A model with 80 bands is written as the first kind, one with 100 bands, which ZipVoice speaks, as the second: the file
then ends with the transform that the host inverts. It also wants `sample_rate`, and refuses an acoustic model of
another rate.

Source: k2-fsa/sherpa-onnx, sherpa-onnx/csrc/{vocoder,hifigan-vocoder,vocos-vocoder}.cc.
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from audiodiff.audio.stft import hann
from audiodiff.export.hosts import Host
from audiodiff.export.transforms import Factors
from audiodiff.models.vocoder import Vocoder

KINDS = {80: "hifigan", 100: "vocos"}

SAMPLES = """
samples (float[1, 1, made] host_sound, int64[1] host_frames_after) => (float[1, 1, samples] audio)
{{
    host_hop = Constant <value_ints = [{hop}]> ()
    host_length = Mul (host_frames_after, host_hop)
    host_first = Constant <value_ints = [0]> ()
    host_time = Constant <value_ints = [2]> ()
    audio = Slice (host_sound, host_first, host_length, host_time)
}}
"""

SPECTRUM = """
spectrum (float[1, 1, made] host_sound, int64[1] host_frames_after)
    => (float[1, bins, frames] mag, float[1, bins, frames] x, float[1, bins, frames] y)
{{
    host_hop = Constant <value_ints = [{hop}]> ()
    host_length = Mul (host_frames_after, host_hop)
    host_first = Constant <value_ints = [0]> ()
    host_time = Constant <value_ints = [2]> ()
    host_cut = Slice (host_sound, host_first, host_length, host_time)
    host_ends = Constant <value_ints = [0, 0, {hop}, 0, 0, {hop}]> ()
    host_wide = Pad (host_cut, host_ends)
    host_blocks_shape = Constant <value_ints = [1, -1, {hop}]> ()
    host_blocks = Reshape (host_wide, host_blocks_shape)
    host_last = Constant <value_ints = [-1]> ()
    host_second = Constant <value_ints = [1]> ()
    host_all = Constant <value_ints = [9223372036854775807]> ()
    host_left = Slice (host_blocks, host_first, host_last, host_second)
    host_right = Slice (host_blocks, host_second, host_all, host_second)
    host_pairs = Concat <axis = 2> (host_left, host_right)
    host_bins = MatMul (host_pairs, host_forward_matrix)
    host_spectrum = Transpose <perm = [0, 2, 1]> (host_bins)
    x, y = Split <axis = 0, num_outputs = 2> (host_spectrum)
    host_shape = Shape (x)
    mag = ConstantOfShape <value = float[1] {{1.0}}> (host_shape)
}}
"""


class SherpaOnnx(Host):
    """The contract of sherpa-onnx."""

    name: ClassVar[str] = "sherpa-onnx"
    newest_opset: ClassVar[int] = 20  # onnxruntime 1.17 in the builds for phones and browsers
    inputs: ClassVar[str] = "float[1, {bands}, frames] mel"

    def check(self, vocoder: Vocoder) -> None:
        """Raise ValueError if no acoustic model of sherpa-onnx makes such mels."""
        if vocoder.mel.n_mels not in KINDS:
            raise ValueError(
                f"sherpa-onnx speaks with mels of 80 bands (Matcha) or 100 (ZipVoice), and this model has "
                f"{vocoder.mel.n_mels}: choose another model"
            )

    def after(self, vocoder: Vocoder) -> str:
        """Cut the sound to length; for the vocos kind, transform it to what the host inverts."""
        return (SAMPLES if _kind(vocoder) == "hifigan" else SPECTRUM).format(hop=vocoder.hop_length)

    def tensors_after(self, vocoder: Vocoder) -> dict[str, np.ndarray]:
        """Return the matrix of the transform, if there is one."""
        return {
            f"{name}forward_matrix": z.forward_matrix().float().numpy() for name, z in self.factors(vocoder).items()
        }

    def factors(self, vocoder: Vocoder) -> dict[str, Factors]:
        """Return what it is made of: frames of two hops."""
        if _kind(vocoder) == "hifigan":
            return {}
        size = 2 * vocoder.hop_length
        window = hann(size, size, 1.0, torch.float64, torch.device("cpu"))
        return {"host_": Factors(size, torch.arange(size), window, window)}

    def metadata(self, vocoder: Vocoder) -> dict[str, str]:
        """Return the kind of vocoder, its rate, and the transform that the host inverts."""
        kind, hop = _kind(vocoder), vocoder.hop_length
        known = {"model_type": kind, "sample_rate": str(vocoder.sample_rate), "hop_length": str(hop)}
        if kind == "hifigan":
            return known
        framing = {"n_fft": 2 * hop, "win_length": 2 * hop, "center": 1, "normalized": 0}
        texts = {"window_type": "hann", "pad_mode": "constant"}
        return known | {key: str(value) for key, value in framing.items()} | texts

    def feed(self, mel: Tensor) -> dict[str, np.ndarray]:
        """Return the mel under the name that the file gives it."""
        return {"mel": mel.numpy()}

    def listen(self, outputs: list[np.ndarray], vocoder: Vocoder) -> Tensor:
        """Return the samples, by the inverse transform that the host makes if the file is of the vocos kind."""
        if _kind(vocoder) == "hifigan":
            return torch.from_numpy(outputs[0]).flatten()
        magnitude, x, y = (torch.from_numpy(z)[0] for z in outputs)
        size = 2 * vocoder.hop_length
        window = torch.hann_window(size)
        return torch.istft(torch.complex(magnitude * x, magnitude * y), size, vocoder.hop_length, size, window)


def _kind(vocoder: Vocoder) -> str:
    return KINDS[vocoder.mel.n_mels]
