"""The log-mel spectrogram of a waveform."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from audiodiff.audio.stft import stft
from audiodiff.mel.filterbank import mel_filters
from audiodiff.mel.spec import MelSpec
from audiodiff.utils.arrays import check_recording, check_tensor

AT_ONCE = 4096  # frames that are transformed together: bounds the memory that a long recording takes


class LogMel(nn.Module):
    """Compute the log-mel spectrogram of a spec; equal to librosa's to 1e-5 in float64.

    Args:
        spec: The contract.
    """

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, waveform: Tensor) -> Tensor:
        """Map waveforms, [B, 1, T] of floats, to log-mels, [B, n_mels, F], of 16 bits in float32.

        Raises:
            ValueError: The waveform has another shape or holds no floats, is too short for one frame, or to be padded
                by reflection.
        """
        spec = self.spec
        check_tensor(waveform, "the waveform")
        if waveform.ndim != 3 or waveform.shape[1] != 1 or not waveform.shape[0] or not waveform.is_floating_point():
            kind = str(waveform.dtype).removeprefix("torch.")
            raise ValueError(
                f"the waveform is {list(waveform.shape)} of {kind}; [batch, 1, samples] of floats is wanted: "
                "waveform[:, None] makes it of channels, [C, T], and waveform.mean(1, keepdim=True) mixes stereo down"
            )
        if waveform.shape[-1] < spec.min_samples:
            raise ValueError(
                f"the waveform has {waveform.shape[-1]} samples ({waveform.shape[-1] / spec.sample_rate:.3f} s at "
                f"{spec.sample_rate} Hz); at least {spec.min_samples} are needed: give a longer recording"
            )
        waveform = waveform.float() if waveform.dtype.itemsize < 4 else waveform
        padded = functional.pad(waveform, spec.padding, mode=spec.pad_mode)[:, 0]
        frames = (padded.shape[-1] - spec.n_fft) // spec.hop_length + 1
        frames = min(frames, waveform.shape[-1] // spec.hop_length) if spec.drop_last else frames
        return spec.of_bands(torch.cat([self._bands(padded, k, frames) for k in range(0, frames, AT_ONCE)], dim=1))

    def _bands(self, padded: Tensor, first: int, frames: int) -> Tensor:
        """Compute the band values of frames from a first one on, [B, up to AT_ONCE, M]."""
        spec, last = self.spec, min(first + AT_ONCE, frames) - 1
        part = padded[:, first * spec.hop_length : last * spec.hop_length + spec.n_fft]
        magnitude = stft(part, spec.window(part), spec.hop_length, (0, 0), spec.pad_mode).abs()
        if spec.eps:
            magnitude = (magnitude.square() + spec.eps / spec.gain**2).sqrt()
        return (magnitude if spec.power == 1 else magnitude**spec.power) @ mel_filters(spec, part)


def mel_of(spec: MelSpec, waveform: Tensor) -> Tensor:
    """Compute the log-mel spectrogram of each channel of a recording.

    Args:
        spec: Mel parameters.
        waveform: [C, T] with C = 1 or 2, at the spec's sample rate; lengthened to whole hops by zeros.

    Returns:
        [C, M, F].

    Raises:
        TypeError: The recording is no tensor.
        ValueError: The recording has more than two channels, is too short, or holds anything but finite floats.
    """
    check_recording(waveform, "the recording")
    check_channels(len(waveform), "recording")
    hop, length, rate = spec.hop_length, waveform.shape[-1], spec.sample_rate
    needed = spec.min_samples
    if -(-length // hop) * hop < needed:
        raise ValueError(
            f"the recording has {length} samples ({length / rate:.3f} s at {rate} Hz); at least "
            f"{(needed - 1) // hop * hop + 1} are needed: give a longer one"
        )
    if not bool(torch.isfinite(waveform).all()):
        raise ValueError("the recording holds samples that are NaN or infinite: repair or re-export it")
    padded = functional.pad(waveform, (0, -length % hop)) if length % hop else waveform
    with torch.inference_mode():
        return torch.cat([LogMel(spec)(channel[None, None]) for channel in padded])


def check_channels(channels: int, kind: str) -> None:
    """Raise ValueError unless there are one or two channels."""
    if not 1 <= channels <= 2:
        raise ValueError(f"the {kind} has {channels} channels; mono and stereo are supported: mix it down first")
