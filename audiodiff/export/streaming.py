"""A live model as a function of one mel frame and a state of fixed shape: `VocoderStream` in real numbers.

    mel frame, noise, state → waveform of one hop, state

Every part runs at its own distance behind the newest frame, so each step does the same work on tensors of the same
shapes; the state is what lies between. Before the beginning all is zero, as beyond the ends of a whole sound: frames
and samples that lie there are set to zero wherever they enter a part. The sound comes `delay` samples late.
"""

import torch
from torch import Tensor, nn

from audiodiff.audio.mdct import imdct, mdct
from audiodiff.export.plans import Plan, table_of
from audiodiff.export.real_time import RealInversion
from audiodiff.export.stream_network import RealNetworkStep, State, StateQueue
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.starts import RealTimeGriffinLim
from audiodiff.models.stateful import can_keep_state
from audiodiff.models.vocoder import Vocoder
from audiodiff.models.whitening import MelWhitening


def check_live(vocoder: Vocoder, sampling: SamplingConfig) -> None:
    """Raise ValueError unless the step of a stream can be exported."""
    network = vocoder.denoiser.network
    live = (
        can_keep_state(vocoder, sampling)
        and isinstance(sampling.start, RealTimeGriffinLim)
        and isinstance(vocoder.whitening, MelWhitening)
        and not vocoder.final_iters
        and len(sampling.times) == 2
        and network.mel_encoder is not None
        and network.expected is None
        and not any(block.look_ahead for stage in network.stages for block in stage)
    )
    if not live:
        raise ValueError(
            "--part stream is for live models, as speech-24k-live or what model=live trains: a real-time start, one "
            "call of a causal HybridNetwork, a mel whitening, no projection"
        )


class StreamStep(nn.Module):
    """Map a frame, its noise and a state to a hop of the waveform and the next state.

    Args:
        vocoder: The model.
        sampling: How to sample.
        plan: What its solver does.

    Raises:
        ValueError: It is no live model.
    """

    def __init__(self, vocoder: Vocoder, sampling: SamplingConfig, plan: Plan) -> None:
        super().__init__()
        check_live(vocoder, sampling)
        self.hop, self.whitening, network = vocoder.hop_length, vocoder.whitening, vocoder.denoiser.network
        self.block = self.whitening.block
        self.start = RealInversion(sampling.start)
        self.prediction, self.weights = vocoder.denoiser.prediction, plan.end
        self.register_buffer("scales", table_of(plan)[0, :2], persistent=False)
        self.started = sampling.start.context.future  # how late each part is, in samples
        self.begun = self._blocks(max(self.started, self.hop)) + 2 * self.block
        self.network = RealNetworkStep(network, plan, self.begun)
        self.answered = self.network.late
        self.delay = self._blocks(self.answered) + 2 * self.block

    def _blocks(self, samples: int) -> int:
        return -(-samples // self.block) * self.block

    def state(self) -> State:
        """Return the state before the first frame: zeros."""
        block, mels = self.block, self.whitening.mel.n_mels
        begun, answered = self.begun - 2 * block, self._blocks(self.answered)
        return {
            "step": torch.zeros(1, dtype=torch.int64),
            **self.start.state(),
            "gain_mel": torch.zeros(1, mels, 2),
            "gains": torch.zeros(1, 1, (answered + 4 * block - self.hop) // block, block),
            "started": torch.zeros(1, 1, begun - self.started + 4 * block),
            "drawn": torch.zeros(1, 1, self.begun),
            "x_t": torch.zeros(1, 1, self.answered - self.begun),
            "answered": torch.zeros(1, 1, answered - self.answered + 4 * block),
            **self.network.state(),
        }

    def forward(self, mel: Tensor, noise: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Take a frame, [1, M, 1], and its noise, [1, 1, hop]; return [1, 1, hop] and the next state."""
        names = list(self.state())
        queue = StateQueue(dict(zip(names, state, strict=True)))
        step = queue.state["step"]
        gains = self._gains(queue, mel, step)
        own = [queue.state[name] for name in self.start.state()]
        first, own = self.start(mel, noise[:, 0], step, *own)
        queue.next |= dict(zip(self.start.state(), own, strict=True))
        first = queue.through("started", self._inside(first[:, None], step, self.started))
        x = self._whitened(first, gains, step, self.begun - 2 * self.block, encode=True)
        alpha, sigma = self.scales
        drawn = queue.through("drawn", noise)[..., : self.hop]
        x_t = self._inside(alpha * x + sigma * drawn, step, self.begun)
        output = self.network(x_t / self.prediction.norm(alpha, sigma), mel, step, queue)
        x_t = queue.through("x_t", x_t)[..., : self.hop]
        estimate = self.prediction.estimate(output, x_t, alpha, sigma)
        signals = {0: x_t, 1: estimate.x, 2: estimate.eps}
        x = sum(weight * signals[number] for number, weight in self.weights.items())
        x = queue.through("answered", self._inside(x, step, self.answered))
        waveform = self._whitened(x, gains, step, self.delay - 2 * self.block, encode=False)
        queue.next["step"] = step + 1
        return self._inside(waveform, step, self.delay), *(queue.next[name] for name in names)

    def _inside(self, signal: Tensor, step: Tensor, late: int) -> Tensor:
        """Set to zero what lies before the beginning, of a hop that is so many samples late."""
        position = step * self.hop - late + torch.arange(self.hop)
        return torch.where(position >= 0, signal, 0.0)

    def _gains(self, queue: StateQueue, mel: Tensor, step: Tensor) -> Tensor:
        """Compute the gains of the frame before, between its neighbours; return them after those that are kept."""
        mels = queue.through("gain_mel", mel)
        before = torch.where(step <= 1, mels[..., 1:2], mels[..., :1])  # nothing lies before the first
        blocks = self.hop // self.block
        gains = self.whitening.gains(torch.cat([before, mels[..., 1:]], -1))[:, :, blocks : 2 * blocks]
        return queue.through("gains", gains, axis=2)

    def _whitened(self, signal: Tensor, gains: Tensor, step: Tensor, late: int, encode: bool) -> Tensor:
        """Encode or decode a hop that begins two blocks into a window of the signal."""
        block, count = self.block, self.hop // self.block + 4
        first = (self.delay - 2 * self.block - late) // block  # row of the gains
        gains = gains.narrow(2, first, count)
        begin = step * self.hop - late - 4 * block
        inner = begin + block * torch.arange(1, count) > 0
        coefficients = mdct(signal[..., : count * block], block, inner)
        out = imdct(coefficients / gains if encode else coefficients * gains, inner)
        return out[..., 2 * block : 2 * block + self.hop]
