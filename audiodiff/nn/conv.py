"""Dilated convolutions along time at frame rate."""

import torch
from torch import Tensor, nn

from audiodiff.nn.linear import Linear
from audiodiff.utils.validation import check_counts


class ConvBlock(nn.Module):
    """Mix along time by a dilated depthwise convolution, then across channels by an MLP.

    The layout of ConvNeXt (Liu et al., 2022, arXiv:2201.03545) with adaLN-Zero in place of its norm and layer scale.

    Args:
        width: Channels.
        kernel: Taps of the convolution, odd.
        dilation: Frames between taps.
        expansion: Hidden width of the MLP in units of width.
        embedding: Size of the log-SNR embedding.
        causal: Whether no frame sees a later one.
    """

    def __init__(
        self, width: int, kernel: int, dilation: int, expansion: float, embedding: int, causal: bool = False
    ) -> None:
        super().__init__()
        self.conv = DepthwiseConv(width, kernel, dilation, causal)
        self.context, self.look_ahead = self.conv.context, self.conv.look_ahead
        self.modulation = Modulation(width, embedding)
        self.mlp = mlp(width, expansion)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Map frames [B, F, C] and a log-SNR embedding [B, E] to frames [B, F, C]."""
        mixed, gate = self.modulation(self.conv(h), embedding)
        return torch.addcmul(h, gate, self.mlp(mixed))


def mlp(width: int, expansion: float) -> nn.Sequential:
    """Build an MLP from width to width x expansion and back, with the exact GELU (the tanh one is slower on a CPU)."""
    hidden = int(width * expansion)
    return nn.Sequential(Linear(width, hidden), nn.GELU(), Linear(hidden, width))


class Modulation(nn.Module):
    """Normalise frames, scale and shift them by an embedding, and compute the gate of the residual branch.

    Starts as the identity with a closed gate, so a fresh block passes its input through.
    Reference: adaLN-Zero (Peebles & Xie, 2022, arXiv:2212.09748).

    Args:
        width: Channels.
        embedding: Size of the log-SNR embedding.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.linear = nn.Linear(embedding, 3 * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, h: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames [B, F, C] and [B, E] to modulated frames [B, F, C] and a gate [B, 1, C]."""
        scale, shift, gate = self.linear(embedding)[:, None].chunk(3, dim=-1)
        return torch.addcmul(shift, self.norm(h), 1 + scale), gate


def split_context(total: int, causal: bool) -> tuple[int, int]:
    """Share an even number of frames between past and future: half and half, or all to the past."""
    return (total, 0) if causal else (total // 2, total // 2)


class DepthwiseConv(nn.Module):
    """Convolve each channel of frames along time, as a sum of shifted products.

    Equal to a grouped `nn.Conv1d`, but with frames as rows, and faster on a CPU.

    Args:
        width: Channels.
        kernel: Taps, odd.
        dilation: Frames between taps.
        causal: Whether all taps lie at or before their frame.

    Raises:
        ValueError: The kernel is even, or a number below 1.
    """

    def __init__(self, width: int, kernel: int, dilation: int, causal: bool = False) -> None:
        super().__init__()
        check_counts(1, kernel=kernel, dilation=dilation)
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel}: an odd number is wanted")
        self.dilation = dilation
        self.context, self.look_ahead = split_context(dilation * (kernel - 1), causal)
        self.weight = nn.Parameter(torch.empty(width, 1, kernel))
        self.bias = nn.Parameter(torch.empty(width))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -(kernel**-0.5), kernel**-0.5)

    def forward(self, h: Tensor) -> Tensor:
        """Map [B, F, C] to [B, F, C]; zeros lie beyond the ends."""
        return self.mix(nn.functional.pad(h, (0, 0, self.context, self.look_ahead)))

    def mix(self, padded: Tensor) -> Tensor:
        """Map frames with their context on both sides, [B, context + F + look_ahead, C], to [B, F, C]."""
        frames = padded.shape[1] - self.context - self.look_ahead
        out = self.bias.expand(padded.shape[0], frames, -1)  # len would fix the batch of a graph
        taps = self.weight[:, 0].T.contiguous()  # each in one piece: products take a third of the time
        for k, tap in enumerate(taps.unbind()):
            out = torch.addcmul(out, padded.narrow(1, k * self.dilation, frames), tap)
        return out
