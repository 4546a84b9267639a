"""The network of coefficients: the hybrid network's trunk on blocks of transform coefficients.

coefficients, magnitudes → linear → [dilated convolutions → attention] × stages → linear → mask, residual
                         → mask · coefficients + residual
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiodiff.nn.hybrid import HybridNetwork
from audiodiff.nn.linear import Linear


class CoefficientNetwork(HybridNetwork):
    """Map (noisy coefficients, log-SNR, condition) to a signal like them, such as that of `PowerMDCT`.

    The signs of a noisy sound's coefficients are random, so a linear layer cannot tell how loud a band is: it is given
    the magnitudes as well. Each coefficient has a mask and a residual of its own, and need not pass through the width.

    Args:
        hop_length: Coefficients in a block, and samples per frame of the trunk.
        width, dilations, n_stages, kernel, expansion, n_heads, attention_window: As in `HybridNetwork`.
        embedding, n_labels, n_positions, vector_size: As in `HybridNetwork`.
    """

    def __init__(
        self,
        hop_length: int,
        width: int = 256,
        dilations: Sequence[int] = (1, 2),
        n_stages: int = 3,
        kernel: int = 7,
        expansion: float = 2.0,
        n_heads: int = 4,
        attention_window: int = 96,
        embedding: int = 128,
        n_labels: int = 0,
        n_positions: int = 0,
        vector_size: int = 0,
    ) -> None:
        super().__init__(
            hop_length,
            2 * hop_length,
            width,
            dilations,
            n_stages,
            kernel,
            expansion,
            n_heads,
            attention_window,
            embedding,
            n_labels=n_labels,
            n_positions=n_positions,
            vector_size=vector_size,
        )

    def make_inward(self, width: int) -> nn.Linear:
        """Make the layer from coefficients and their magnitudes to the trunk."""
        return Linear(2 * self.hop_length, width)

    def make_outward(self, width: int) -> nn.Linear:
        """Make the layer from the trunk to mask and residual, which begin at zero."""
        outward = Linear(width, 2 * self.hop_length)
        nn.init.zeros_(outward.weight)
        nn.init.zeros_(outward.bias)
        return outward

    def forward(self, x: Tensor, log_snr: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map a signal [B, 1, T] of unit variance, log-SNR [B] and a condition to a signal [B, 1, T].

        T is a multiple of hop_length.
        """
        c = x[:, 0].unflatten(-1, (-1, self.hop_length))
        h, _ = self.trunk(self.inward(torch.cat([c, c.abs() - 0.8], dim=-1)), log_snr, condition)
        mask, residual = self.outward(self.norm(h)).to(c.dtype).chunk(2, dim=-1)
        return torch.addcmul(residual, mask, c).flatten(1)[:, None]
