"""Hosts: programs that run a vocoder's ONNX file inside their own pipeline, each with a contract of its own.

    host's mel ─► before ─► mel, noise ─► sampler ─► waveform ─► after ─► what the host takes for samples

What lies before and after the sampler is written in ONNX's own text form, one file a host, so that a contract can be
read. A host gives no noise: the file holds that of `generate` at one seed, for the first `NOISE_SECONDS`, and repeats
it from there on, frame by frame. Mels shorter than the sampler takes are continued with silence, and the sound is cut.
"""

import abc
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from audiodiff.diffusion.noise import NoiseField
from audiodiff.export.targets import fewest_frames
from audiodiff.export.transforms import Factors
from audiodiff.models.vocoder import Vocoder

if TYPE_CHECKING:
    import onnx

NOISE_SECONDS = 12.0  # longer than most sentences; 4 bytes a sample
INNER = {"mel": "vocoder_mel", "noise": "vocoder_noise", "waveform": "vocoder_waveform"}  # the sampler within a host

BEFORE = """
host ({inputs}) => (float[1, {bands}, padded] vocoder_mel, float[1, 1, noises] vocoder_noise, int64[1] host_frames)
{{
    {to_bands_first}
    host_frames = Shape <start = 2, end = 3> (host_mel)
    host_fewest = Constant <value_ints = [{fewest}]> ()
    host_padded = Max (host_frames, host_fewest)
    host_begin = Constant <value_ints = [0]> ()
    host_axis = Constant <value_ints = [2]> ()
    host_continued = Concat <axis = 2> (host_mel, host_silence)
    vocoder_mel = Slice (host_continued, host_begin, host_padded, host_axis)
    host_zero = Constant <value_int = 0> ()
    host_one = Constant <value_int = 1> ()
    host_end = Squeeze (host_padded)
    host_positions = Range (host_zero, host_end, host_one)
    host_period = Constant <value_int = {period}> ()
    host_rows = Mod (host_positions, host_period)
    host_noise_frames = Gather <axis = 0> (host_noise, host_rows)
    host_flat = Constant <value_ints = [1, 1, -1]> ()
    vocoder_noise = Reshape (host_noise_frames, host_flat)
}}
"""


class Host(abc.ABC):
    """The contract of a host: what goes in, what comes out, what the file must say of itself."""

    name: ClassVar[str]
    newest_opset: ClassVar[int]  # of the onnxruntime in the oldest release that is in use
    inputs: ClassVar[str]  # ONNX text, {bands} to be filled in
    to_bands_first: ClassVar[str] = "host_mel = Identity (mel)"

    @abc.abstractmethod
    def check(self, vocoder: Vocoder) -> None:
        """Raise ValueError if the host cannot take this vocoder."""

    @abc.abstractmethod
    def after(self, vocoder: Vocoder) -> str:
        """Return the graph behind the sampler, in ONNX text: of `host_sound`, [1, 1, S], and `host_frames_after`."""

    @abc.abstractmethod
    def tensors_after(self, vocoder: Vocoder) -> dict[str, np.ndarray]:
        """Return what the graph behind the sampler holds."""

    def factors(self, vocoder: Vocoder) -> dict[str, Factors]:
        """Return what makes up its matrices called PREFIXforward_matrix, by their prefix."""
        return {}

    @abc.abstractmethod
    def metadata(self, vocoder: Vocoder) -> dict[str, str]:
        """Return what the host's loader looks for in the file's metadata."""

    @abc.abstractmethod
    def feed(self, mel: Tensor) -> dict[str, np.ndarray]:
        """Return the inputs of the file for a log-mel, [1, M, F]."""

    @abc.abstractmethod
    def listen(self, outputs: list[np.ndarray], vocoder: Vocoder) -> Tensor:
        """Return the waveform, [S], that the host makes of the outputs."""

    def companions(self, vocoder: Vocoder, model_file: str) -> dict[str, bytes]:
        """Return further files by name, to lie beside the model."""
        return {}

    def check_opset(self, opset: int) -> None:
        """Raise ValueError if the host's runtime does not know an opset."""
        if opset > self.newest_opset:
            raise ValueError(f"--opset {opset}: {self.name} takes up to {self.newest_opset}; leave it out")


def embed(sampler: "onnx.ModelProto", host: Host, vocoder: Vocoder, seed: int) -> "onnx.ModelProto":
    """Put a sampler whose inputs and output are called `INNER` between the graphs of a host.

    Args:
        sampler: The graph from mel and noise to the waveform.
        host: The contract.
        vocoder: What was exported.
        seed: Of the noise that the file holds.
    """
    import onnx

    noise = frame_noise(vocoder, seed)
    fields = {"bands": vocoder.mel.n_mels, "fewest": fewest_frames(vocoder), "period": len(noise)}
    text = BEFORE.format(inputs=host.inputs.format(**fields), to_bands_first=host.to_bands_first, **fields)
    before = _graph(text, {"host_noise": noise, "host_silence": silence(vocoder)}, sampler)
    after = _graph(host.after(vocoder), host.tensors_after(vocoder), sampler)
    inner = [(INNER[name], INNER[name]) for name in ("mel", "noise")]
    model = onnx.compose.merge_models(before, sampler, inner)
    outer = [(INNER["waveform"], "host_sound"), ("host_frames", "host_frames_after")]
    model = onnx.compose.merge_models(model, after, outer)
    props = {prop.key: prop.value for prop in sampler.metadata_props} | host.metadata(vocoder)
    onnx.helper.set_model_props(model, props | {"host": host.name, "noise_seed": str(seed)})
    model.producer_name, model.producer_version, model.graph.name = "audiodiff", "", "vocoder"
    return model


def frame_noise(vocoder: Vocoder, seed: int) -> np.ndarray:
    """Draw the noise with which sampling starts, as `generate` does at that seed: [frames, hop_length]."""
    frames = math.ceil(NOISE_SECONDS * vocoder.sample_rate / vocoder.hop_length)
    return NoiseField([seed]).draw(torch.empty(1, 1, frames * vocoder.hop_length)).reshape(frames, -1).numpy()


def silence(vocoder: Vocoder) -> np.ndarray:
    """Return as many frames of silence as the shortest mel has, [1, M, frames]."""
    frames = fewest_frames(vocoder)
    return vocoder.mel.of_bands(torch.zeros(1, frames, vocoder.mel.n_mels)).contiguous().numpy()


def _graph(text: str, tensors: dict[str, np.ndarray], like: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    opset = next(entry.version for entry in like.opset_import if not entry.domain)
    model: Any = onnx.parser.parse_model(f'<ir_version: {like.ir_version}, opset_import: ["": {opset}]> {text}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in tensors.items())
    return model
