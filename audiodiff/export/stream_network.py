"""The causal network as a function of one hop and a state of fixed shape: `HybridStream` in real numbers."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from audiodiff.export.networks import RealMasked
from audiodiff.export.plans import Plan, table_of
from audiodiff.export.transforms import overlap_add
from audiodiff.nn.hybrid import HybridNetwork
from audiodiff.nn.mel_encoder import MEL_MEAN, MEL_STD, MelEncoder
from audiodiff.nn.stateful import AttentionBlockStream, ConvBlockStream, block_stream

State = dict[str, Tensor]
LayerStream = ConvBlockStream | AttentionBlockStream


class StateQueue:
    """Read and write the named tensors of a state, each along its own axis."""

    def __init__(self, state: State) -> None:
        self.state, self.next = state, {}

    def through(self, name: str, piece: Tensor, axis: int = -1) -> Tensor:
        """Append a piece to what is kept under a name, keep as much as before, and return both together."""
        kept = self.state[name]
        joined = torch.cat([kept, piece], axis)
        self.next[name] = joined.narrow(axis, piece.shape[axis], kept.shape[axis])
        return joined


class RealNetworkStep(nn.Module):
    """Run a causal `HybridNetwork` on the frames of one hop, in real numbers, with state in each layer.

    Args:
        network: The network.
        plan: The one call that it answers.
        late: How many samples late the signal is, behind the newest mel frame.

    Attributes:
        late: How many samples late the answer is.
    """

    def __init__(self, network: HybridNetwork, plan: Plan, late: int) -> None:
        super().__init__()
        self.real = RealMasked(network)
        self.encoder = cast(MelEncoder, network.mel_encoder)  # a vocoder's network has one
        self.trunk_hop, self.n_fft = network.hop_length, network.transform.n_fft
        self.left = network.transform.padding[0]
        self.count = self.encoder.upsampling  # frames of the trunk in one step
        window = -((self.left - self.n_fft - late) // self.trunk_hop + 1)
        condition = self.encoder.context.future // self.trunk_hop
        self.late_frames = window, condition, max(window, condition)  # of analysis, condition and trunk
        self.late_input, self.late = late, self.late_frames[2] * self.trunk_hop + self.left
        with torch.no_grad():
            embedding = network.log_snr(table_of(plan)[0, 2].flatten())
        self.register_buffer("embedding", embedding, persistent=False)

    def state(self) -> State:
        """Return the state before the first frame: zeros."""
        network, (window, condition, trunk) = self.real.network, self.late_frames
        (left, right), (left_2, right_2) = self.encoder.padding
        width, laps = network.norm.normalized_shape[0], self.real.transform.laps
        bins = network.transform.n_bins
        layers = {}
        for name, stream in self._streams():
            channels = 4 * width + 1 if isinstance(stream, AttentionBlockStream) else width
            layers[name] = torch.zeros(1, stream.context.left, channels)
        return {
            "network_samples": torch.zeros(1, window * self.trunk_hop + self.left - self.late_input),
            "network_frames": torch.zeros(1, trunk - window, 2, bins),
            "network_mel": torch.zeros(1, self.encoder.layers[0].in_channels, left + right),
            "network_hidden": torch.zeros(1, width, left_2 + right_2),
            "network_condition": torch.zeros(1, trunk - condition, network.widths[0]),
            **layers,
            "network_overlap": torch.zeros(1, (laps - 1) * self.trunk_hop),
            "network_windows": torch.zeros(1, (laps - 1) * self.trunk_hop),
        }

    def _streams(self) -> list[tuple[str, LayerStream]]:
        stages = self.real.network.stages
        return [
            (f"network_stage_{i}_block_{j}", block_stream(block))
            for i, stage in enumerate(stages)
            for j, block in enumerate(stage)
        ]

    def forward(self, x: Tensor, mel: Tensor, step: Tensor, queue: StateQueue) -> Tensor:
        """Map a hop of the signal, [1, 1, hop], and a mel frame, [1, M, 1], to a hop of the output."""
        network, transform = self.real.network, self.real.transform
        frames = queue.through("network_frames", self._analysed(x, queue), 1)[:, : self.count]
        condition = queue.through("network_condition", self._condition(mel, step, queue), 1)[:, : self.count]
        position = (step + 1) * self.count - self.late_frames[2] - self.count + torch.arange(self.count)
        inside = (position >= 0).float()[:, None]
        features = condition.unflatten(-1, (len(network.stages), -1))
        h = network.inward(frames.transpose(2, 3).flatten(-2))
        streams = dict(self._streams())
        for i, stage in enumerate(network.stages):
            h = h + features[:, :, i]
            for j in range(len(stage)):
                name = f"network_stage_{i}_block_{j}"
                h = self._block(streams[name], name, h * inside, inside, queue)
        mask, residual = network.read_out(h, None, h.dtype)
        real, imaginary = frames.unbind(2)
        out_real = real + residual[..., 0] + mask[..., 0] * real - mask[..., 1] * imaginary
        out_imaginary = imaginary + residual[..., 1] + mask[..., 0] * imaginary + mask[..., 1] * real
        out = transform.frames_of(torch.stack([out_real, out_imaginary], 1))
        return self._added(out * inside, inside * transform.squares, queue)

    def _block(self, stream: LayerStream, name: str, h: Tensor, inside: Tensor, queue: StateQueue) -> Tensor:
        stream.context.buffer = queue.state[name]
        attends = {"inside": inside[None]} if isinstance(stream, AttentionBlockStream) else {}
        h = stream.push(h, self.embedding, False, **attends)
        queue.next[name] = stream.context.buffer
        return h

    def _analysed(self, x: Tensor, queue: StateQueue) -> Tensor:
        """Return the frames, [1, count, 2, K], that the newest samples complete."""
        transform, hop = self.real.transform, self.trunk_hop
        signal = queue.through("network_samples", x[:, 0])
        size = transform.laps * hop
        signal = functional.pad(signal, (0, max(0, (self.count - 1) * hop + size - signal.shape[-1])))
        windows = torch.stack([signal[:, k * hop :][:, :size] for k in range(self.count)], 1)
        return transform.spectrum_of(windows).transpose(1, 2) * self.real.scale

    def _condition(self, mel: Tensor, step: Tensor, queue: StateQueue) -> Tensor:
        """Return the condition, [1, count, D], that the newest mel frame completes."""
        first, first_act, second, second_act = self.encoder.layers
        h = first_act(first(queue.through("network_mel", (mel - MEL_MEAN) / MEL_STD)))
        h = torch.where(step >= self.encoder.padding[0][1], h, 0.0)
        return self.encoder.at_network_rate(second_act(second(queue.through("network_hidden", h))))

    def _added(self, frames: Tensor, squares: Tensor, queue: StateQueue) -> Tensor:
        """Overlap-add windowed frames, divide by the windows there, and return the samples that are complete."""
        ready, sums = self.count * self.trunk_hop, {}
        for name, piece in (("network_overlap", frames), ("network_windows", squares[None])):
            total = functional.pad(queue.state[name], (0, ready)) + overlap_add(piece, self.trunk_hop)
            sums[name], queue.next[name] = total[:, :ready], total[:, ready:]
        out = sums["network_overlap"] / sums["network_windows"].clamp(min=1e-5)
        return out[:, None] / self.real.scale
