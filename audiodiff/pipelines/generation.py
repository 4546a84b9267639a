"""Recipes of generated sounds: everything that decides their samples, as plain values, and how it is run.

`audiodiff generate` and `audiodiff regenerate` both run a `GenerateRecipe`. Each sound is generated alone, so its bytes
depend on its own seed alone.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.diffusion.constraints import InpaintingConstraint
from audiodiff.diffusion.denoiser import ConstrainedDenoiser, Denoise
from audiodiff.diffusion.guidance import ReconstructionGuidance
from audiodiff.models.generator import Generator
from audiodiff.models.starts import PureNoise, Variation
from audiodiff.pipelines.recipe import SamplingRecipe, recipe_fields, sampler_fields
from audiodiff.pipelines.resynthesis import Resynthesis, noted_calls
from audiodiff.utils.validation import is_int, is_interval

LONGEST = 3600.0  # seconds
LONGEST_VECTOR = 4096  # numbers
FILLING, FILLING_STEPS = "ancestral", 32  # of gaps: demos/experiments/generation, gaps.csv
FADE = 0.01  # seconds, at the end of a sound that is cut
SILENCE = 1e-5  # peak, full scale = 1
FILTER = 0.1  # seconds past the end that a resampler may ask for


@dataclasses.dataclass(frozen=True)
class GenerateRecipe(SamplingRecipe):
    """Hold everything that decides the samples of a generated sound, as values that JSON can hold.

    Args:
        command: "generate"; further fields are those of `SamplingRecipe`, whose times begin at a variation's strength.
        label: The class, or None.
        vector: Vector that conditions the model, or None.
        guidance: Scale of guidance.
        projected: Whether guidance leaves out the part that only changes the level: `ProjectedGuidance`.
        guide: Worse model to guide away from, by shipped name or absolute path, or None.
        guide_hash: Hash of its configuration and weights.
        n_samples: Length.
        vary: Whether sampling starts from a recording, noised to the first time.
        gap: Interval in seconds of a recording to generate anew; None for all. One that reaches the end continues the
            recording, which may end where the interval begins.

    Raises:
        ValueError: A field has the wrong type or lies outside its range.
    """

    COMMANDS = ("generate",)
    MODEL = Generator
    LOWERED = True

    label: str | None
    vector: list[float] | None
    guidance: float
    projected: bool
    guide: str | None
    guide_hash: str | None
    n_samples: int
    vary: bool
    gap: list[float] | None

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Map fields whose type does not say all to whether they are valid, and to what is wanted."""
        gap, length = self.gap, 1 if self.vector is None else len(self.vector)
        return super().rules() | {
            "vector": (0 < length <= LONGEST_VECTOR, f"a list of up to {LONGEST_VECTOR} numbers, or none"),
            "guide_hash": (isinstance(self.guide_hash, type(self.guide)), "a text of hexadecimal digits, or none"),
            "guidance": (0 <= self.guidance <= 100, "a number from 0 to 100"),
            "n_samples": (is_int(self.n_samples, 1, 2**31), "a whole number of at least 1"),
            "gap": (gap is None or is_interval(gap), "two numbers of seconds, the first smaller"),
        }

    @property
    def needs_input(self) -> bool:
        """Whether a recording belongs to it."""
        return self.vary or self.gap is not None

    @classmethod
    def from_options(
        cls,
        generator: Generator,
        model: str | Path,
        *,
        weights: str = "ema",
        seed: int = 0,
        solver: str | None = None,
        steps: int | None = None,
        times: str | None = None,
        label: str | None = None,
        vector: Sequence[float] | None = None,
        guidance: float | None = None,
        projected: bool = False,
        guide: str | Path | None = None,
        seconds: float | None = None,
        strength: float | None = None,
        gap: tuple[float, float] | None = None,
    ) -> Self:
        """Build a recipe from user options; unset options come from the model.

        Args:
            generator: The loaded model.
            model: From where it was loaded.
            guide: Worse model to guide away from: shipped name, file or run folder.
            seconds: Length; that of the training clips by default.
            strength: How far a recording is noised before it is made anew, in (0, 1]; none without a recording.
            gap: Seconds from and to which a recording is made anew, by default in 32 steps of the solver "ancestral".
            weights, seed, solver, steps, times, label, vector, guidance, projected: As in `GenerateRecipe`.

        Raises:
            ValueError: A value lies outside its range, the model has no such class or takes no such vector, or the
                guide is another kind of model.
        """
        if strength is not None and not 0 < strength <= 1:
            raise ValueError(f"strength {strength:g}: a number above 0 and up to 1 is wanted")
        if seconds is not None and not 0 < seconds <= LONGEST:
            raise ValueError(f"seconds {seconds:g}: a number above 0 and up to {LONGEST:g} is wanted")
        n_samples = generator.n_samples if seconds is None else max(1, round(seconds * generator.sample_rate))
        if gap is not None:
            _check_gap(generator, gap, n_samples)
            if solver is None:  # few steps without noise keep a gap's first, unrelated level: decibels too loud
                solver = FILLING
                steps = max(FILLING_STEPS, generator.steps) if steps is None and times is None else steps
        guiding = None if guide is None else Generator.load(guide, generator.device)
        generator.denoise(
            1, label, guidance, vector=vector, projected=projected, guide=guiding
        )  # refuses bad conditions
        guided = label is not None or vector is not None or guide is not None
        scale = 1.0 if not guided else generator.guidance if guidance is None else guidance
        if scale == 1 and (projected or guide is not None):
            name = "guide" if guide is not None else "projected"
            raise ValueError(f"{name} changes nothing at guidance 1: give more guidance, such as 2, or leave it out")
        source = None if guiding is None else recipe_fields("generate", guiding, guide, "ema", 0)
        return cls(
            **recipe_fields("generate", generator, model, weights, seed),
            **sampler_fields(generator, solver, times, steps, 1.0 if strength is None else strength),
            label=label,
            vector=None if vector is None else [float(v) for v in vector],
            guidance=float(scale),
            projected=projected,
            guide=None if source is None else source["model"],
            guide_hash=None if source is None else source["model_hash"],
            n_samples=n_samples,
            vary=strength is not None,
            gap=None if gap is None else [float(g) for g in gap],
        )

    def run(self, model: Generator, path: str | Path | None = None, guide: Generator | None = None) -> Resynthesis:
        """Make the sound. One shorter than the training clips is faded out at its end.

        Args:
            model: The generator.
            path: The recording, where one is varied, mended or continued; its channels are mixed to mono.
            guide: The recipe's guide, if it is loaded already.

        Raises:
            ValueError: The recording is missing or too short, or the gap lies outside.
        """
        with noted_calls(model.denoiser.network) as calls:
            waveform = self._waveform(model, path, guide)
        return Resynthesis(waveform, len(calls))

    def _waveform(self, model: Generator, path: str | Path | None, guide: Generator | None) -> Tensor:
        conditioned = self.label is not None or self.vector is not None or self.guide is not None
        settings: dict[str, Any] = {
            "label": self.label,
            "vector": self.vector,
            "guidance": self.guidance if conditioned else None,
            "projected": self.projected,
            "guide": guide or guide_of(model, self),
            **self.sampler(),
        }
        with self.arithmetic(model):
            if not self.needs_input:
                sound = model.generate(self.n_samples, **settings)[0].cpu()
                return sound if self.n_samples >= model.n_samples else faded(sound, model.sample_rate)
            recording = _recording(model, self, path)
            start = Variation(recording, self.times[0]) if self.vary else PureNoise()
            if self.gap is None:
                sound = model.generate(recording.shape[-1], start=start, **settings)
                return sound[0, :, : self.n_samples].cpu()
            _check_gap(model, self.gap, self.n_samples)
            known = _outside(model, recording, self.gap)
            sound = model.generate(recording.shape[-1], start=start, known=_agreeing(model, known), **settings)
            return known.project(sound)[0, :, : self.n_samples].cpu()


