"""The models: what is trained, saved, loaded and asked for sound. Start reading here.

    vocoder:    mel → prior's shape, network's condition → start → solver steps → projection onto the mel → waveform
    generator:  noise → solver steps → waveform                     (`audiodiff.generator`)

There is one way to sound, `generate`: the command line, the training preview and the demo page all call it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from audiodiff.chunks import Chunked
from audiodiff.consistency import MelProjection
from audiodiff.denoisers import Conditioned, Denoise, Denoiser, Refined
from audiodiff.mel import LogMel, MelSpec
from audiodiff.priors import Prior
from audiodiff.schedules import GRIDS, even_times, explicit
from audiodiff.solvers import DDIM, Solver, sample
from audiodiff.solvers.base import Callback, white_noise
from audiodiff.starts import PureNoise, Start

__all__ = ["Model", "Vocoder"]


class Model(nn.Module):
    """Holds what a vocoder and a generator share: a denoiser, where and how to sample, and how to be saved.

    Args:
        denoiser: Network, prediction and schedule.
        prior: What is diffused.
        sample_rate: Hz.
        hop_length: Signals are a multiple of this long.
        start: Where sampling starts unless told otherwise.
        steps: Solver steps unless told otherwise.
        solver: How to step unless told otherwise.
        times: Grids of times that were searched for this model (`audiodiff tune-times`); the one that has as many steps
            as are asked for, and begins where sampling starts, is used unless told otherwise.
    """

    config: dict[str, Any]  # the section from which this object was built; `files.save` writes it
    info: dict[str, Any]  # licence, data, level, training: what `audiodiff info` prints

    def __init__(
        self,
        denoiser: Denoiser,
        prior: Prior,
        sample_rate: int,
        hop_length: int,
        start: Start,
        steps: int,
        solver: Solver | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.prior = prior
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.start = start
        self.steps = steps
        self.solver = solver or DDIM()
        self.times = [explicit(grid) for grid in times or []]
        self.config = {}
        self.info = {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def save(self, path: Any) -> None:
        """Writes PATH.safetensors and PATH.json; see `audiodiff.files.save`."""
        from audiodiff import files

        files.save(self, path)

    @classmethod
    def load(cls, path: Any, device: str | torch.device = "cpu", weights: str = "ema") -> Self:
        """Reads a shipped name, a .safetensors file, a run folder or a .ckpt; see `audiodiff.files.load`."""
        from audiodiff import files

        model = files.load(path, device, weights)
        if not isinstance(model, cls):
            raise ValueError(f"{path}: holds a {type(model).__name__}, and a {cls.__name__} is wanted")
        return model

    @classmethod
    def from_pretrained(
        cls, name: Any, revision: str | None = None, device: str | torch.device = "cpu", weights: str = "ema"
    ) -> Self:
        """Loads a file, a run's folder or a shipped name, and owner/name from the hub if there is none of these.

        Raises:
            ValueError: There is no such model, or it is of another kind.
        """
        from audiodiff import files, hub

        try:
            path = files.locate(name)
        except ValueError:
            if not hub.NAME.fullmatch(str(name)):
                raise
            path = hub.fetch(str(name), revision)
        return cls.load(path, device, weights)

    def push_to_hub(self, name: str, private: bool = False) -> str:
        """Puts the model on the hub as owner/name; see `audiodiff.hub.push`."""
        from audiodiff import hub

        return hub.push(self, name, private)

    def grid(self, steps: int | None = None, start: float = 1.0, solver: Solver | None = None) -> Tensor:
        """Returns the times that `generate` walks by default, [steps + 1]: searched ones, else the solver's."""
        steps, schedule = self.steps if steps is None else steps, self.denoiser.schedule
        for times in self.times:
            if len(times) == steps + 1 and float(times[0]) == start:
                return times
        if math.isinf(float(schedule.log_snr(torch.tensor(start, dtype=torch.float64)))):
            return even_times(steps, start)  # nothing is even in log-SNR from zero SNR on
        return GRIDS[(solver or self.solver).grid](schedule, steps, start)

    def _noise(self, batch: int, n_samples: int, seed: int) -> tuple[Tensor, list[torch.Generator]]:
        """Draws white noise, [batch, 1, n_samples], and returns the generators, from which solvers may draw on.

        Clip i has its own, on the CPU, seeded with seed + i: a clip depends neither on its batch nor on the device.
        """
        generators = [torch.Generator().manual_seed(seed + i) for i in range(batch)]
        return white_noise(torch.empty(batch, 1, n_samples), generators).to(self.device), generators


