"""Embeddings of the log-SNR, and of a vector that describes a clip."""

import torch
from torch import Tensor, nn


class LogSNREmbedding(nn.Module):
    """Embed the log-SNR by sines of geometric frequencies and a small MLP.

    Args:
        width: Size of the embedding.
        n_frequencies: Sines, from 1/8 to 4 radians per unit of log-SNR; as many cosines are added.
    """

    def __init__(self, width: int, n_frequencies: int = 16) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(-1, 4, n_frequencies, base=2.0) / 4, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * n_frequencies, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, log_snr: Tensor) -> Tensor:
        """Map [B] to [B, width]."""
        angles = log_snr[:, None] * self.frequencies
        return self.mlp(torch.cat([angles.sin(), angles.cos()], dim=-1))


class VectorEmbedding(nn.Module):
    """Embed a vector that describes a clip by a linear layer, and a missing one by an embedding of its own.

    Args:
        size: Size of the vector.
        width: Size of the embedding.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, width)
        self.absent = nn.Parameter(torch.zeros(width))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map [B, size] to [B, width]; a row with a NaN counts as missing."""
        missing = vectors.isnan().any(1, keepdim=True)
        return torch.where(missing, self.absent, self.linear(vectors.masked_fill(missing, 0.0)))
