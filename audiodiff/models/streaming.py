"""Vocode mels that are too long to be processed whole, or have not ended yet.

Each stage of sampling (`models.stages`) works on overlapping windows (`audio.chunks.overlapped`) and may be ahead of
the next. Noise depends on its position alone (`diffusion.noise.NoiseField`), so no window boundary is audible.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from audiodiff.audio.chunks import Context, Piece, overlapped, regrouped
from audiodiff.griffin_lim.projection import projection_context
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.stages import Streamable
from audiodiff.models.starts import RealTimeGriffinLim, Variation
from audiodiff.models.stateful import VocoderStream, can_keep_state, delay_in_samples
from audiodiff.nn.stateful import Fifo

CHUNK_SECONDS = 30.0  # default length of a chunk
BESIDE_A_WIDE_START = 20.0  # the same with a start of wider context, whose windows are long anyway
LIVE_SECONDS = 0.125  # delay up to which a model counts as live
LONG_SECONDS = 60.0  # length above which a mel is processed in chunks


def live_config(vocoder: Streamable, seed: int = 0) -> SamplingConfig:
    """Return the sampling of least delay: the model's own if it is live, else the real-time start alone.

    A network that sees seconds of the future cannot serve a conversation; the start alone can.
    """
    own = vocoder.sampling(seed=seed)
    if can_keep_state(vocoder, own) and delay_in_samples(vocoder, own) <= LIVE_SECONDS * vocoder.sample_rate:
        return own
    start = RealTimeGriffinLim(vocoder.mel, time=own.start.time)
    return dataclasses.replace(own, start=start, times=torch.zeros(1, dtype=torch.float64))


@torch.no_grad()
def streamed(
    vocoder: Streamable, pieces: Iterable[Tensor], sampling: SamplingConfig, chunk_frames: int, total: int | None = None
) -> Iterator[Tensor]:
    """Yield the waveform, [B, 1, any hop], of mels that arrive one after the other, [B, M, any].

    Args:
        vocoder: The model.
        pieces: Mels, [B, M, any], one after the other.
        sampling: Sampling settings.
        chunk_frames: Frames of a chunk.
        total: Frames of all pieces together, if known.

    Raises:
        ValueError: A piece has the wrong shape or is not finite, or all of them together are too short.
    """
    if can_keep_state(vocoder, sampling):
        yield from _with_state(vocoder, regrouped(_checked(vocoder, pieces), chunk_frames, total), sampling)
        return
    stages, contexts = vocoder.stages(sampling), stage_contexts(vocoder, sampling)
    stream = regrouped(_checked(vocoder, pieces), chunk_frames, total)
    if isinstance(sampling.start, RealTimeGriffinLim):  # it depends on all that came before: no window holds that
        stream = _inverted(stream, sampling, vocoder.hop_length)
        context = vocoder.whitening.context.in_frames(vocoder.hop_length)
        stream = overlapped(
            stream, context, lambda tree, at: stages.begin(tree[0], at, Variation(tree[1], sampling.start.time))
        )
    else:
        stream = overlapped(stream, contexts[0], stages.begin)
    for i in range(stages.n_steps):
        stream = overlapped(stream, contexts[1], functools.partial(stages.step, i))
    for piece in overlapped(stream, contexts[2], stages.land):
        yield piece.tree


def _inverted(pieces: Iterable[Piece], sampling: SamplingConfig, hop: int) -> Iterator[Piece]:
    """Yield mels with the waveforms of a real-time start, which keeps its state from piece to piece."""
    inversion, mel, waveform, arrived, last = sampling.start.inversion(), Fifo(-1), Fifo(-1), 0, False
    for piece in itertools.chain(pieces, [None]):
        if piece is None and last:
            return
        last = piece is None or piece.last
        if piece is not None:
            noise = sampling.noise(len(piece.tree), arrived * hop)
            arrived += piece.frames
            mel.push(piece.tree)
            like = piece.tree.new_empty(len(piece.tree), 1, piece.frames * hop)
            waveform.push(inversion.push(piece.tree, noise.draw(like)))
        if last:
            waveform.push(inversion.finish())
        if frames := len(waveform) // hop:
            yield Piece(frames, (mel.take(frames), waveform.take(frames * hop)), last)


def _with_state(vocoder: Streamable, pieces: Iterable[Piece], sampling: SamplingConfig) -> Iterator[Tensor]:
    stream, last = None, False
    for piece in pieces:
        stream, last = stream or VocoderStream(vocoder, sampling, len(piece.tree)), piece.last
        if (out := stream.push(piece.tree, last)).shape[-1]:
            yield out
    if stream is not None and not last and (out := stream.finish()).shape[-1]:
        yield out


def stage_contexts(vocoder: Streamable, sampling: SamplingConfig) -> tuple[Context, Context, Context]:
    """Return the contexts of start, step and landing, in mel frames.

    Raises:
        ValueError: The network cannot work on parts of a sound.
    """
    spec, whitening, network = vocoder.mel, vocoder.whitening.context, vocoder.denoiser.network
    if not hasattr(network, "context"):
        raise ValueError(f"{type(network).__name__} has no context(): leave out chunks")
    call = network.context()
    if vocoder.projection_iters:
        call = call + 2 * whitening + projection_context(spec, vocoder.projection_iters)
    steps = sampling.solver.calls_per_step * call
    start = sampling.start.context
    if isinstance(sampling.start, RealTimeGriffinLim):  # a stage of its own, which gives whole frames
        start = spec.hop_length * start.in_frames(spec.hop_length)
    landing = whitening + projection_context(spec, vocoder.final_iters)
    return tuple(context.in_frames(spec.hop_length) for context in (start + whitening, steps, landing))


def chunk_of(vocoder: Streamable, sampling: SamplingConfig, frames: int) -> int | None:
    """Return the default length of a chunk in frames; None for a mel that is processed whole."""
    rate, network = vocoder.sample_rate / vocoder.hop_length, vocoder.denoiser.network
    cuttable = hasattr(network, "context") and getattr(network, "positions", None) is None
    if not cuttable or frames <= LONG_SECONDS * rate:
        return None
    wide = stage_contexts(vocoder, sampling)[0].future > CHUNK_SECONDS * rate
    seconds = BESIDE_A_WIDE_START if wide else CHUNK_SECONDS
    return math.ceil(frames / round(frames / (seconds * rate)))  # equal: a short one has as much context


def look_ahead(vocoder: Streamable, sampling: SamplingConfig) -> int:
    """Return the largest lag of a stream's sound behind the mel, in frames."""
    if can_keep_state(vocoder, sampling):
        return -(-delay_in_samples(vocoder, sampling) // vocoder.hop_length)
    start, step, landing = stage_contexts(vocoder, sampling)
    return start.future + (len(sampling.times) - 1) * step.future + landing.future


def _checked(vocoder: Streamable, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """Check each piece, and buffer the first ones until they are long enough to process."""
    spec, buffer = vocoder.mel, []
    long_enough = False
    for piece in pieces:
        vocoder.check_mel(piece, whole=False)
        piece = spec.raised(piece.to(vocoder.device, torch.float32))
        buffer.append(piece)
        long_enough = long_enough or sum(p.shape[-1] for p in buffer) * spec.hop_length >= spec.min_samples
        if long_enough:
            yield torch.cat(buffer, -1)
            buffer = []
    if buffer:
        vocoder.check_mel(torch.cat(buffer, -1))
