"""Dilated convolutions along time at frame rate."""

from torch import Tensor, nn

__all__ = ["ConvBlock", "Modulation"]


class Modulation(nn.Module):
    """Normalises frames and scales and shifts them by an embedding; also gives the gate of the residual branch.

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
        """Maps frames [B, F, C] and [B, E] to modulated frames [B, F, C] and a gate [B, 1, C]."""
        scale, shift, gate = self.linear(embedding)[:, None].chunk(3, dim=-1)
        return self.norm(h) * (1 + scale) + shift, gate


class ConvBlock(nn.Module):
    """Mixes along time by a dilated depthwise convolution, then across channels by a perceptron.

    The layout of ConvNeXt (Liu et al., 2022, arXiv:2201.03545) with adaLN-Zero in place of its norm and layer scale.

    Args:
        width: Channels.
        kernel: Taps of the convolution, odd.
        dilation: Frames between taps.
        expansion: Hidden width of the perceptron in units of width.
        embedding: Size of the log-SNR embedding.
    """

    def __init__(self, width: int, kernel: int, dilation: int, expansion: float, embedding: int) -> None:
        super().__init__()
        self.reach = dilation * (kernel - 1) // 2
        self.conv = nn.Conv1d(width, width, kernel, padding=self.reach, dilation=dilation, groups=width)
        self.modulation = Modulation(width, embedding)
        hidden = int(width * expansion)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Maps frames [B, F, C] and a log-SNR embedding [B, E] to frames [B, F, C]."""
        mixed = self.conv(h.transpose(1, 2)).transpose(1, 2)
        mixed, gate = self.modulation(mixed, embedding)
        return h + gate * self.mlp(mixed)
