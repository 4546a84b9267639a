"""Attention within a sliding window: each frame sees `reach` frames to each side, however long the signal is."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from audiodiff.nn.conv import Modulation

__all__ = ["AttentionBlock", "WindowedAttention"]


class WindowedAttention(nn.Module):
    """Attends from frame i to the frames j with |i - j| <= reach, with a learned bias for each distance.

    Queries are cut into blocks of `reach` frames; a block looks at itself and its two neighbours. What a frame computes
    depends on distances alone, never on where the blocks fall, so a signal may be processed in pieces.

    Args:
        width: Channels.
        n_heads: Heads; must divide the width.
        reach: Frames seen to each side.

    Raises:
        ValueError: n_heads does not divide the width.
    """

    def __init__(self, width: int, n_heads: int, reach: int) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError(f"n_heads={n_heads} must divide width={width}")
        self.n_heads = n_heads
        self.reach = reach
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(n_heads, 2 * reach + 1))
        distance = torch.arange(3 * reach)[None] - torch.arange(reach, 2 * reach)[:, None]  # key minus query
        self.register_buffer("distance", distance, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """Maps [B, F, C] to [B, F, C]."""
        (batch, frames, width), reach = h.shape, self.reach
        blocks = -(-frames // reach)
        qkv = functional.pad(self.qkv(h), (0, 0, 0, blocks * reach - frames))
        q, k, v = qkv.view(batch, blocks * reach, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        k, v = (functional.pad(z, (0, 0, reach, reach)).unfold(2, 3 * reach, reach) for z in (k, v))
        q = q.unflatten(2, (blocks, reach)) * q.shape[-1] ** -0.5
        scores = (q @ k).float() + self._bias(blocks, frames)
        mixed = scores.softmax(-1).to(v.dtype) @ v.transpose(-1, -2)
        return self.out(mixed.flatten(2, 3)[:, :, :frames].transpose(1, 2).reshape(batch, frames, width))

    def _bias(self, blocks: int, frames: int) -> Tensor:
        """Returns what is added to the scores, [heads, blocks, reach, 3 reach]."""
        reach, distance = self.reach, self.distance
        by_distance = self.bias[:, (distance + reach).clamp(0, 2 * reach)]
        key = torch.arange(-reach, 2 * reach, device=distance.device) + reach * torch.arange(
            blocks, device=distance.device
        ).unsqueeze(1)
        seen = (distance.abs() <= reach) & ((key >= 0) & (key < frames))[:, None]
        # Rows of padding see nothing; a large negative number keeps their softmax finite where -inf would not.
        return by_distance[:, None].float() + torch.where(seen, 0.0, -1e9)


class AttentionBlock(nn.Module):
    """A transformer block: windowed attention, then a perceptron, each modulated and gated by the log-SNR.

    Args:
        width: Channels.
        n_heads: Heads.
        reach: Frames seen to each side.
        expansion: Hidden width of the perceptron in units of width.
        embedding: Size of the log-SNR embedding.
    """

    def __init__(self, width: int, n_heads: int, reach: int, expansion: float, embedding: int) -> None:
        super().__init__()
        self.reach = reach
        self.attention = WindowedAttention(width, n_heads, reach)
        self.before_attention = Modulation(width, embedding)
        self.before_mlp = Modulation(width, embedding)
        hidden = int(width * expansion)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Maps frames [B, F, C] and a log-SNR embedding [B, E] to frames [B, F, C]."""
        mixed, gate = self.before_attention(h, embedding)
        h = h + gate * self.attention(mixed)
        mixed, gate = self.before_mlp(h, embedding)
        return h + gate * self.mlp(mixed)
