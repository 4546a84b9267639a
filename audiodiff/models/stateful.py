"""Vocoding with state: every part keeps what it needs of the past, so a chunk costs about its own length of work.

    mel ─┬─► start ───────► encode, add noise ─► step ─► … ─► step ─► decode ─► projection ─► waveform
         ├─► condition ────────────────────────► each step
         └─► gains ───────► encode ────────────────────────────────► decode

What the parts give is what they give of the whole mel (`Vocoder.generate`, to rounding), and it comes as early as their
look-ahead allows: the parts wait for each other by samples, not by frames or windows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from audiodiff.audio.chunks import Aligned, Context, OverlappingWindows, Piece, cut, joined
from audiodiff.diffusion.denoiser import MOST_LOG_SNR, Denoiser, Estimate, scales
from audiodiff.diffusion.sampling import take_step
from audiodiff.griffin_lim.projection import MelProjection, projection_context
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.stages import Streamable
from audiodiff.models.starts import PureNoise, RealTimeGriffinLim, Variation
from audiodiff.models.whitening import MelWhitening, Whitening
from audiodiff.nn.stateful import ConditionStream, Fifo, HybridStream, can_stream
from audiodiff.utils import devices


def can_keep_state(vocoder: Streamable, sampling: SamplingConfig) -> bool:
    """Tell whether sampling can run with state: a network that can, one call a step, no projection of each estimate.

    Where there is no step (a single time), the start's own waveform is the sound, and every start but noise serves.
    """
    if len(sampling.times) == 1:
        return not isinstance(sampling.start, PureNoise | Variation)
    plain = not vocoder.projection_iters and sampling.solver.calls_per_step == 1
    return plain and can_stream(vocoder.denoiser.network) and not isinstance(sampling.start, Variation)


def delay_in_samples(vocoder: Streamable, sampling: SamplingConfig) -> int:
    """Count by how many samples a `VocoderStream` lags behind the frames that have arrived: its algorithmic delay."""
    spec, network, whitening = vocoder.mel, vocoder.denoiser.network, vocoder.whitening
    total = 2**20 * spec.hop_length  # as if so much had arrived
    blocks = [(whitening.block, 2 * whitening.block)] if isinstance(whitening, MelWhitening) else []
    hop, start, final = spec.hop_length, sampling.start, projection_context(spec, vocoder.final_iters)
    ready = total - (start.context if isinstance(start, RealTimeGriffinLim) else _whole(start.context, hop)).future
    if len(sampling.times) == 1:
        return total - ready
    ready = min([ready] + [total - hop for _ in blocks])  # gains are interpolated with the next frame
    for block, ahead in blocks:
        ready = ready // block * block - ahead
    condition = total - (network.mel_encoder.context.future if network.mel_encoder is not None else 0)
    for _ in range(len(sampling.times) - 1):
        ready = network.samples_ready(ready, condition)
    for block, ahead in blocks:
        ready = ready // block * block - ahead
    return total - (ready // hop * hop - _whole(final, hop).future if vocoder.final_iters else ready)


def _whole(context: Context, hop_length: int) -> Context:
    """Round a context up to whole frames, in samples."""
    return hop_length * context.in_frames(hop_length)


class VocoderStream:
    """Turn log-mel frames into samples as they arrive; all state is in this object.

    Args:
        vocoder: The model.
        sampling: How to sample; `can_keep_state` says whether it suits.
        batch: Clips side by side.

    Raises:
        ValueError: Sampling cannot run with state.
    """

    def __init__(self, vocoder: Streamable, sampling: SamplingConfig, batch: int = 1) -> None:
        if not can_keep_state(vocoder, sampling):
            raise ValueError(
                "this model or sampler cannot keep state: it needs a HybridNetwork, a solver of one call a step, "
                "projection_iters=0 and no recording to start from"
            )
        self.vocoder, self.sampling, self.batch = vocoder, sampling, batch
        self.hop = vocoder.hop_length
        self.frames = 0  # that have arrived
        network = vocoder.denoiser.network
        self.condition = ConditionStream(network) if getattr(network, "mel_encoder", None) is not None else None
        self.gains = _GainStream(vocoder.whitening)
        self.start = _start_stream(sampling.start, vocoder)
        self.encoder = _WhiteningStream(vocoder.whitening, vocoder.whitening.encode)
        self.decoder = _WhiteningStream(vocoder.whitening, vocoder.whitening.decode)
        self.started = 0  # samples that have left the encoder
        self.steps = [_StepStream(vocoder, sampling, i, batch) for i in range(len(sampling.times) - 1)]
        self.mel, self.waveform = Fifo(-1), Fifo(-1)  # in front of the projection
        spec = vocoder.mel
        context = projection_context(spec, vocoder.final_iters).in_frames(spec.hop_length)
        self.projection = OverlappingWindows(context, self._project) if vocoder.final_iters else None

    @torch.no_grad()
    def push(self, mel: Tensor, last: bool = False) -> Tensor:
        """Take log-mel frames, [B, M, any], and return the samples that have become final, [B, 1, any].

        Args:
            mel: The frames; checked by whoever takes them from a user.
            last: Whether no more will come.
        """
        noise = self._noise(self.frames * self.hop, mel.shape[-1] * self.hop).to(mel)
        self.frames += mel.shape[-1]
        if not self.steps:
            return self.start(mel, noise, last)
        condition = None if self.condition is None else self._condition(mel, last)
        gains = self.gains.push(mel, last)
        x = self._initial_state(self.encoder.push(self.start(mel, noise, last), gains, last))
        memory = None
        for step in self.steps:
            x, memory = step.push(x, memory, condition, last)
        waveform = self.decoder.push(x, gains, last)
        return waveform if self.projection is None else self._projected(mel, waveform, last)

    def finish(self) -> Tensor:
        """Return the samples that remain; with those before they are `hop_length` for each frame."""
        device = self.vocoder.device
        return self.push(
            torch.empty(self.batch, self.vocoder.mel.n_mels, 0, dtype=torch.float32, device=device), last=True
        )

    def _condition(self, mel: Tensor, last: bool) -> Tensor:
        with devices.arithmetic(mel.device, self.vocoder.precision):
            return self.condition.push(mel, last)

    def _noise(self, begin: int, length: int) -> Tensor:
        return self.sampling.noise(self.batch, begin).draw(torch.empty(self.batch, 1, length, dtype=torch.float32))

    def _initial_state(self, x: Tensor) -> Tensor:
        """Add the noise of the start's time to what the whitening has encoded."""
        start, length = self.sampling.start, x.shape[-1]
        noise = self._noise(self.started, length).to(x)
        self.started += length
        return start.noised(None if isinstance(start, PureNoise) else x, noise, self.vocoder.denoiser.schedule)

    def _project(self, tree: Any, at: int) -> Tensor:
        mel, waveform = tree
        return MelProjection(self.vocoder.mel, mel, self.vocoder.final_iters)(waveform)

    def _projected(self, mel: Tensor, waveform: Tensor, last: bool) -> Tensor:
        self.mel.push(mel)
        self.waveform.push(waveform)
        frames = len(self.waveform) // self.hop
        tree = (self.mel.take(frames), self.waveform.take(frames * self.hop))
        out = self.projection.push(Piece(frames, tree, last))
        return waveform[..., :0] if out is None else out.tree