def continuation(
    generator: Generator, path: str | Path, begin: float | None = None, seconds: float | None = None
) -> tuple[float, float]:
    """Find the gap, in seconds, that a continuation of a recording fills.

    Args:
        generator: The model.
        path: The recording, at the model's rate, so that its samples are kept as they are.
        begin: Where the continuation begins; the recording's end by default.
        seconds: Where it ends; the length of the training clips by default.

    Raises:
        ValueError: The recording has another rate or is silent up to there, or nothing is left to continue.
    """
    length, rate = _length(path)
    if rate != generator.sample_rate:
        raise ValueError(f"{path}: is at {rate} Hz, the model at {generator.sample_rate}: resample it first")
    end = generator.n_samples / rate if seconds is None else seconds
    begin = length / rate if begin is None else begin
    if not 0 < begin <= length / rate:
        raise ValueError(f"{path}: lasts {length / rate:.2f} s; it cannot be continued from {begin:g} s on")
    if begin >= end:
        raise ValueError(f"{path}: is continued from {begin:.2f} s on, and {end:.2f} s are to be made: more --seconds")
    if float(audio.read(path, frames=max(1, round(begin * rate)))[0].abs().max()) < SILENCE:
        raise ValueError(f"{path}: is silent up to {begin:.2f} s; there is nothing to continue")
    return begin, end


