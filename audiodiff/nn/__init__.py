"""Networks: (noisy signal, log-SNR, condition) in, a signal-shaped tensor out. They know nothing of diffusion."""

from audiodiff.nn.band_split import SubBandNetwork
from audiodiff.nn.coefficients import CoefficientNetwork
from audiodiff.nn.diffwave import SampleNetwork
from audiodiff.nn.discriminators import Discriminators
from audiodiff.nn.hybrid import HybridNetwork
from audiodiff.nn.multi_resolution import ParallelNetwork
