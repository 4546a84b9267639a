"""Runs a network over a long signal in pieces that together give exactly what the whole would.

The pieces are cut inside each network call, not around the sampler: every step of the solver sees the whole signal, so
no cross-fade is needed and nothing depends on where the cuts fall. A piece is extended by the network's receptive field
on both sides, and the extension is thrown away.
"""

import torch
from torch import Tensor

from audiodiff.denoisers import Denoiser, Estimate

__all__ = ["Chunked"]


class Chunked:
    """A conditioned denoiser whose network sees at most one chunk, plus its receptive field, at a time.

    Args:
        denoiser: Wraps a network with a `hop_length` and `receptive_field()`.
        condition: At the network's frame rate, [B, F, ...].
        chunk: Samples per chunk; a multiple of the network's hop.

    Raises:
        ValueError: The chunk is empty.
    """

    def __init__(self, denoiser: Denoiser, condition: Tensor, chunk: int) -> None:
        if chunk < 1:
            raise ValueError(f"chunk_frames must be at least 1, got {chunk} samples")
        self.denoiser = denoiser
        self.condition = condition
        self.chunk = chunk
        self.schedule = denoiser.schedule
        self.hop = denoiser.network.hop_length
        self.context = -(-denoiser.network.receptive_field() // self.hop) * self.hop

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        """Estimates x and eps, [B, 1, T], chunk by chunk."""
        parts = [self._part(x_t, t, begin) for begin in range(0, x_t.shape[-1], self.chunk)]
        return Estimate(*(torch.cat(pieces, dim=-1) for pieces in zip(*parts, strict=True)))

    def _part(self, x_t: Tensor, t: Tensor, begin: int) -> Estimate:
        end = min(begin + self.chunk, x_t.shape[-1])
        low, high = max(0, begin - self.context), min(x_t.shape[-1], end + self.context)
        condition = self.condition[:, low // self.hop : high // self.hop]
        estimate = self.denoiser(x_t[..., low:high], t, condition)
        return Estimate(*(z[..., begin - low : end - low] for z in estimate))
