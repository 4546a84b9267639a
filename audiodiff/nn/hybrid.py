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

from audiodiff.audio.chunks import Context
from audiodiff.mel import MelSpec
from audiodiff.nn.attention import AttentionBlock, WindowedAttention
from audiodiff.nn.conv import ConvBlock
from audiodiff.nn.embedding import LogSNREmbedding, VectorEmbedding
from audiodiff.nn.expected_magnitudes import ExpectedMagnitudes, PowerScale
from audiodiff.nn.linear import Linear
from audiodiff.nn.mel_encoder import MelEncoder
from audiodiff.nn.stft_frontend import LappedTransform


class HybridNetwork(nn.Module):
    """Map (noisy signal, log-SNR, condition) to a signal.

    Args:
        hop_length: Samples per frame of the trunk.
        n_fft: Samples under a frame's window.
        width: Channels of the trunk.
        dilations: Dilations of the convolutions, for each stage the same.
        n_stages: Stages; each ends with one attention block.
        kernel: Taps of the convolutions.
        expansion: Hidden width of the MLPs in units of width.
        n_heads: Attention heads.
        attention_window: Frames seen by attention on each side.
        embedding: Size of the log-SNR embedding.
        n_mels: Bands of the mel that conditions the network; 0 for none.
        mel_hop_length: Samples per mel frame; a multiple of hop_length.
        magnitudes: Where the expected magnitudes of the mel enter: "none", "input", "residual" (as its scale), "both".
        mel: Mel parameters; needed for magnitudes alone.
        n_labels: Classes that condition the network; 0 for none.
        vector_size: Size of a vector that conditions the network, such as an embedding of a sound; 0 for none.
        n_positions: Learned positions, one a frame from the beginning of the signal; 0 for none. Sounds with an onset
            need them; a network with positions cannot work on pieces of a signal.
        causal: Whether no frame sees a later one; the look-ahead is then one window of the transform.
        encoder_causal: Whether the mel encoder is causal; as `causal` by default. Behind a start that looks ahead, the
            encoder may look as far ahead without further delay.

    Raises:
        ValueError: hop_length does not divide mel_hop_length, or magnitudes is none of the four, or there are both a
            mel and labels or vectors.
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
        attention_window: int = 32,
        embedding: int = 128,
        n_mels: int = 0,
        mel_hop_length: int = 0,
        magnitudes: str = "none",
        mel: MelSpec | None = None,
        n_labels: int = 0,
        n_positions: int = 0,
        causal: bool = False,
        vector_size: int = 0,
        encoder_causal: bool | None = None,
    ) -> None:
        super().__init__()
        if (n_labels or vector_size) and n_mels:
            raise ValueError("n_mels, and n_labels or vector_size: give a mel, or labels and vectors")
        if magnitudes not in ("none", "input", "residual", "both"):
            raise ValueError(f"magnitudes={magnitudes!r}: choose none, input, residual or both")
        self.hop_length = hop_length
        self.transform = LappedTransform(n_fft, hop_length)
        self.widths = [n_stages * width, 0]  # of the condition: features, then magnitudes
        self.expected = None
        if magnitudes != "none":
            self.expected = ExpectedMagnitudes(mel, n_fft, hop_length)
            self.widths[1] = self.transform.n_bins
        self.magnitudes_inward = Linear(self.widths[1], width) if magnitudes in ("input", "both") else None
        self.residual_scale = PowerScale(self.widths[1]) if magnitudes in ("residual", "both") else None
        self.log_snr = LogSNREmbedding(embedding)
        self.n_labels = n_labels
        self.labels = nn.Embedding(n_labels + 1, embedding) if n_labels else None  # the last row: no label
        self.vector_size = vector_size
        self.vectors = VectorEmbedding(vector_size, embedding) if vector_size else None
        self.positions = nn.Parameter(torch.empty(n_positions, width)) if n_positions else None
        if self.positions is not None:
            nn.init.normal_(self.positions, std=0.02)
        self.mel_encoder = None
        if n_mels:
            encoder_causal = causal if encoder_causal is None else encoder_causal
            self.mel_encoder = MelEncoder(
                n_mels, mel_hop_length, hop_length, width, self.widths[0], kernel, encoder_causal
            )
        self.inward = self.make_inward(width)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                [ConvBlock(width, kernel, dilation, expansion, embedding, causal) for dilation in dilations]
                + [
                    AttentionBlock(
                        WindowedAttention(width, n_heads, attention_window, causal), width, expansion, embedding
                    )
                ]
            )
            for _ in range(n_stages)
        )
        self.norm = nn.LayerNorm(width)
        self.outward = self.make_outward(width)

    def make_inward(self, width: int) -> nn.Linear:
        """Make the layer from a frame, real and imaginary parts, to the trunk."""
        return Linear(2 * self.transform.n_bins, width)

    def make_outward(self, width: int) -> nn.Linear:
        """Make the layer from the trunk to mask and residual, which begin at zero."""
        outward = Linear(width, 4 * self.transform.n_bins, bias=False)
        nn.init.zeros_(outward.weight)
        return outward

    def encode(self, mel: Tensor) -> Tensor:
        """Compute the condition, once per utterance, from a log-mel: [B, M, F] to [B, F mel_hop / hop, D]."""
        if self.mel_encoder is None:
            raise ValueError("this network has no condition: it was built with n_mels=0")
        features = self.mel_encoder(mel)
        return features if self.expected is None else torch.cat([features, self.expected(mel)], dim=-1)

    def encode_labels(self, labels: Tensor) -> Tensor:
        """Look up the condition of classes by number, [B] to [B, embedding]; -1 for no label.

        Raises:
            ValueError: The network knows no labels.
        """
        if self.labels is None:
            raise ValueError("this network has no labels: it was built with n_labels=0")
        return self.labels(labels.remainder(self.n_labels + 1))

    def encode_clip(self, labels: Tensor | None = None, vectors: Tensor | None = None) -> Tensor:
        """Compute the condition of whole clips: the sum of the embeddings of labels and vectors.

        Args:
            labels: Class numbers, [B]; -1 for no label. None if the network knows no labels.
            vectors: [B, vector_size]; a row of NaN is no vector. None if the network knows no vectors.

        Returns:
            [B, embedding].

        Raises:
            ValueError: The network takes other conditions.
        """
        if (labels is None) != (self.labels is None) or (vectors is None) != (self.vectors is None):
            raise ValueError(f"this network knows {self.n_labels} labels and vectors of {self.vector_size} numbers")
        parts = [] if labels is None else [self.encode_labels(labels)]
        return sum(parts + ([] if vectors is None else [self.vectors(vectors)]))

    def forward(self, x: Tensor, log_snr: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map a signal [B, 1, T] of unit variance, log-SNR [B] and a condition to a signal [B, 1, T].

        T is a multiple of hop_length.
        """
        frames = self.transform.analyse(x)
        return self.transform.synthesise(
            masked(frames, *self.predict_mask(torch.view_as_real(frames), log_snr, condition))
        )

    def predict_mask(self, frames: Tensor, log_snr: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict mask and residual of frames, [B, F, n_bins, 2] each."""
        h, log_magnitudes = self.trunk(self.inward(frames.flatten(-2)), log_snr, condition)
        return self.read_out(h, log_magnitudes if self.residual_scale is not None else None, frames.dtype)

    def trunk(self, h: Tensor, log_snr: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map frames, [B, F, C], to the frames that are read out, and pass on the magnitudes in the condition."""
        embedding, log_magnitudes = self.log_snr(log_snr), None
        if self.positions is not None:
            last = len(self.positions) - 1
            h = h + self.positions[torch.arange(h.shape[1], device=h.device).clamp(max=last)]
        if self.labels is not None or self.vectors is not None:
            embedding, condition = embedding + condition, None
        if condition is not None:
            features, log_magnitudes = condition.split(self.widths, dim=-1)
            features = features.unflatten(-1, (len(self.stages), -1))
            if self.magnitudes_inward is not None:
                h = h + self.magnitudes_inward(log_magnitudes)
        for i, stage in enumerate(self.stages):
            if condition is not None:
                h = h + features[:, :, i]
            for block in stage:
                h = block(h, embedding)
        return h, log_magnitudes

    def read_out(self, h: Tensor, log_magnitudes: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Map the trunk's last frames, [B, F, C], to mask and residual, [B, F, n_bins, 2] each."""
        mask, residual = self.outward(self.norm(h)).to(dtype).unflatten(-1, (2, -1, 2)).unbind(2)
        if self.residual_scale is not None:
            residual = residual * self.residual_scale(log_magnitudes)[..., None]
        return mask, residual

    def samples_ready(self, signal: int, condition: int) -> int:
        """Count the output samples that are final after `signal` samples of input and `condition` samples of mel."""
        transform = self.transform
        frames = (signal + transform.padding[0] - transform.n_fft) // transform.hop_length + 1
        ahead = sum(block.look_ahead for stage in self.stages for block in stage)
        frames = min(frames, condition // transform.hop_length) - ahead
        return frames * transform.hop_length - transform.padding[0]

    def receptive_field(self) -> int:
        """Return R: a sample of the output depends on no input sample further than R away."""
        return self.context(with_condition=False).past

    def context(self, with_condition: bool = True) -> Context:
        """Return the context of the output in samples: of the signal, and by default of the mel too.

        Raises:
            ValueError: The network has positions.
        """
        if self.positions is not None and with_condition:
            raise ValueError("this network knows positions from the beginning on, so it cannot work piece by piece")
        blocks = [block for stage in self.stages for block in stage]
        past, future = (sum(getattr(block, side) for block in blocks) for side in ("context", "look_ahead"))
        hop, window = self.transform.hop_length, self.transform.n_fft - 1
        signal = Context(past * hop + window, future * hop + window)
        return signal + self.mel_encoder.context if with_condition and self.mel_encoder else signal


def masked(frames: Tensor, mask: Tensor, residual: Tensor) -> Tensor:
    """Apply a mask and add a residual, [B, F, n_bins, 2] each, to complex frames, [B, F, n_bins]."""
    mask, residual = torch.view_as_complex(mask), torch.view_as_complex(residual)
    return torch.addcmul(frames + residual, mask, frames)
