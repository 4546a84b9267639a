"""Whitening: an invertible map between the waveform and the space that is diffused.

Noise on the waveform itself drowns the quiet high frequencies of speech long before the loud low ones. Dividing signal
and noise by a power of the mel's spectral envelope balances them: at exponent 1 every component has the same
signal-to-noise ratio, at exponent 0 the waveform is diffused, and between lies a compromise.
References: PriorGrad (Lee et al., 2021, arXiv:2106.06406), SpecGrad (Koizumi et al., 2022, arXiv:2203.16749).
"""

import abc

import torch
from torch import Tensor

from audiodiff.audio.chunks import Context
from audiodiff.audio.mdct import imdct, mdct, onset_imdct, onset_mdct
from audiodiff.mel import MelSpec
from audiodiff.mel.filterbank import band_weights
from audiodiff.mel.magnitudes import mean_magnitudes


class Whitening(abc.ABC):
    """Map waveforms to the diffused space and back, exactly.

    Attributes:
        context: Samples before and after that either map depends on, in the mel too.
    """

    context: Context = Context()

    @abc.abstractmethod
    def gains(self, mel: Tensor) -> Tensor:
        """Compute the gains of both maps from a log-mel, [B, M, F], once per utterance."""

    @abc.abstractmethod
    def encode(self, waveform: Tensor, gains: Tensor) -> Tensor:
        """Divide a waveform, [B, 1, T], by the gains: the diffused signal, [B, 1, T]."""

    @abc.abstractmethod
    def decode(self, x: Tensor, gains: Tensor) -> Tensor:
        """Multiply by the gains: the inverse of `encode`."""


class Identity(Whitening):
    """Diffuse the waveform itself, divided by one number.

    Args:
        scale: Divisor that brings waveforms to a standard deviation of about one.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def gains(self, mel: Tensor) -> Tensor:
        """Return the scale; the mel has no part in it."""
        return torch.tensor(self.scale, dtype=mel.dtype, device=mel.device)

    def encode(self, waveform: Tensor, gains: Tensor) -> Tensor:
        """Divide by the scale."""
        return waveform / gains

    def decode(self, x: Tensor, gains: Tensor) -> Tensor:
        """Multiply by the scale."""
        return x * gains


class MelWhitening(Whitening):
    """Divide the MDCT coefficients of the waveform by a power of the spectral envelope of the mel.

        x = MDCT⁻¹(MDCT(waveform) / g),    g = scale max(floor, envelope)^exponent

    The MDCT is orthogonal, so the map is exactly invertible, and white noise in x is noise shaped like g in the sound.

    Args:
        mel: Mel parameters.
        exponent: 0 leaves the waveform as it is, 1 whitens it fully.
        block: MDCT block length in samples; must divide the mel's hop.
        floor: Smallest expected standard deviation per sample, full scale = 1.
        scale: Divisor that brings x to a standard deviation of about one; measure it on the training data.

    Raises:
        ValueError: The block does not divide the hop.
    """

    def __init__(
        self, mel: MelSpec, exponent: float = 0.5, block: int = 128, floor: float = 1e-5, scale: float = 1.0
    ) -> None:
        if block < 1 or mel.hop_length % block:
            raise ValueError(f"block={block} must divide the mel's hop_length={mel.hop_length}")
        self.mel = mel
        self.exponent = exponent
        self.block = block
        self.floor = floor
        self.scale = scale
        side = max(2 * mel.hop_length, 3 * block)  # gains are interpolated between frames, blocks overlap
        self.context = Context(side, side)

    def gains(self, mel: Tensor) -> Tensor:
        """Return the gains g, [B, 1, F hop / block, block]."""
        spec = self.mel
        loudness = spec.n_fft**0.5 * (0.375 * spec.win_length / spec.n_fft) ** 0.5  # |STFT| of unit white noise, Hann
        spacing = spec.sample_rate / 2 / self.block
        envelope = mean_magnitudes(spec, mel) / loudness @ band_weights(spec, self.block, spacing, 0.5, mel)
        log_gain = self.exponent * envelope.clamp(min=self.floor).log()
        blocks = mel.shape[-1] * spec.hop_length // self.block
        centres = (torch.arange(blocks, dtype=torch.float32, device=mel.device) + 0.5) * (self.block / spec.hop_length)
        position = (centres - (0.0 if spec.center else 0.5)).clamp(0, mel.shape[-1] - 1).to(mel)
        left = position.floor().long()
        right = (left + 1).clamp(max=mel.shape[-1] - 1)
        weight = (position - left)[:, None]
        between = (1 - weight) * log_gain[:, left] + weight * log_gain[:, right]
        return (self.scale * between.exp())[:, None]

    def encode(self, waveform: Tensor, gains: Tensor) -> Tensor:
        """Divide by the gains."""
        return imdct(mdct(waveform, self.block) / gains)

    def decode(self, x: Tensor, gains: Tensor) -> Tensor:
        """Multiply by the gains."""
        return imdct(mdct(x, self.block) * gains)


class PowerMDCT(Whitening):
    """Diffuse the MDCT coefficients of the waveform, each compressed by a power of its magnitude.

        x = sign(c) |c|^exponent / scale,    c = MDCT(waveform)

    A sound's attack is a thousand times louder than its end, so noise on the waveform drowns what is quiet at every
    time but the last. Compressed, both are learned at once, and a small error of a quiet coefficient stays quiet.
    Compressed spectra are usual in diffusion of speech (Welker et al., 2022, arXiv:2203.17004).

    Args:
        block: MDCT block length in samples; must divide the model's hop.
        exponent: Power of the magnitudes, in (0, 1].
        scale: Divisor that brings x to a standard deviation of about one; measure it on the training data.
        onset: Length of the blocks into which the first one is divided, for sounds that begin at once; 0 leaves it.

    Raises:
        ValueError: The exponent lies outside, or the onset's blocks do not divide the first.
    """

    def __init__(self, block: int = 512, exponent: float = 0.4, scale: float = 1.0, onset: int = 0) -> None:
        if not 0 < exponent <= 1:
            raise ValueError(f"exponent={exponent} must lie in (0, 1]")
        if onset < 0 or (onset and block % onset):
            raise ValueError(f"onset={onset} must divide block={block}, or be 0")
        self.block = block
        self.exponent = exponent
        self.scale = scale
        self.onset = onset

    def gains(self, mel: Tensor) -> Tensor:
        """Return the scale; the mel has no part in it."""
        return torch.tensor(self.scale, dtype=mel.dtype, device=mel.device)

    def encode(self, waveform: Tensor, gains: Tensor) -> Tensor:
        """Compress the coefficients of [B, 1, T], T a multiple of the block: [B, 1, T], block after block."""
        c = onset_mdct(waveform, self.block, self.onset) if self.onset else mdct(waveform, self.block)
        return (c.sign() * c.abs() ** self.exponent / gains).flatten(-2)

    def decode(self, x: Tensor, gains: Tensor) -> Tensor:
        """Expand the coefficients and transform back."""
        c = (x * gains).unflatten(-1, (-1, self.block))
        c = c.sign() * c.abs() ** (1 / self.exponent)
        return onset_imdct(c, self.onset) if self.onset else imdct(c)
