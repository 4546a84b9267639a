"""Discriminators: map a waveform to scores and feature maps.

Two families look at what ear and eye notice first: `Period` folds the waveform into rows of a prime number of
samples, where a wrong pitch period stands out; `Resolution` reads a log-magnitude spectrogram, where buzz and smear do.
References: HiFi-GAN (Kong et al., 2020, arXiv:2010.05646), UnivNet (Jang et al., 2021, arXiv:2106.07889).
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from audiodiff.audio.stft import hann, stft

SLOPE = 0.1  # of the leaky rectifiers


class DiscriminatorOutput(NamedTuple):
    """Hold the output of one discriminator: scores (high for real sound) and feature maps, [B, C, H, W] each."""

    score: Tensor
    features: list[Tensor]


class Period(nn.Module):
    """Convolve along time within each column of the waveform, folded into rows of `period` samples.

    Args:
        period: Samples per row.
        channels: Of each layer; all but the last divide time by three.
    """

    def __init__(self, period: int, channels: Sequence[int] = (16, 32, 64, 128, 128)) -> None:
        super().__init__()
        self.period = period
        strides = [3] * (len(channels) - 1) + [1]
        pairs = zip([1, *channels[:-1]], channels, strides, strict=True)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (stride, 1), (2, 0))) for before, after, stride in pairs
        )
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> DiscriminatorOutput:
        """Judge waveforms, [B, 1, T]."""
        padded = nn.functional.pad(waveform, (0, -waveform.shape[-1] % self.period), mode="reflect")
        return _judge(padded.unflatten(-1, (-1, self.period)), self.layers, self.score)


class Resolution(nn.Module):
    """Convolve over time and frequency of a log-magnitude spectrogram with a hop of a quarter of a frame.

    Args:
        n_fft: Samples per frame.
        channels: Of each layer; all but the last halve the frequencies.
    """

    def __init__(self, n_fft: int, channels: Sequence[int] = (8, 16, 16, 32, 32)) -> None:
        super().__init__()
        self.n_fft = n_fft
        strides = [2] * (len(channels) - 1) + [1]
        pairs = zip([1, *channels[:-1]], channels, strides, strict=True)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (3, 5), (1, stride), (1, 2))) for before, after, stride in pairs
        )
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> DiscriminatorOutput:
        """Judge waveforms, [B, 1, T]."""
        window = hann(self.n_fft, self.n_fft, 1.0, waveform.dtype, waveform.device)
        spectrum = stft(waveform[:, 0], window, self.n_fft // 4, (self.n_fft // 2, self.n_fft // 2), "reflect")
        log_magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-6).log() / 2  # waveforms come at unit variance
        return _judge(log_magnitude[:, None], self.layers, self.score)


class LabelScore(nn.Module):
    """Score how well features fit a class: their inner product with an embedding of it (a projection discriminator).

    Reference: Miyato & Koyama, 2018, arXiv:1802.05637.

    Args:
        n_labels: Classes.
        channels: Of the features.
    """

    def __init__(self, n_labels: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_labels + 1, channels)  # the last row: no label
        nn.init.zeros_(self.embedding.weight)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Map features, [B, C, H, W], and labels, [B] (-1 for none), to scores, [B, 1, H, W]."""
        rows = self.embedding(labels.remainder(self.embedding.num_embeddings))
        return (features * rows[:, :, None, None]).sum(1, keepdim=True)


class Discriminators(nn.Module):
    """Apply several discriminators to the same waveform.

    Args:
        periods: Of the `Period` discriminators; prime numbers overlap least.
        resolutions: Samples per frame of the `Resolution` discriminators.
        period_channels, resolution_channels: Channels of their layers.
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        resolutions: Sequence[int] = (256, 512, 1024),
        period_channels: Sequence[int] = (16, 32, 64, 128, 128),
        resolution_channels: Sequence[int] = (8, 16, 16, 32, 32),
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [Period(period, period_channels) for period in periods]
            + [Resolution(n_fft, resolution_channels) for n_fft in resolutions]
        )
        self.label_scores: nn.ModuleList | None = None

    def add_labels(self, n_labels: int) -> None:
        """Add a score of how well a sound fits its class to every discriminator; zero at first."""
        self.label_scores = nn.ModuleList(LabelScore(n_labels, part.layers[-1].out_channels) for part in self.parts)

    def forward(self, waveform: Tensor, labels: Tensor | None = None) -> list[DiscriminatorOutput]:
        """Judge waveforms, [B, 1, T], of about unit variance, under labels, [B], if `add_labels` was called."""
        outputs = [part(waveform) for part in self.parts]
        if self.label_scores is None or labels is None:
            return outputs
        return [
            DiscriminatorOutput(output.score + score(output.features[-1], labels), output.features)
            for output, score in zip(outputs, self.label_scores, strict=True)
        ]


def _judge(h: Tensor, layers: nn.ModuleList, score: nn.Module) -> DiscriminatorOutput:
    features = []
    for layer in layers:
        h = nn.functional.leaky_relu(layer(h), SLOPE)
        features.append(h)
    return DiscriminatorOutput(score(h), features)
