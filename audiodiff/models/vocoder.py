"""The models: what is trained, saved, loaded and asked for sound. Start reading here.

    vocoder:    mel → whitening's gains, network's condition → start → solver steps → projection onto the mel → waveform
    generator:  noise → solver steps → waveform                     (`audiodiff.models.generator`)

There is one way to sound, `generate`: the command line, the training preview and the demo page all call it.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Unpack

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import ConstrainedDenoiser, Denoise, Denoiser
from audiodiff.diffusion.solvers import Solver
from audiodiff.diffusion.solvers.base import Callback, NoiseSource
from audiodiff.griffin_lim.projection import MOMENTUM, MelProjection
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models.base import Model
from audiodiff.models.sampling import SamplingConfig, SamplingOptions
from audiodiff.models.stages import Bound, Stages
from audiodiff.models.starts import PureNoise, Start
from audiodiff.models.stateful import delay_in_samples
from audiodiff.models.streaming import chunk_of, live_config, look_ahead, streamed
from audiodiff.models.whitening import Whitening
from audiodiff.utils import devices
from audiodiff.utils.arrays import check_floats
from audiodiff.utils.validation import check_counts

LOUDEST = 40.0  # nepers above 1 that a magnitude may have: a full-scale sine has about 6, and squares must be finite


class Vocoder(Model):
    """Turn log-mel spectrograms into waveforms.

    Args:
        mel: The mel's contract.
        denoiser: Network, prediction and schedule.
        whitening: What is diffused.
        start: Where sampling starts unless told otherwise.
        one_step_start: Where it starts instead if there is only one step; it should cost little beside one call.
        steps: Solver steps unless told otherwise.
        projection_iters: Rounds by which every estimate is projected onto the mel; 0 for none.
        solver: How to step unless told otherwise; DDIM by default.
        times: Grids of times that were searched for this model.
        final_iters: Rounds by which what comes out of the last step is projected onto the mel.

    Raises:
        ValueError: The two starts begin at different times, parts are of another mel, or a number of steps or
            iterations is out of range.
    """

    def __init__(
        self,
        mel: MelSpec,
        denoiser: Denoiser,
        whitening: Whitening,
        start: Start | None = None,
        steps: int = 4,
        projection_iters: int = 16,
        solver: Solver | None = None,
        times: Sequence[Sequence[float]] | None = None,
        final_iters: int = 0,
        one_step_start: Start | None = None,
    ) -> None:
        super().__init__(
            denoiser, whitening, mel.sample_rate, mel.hop_length, start or PureNoise(), steps, solver, times
        )
        if one_step_start is not None and one_step_start.time != self.start.time:
            raise ValueError(
                f"the starts begin at t = {self.start.time:g} and {one_step_start.time:g}: make them equal"
            )
        check_counts(projection_iters=projection_iters, final_iters=final_iters)
        for part in (whitening, start, one_step_start):
            if getattr(part, "mel", mel) != mel:
                raise ValueError(f"the {type(part).__name__} is of another mel than the vocoder: give both the same")
        self.one_step_start = one_step_start
        self.mel = mel
        self.log_mel = LogMel(mel)
        self.projection_iters = projection_iters
        self.final_iters = final_iters

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Compute the log-mel spectrogram of a waveform, [B, 1, T] to [B, M, F], at the model's sample rate."""
        return self.log_mel(waveform)

    @torch.no_grad()  # not inference mode: guidance differentiates through what is made here
    def generate(
        self,
        mel: Tensor,
        *,
        chunk_frames: int | None = None,
        known: Callable[[Denoise], Denoise] | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Tensor:
        """Generate waveforms, [B, 1, F hop], from log-mel spectrograms, [B, M, F].

        Clip i of a batch takes its noise from seed + i, so it sounds the same alone, with that seed.

        Args:
            mel: Log-mel spectrograms.
            chunk_frames: Mel frames of a chunk; bounds memory, changes nothing else. By default a mel of more than 60 s
                is cut into chunks of 20 to 40 s, unless `known` is given.
            known: Wraps the denoiser in constraints on the whole sound, as `restoration` does.
            options: steps, solver, times, start, seed and callback: see `SamplingOptions`.

        Raises:
            TypeError: The mel, the solver or the start is something else.
            ValueError: The mel has the wrong shape or is not finite, steps or times make no grid, or both
                `chunk_frames` and `known` are given.
        """
        self.check_mel(mel)
        sampling = self.sampling(**options)
        if chunk_frames is None and known is None:
            chunk_frames = chunk_of(self, sampling, mel.shape[-1])
        if chunk_frames is not None:
            if known is not None:
                raise ValueError("what is known of a whole sound cannot be cut: leave out chunk_frames")
            return _gathered(
                streamed(self, [mel], sampling, chunk_frames, mel.shape[-1]), mel.shape[-1] * self.hop_length
            )
        mel = self.mel.raised(mel.to(self.device, torch.float32))
        return self.stages(sampling, wrap=known)(mel)

    def stream(
        self,
        pieces: Iterable[Tensor],
        *,
        chunk_frames: int = 1,
        live: bool = False,
        **options: Unpack[SamplingOptions],
    ) -> Iterator[Tensor]:
        """Generate waveforms, [B, 1, any hop], while mel frames arrive; together they equal the output of `generate`.

        The sound lags `look_ahead` frames behind the mel. The smaller the chunks, the more work is repeated.

        Args:
            pieces: Log-mel spectrograms, [B, M, any], one after the other.
            chunk_frames: Frames that are gathered into a chunk.
            live: Whether to sample with the least delay, `live_delay`: by the model itself if it is made for that, else
                by the real-time start alone. Then only `seed` may be given.
            options: steps, solver, times, start, seed and callback: see `SamplingOptions`.

        Raises:
            ValueError: As for `generate`, or a sampler is given with `live`; earlier output remains valid.
        """
        if live and any(value is not None for name, value in options.items() if name not in ("seed", "callback")):
            raise ValueError("live decides how to sample: leave out steps, solver, times and start")
        sampling = live_config(self, options.get("seed", 0)) if live else self.sampling(**options)
        return streamed(self, pieces, sampling, chunk_frames)

    def live_delay(self) -> float:
        """Return the algorithmic delay of a live stream behind its mel, in seconds."""
        return delay_in_samples(self, live_config(self)) / self.sample_rate

    def look_ahead(self, **options: Unpack[SamplingOptions]) -> int:
        """Return the number of further mel frames after which `stream` outputs the samples of a frame."""
        return look_ahead(self, self.sampling(**options))

    def sampling(
        self,
        steps: int | None = None,
        solver: Solver | None = None,
        times: Tensor | None = None,
        start: Start | None = None,
        seed: int = 0,
        callback: Callback | None = None,
    ) -> SamplingConfig:
        """Complete sampling options by the model's own settings; raise what `resolve_timesteps` raises."""
        times = self.resolve_timesteps(steps, solver, times, self.start if start is None else start)
        start = self.start_for(len(times) - 1) if start is None else start
        return SamplingConfig(start, solver or self.solver, times, seed, callback)

    def start_for(self, steps: int) -> Start:
        """Return where sampling of so many steps starts unless told otherwise."""
        return self.one_step_start if steps == 1 and self.one_step_start is not None else self.start

    def stages(
        self,
        sampling: SamplingConfig,
        *,
        noise: Callable[[int, int], NoiseSource] | None = None,
        wrap: Callable[[Denoise], Denoise] | None = None,
        momentum: float = MOMENTUM,
    ) -> Stages:
        """Return sampling as a chain of stages from a mel, [B, M, F], to a waveform, [B, 1, F hop].

        Args:
            sampling: Start, solver, times, seed and callback.
            noise: As for `Stages`.
            wrap: Wraps the denoiser.
            momentum: Of the projections; with 0 their gradients stay bounded.
        """
        bind = functools.partial(self.bind, wrap=wrap, momentum=momentum)
        return Stages(bind, sampling, self.denoiser.schedule, self.hop_length, noise)

    def bind(self, mel: Tensor, wrap: Callable[[Denoise], Denoise] | None = None, momentum: float = MOMENTUM) -> Bound:
        """Bind a mel: whitening by its gains, a denoiser that is conditioned on it and projected onto it."""
        gains = self.whitening.gains(mel)

        def encode(waveform: Tensor) -> Tensor:
            return self.whitening.encode(waveform, gains)

        def projected(x: Tensor, n_iter: int) -> Tensor:
            return MelProjection(self.mel, mel, n_iter, momentum)(self.whitening.decode(x, gains))

        def refined(x: Tensor) -> Tensor:
            with devices.full_precision(x.device):
                return encode(projected(x, self.projection_iters))

        def make_denoiser() -> Denoise:
            denoise = self.conditioned(self.denoiser.network.encode(mel))
            denoise = ConstrainedDenoiser(denoise, refined) if self.projection_iters else denoise
            return wrap(denoise) if wrap else denoise

        return Bound(encode, lambda x: projected(x, self.final_iters), make_denoiser)

    @torch.no_grad()
    def try_out(self) -> None:
        """Ask whitening and denoiser for two frames of silence; raise whatever they raise if they do not fit."""
        mel = self.mel.of_bands(torch.zeros(1, 2, self.mel.n_mels, dtype=torch.float32, device=self.device))
        gains, x = self.whitening.gains(mel), mel.new_zeros(1, 1, 2 * self.hop_length)
        denoise = self.conditioned(self.denoiser.network.encode(mel))
        estimate = denoise(self.whitening.encode(x, gains), torch.tensor(self.start.time, dtype=torch.float64))
        self.whitening.decode(estimate.x, gains).view_as(x)

    def check_mel(self, mel: Tensor, convention: MelSpec | None = None, whole: bool = True) -> None:
        """Check the shape and the values of log-mels, [B, M, F], of this model's convention or of another.

        Args:
            mel: What is checked.
            convention: In what it is; the model's own by default.
            whole: Whether it must be long enough to be a sound of its own.

        Raises:
            TypeError: The mel is no tensor.
            ValueError: It has the wrong shape, is too short, or holds anything but finite floats.
        """
        spec = convention or self.mel
        check_floats(mel, "the mel")
        if mel.ndim != 3:
            raise ValueError(f"the mel is {list(mel.shape)}; [clips, {spec.n_mels} bands, frames] is wanted")
        if mel.shape[1] != spec.n_mels:
            shape, swapped = list(mel.shape[1:]), mel.shape[2] == spec.n_mels
            remedy = " (the axes look swapped: transpose it)" if swapped else ": compute it with this model's mel"
            raise ValueError(f"the mel is {shape}; this model wants [{spec.n_mels} bands, frames]{remedy}")
        if not (mel.shape[0] and mel.shape[2]):
            raise ValueError(f"the mel has no {'frames' if mel.shape[0] else 'clips'}: give at least one")
        if whole and mel.shape[2] * spec.hop_length < spec.min_samples:
            raise ValueError(
                f"the mel has {mel.shape[2]} frames of {spec.hop_length} samples; at least {spec.min_samples} samples "
                "are needed: give a longer mel"
            )
        if not bool(torch.isfinite(mel).all()):
            raise ValueError("the mel holds values that are NaN or infinite: apply the floor before the logarithm")
        loudest = float(spec.log_magnitudes(mel.detach().amax((0, 2)).float()).max())
        if loudest > LOUDEST:
            raise ValueError(
                f"the mel holds values of {20 * loudest / math.log(10):+.0f} dB, louder than any sound: give log-mels, "
                "and say in which convention they are, by --mel-preset"
            )


def _gathered(pieces: Iterable[Tensor], length: int) -> Tensor:
    """Join pieces, [B, 1, any], to [B, 1, length]; never holds them twice."""
    whole, done = None, 0
    for piece in pieces:
        whole = piece.new_empty(*piece.shape[:-1], length) if whole is None else whole
        whole[..., done : done + piece.shape[-1]] = piece
        done += piece.shape[-1]
    return whole
