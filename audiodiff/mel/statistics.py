"""How the bands of a corpus belong together: the Gaussian of its log-mel frames."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from audiodiff.audio.io import cancels, mono
from audiodiff.mel.spec import MelSpec
from audiodiff.mel.spectrogram import LogMel
from audiodiff.utils.arrays import check_recording

RIDGE = 0.05  # added to the variance of each band: what statistics cannot tell


@dataclasses.dataclass(frozen=True)
class MelStatistics:
    """Mean and covariance of log band magnitudes over the frames of a corpus, in nepers.

    Args:
        frame_mean: [M].
        covariance: [M, M].
    """

    frame_mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, mels: list[Tensor], spec: MelSpec) -> Self:
        """Measure log-mels, [M, F] each, of one convention.

        Raises:
            ValueError: There are none.
        """
        if not mels:
            raise ValueError("no recording is long enough for a frame of the mel, or their channels cancel each other")
        frames = torch.cat([spec.log_magnitudes(mel.mT) for mel in mels])
        return cls(frames.mean(0), frames.T.cov())

    @classmethod
    def measure(cls, waveforms: Iterable[Tensor], spec: MelSpec, seconds: float = 10.0) -> Self:
        """Measure the beginnings of recordings, [C, T] each at the spec's rate; channels are mixed down.

        Raises:
            ValueError: One is not [C, T], or none can be measured.
        """
        mels = []
        for waveform in waveforms:
            check_recording(waveform, "a recording")
            waveform = waveform[:, : int(seconds * spec.sample_rate)]
            if waveform.shape[-1] >= spec.min_samples and not cancels(waveform):
                mels.append(LogMel(spec)(mono(waveform)[None])[0])
        return cls.of(mels, spec)

    @classmethod
    def from_dict(cls, fields: Any, n_mels: int) -> Self | None:
        """Read what `to_dict` wrote; None if it is nothing of the kind."""
        shapes = {"frame_mean": (n_mels,), "covariance": (n_mels, n_mels)}
        try:
            tensors = {name: torch.tensor(fields[name], dtype=torch.float32) for name in shapes}
        except (TypeError, ValueError, RuntimeError, KeyError):
            return None
        fits = isinstance(fields, Mapping) and all(tensors[name].shape == shape for name, shape in shapes.items())
        return cls(**tensors) if fits else None

    def to_dict(self) -> dict[str, Any]:
        """Write the statistics as plain lists."""

        def rounded(values: Any) -> Any:
            return [rounded(v) for v in values] if isinstance(values, list) else round(values, 3)

        return {name: rounded(value.tolist()) for name, value in vars(self).items()}

    def expected(self, logs: Tensor, known: Tensor) -> Tensor:
        """Replace the unknown bands of log magnitudes, [F, M], by what is expected from the known ones, [M] of bool.

        E[u | k] = m_u + C_uk (C_kk + 0.05 I)⁻¹ (k - m_k),    as of a Gaussian.
        """
        covariance, mean = self.covariance, self.frame_mean
        inner = covariance[known][:, known] + RIDGE * torch.eye(int(known.sum()), dtype=covariance.dtype)
        out = logs.clone()
        out[:, ~known] = mean[~known] + (logs[:, known] - mean[known]) @ torch.linalg.solve(
            inner, covariance[known][:, ~known]
        )
        return out
