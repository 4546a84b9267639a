"""Sub-bands sharing weights: dilated convolutions along time within each band, a transformer across the bands.

    waveform → lapped transform → bands of neighbouring bins → [convolutions along time → attention across bands]
             × stages → mask, residual → inverse transform → waveform

All bands share one small network and differ by an embedding: few parameters, and many examples in each clip.
Reference for the idea: Multi-band RWKV/RNN of source separation (BSRNN, Luo & Yu, 2022, arXiv:2209.15174).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audiodiff.audio.chunks import Context
from audiodiff.nn.attention import AttentionBlock, BandAttention
from audiodiff.nn.conv import ConvBlock
from audiodiff.nn.embedding import LogSNREmbedding
from audiodiff.nn.linear import Linear
from audiodiff.nn.mel_encoder import MelEncoder
from audiodiff.nn.stft_frontend import LappedTransform


class SubBandNetwork(nn.Module):
    """Map (noisy signal, log-SNR, condition) to a signal.

    Args:
        hop_length: Samples per frame.
        n_fft: Samples under a frame's window.
        n_bands: Bands of neighbouring bins; the last is padded with zeros.
        width: Channels of a band.
        dilations: Dilations of the convolutions, for each stage the same.
        n_stages: Stages; each ends with one attention block across bands.
        kernel: Taps of the convolutions.
        expansion: Hidden width of the MLPs in units of width.
        n_heads: Attention heads.
        embedding: Size of the log-SNR embedding.
        n_mels: Bands of the mel that conditions the network.
        mel_hop_length: Samples per mel frame; a multiple of hop_length.
        encoder_width: Hidden channels of the mel encoder.
    """

    def __init__(
        self,
        hop_length: int,
        n_fft: int,
        n_bands: int = 32,
        width: int = 48,
        dilations: Sequence[int] = (1, 2, 4),
        n_stages: int = 3,
        kernel: int = 7,
        expansion: float = 2.0,
        n_heads: int = 2,
        embedding: int = 128,
        n_mels: int = 80,
        mel_hop_length: int = 256,
        encoder_width: int = 128,
    ) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.transform = LappedTransform(n_fft, hop_length)
        self.n_bands = n_bands
        self.bins = -(-self.transform.n_bins // n_bands)
        self.log_snr = LogSNREmbedding(embedding)
        self.mel_encoder = MelEncoder(n_mels, mel_hop_length, hop_length, encoder_width, n_bands * width, kernel)
        self.inward = Linear(2 * self.bins, width)
        self.band = nn.Parameter(torch.empty(n_bands, width))
        nn.init.normal_(self.band, std=0.02)
        self.along_time = nn.ModuleList(
            nn.ModuleList(ConvBlock(width, kernel, dilation, expansion, embedding) for dilation in dilations)
            for _ in range(n_stages)
        )
        self.across_bands = nn.ModuleList(
            AttentionBlock(BandAttention(width, n_heads, n_bands), width, expansion, embedding) for _ in range(n_stages)
        )
        self.norm = nn.LayerNorm(width)
        self.outward = Linear(width, 4 * self.bins, bias=False)
        nn.init.zeros_(self.outward.weight)

    def encode(self, mel: Tensor) -> Tensor:
        """Compute the condition, once per utterance, from a log-mel: [B, M, F] to [B, F mel_hop / hop, bands C]."""
        return self.mel_encoder(mel)

    def forward(self, x: Tensor, log_snr: Tensor, condition: Tensor) -> Tensor:
        """Map a signal [B, 1, T] of unit variance, log-SNR [B] and a condition to a signal [B, 1, T]."""
        frames = self.transform.analyse(x)
        parts = self.predict_mask(torch.view_as_real(frames), log_snr, condition)
        mask, residual = (torch.view_as_complex(part) for part in parts)
        return self.transform.synthesise(torch.addcmul(frames + residual, mask, frames))

    def predict_mask(self, frames: Tensor, log_snr: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Predict mask and residual of frames, [B, F, n_bins, 2] each."""
        batch, n_frames, n_bins, _ = frames.shape
        padded = nn.functional.pad(frames, (0, 0, 0, self.n_bands * self.bins - n_bins))
        banded = padded.unflatten(2, (self.n_bands, -1)).flatten(-2)
        h = self.inward(banded) + self.band + condition.unflatten(-1, (self.n_bands, -1))
        embedding = self.log_snr(log_snr)
        band_embedding = embedding.repeat_interleave(self.n_bands, 0)
        for convolutions, attention in zip(self.along_time, self.across_bands, strict=True):
            h = h.transpose(1, 2).flatten(0, 1)  # [B bands, F, C]
            for block in convolutions:
                h = block(h, band_embedding)
            h = h.unflatten(0, (batch, self.n_bands)).transpose(1, 2).flatten(1, 2)  # [B, F bands, C]
            h = attention(h, embedding).unflatten(1, (n_frames, self.n_bands))
        out = self.outward(self.norm(h)).to(frames.dtype).unflatten(-1, (2, self.bins, 2))
        mask, residual = out.transpose(2, 3).flatten(3, 4)[..., :n_bins, :].unbind(2)
        return mask, residual

    def receptive_field(self) -> int:
        """Return R: a sample of the output depends on no input sample further than R away."""
        context = sum(block.context for convolutions in self.along_time for block in convolutions)
        return context * self.hop_length + self.transform.n_fft - 1

    def context(self) -> Context:
        """Return the context of the output in samples, of signal and mel together."""
        return Context(self.receptive_field(), self.receptive_field()) + self.mel_encoder.context
