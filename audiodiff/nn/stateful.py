"""Run the hybrid network on a signal that arrives piece by piece: each layer keeps what it needs of the past.

A layer that sees `left` frames before and `right` frames after its own keeps the last left + right frames of its input
and answers `right` frames late, so nothing is computed twice. Beyond the ends every layer sees zeros, as it does on a
whole signal, and the pieces together are the whole's output.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from audiodiff.audio.stft import envelope, hann, overlap_add
from audiodiff.nn.attention import AttentionBlock
from audiodiff.nn.conv import ConvBlock
from audiodiff.nn.hybrid import HybridNetwork, masked
from audiodiff.nn.mel_encoder import MEL_MEAN, MEL_STD
from audiodiff.nn.stft_frontend import LappedTransform

__all__ = ["ConditionStream", "Fifo", "HybridStream", "can_stream"]


def can_stream(network: nn.Module) -> bool:
    """Tell whether a network can keep state per layer: a `HybridNetwork` that knows no positions and no labels."""
    return isinstance(network, HybridNetwork) and network.positions is None and not network.n_labels


class Fifo:
    """Hold what one layer has given and another cannot use yet.

    Args:
        axis: That of time.
    """

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.held: Tensor | None = None

    def __len__(self) -> int:
        """Count the frames that are held."""
        return 0 if self.held is None else self.held.shape[self.axis]

    def push(self, piece: Tensor | None) -> None:
        """Append a piece."""
        if piece is not None:
            self.held = piece if self.held is None else torch.cat([self.held, piece], self.axis)

    def take(self, count: int) -> Tensor:
        """Remove and return so many frames from the front."""
        first = self.held.narrow(self.axis, 0, count)
        self.held = self.held.narrow(self.axis, count, len(self) - count)
        return first


class Context:
    """Keep the frames around those that a layer works on; zeros lie beyond the ends.

    Args:
        left, right: Frames that the layer sees before and after its own.
        axis: That of time.
    """

    def __init__(self, left: int, right: int, axis: int = 1) -> None:
        self.left, self.right, self.axis = left, right, axis
        self.kept: Tensor | None = None

    def push(self, piece: Tensor, last: bool) -> tuple[Tensor, int]:
        """Return a window of frames in context, and for how many of them, after the first `left`, all is known."""
        if self.kept is None:
            self.kept = self._zeros(piece, self.left)
        window = torch.cat([self.kept, piece], self.axis)
        if last:
            window = torch.cat([window, self._zeros(piece, self.right)], self.axis)
        ready = max(0, window.shape[self.axis] - self.left - self.right)
        self.kept = window.narrow(self.axis, ready, window.shape[self.axis] - ready)
        return window, ready

    def _zeros(self, like: Tensor, count: int) -> Tensor:
        shape = list(like.shape)
        shape[self.axis] = count
        return like.new_zeros(shape)


class ConvBlockStream:
    """Run a `ConvBlock`."""

    def __init__(self, block: ConvBlock) -> None:
        self.block = block
        self.context = Context(block.conv.context, block.conv.look_ahead)

    def push(self, h: Tensor, embedding: Tensor, last: bool) -> Tensor:
        """Map the frames that arrive, [B, any, C], to those that are ready."""
        window, ready = self.context.push(h, last)
        if not ready:
            return h[:, :0]
        mixed, gate = self.block.modulation(self.block.conv.mix(window), embedding)
        return torch.addcmul(window.narrow(1, self.context.left, ready), gate, self.block.mlp(mixed))


class AttentionBlockStream:
    """Run an `AttentionBlock` with windowed attention; keys, values and queries are computed once."""

    def __init__(self, block: AttentionBlock) -> None:
        self.block = block
        self.context = Context(block.attention.context, block.attention.look_ahead)

    def push(self, h: Tensor, embedding: Tensor, last: bool) -> Tensor:
        """Map the frames that arrive, [B, any, C], to those that are ready."""
        block, attention, width = self.block, self.block.attention, h.shape[-1]
        mixed, gate = block.before_attention(h, embedding)
        real = h.new_ones(*h.shape[:2], 1)  # the zeros beyond the ends are none
        window, ready = self.context.push(torch.cat([attention.qkv(mixed), h, real], -1), last)
        if not ready:
            return h[:, :0]
        own = window.narrow(1, self.context.left, ready)
        seen = window[..., width:].unfold(1, self.context.left + 1 + self.context.right, 1)  # [B, F, channels, window]
        q = own[..., :width].unflatten(-1, (attention.n_heads, 1, -1)) * (width // attention.n_heads) ** -0.5
        k, v = (seen[:, :, n * width : (n + 1) * width].unflatten(2, (attention.n_heads, -1)) for n in range(2))
        bias = attention.bias[:, None, : k.shape[-1]] + (seen[:, :, None, -1:] - 1) * 1e9
        weights = ((q @ k).float() + bias.float()).softmax(-1).to(v.dtype)
        out = attention.out((weights @ v.mT).flatten(2))
        h = torch.addcmul(own[..., 3 * width : 4 * width], gate, out)
        mixed, gate = block.before_mlp(h, embedding)
        return torch.addcmul(h, gate, block.mlp(mixed))


class ConditionStream:
    """Run `HybridNetwork.encode`.

    Args:
        network: A network with a condition.
    """

    def __init__(self, network: HybridNetwork) -> None:
        self.network = network
        self.contexts = [Context(left, right, axis=2) for left, right in network.mel_encoder.padding]
        self.expected = Fifo(1)

    def push(self, mel: Tensor, last: bool = False) -> Tensor:
        """Map the mel frames that arrive, [B, M, any], to the condition that is ready, [B, any, D]."""
        encoder, h = self.network.mel_encoder, (mel - MEL_MEAN) / MEL_STD
        first, act, second, _ = encoder.layers
        for layer, context in zip((first, second), self.contexts, strict=True):
            window, ready = context.push(h, last)
            h = act(layer(window)) if ready else window.new_empty(len(mel), layer.out_channels, 0)
        ready = h.shape[-1]
        features = encoder.at_network_rate(h) if ready else h.new_empty(len(mel), 0, self.network.widths[0])
        if self.network.expected is None:
            return features
        self.expected.push(self.network.expected(mel))
        return torch.cat([features, self.expected.take(features.shape[1])], dim=-1)


class AnalysisStream:
    """Run `LappedTransform.analyse`."""

    def __init__(self, transform: LappedTransform) -> None:
        self.transform = transform
        self.kept: Tensor | None = None

    def push(self, x: Tensor, last: bool) -> Tensor:
        """Map the samples that arrive, [B, 1, any], to the frames that are ready, [B, any, n_bins]."""
        size, hop, (left, right) = self.transform.n_fft, self.transform.hop_length, self.transform.padding
        signal = functional.pad(x[:, 0], (left, 0)) if self.kept is None else torch.cat([self.kept, x[:, 0]], -1)
        signal = functional.pad(signal, (0, right)) if last else signal
        ready = max(0, (signal.shape[-1] - size) // hop + 1)
        self.kept = signal[:, ready * hop :]
        if not ready:
            return torch.zeros(len(x), 0, self.transform.n_bins, dtype=x.dtype.to_complex(), device=x.device)
        window = self.transform.scale * hann(size, size, 0.5, x.dtype, x.device)
        return torch.fft.rfft(signal.unfold(-1, size, hop)[:, :ready] * window)


class SynthesisStream:
    """Run `LappedTransform.synthesise`."""

    def __init__(self, transform: LappedTransform) -> None:
        self.transform = transform
        self.overlap = -(-transform.n_fft // transform.hop_length) - 1  # further hops under a frame
        self.kept: Tensor | None = None
        self.before = 0  # frames that still overlap with the next
        self.skip = transform.padding[0]  # samples that are padding

    def push(self, frames: Tensor, last: bool) -> Tensor:
        """Map the frames that arrive, [B, any, n_bins], to the samples that are ready, [B, 1, any]."""
        size, hop, count = self.transform.n_fft, self.transform.hop_length, frames.shape[1]
        real = frames.real
        if self.kept is None:
            self.kept = real.new_zeros(len(frames), self.overlap * hop)
        total = functional.pad(self.kept, (0, count * hop))
        window = hann(size, size, 0.5, real.dtype, real.device)
        if count:
            total = total + overlap_add(torch.fft.irfft(frames, n=size) * window, hop)
        # No later frame covers the samples that are ready; at the end neither does one cover the rest.
        ready = count * hop + (self.transform.padding[0] if last else 0)
        weights = envelope(window, max(1, self.before + count), hop)[self.before * hop :]
        out = total[:, :ready] / weights[:ready] / self.transform.scale
        self.kept, self.before = total[:, ready:], min(self.before + count, self.overlap)
        skip = min(self.skip, out.shape[-1])
        self.skip -= skip
        return out[:, None, skip:]


class HybridStream:
    """Run a `HybridNetwork` at one log-SNR.

    Args:
        network: The network; `can_stream` says which.
        log_snr: Log-SNR, [B].
    """

    def __init__(self, network: HybridNetwork, log_snr: Tensor) -> None:
        self.network = network
        self.embedding = network.log_snr(log_snr)
        self.analysis, self.synthesis = AnalysisStream(network.transform), SynthesisStream(network.transform)
        self.stages = [[_stream_of(block) for block in stage] for stage in network.stages]
        self.arrived, self.waiting = Fifo(1), Fifo(1)  # frames without a condition yet; without an output yet
        self.condition, self.magnitudes = Fifo(1), Fifo(1)
        self.features = [Fifo(1) for _ in network.stages]

    def push(self, x: Tensor, condition: Tensor | None, last: bool = False) -> Tensor:
        """Map what arrives of the signal, [B, 1, any], and of the condition, [B, any, D], to the samples ready."""
        network = self.network
        self.arrived.push(self.analysis.push(x, last))
        self.condition.push(condition)
        count = len(self.arrived) if network.mel_encoder is None else min(len(self.arrived), len(self.condition))
        frames = self.arrived.take(count)
        self.waiting.push(frames)
        h = network.inward(torch.view_as_real(frames).flatten(-2))
        if network.mel_encoder is not None:
            features, log_magnitudes = self.condition.take(count).split(network.widths, dim=-1)
            if network.magnitudes_inward is not None:
                h = h + network.magnitudes_inward(log_magnitudes)
            self.magnitudes.push(log_magnitudes)
            for fifo, own in zip(self.features, features.unflatten(-1, (len(self.stages), -1)).unbind(2), strict=True):
                fifo.push(own)
        for stage, features in zip(self.stages, self.features, strict=True):
            if network.mel_encoder is not None:
                h = h + features.take(h.shape[1])
            for block in stage:
                h = block.push(h, self.embedding, last)
        log_magnitudes = None if network.mel_encoder is None else self.magnitudes.take(h.shape[1])
        frames = self.waiting.take(h.shape[1])
        return self.synthesis.push(masked(frames, *network.read_out(h, log_magnitudes, x.dtype)), last)


def _stream_of(block: nn.Module) -> ConvBlockStream | AttentionBlockStream:
    return ConvBlockStream(block) if isinstance(block, ConvBlock) else AttentionBlockStream(block)