class Vocoder(Model):
    """Turns log-mel spectrograms into waveforms.

    Args:
        mel: The mel's contract.
        denoiser: Network, prediction and schedule.
        prior: What is diffused.
        start: Where sampling starts unless told otherwise.
        steps: Solver steps unless told otherwise.
        projections: Rounds by which every estimate is projected onto the mel; 0 for none.
        solver: How to step unless told otherwise; DDIM by default.
        times: Grids of times that were searched for this model.
        finish: Rounds by which what comes out of the last step is projected onto the mel.
    """

    def __init__(
        self,
        mel: MelSpec,
        denoiser: Denoiser,
        prior: Prior,
        start: Start | None = None,
        steps: int = 4,
        projections: int = 16,
        solver: Solver | None = None,
        times: Sequence[Sequence[float]] | None = None,
        finish: int = 0,
    ) -> None:
        super().__init__(denoiser, prior, mel.sample_rate, mel.hop_length, start or PureNoise(), steps, solver, times)
        self.mel = mel
        self.log_mel = LogMel(mel)
        self.projections = projections
        self.finish = finish

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """Computes the log-mel spectrogram of a waveform, [B, 1, T] to [B, M, F], at the model's sample rate."""
        return self.log_mel(waveform)

    @torch.no_grad()  # not inference mode: guidance differentiates through what is made here
    def generate(
        self,
        mel: Tensor,
        *,
        steps: int | None = None,
        solver: Solver | None = None,
        times: Tensor | None = None,
        start: Start | None = None,
        seed: int = 0,
        chunk_frames: int | None = None,
        known: Callable[[Denoise], Denoise] | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Makes waveforms, [B, 1, F hop], out of log-mel spectrograms, [B, M, F].

        Clip i of a batch takes its noise from seed + i, so it sounds the same alone, with that seed.

        Args:
            steps: Solver steps; the model's own by default.
            solver: How to step; the model's own by default.
            times: Grid of times from the start's time to 0, [steps + 1]; that of `grid` by default.
            start: Where to start; the model's own by default.
            chunk_frames: Mel frames that go through the network at once; bounds memory, changes nothing else.
            known: Wraps the denoiser in what else is known of the sound, as `restoration` does.
            callback: Called after each step with its index and the diffused signal.

        Raises:
            ValueError: The mel has the wrong shape or is not finite, steps or times make no grid.
        """
        self.check_mel(mel)
        mel, start = mel.to(self.device, torch.float32), start or self.start
        shape = self.prior.shape(mel)
        noise, generators = self._noise(len(mel), mel.shape[-1] * self.hop_length, seed)
        times = self.grid(steps, start.time, solver) if times is None else times
        if float(times[0]) != start.time:
            raise ValueError(f"times begin at {float(times[0]):g}, the start at {start.time:g}: make them equal")
        denoise = self._bind(mel, shape, chunk_frames)
        denoise = known(denoise) if known else denoise
        x = start(mel, noise, lambda waveform: self.prior.encode(waveform, shape), self.denoiser.schedule)
        x = sample(denoise, solver or self.solver, x, times, generator=generators, callback=callback)
        return MelProjection(self.mel, mel, self.finish)(self.prior.decode(x, shape))

    def _bind(self, mel: Tensor, shape: Tensor, chunk_frames: int | None) -> Denoise:
        """Makes the denoiser of one utterance: conditioned, in chunks if asked, projected onto the mel."""
        condition = self.denoiser.network.encode(mel)
        denoise: Denoise = Conditioned(self.denoiser, condition)
        if chunk_frames is not None:
            denoise = Chunked(self.denoiser, condition, chunk_frames * self.hop_length)
        if not self.projections:
            return denoise
        project = MelProjection(self.mel, mel, self.projections)
        return Refined(denoise, lambda x: self.prior.encode(project(self.prior.decode(x, shape)), shape))

    def check_mel(self, mel: Tensor, convention: MelSpec | None = None) -> None:
        """Checks the shape and the values of log-mels, [B, M, F], of this model's convention or of another.

        Raises:
            ValueError: The mel has the wrong shape, is too short, or is not finite.
        """
        spec = convention or self.mel
        if mel.ndim != 3 or mel.shape[1] != spec.n_mels:
            shape = list(mel.shape[1:] if mel.ndim == 3 else mel.shape)
            swapped = mel.ndim == 3 and mel.shape[2] == spec.n_mels
            remedy = " (the axes look swapped: transpose it)" if swapped else ": compute it with this model's mel"
            raise ValueError(f"the mel is {shape}; this model wants [{spec.n_mels} bands, frames]{remedy}")
        if not mel.shape[2]:
            raise ValueError("the mel has no frames: give at least one")
        if mel.shape[2] * spec.hop_length < spec.min_samples:
            raise ValueError(
                f"the mel has {mel.shape[2]} frames of {spec.hop_length} samples; at least {spec.min_samples} samples "
                "are needed: give a longer mel"
            )
        if not bool(torch.isfinite(mel).all()):
            raise ValueError("the mel holds values that are NaN or infinite: apply the floor before the logarithm")
