"""Expected magnitudes of a mel at a network's own frames and bins."""

import torch
from torch import Tensor, nn

from audiodiff.mel import MelSpec
from audiodiff.mel.filterbank import band_weights
from audiodiff.mel.magnitudes import mean_magnitudes


class ExpectedMagnitudes(nn.Module):
    """Spread the bands of a mel over the bins of another transform.

    Args:
        mel: Mel parameters.
        n_fft: Samples per frame of the network's transform.
        hop_length: Samples between its frames; must divide the mel's hop.

    Raises:
        ValueError: mel is None.
    """

    def __init__(self, mel: MelSpec | None, n_fft: int, hop_length: int) -> None:
        super().__init__()
        if mel is None:
            raise ValueError("expected magnitudes need the mel's parameters: give mel=")
        self.mel = mel
        self.n_bins = n_fft // 2 + 1
        self.upsampling = mel.hop_length // hop_length

    def forward(self, mel: Tensor) -> Tensor:
        """Map a log-mel, [B, M, F], to log-magnitudes, [B, F upsampling, n_bins]."""
        spacing = self.mel.sample_rate / 2 / (self.n_bins - 1)
        spread = band_weights(self.mel, self.n_bins, spacing, 0.0, mel)
        return (mean_magnitudes(self.mel, mel).log() @ spread).repeat_interleave(self.upsampling, 1)


class PowerScale(nn.Module):
    """Turn log-magnitudes into factors of an output: exp(power log(magnitude) + offset), both learned for each bin.

    The range-space path of RNDVoC and FreeV (arXiv:2507.20731, arXiv:2406.08196), for any transform and whitening.

    Args:
        n_bins: Bins.
    """

    def __init__(self, n_bins: int) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.full((n_bins,), 0.5))
        self.offset = nn.Parameter(torch.zeros(n_bins))

    def forward(self, log_magnitudes: Tensor) -> Tensor:
        """Map [B, F, n_bins] to [B, F, n_bins]."""
        return torch.addcmul(self.offset, self.power, log_magnitudes).exp()