def _start_stream(start: Any, vocoder: Streamable) -> Callable[[Tensor, Tensor, bool], Tensor]:
    """Make what maps frames and their noise to the samples of a start's waveform that are final."""
    if isinstance(start, RealTimeGriffinLim):
        inversion = start.inversion()

        def real_time(mel: Tensor, noise: Tensor, last: bool) -> Tensor:
            out = inversion.push(mel, noise)
            return torch.cat([out, inversion.finish()], -1) if last else out

        return real_time
    windows = OverlappingWindows(
        start.context.in_frames(vocoder.hop_length),
        lambda tree, at: tree[1] if isinstance(start, PureNoise) else start.waveform(*tree),
    )

    def windowed(mel: Tensor, noise: Tensor, last: bool) -> Tensor:
        out = windows.push(Piece(mel.shape[-1], (mel, noise), last))
        return noise[..., :0] if out is None else out.tree

    return windowed


class _GainStream:
    """Run `Whitening.gains`: gives them sample by sample, [B, 1, any], so that they can be cut like a signal."""

    def __init__(self, whitening: Whitening) -> None:
        self.shaped = isinstance(whitening, MelWhitening)
        self.windows = OverlappingWindows(
            Context(1, 1),
            lambda mel, at: whitening.gains(mel).flatten(-2),  # interpolated between two frames
        )

    def push(self, mel: Tensor, last: bool) -> Tensor | None:
        if not self.shaped:
            return None
        out = self.windows.push(Piece(mel.shape[-1], mel, last))
        return mel.new_empty(len(mel), 1, 0) if out is None else out.tree


