"""The hybrid network: a trunk of dilated convolutions and windowed attention between two lapped transforms.

    waveform → lapped transform → linear → [dilated convolutions → attention] × stages → linear → mask, residual
             → (1 + mask) · input + residual → inverse transform → waveform

Everything runs at frame rate, tens of times cheaper than at sample rate. The output is the input's frames times a
complex mask, plus a residual: at low noise the network need only say what to remove, at high noise what to put there.
Masks are the standard output of speech enhancement (Williamson et al., 2016, "Complex ratio masking").
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiodiff.nn.attention import AttentionBlock
from audiodiff.nn.conv import ConvBlock
from audiodiff.nn.embedding import LogSNREmbedding
from audiodiff.nn.frontend import LappedTransform

__all__ = ["HybridNetwork"]

MEL_MEAN, MEL_STD = -5.0, 3.0  # roughly those of natural-log mels of speech (measured on debian_speech: -5.5 and 2.5)


class HybridNetwork(nn.Module):
    """Maps (noisy signal, log-SNR, condition) to a signal.

    Args:
        hop_length: Samples per frame of the trunk.
        n_fft: Samples under a frame's window.
        width: Channels of the trunk.
        dilations: Dilations of the convolutions, for each stage the same.
        n_stages: Stages; each ends with one attention block.
        kernel: Taps of the convolutions.
        expansion: Hidden width of the perceptrons in units of width.
        n_heads: Attention heads.
        reach: Frames that attention sees to each side.
        embedding: Size of the log-SNR embedding.
        n_mels: Bands of the mel that conditions the network; 0 for none.
        mel_hop_length: Samples per mel frame; a multiple of hop_length.

    Raises:
        ValueError: hop_length does not divide mel_hop_length.
    """

    def __init__(
        self,
        hop_length: int,
        n_fft: int,
        width: int = 256,
        dilations: Sequence[int] = (1, 2, 4, 1),
        n_stages: int = 2,
        kernel: int = 7,
        expansion: float = 2.0,
        n_heads: int = 4,
        reach: int = 32,
        embedding: int = 128,
        n_mels: int = 0,
        mel_hop_length: int = 0,
    ) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.transform = LappedTransform(n_fft, hop_length)
        self.n_stages = n_stages
        self.log_snr = LogSNREmbedding(embedding)
        self.mel_encoder = None
        if n_mels:
            self.mel_encoder = MelEncoder(n_mels, mel_hop_length, hop_length, width, n_stages, kernel)
        self.inward = nn.Linear(self.transform.n_features, width)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                [ConvBlock(width, kernel, dilation, expansion, embedding) for dilation in dilations]
                + [AttentionBlock(width, n_heads, reach, expansion, embedding)]
            )
            for _ in range(n_stages)
        )
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, 2 * self.transform.n_features, bias=False)
        nn.init.zeros_(self.outward.weight)

    def encode(self, mel: Tensor) -> Tensor:
        """Computes the condition, once per utterance, from a log-mel: [B, M, F] to [B, F mel_hop / hop, stages, C]."""
        if self.mel_encoder is None:
            raise ValueError("this network has no condition: it was built with n_mels=0")
        return self.mel_encoder(mel)

    def forward(self, x: Tensor, log_snr: Tensor, condition: Tensor | None = None) -> Tensor:
        """Maps a signal [B, 1, T] of unit variance, log-SNR [B] and a condition to a signal [B, 1, T].

        T is a multiple of hop_length.
        """
        frames = self.transform.analyse(x)
        embedding = self.log_snr(log_snr)
        h = self.inward(frames)
        for i, stage in enumerate(self.stages):
            if condition is not None:
                h = h + condition[:, :, i]
            for block in stage:
                h = block(h, embedding)
        mask, residual = self.outward(self.norm(h)).to(x.dtype).chunk(2, dim=-1)
        return self.transform.synthesise(frames + _complex_product(mask, frames) + residual)

    def receptive_field(self) -> int:
        """Returns R: a sample of the output depends on no input sample further than R away."""
        reach = sum(block.reach for stage in self.stages for block in stage)
        return reach * self.transform.hop_length + self.transform.n_fft - 1


class MelEncoder(nn.Module):
    """Turns mel frames into what is added at the start of each stage, at the trunk's frame rate.

    Args:
        n_mels: Bands.
        mel_hop_length: Samples per mel frame.
        hop_length: Samples per frame of the trunk; must divide mel_hop_length.
        width: Channels.
        n_stages: Stages of the trunk.
        kernel: Taps of the convolutions.

    Raises:
        ValueError: hop_length does not divide mel_hop_length.
    """

    def __init__(
        self, n_mels: int, mel_hop_length: int, hop_length: int, width: int, n_stages: int, kernel: int
    ) -> None:
        super().__init__()
        if mel_hop_length % hop_length:
            fitting = [n for n in range(1, mel_hop_length + 1) if mel_hop_length % n == 0 and n <= 4 * hop_length]
            raise ValueError(
                f"the network's hop_length={hop_length} must divide the mel's hop_length={mel_hop_length}: "
                f"for instance {fitting[-1]}"
            )
        self.upsampling = mel_hop_length // hop_length
        self.n_stages = n_stages
        self.layers = nn.Sequential(
            nn.Conv1d(n_mels, width, kernel, padding=kernel // 2),
            nn.GELU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.GELU(),
        )
        self.outward = nn.Conv1d(width, n_stages * width * self.upsampling, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Maps [B, M, F] to [B, F upsampling, stages, C]; each mel frame gives `upsampling` frames of its own."""
        out = self.outward(self.layers((mel - MEL_MEAN) / MEL_STD))
        batch, _, frames = out.shape
        out = out.view(batch, self.upsampling, self.n_stages, -1, frames)
        return out.permute(0, 4, 1, 2, 3).reshape(batch, frames * self.upsampling, self.n_stages, -1)


def _complex_product(mask: Tensor, frames: Tensor) -> Tensor:
    """Multiplies complex frames by a complex mask, both as [real parts, imaginary parts]."""
    (mask_real, mask_imag), (real, imag) = mask.chunk(2, dim=-1), frames.chunk(2, dim=-1)
    return torch.cat([mask_real * real - mask_imag * imag, mask_real * imag + mask_imag * real], dim=-1)
