"""Networks: (noisy signal, log-SNR, condition) in, a signal-shaped tensor out. They know nothing of diffusion."""

from audiodiff.nn.band_split import SubBandNetwork as SubBandNetwork
from audiodiff.nn.coefficients import CoefficientNetwork as CoefficientNetwork
from audiodiff.nn.diffwave import SampleNetwork as SampleNetwork
from audiodiff.nn.discriminators import Discriminators as Discriminators
from audiodiff.nn.hybrid import HybridNetwork as HybridNetwork
from audiodiff.nn.multi_resolution import ParallelNetwork as ParallelNetwork
