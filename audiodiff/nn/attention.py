"""Attention in a sliding window along time, and across the bands of one frame."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from audiodiff.nn.conv import Modulation, mlp
from audiodiff.nn.linear import Linear
from audiodiff.utils.validation import check_counts


class WindowedAttention(nn.Module):
    """Attend from frame i to the frames j with |i - j| <= window, with a learned bias for each distance.

    Queries are cut into blocks of `window` frames; a block attends to itself and its two neighbours. The result depends
    on distances alone, never on where the blocks fall, so a signal may be processed in pieces.

    Args:
        width: Channels.
        n_heads: Heads; must divide the width.
        window: Frames seen to each side.
        causal: Whether no frame sees a later one.

    Raises:
        ValueError: n_heads does not divide the width.
    """

    def __init__(self, width: int, n_heads: int, window: int, causal: bool = False) -> None:
        super().__init__()
        check_counts(1, n_heads=n_heads, attention_window=window)
        if width % n_heads:
            raise ValueError(f"n_heads={n_heads} must divide width={width}")
        self.n_heads = n_heads
        self.window = self.context = window
        self.look_ahead = 0 if causal else window
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(n_heads, 2 * window + 1))
        distance = torch.arange(3 * window)[None] - torch.arange(window, 2 * window)[:, None]  # key minus query
        self.register_buffer("distance", distance, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """Map [B, F, C] to [B, F, C]."""
        (batch, frames, width), window = h.shape, self.window
        blocks = (frames + window - 1) // window  # not -(-frames // window): exported graphs divide towards zero
        qkv = functional.pad(self.qkv(h), (0, 0, 0, blocks * window - frames))
        q, k, v = qkv.view(batch, blocks * window, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        k, v = (functional.pad(z, (0, 0, window, window)).unflatten(2, (blocks + 2, window)) for z in (k, v))
        k, v = (torch.cat([z.narrow(2, side, blocks) for side in range(3)], dim=3) for z in (k, v))
        q = q.unflatten(2, (blocks, window)) * q.shape[-1] ** -0.5
        scores = (q @ k.transpose(-1, -2)).float() + self._bias(blocks, frames)
        mixed = scores.softmax(-1).to(v.dtype) @ v
        return self.out(mixed.flatten(2, 3)[:, :, :frames].transpose(1, 2).reshape(batch, frames, width))

    def _bias(self, blocks: int, frames: int) -> Tensor:
        """Return the additive mask and bias of the scores, [heads, blocks, window, 3 window]."""
        window, distance = self.window, self.distance
        by_distance = self.bias[:, (distance + window).clamp(0, 2 * window)]
        key = torch.arange(-window, 2 * window, device=distance.device) + window * torch.arange(
            blocks, device=distance.device
        ).unsqueeze(1)
        seen = (distance >= -window) & (distance <= self.look_ahead) & ((key >= 0) & (key < frames))[:, None]
        # Rows of padding see nothing; a large negative number keeps their softmax finite where -inf would not.
        return by_distance[:, None].float() + torch.where(seen, 0.0, -1e9)


class BandAttention(nn.Module):
    """Attend across the bands of one frame, from each band to all.

    Args:
        width: Channels.
        n_heads: Heads; must divide the width.
        n_bands: Bands.
    """

    context = look_ahead = 0  # frames seen to each side

    def __init__(self, width: int, n_heads: int, n_bands: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.n_bands = n_bands
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """Map [B, F bands, C] to [B, F bands, C]."""
        qkv = self.qkv(h).view(-1, self.n_bands, 3, self.n_heads, h.shape[-1] // self.n_heads)
        mixed = functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        return self.out(mixed.transpose(1, 2).reshape(h.shape))


class AttentionBlock(nn.Module):
    """Apply a transformer block: attention, then an MLP, each modulated and gated by the log-SNR.

    Args:
        attention: Maps [B, N, C] to [B, N, C].
        width: Channels.
        expansion: Hidden width of the MLP in units of width.
        embedding: Size of the log-SNR embedding.
    """

    def __init__(
        self, attention: WindowedAttention | BandAttention, width: int, expansion: float, embedding: int
    ) -> None:
        super().__init__()
        self.context, self.look_ahead = attention.context, attention.look_ahead
        self.attention = attention
        self.before_attention = Modulation(width, embedding)
        self.before_mlp = Modulation(width, embedding)
        self.mlp = mlp(width, expansion)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Map [B, N, C] and a log-SNR embedding [B, E] to [B, N, C]."""
        mixed, gate = self.before_attention(h, embedding)
        h = torch.addcmul(h, gate, self.attention(mixed))
        mixed, gate = self.before_mlp(h, embedding)
        return torch.addcmul(h, gate, self.mlp(mixed))
