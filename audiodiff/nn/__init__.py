"""Networks: (noisy signal, log-SNR, condition) in, a signal-shaped tensor out. They know nothing of diffusion."""

from audiodiff.nn.hybrid import HybridNetwork
from audiodiff.nn.resolutions import ParallelNetwork
from audiodiff.nn.samples import SampleNetwork
from audiodiff.nn.subbands import SubBandNetwork

__all__ = ["HybridNetwork", "ParallelNetwork", "SampleNetwork", "SubBandNetwork"]
