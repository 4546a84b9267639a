"""Parallel resolutions: the mean of several networks with frames of different length.

Short frames place clicks and onsets, long ones separate harmonics. Reference for the idea: Flow2GAN, arXiv:2512.23278.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiodiff.audio.chunks import Context
from audiodiff.nn.hybrid import HybridNetwork


class ParallelNetwork(nn.Module):
    """Average networks over the same signal.

    Args:
        branches: The networks; the largest hop must be a multiple of each.

    Raises:
        ValueError: A hop does not divide the largest.
    """

    def __init__(self, branches: Sequence[HybridNetwork]) -> None:
        super().__init__()
        self.hop_length = max(branch.hop_length for branch in branches)
        odd = [branch.hop_length for branch in branches if self.hop_length % branch.hop_length]
        if odd:
            raise ValueError(f"hop_length={odd[0]} must divide the largest, {self.hop_length}")
        self.branches = nn.ModuleList(branches)

    def encode(self, mel: Tensor) -> Tensor:
        """Compute all conditions, [B, M, F] to [B, F mel_hop / hop, D]: finer frames share a row."""
        conditions = [branch.encode(mel) for branch in self.branches]
        rows = min(c.shape[1] for c in conditions)
        return torch.cat([c.reshape(c.shape[0], rows, -1) for c in conditions], dim=-1)

    def forward(self, x: Tensor, log_snr: Tensor, condition: Tensor) -> Tensor:
        """Map a signal [B, 1, T], log-SNR [B] and a condition to a signal [B, 1, T]; T is a multiple of hop_length."""
        finer = [self.hop_length // branch.hop_length for branch in self.branches]
        widths = [n * sum(map(int, branch.widths)) for n, branch in zip(finer, self.branches, strict=True)]
        parts = condition.split(widths, dim=-1)
        out = [
            branch(x, log_snr, part.reshape(x.shape[0], part.shape[1] * n, -1))
            for branch, part, n in zip(self.branches, parts, finer, strict=True)
        ]
        return sum(out) / len(out)

    def receptive_field(self) -> int:
        """Return R: a sample of the output depends on no input sample further than R away."""
        return max(branch.receptive_field() for branch in self.branches)

    def context(self) -> Context:
        """Return the context of the output in samples, of signal and mel together."""
        contexts = [branch.context() for branch in self.branches]
        return Context(max(r.past for r in contexts), max(r.future for r in contexts))
