"""From a log-mel back to magnitudes: the mean within each band, before anything is known of phases."""

from torch import Tensor

from audiodiff.mel.filterbank import mel_filters
from audiodiff.mel.spec import MelSpec


def mean_magnitudes(spec: MelSpec, mel: Tensor) -> Tensor:
    """Compute the mean STFT magnitude within each band from a log-mel.

    Args:
        spec: Mel parameters.
        mel: Log-mel spectrogram, [B, M, F].

    Returns:
        Magnitudes, [B, F, M].
    """
    bands = spec.expand(mel.transpose(1, 2))
    weight = mel_filters(spec, mel).sum(0).clamp(min=1e-8) ** (1 / spec.power)
    return bands / weight