def _length(path: str | Path) -> tuple[int, int]:
    """Return how many samples an audio file has, and its rate, from its header."""
    with audio.opened(path) as file:
        return file.n_samples, file.sample_rate


def guide_of(generator: Generator, recipe: GenerateRecipe) -> Generator | None:
    """Load the model from which a recipe guides away, if there is one.

    Raises:
        ValueError: It is missing, or is not the one with which the recipe was written.
    """
    if recipe.guide is None:
        return None
    guide = Generator.load(recipe.guide, generator.device)
    if (now := guide.fingerprint()) != recipe.guide_hash:
        raise ValueError(f"the guide {recipe.guide} has changed: its hash is {now}, {recipe.guide_hash} is wanted")
    return guide


def faded(sound: Tensor, sample_rate: int) -> Tensor:
    """Fade out the last hundredth of a second of a sound, [1, T], that is cut before it ends."""
    length = min(sound.shape[-1], max(1, round(FADE * sample_rate)))
    ramp = torch.linspace(1, 0, length + 1, dtype=torch.float32)[1:]
    return torch.cat([sound[:, :-length], sound[:, -length:] * ramp], dim=-1)


def _recording(generator: Generator, recipe: GenerateRecipe, path: str | Path | None) -> Tensor:
    """Read the beginning of a recording, whole hops of at least the window: [1, 1, T]; silence behind what it has."""
    if path is None:
        raise ValueError("this recipe needs a recording: give one")
    rate = generator.sample_rate
    needed, gap = recipe.n_samples, recipe.gap
    if gap is not None and round(gap[1] * rate) >= needed:
        needed = round(gap[0] * rate)  # the rest is made
    waveform, _ = audio.read(path, rate, seconds=recipe.n_samples / rate + FILTER)
    if waveform.shape[-1] < needed:
        raise ValueError(
            f"{path}: lasts {waveform.shape[-1] / rate:.2f} s, and {recipe.n_samples / rate:.2f} s are to be made: "
            f"give a longer recording, or --seconds {math.floor(100 * waveform.shape[-1] / rate) / 100:g}"
        )
    mono = audio_io.mono(waveform, path)[0, : recipe.n_samples]
    whole = -(-recipe.n_samples // generator.hop_length) * generator.hop_length
    return torch.nn.functional.pad(mono, (0, whole - len(mono)))[None, None].to(generator.device)


def _check_gap(generator: Generator, gap: Sequence[float], n_samples: int) -> None:
    """Refuse a gap that is not within what is made, whole hops."""
    whole = -(-n_samples // generator.hop_length) * generator.hop_length
    if round(gap[1] * generator.sample_rate) > whole:
        seconds = n_samples / generator.sample_rate
        raise ValueError(f"the gap from {gap[0]:g} to {gap[1]:g} s lies outside of the {seconds:.2f} s that are made")


def _outside(generator: Generator, recording: Tensor, gap: list[float]) -> InpaintingConstraint:
    """Constrain a sound to a recording outside of a gap."""
    begin, end = (round(g * generator.sample_rate) for g in gap)
    mask = torch.ones_like(recording)
    mask[..., begin:end] = 0
    return InpaintingConstraint(recording * mask, mask.bool())


def _agreeing(generator: Generator, known: InpaintingConstraint) -> Any:
    """Return a wrapper of denoisers whose estimates agree with a constraint on the waveform."""
    shape = generator.whitening.gains(known.observed)

    def wrap(denoise: Denoise) -> Denoise:
        steered = ReconstructionGuidance(denoise, lambda x: known.residual(generator.whitening.decode(x, shape)))
        return ConstrainedDenoiser(
            steered, lambda x: generator.whitening.encode(known.project(generator.whitening.decode(x, shape)), shape)
        )

    return wrap
