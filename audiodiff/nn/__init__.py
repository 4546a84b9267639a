"""Networks: (noisy signal, log-SNR, condition) in, a signal-shaped tensor out. They know nothing of diffusion."""

from audiodiff.nn.hybrid import HybridNetwork

__all__ = ["HybridNetwork"]