class _WhiteningStream:
    """Run `Whitening.encode` or `decode`, block by block."""

    def __init__(self, whitening: Whitening, work: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.whitening = whitening
        self.work = work
        self.signal, self.gains = Fifo(-1), Fifo(-1)
        if isinstance(whitening, MelWhitening):  # blocks overlap with their neighbours, on the way there and back
            block = whitening.block
            self.windows = OverlappingWindows(
                Context(2, 2), lambda tree, at: work(tree[0], tree[1].unflatten(-1, (-1, block)))
            )

    def push(self, signal: Tensor, gains: Tensor | None, last: bool) -> Tensor:
        if gains is None:
            return self.work(signal, self.whitening.gains(signal))
        self.signal.push(signal)
        self.gains.push(gains)
        block = self.whitening.block
        count = min(len(self.signal), len(self.gains)) // block
        tree = (self.signal.take(count * block), self.gains.take(count * block))
        out = self.windows.push(Piece(count, tree, last))
        return signal[..., :0] if out is None else out.tree


class _StepStream:
    """Run one step of a solver: the network with its state, then the solver on what the network has answered."""

    def __init__(self, vocoder: Streamable, sampling: SamplingConfig, index: int, batch: int) -> None:
        self.denoiser: Denoiser = vocoder.denoiser
        self.schedule, self.precision = self.denoiser.schedule, vocoder.precision
        self.sampling, self.index, self.done = sampling, index, 0
        self.t = sampling.times[index]
        log_snr = self.schedule.log_snr(self.t).clamp(-MOST_LOG_SNR, MOST_LOG_SNR)
        self.network = HybridStream(self.denoiser.network, log_snr.to(vocoder.device, torch.float32).expand(batch))
        self.waiting: Aligned = None  # x_t and the solver's memory where the network has not answered yet
        self.n_waiting = 0

    def push(self, x: Tensor, memory: Any, condition: Tensor | None, last: bool) -> tuple[Tensor, Any]:
        """Map what arrives of x_t, [B, 1, any], and of the solver's memory, to what is ready of x_s and its memory."""
        prediction = self.denoiser.prediction
        alpha, sigma = scales(self.schedule, self.t, x)
        if x.shape[-1]:
            self.waiting = joined(self.waiting, (x, memory)) if self.n_waiting else (x, memory)
            self.n_waiting += x.shape[-1]
        with devices.arithmetic(x.device, self.precision):
            output = self.network.push(x / prediction.norm(alpha, sigma), condition, last).to(x.dtype)
        count = output.shape[-1]
        if not count:
            return x[..., :0], None
        x_t, memory = cut(self.waiting, 0, count, self.n_waiting)
        self.waiting, self.n_waiting = (
            cut(self.waiting, count, self.n_waiting, self.n_waiting),
            self.n_waiting - count,
        )
        answer = _Answer(self.schedule, prediction.estimate(output, x_t, alpha, sigma))
        sampling, noise = self.sampling, self.sampling.noise(len(x), self.done)
        self.done += count
        return take_step(answer, sampling.solver, sampling.times, self.index, x_t, memory, noise, sampling.callback)


class _Answer:
    """A denoiser that has been asked already: solvers of one call a step ask for x_t at t, and nothing else."""

    def __init__(self, schedule: Any, estimate: Estimate) -> None:
        self.schedule = schedule
        self.estimate = estimate

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        return self.estimate
