"""Turn a mel spectrogram into features at a network's own frame rate, once per utterance."""

from torch import Tensor, nn
from torch.nn import functional

from audiodiff.audio.chunks import Context
from audiodiff.nn.conv import split_context

MEL_MEAN, MEL_STD = -5.0, 3.0  # roughly those of natural-log mels of speech


class MelEncoder(nn.Module):
    """Convolve mel frames along time and upsample them to the network's frame rate.

    Args:
        n_mels: Bands.
        mel_hop_length: Samples per mel frame.
        hop_length: Samples per frame of the network; must divide mel_hop_length.
        width: Hidden channels.
        n_features: Output channels.
        kernel: Taps of the first convolution.
        causal: Whether no output frame depends on a later mel frame.

    Raises:
        ValueError: hop_length does not divide mel_hop_length.
    """

    def __init__(
        self,
        n_mels: int,
        mel_hop_length: int,
        hop_length: int,
        width: int,
        n_features: int,
        kernel: int,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if mel_hop_length % hop_length:
            fitting = [n for n in range(1, mel_hop_length + 1) if mel_hop_length % n == 0 and n <= 4 * hop_length]
            raise ValueError(
                f"the network's hop_length={hop_length} must divide the mel's hop_length={mel_hop_length}: "
                f"for instance {fitting[-1]}"
            )
        self.upsampling = mel_hop_length // hop_length
        self.padding = [split_context(kernel - 1, causal), split_context(2, causal)]
        self.mel_hop_length = mel_hop_length
        self.layers = nn.Sequential(nn.Conv1d(n_mels, width, kernel), nn.GELU(), nn.Conv1d(width, width, 3), nn.GELU())
        self.outward = nn.Conv1d(width, n_features * self.upsampling, 1)

    @property
    def context(self) -> Context:
        """The context of a feature frame in samples of the mel."""
        past, future = (sum(sides) for sides in zip(*self.padding, strict=True))
        return Context(past * self.mel_hop_length, future * self.mel_hop_length)

    def forward(self, mel: Tensor) -> Tensor:
        """Map [B, M, F] to [B, F upsampling, n_features]."""
        first, first_act, second, second_act = self.layers
        h = functional.pad((mel - MEL_MEAN) / MEL_STD, self.padding[0])
        h = functional.pad(first_act(first(h)), self.padding[1])
        return self.at_network_rate(second_act(second(h)))

    def at_network_rate(self, h: Tensor) -> Tensor:
        """Map mel frames, [B, width, F], to those of the network, [B, F upsampling, n_features]."""
        out = self.outward(h)
        batch, channels, frames = out.shape
        return out.transpose(1, 2).reshape(batch, frames * self.upsampling, channels // self.upsampling)
