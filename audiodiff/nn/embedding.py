"""Tells a network how noisy its input is."""

import torch
from torch import Tensor, nn

__all__ = ["LogSNREmbedding"]


class LogSNREmbedding(nn.Module):
    """Embeds the log-SNR by sines of geometric frequencies and a small perceptron.

    Args:
        width: Size of the embedding.
        n_frequencies: Sines, from 1/8 to 4 radians per unit of log-SNR; as many cosines are added.
    """

    def __init__(self, width: int, n_frequencies: int = 16) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(-1, 4, n_frequencies, base=2.0) / 4, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * n_frequencies, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, log_snr: Tensor) -> Tensor:
        """Maps [B] to [B, width]."""
        angles = log_snr[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.sin(), angles.cos()], dim=-1))
