"""The reference network at sample rate: gated dilated convolutions, as in DiffWave.

Reference: DiffWave (Kong et al., 2020, arXiv:2009.09761). Tens of times more costly than networks at frame rate.
"""

import torch
from torch import Tensor, nn

from audiodiff.audio.chunks import Context
from audiodiff.nn.embedding import LogSNREmbedding
from audiodiff.nn.mel_encoder import MelEncoder


class SampleNetwork(nn.Module):
    """Map (noisy signal, log-SNR, condition) to a signal.

    Args:
        mel_hop_length: Samples per mel frame.
        n_mels: Bands of the mel that conditions the network.
        width: Channels.
        n_layers: Gated convolutions.
        cycle: Layers until the dilation, doubled from layer to layer, restarts at 1.
        embedding: Size of the log-SNR embedding.
        encoder_width: Hidden channels of the mel encoder.
    """

    def __init__(
        self,
        mel_hop_length: int,
        n_mels: int = 80,
        width: int = 64,
        n_layers: int = 20,
        cycle: int = 10,
        embedding: int = 128,
        encoder_width: int = 128,
    ) -> None:
        super().__init__()
        self.hop_length = mel_hop_length
        self.dilations = [2 ** (i % cycle) for i in range(n_layers)]
        self.log_snr = LogSNREmbedding(embedding)
        self.mel_encoder = MelEncoder(n_mels, mel_hop_length, mel_hop_length, encoder_width, n_layers * 2 * width, 7)
        self.inward = nn.Conv1d(1, width, 1)
        self.levels = nn.ModuleList(nn.Linear(embedding, width) for _ in self.dilations)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, 2 * width, 3, dilation=d, padding=d) for d in self.dilations)
        self.mixes = nn.ModuleList(nn.Conv1d(width, 2 * width, 1) for _ in self.dilations)
        self.outward = nn.Sequential(nn.Conv1d(width, width, 1), nn.GELU(), nn.Conv1d(width, 1, 1, bias=False))
        nn.init.zeros_(self.outward[-1].weight)

    def encode(self, mel: Tensor) -> Tensor:
        """Compute the conditions of all layers, once per utterance, from a log-mel: [B, M, F] to [B, F, layers 2 C]."""
        return self.mel_encoder(mel)

    def forward(self, x: Tensor, log_snr: Tensor, condition: Tensor) -> Tensor:
        """Map a signal [B, 1, T] of unit variance, log-SNR [B] and a condition to a signal [B, 1, T]."""
        h, skip, embedding = self.inward(x), torch.zeros((), dtype=x.dtype, device=x.device), self.log_snr(log_snr)
        conditions = condition.transpose(1, 2).chunk(len(self.dilations), dim=1)
        for level, convolution, mix, frame in zip(self.levels, self.convolutions, self.mixes, conditions, strict=True):
            out = convolution(h + level(embedding)[..., None]) + frame.repeat_interleave(self.hop_length, -1)
            gate, signal = out.chunk(2, dim=1)
            residual, skipped = mix(gate.sigmoid() * signal.tanh()).chunk(2, dim=1)
            h, skip = (h + residual) * 0.5**0.5, skip + skipped
        return x + self.outward(skip * len(self.dilations) ** -0.5)

    def receptive_field(self) -> int:
        """Return R: a sample of the output depends on no input sample further than R away."""
        return sum(self.dilations)

    def context(self) -> Context:
        """Return the context of the output in samples, of signal and mel together."""
        return Context(self.receptive_field(), self.receptive_field()) + self.mel_encoder.context
