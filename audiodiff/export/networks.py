"""The networks in real numbers: what they have learned is theirs, the transform and the mask are written out."""

import copy

import torch
from torch import Tensor, nn

from audiodiff.audio.stft import hann
from audiodiff.export.transforms import RealTransform
from audiodiff.nn.band_split import SubBandNetwork
from audiodiff.nn.coefficients import CoefficientNetwork
from audiodiff.nn.diffwave import SampleNetwork
from audiodiff.nn.hybrid import HybridNetwork
from audiodiff.nn.multi_resolution import ParallelNetwork
from audiodiff.nn.stft_frontend import LappedTransform


class RealMasked(nn.Module):
    """Call a network between two lapped transforms, as its own `forward` does.

    Args:
        network: What answers with a mask and a residual.
    """

    def __init__(self, network: HybridNetwork | SubBandNetwork) -> None:
        super().__init__()
        self.network = network
        self.hop_length = network.hop_length
        self.widths = getattr(network, "widths", None)  # as `ParallelNetwork` asks
        self.transform = _lapped(network.transform)
        self.scale = network.transform.scale

    def encode(self, mel: Tensor) -> Tensor:
        """Compute the condition, as the network does."""
        return self.network.encode(mel)

    def encode_labels(self, labels: Tensor) -> Tensor:
        """Look up the condition of classes, as the network does."""
        return self.network.encode_labels(labels)

    def forward(self, x: Tensor, log_snr: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map a signal [B, 1, T], log-SNR [B] and a condition to a signal [B, 1, T]."""
        spectrum = self.transform.analyse(x[:, 0].unflatten(1, (-1, self.hop_length))) * self.scale
        real, imaginary = spectrum.unbind(1)
        mask, residual = self.network.predict_mask(torch.stack([real, imaginary], dim=-1), log_snr, condition)
        out_real = real + residual[..., 0] + mask[..., 0] * real - mask[..., 1] * imaginary
        out_imaginary = imaginary + residual[..., 1] + mask[..., 0] * imaginary + mask[..., 1] * real
        out = torch.stack([out_real, out_imaginary], dim=1)
        return self.transform.inverse(out, self.transform.weights(out)).flatten(1)[:, None] / self.scale


def real_network(network: nn.Module) -> nn.Module:
    """Return what calls a network without complex numbers.

    Raises:
        ValueError: There is no such counterpart.
    """
    if isinstance(network, SampleNetwork | CoefficientNetwork):
        return network
    if isinstance(network, HybridNetwork | SubBandNetwork):
        return RealMasked(network)
    if isinstance(network, ParallelNetwork):
        parallel = copy.copy(network)
        parallel._modules = {"branches": nn.ModuleList(real_network(branch) for branch in network.branches)}
        return parallel
    raise ValueError(
        f"a network of the kind {type(network).__name__} cannot be exported: CoefficientNetwork, HybridNetwork, "
        "ParallelNetwork, SubBandNetwork and SampleNetwork can"
    )


def _lapped(transform: LappedTransform) -> RealTransform:
    window = hann(transform.n_fft, transform.n_fft, 0.5, torch.float32, torch.device("cpu"))
    return RealTransform(window, transform.hop_length, transform.padding, "constant")
