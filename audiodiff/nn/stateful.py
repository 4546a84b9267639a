"""Run the hybrid network on a signal that arrives piece by piece, with state in each layer.

A layer with a context of `left` and `right` frames keeps the last left + right frames of its input and outputs `right`
frames late, so nothing is computed twice. Beyond the ends every layer sees zeros, as on a whole signal, and the pieces
together equal the output for the whole.
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


def can_stream(network: nn.Module) -> bool:
    """Check whether a network can keep state per layer: a `HybridNetwork` without positions and labels."""
    return isinstance(network, HybridNetwork) and network.positions is None and not network.n_labels


class Fifo:
    """Queue frames between two layers.

    Args:
        axis: The time axis.
    """

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.queue: Tensor | None = None

    def __len__(self) -> int:
        """Count the queued frames."""
        return 0 if self.queue is None else self.queue.shape[self.axis]

    def push(self, piece: Tensor | None) -> None:
        """Append a piece."""
        if piece is not None:
            self.queue = piece if self.queue is None else torch.cat([self.queue, piece], self.axis)

    def take(self, count: int) -> Tensor:
        """Remove `count` frames from the front and return them."""
        first = self.queue.narrow(self.axis, 0, count)
        self.queue = self.queue.narrow(self.axis, count, len(self) - count)
        return first


class ContextBuffer:
    """Buffer the context of a layer; zeros lie beyond the ends.

    Args:
        left, right: Frames of context before and after.
        axis: The time axis.
    """

    def __init__(self, left: int, right: int, axis: int = 1) -> None:
        self.left, self.right, self.axis = left, right, axis
        self.buffer: Tensor | None = None

    def push(self, piece: Tensor, last: bool) -> tuple[Tensor, int]:
        """Return a window, and the number of its frames, from `left` on, whose context is complete."""
        if self.buffer is None:
            self.buffer = self._zeros(piece, self.left)
        window = torch.cat([self.buffer, piece], self.axis)
        if last:
            window = torch.cat([window, self._zeros(piece, self.right)], self.axis)
        ready = max(0, window.shape[self.axis] - self.left - self.right)
        self.buffer = window.narrow(self.axis, ready, window.shape[self.axis] - ready)
        return window, ready

    def _zeros(self, like: Tensor, count: int) -> Tensor:
        shape = list(like.shape)
        shape[self.axis] = count
        return like.new_zeros(shape)


class ConvBlockStream:
    """Run a `ConvBlock`."""

    def __init__(self, block: ConvBlock) -> None:
        self.block = block
        self.context = ContextBuffer(block.conv.context, block.conv.look_ahead)

    def push(self, h: Tensor, embedding: Tensor, last: bool) -> Tensor:
        """Map arriving frames, [B, any, C], to the output that is ready."""
        window, ready = self.context.push(h, last)
        if not ready:
            return h[:, :0]
        mixed, gate = self.block.modulation(self.block.conv.mix(window), embedding)
        return torch.addcmul(window.narrow(1, self.context.left, ready), gate, self.block.mlp(mixed))


class AttentionBlockStream:
    """Run an `AttentionBlock` with windowed attention; keys, values and queries are computed once."""

    def __init__(self, block: AttentionBlock) -> None:
        self.block = block
        self.context = ContextBuffer(block.attention.context, block.attention.look_ahead)

    def push(self, h: Tensor, embedding: Tensor, last: bool, inside: Tensor | None = None) -> Tensor:
        """Map arriving frames, [B, any, C], to the output that is ready.

        Args:
            h: The frames.
            embedding: Embedding of the log-SNR, [B, E].
            last: Whether no more will come.
            inside: 0 for frames before the beginning, which are not seen, [B, any, 1]; by default there are none.
        """
        block, attention, width = self.block, self.block.attention, h.shape[-1]
        mixed, gate = block.before_attention(h, embedding)
        inside = h.new_ones(*h.shape[:2], 1) if inside is None else inside
        window, ready = self.context.push(torch.cat([attention.qkv(mixed), h, inside], -1), last)
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
        self.contexts = [ContextBuffer(left, right, axis=2) for left, right in network.mel_encoder.padding]
        self.expected = Fifo(1)

    def push(self, mel: Tensor, last: bool = False) -> Tensor:
        """Map arriving mel frames, [B, M, any], to the condition that is ready, [B, any, D]."""
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
        self.buffer: Tensor | None = None

    def push(self, x: Tensor, last: bool) -> Tensor:
        """Map arriving samples, [B, 1, any], to the frames that are ready, [B, any, n_bins]."""
        size, hop, (left, right) = self.transform.n_fft, self.transform.hop_length, self.transform.padding
        signal = functional.pad(x[:, 0], (left, 0)) if self.buffer is None else torch.cat([self.buffer, x[:, 0]], -1)
        signal = functional.pad(signal, (0, right)) if last else signal
        ready = max(0, (signal.shape[-1] - size) // hop + 1)
        self.buffer = signal[:, ready * hop :]
        if not ready:
            return torch.zeros(len(x), 0, self.transform.n_bins, dtype=x.dtype.to_complex(), device=x.device)
        window = self.transform.scale * hann(size, size, 0.5, x.dtype, x.device)
        return torch.fft.rfft(signal.unfold(-1, size, hop)[:, :ready] * window)


class SynthesisStream:
    """Run `LappedTransform.synthesise`."""

    def __init__(self, transform: LappedTransform) -> None:
        self.transform = transform
        self.overlap = -(-transform.n_fft // transform.hop_length) - 1  # further hops under a frame
        self.buffer: Tensor | None = None
        self.overlapping = 0  # earlier frames that overlap with the next one
        self.skip = transform.padding[0]  # samples of padding yet to be dropped

    def push(self, frames: Tensor, last: bool) -> Tensor:
        """Map arriving frames, [B, any, n_bins], to the samples that are ready, [B, 1, any]."""
        size, hop, count = self.transform.n_fft, self.transform.hop_length, frames.shape[1]
        real = frames.real
        if self.buffer is None:
            self.buffer = real.new_zeros(len(frames), self.overlap * hop)
        total = functional.pad(self.buffer, (0, count * hop))
        window = hann(size, size, 0.5, real.dtype, real.device)
        if count:
            total = total + overlap_add(torch.fft.irfft(frames, n=size) * window, hop)
        # Ready samples are covered by no later frame; at the end all are.
        ready = count * hop + (self.transform.padding[0] if last else 0)
        weights = envelope(window, max(1, self.overlapping + count), hop)[self.overlapping * hop :]
        out = total[:, :ready] / weights[:ready] / self.transform.scale
        self.buffer, self.overlapping = total[:, ready:], min(self.overlapping + count, self.overlap)
        skip = min(self.skip, out.shape[-1])
        self.skip -= skip
        return out[:, None, skip:]


class HybridStream:
    """Run a `HybridNetwork` at one log-SNR.

    Args:
        network: The network; see `can_stream`.
        log_snr: Log-SNR, [B].
    """

    def __init__(self, network: HybridNetwork, log_snr: Tensor) -> None:
        self.network = network
        self.embedding = network.log_snr(log_snr)
        self.analysis, self.synthesis = AnalysisStream(network.transform), SynthesisStream(network.transform)
        self.stages = [[block_stream(block) for block in stage] for stage in network.stages]
        self.noisy, self.unmasked = Fifo(1), Fifo(1)  # frames that wait for a condition; for their mask
        self.condition, self.magnitudes = Fifo(1), Fifo(1)
        self.features = [Fifo(1) for _ in network.stages]

    def push(self, x: Tensor, condition: Tensor | None, last: bool = False) -> Tensor:
        """Map arriving samples, [B, 1, any], and conditions, [B, any, D], to the samples that are ready."""
        network = self.network
        self.noisy.push(self.analysis.push(x, last))
        self.condition.push(condition)
        count = len(self.noisy) if network.mel_encoder is None else min(len(self.noisy), len(self.condition))
        frames = self.noisy.take(count)
        self.unmasked.push(frames)
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
        frames = self.unmasked.take(h.shape[1])
        return self.synthesis.push(masked(frames, *network.read_out(h, log_magnitudes, x.dtype)), last)


def block_stream(block: nn.Module) -> ConvBlockStream | AttentionBlockStream:
    """Make the stream of a block of the trunk."""
    return ConvBlockStream(block) if isinstance(block, ConvBlock) else AttentionBlockStream(block)
