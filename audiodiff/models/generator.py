"""The generator: a model that makes sound of nothing, of a class, of a vector, or of a recording.

label, vector → condition;  noise or a noised recording → solver steps, guided if asked → waveform
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Conditioned, Denoise, Denoiser
from audiodiff.diffusion.guidance import ClassifierFreeGuidance, ProjectedGuidance
from audiodiff.diffusion.solvers import Solver
from audiodiff.diffusion.solvers.base import Callback, NoiseSource
from audiodiff.models.base import Model
from audiodiff.models.header import number_of
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.stages import Bound, Stages
from audiodiff.models.starts import PureNoise, Start
from audiodiff.models.whitening import Identity, PowerMDCT


class Generator(Model):
    """Generate sound unconditionally, of a class, or of a vector that describes it.

    Args:
        denoiser: Network, prediction and schedule.
        sample_rate: Hz.
        hop_length: Signals are a multiple of this long.
        whitening: What is diffused.
        steps: Solver steps unless told otherwise.
        solver: How to step unless told otherwise; DDIM by default.
        times: Grids of times that were searched for this model.
        labels: Names of the classes by which it was trained; none for an unconditional model.
        guidance: Scale of classifier-free guidance unless told otherwise.
        n_samples: Length of what it was trained on, and makes unless told otherwise.

    Raises:
        ValueError: The network knows another number of labels.

    Attributes:
        vector_size: Numbers of the vector that conditions the model; 0 if none does.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sample_rate: int,
        hop_length: int,
        whitening: Identity | PowerMDCT | None = None,
        steps: int = 32,
        solver: Solver | None = None,
        times: Sequence[Sequence[float]] | None = None,
        labels: Sequence[str] | None = None,
        guidance: float = 1.0,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(denoiser, whitening or Identity(), sample_rate, hop_length, PureNoise(), steps, solver, times)
        self.labels = list(labels or [])
        self.guidance = guidance
        self.n_samples = n_samples or sample_rate
        n_labels = getattr(denoiser.network, "n_labels", 0)
        self.vector_size = getattr(denoiser.network, "vector_size", 0)
        if n_labels != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels are named, and the network knows {n_labels}: make them equal")

    @torch.no_grad()  # not inference mode: guidance may differentiate through the sampled signal
    def generate(
        self,
        n_samples: int | None = None,
        *,
        label: str | None = None,
        vector: Any = None,
        guidance: float | None = None,
        projected: bool = False,
        guide: "Generator | None" = None,
        batch: int = 1,
        steps: int | None = None,
        solver: Solver | None = None,
        times: Tensor | None = None,
        start: Start | None = None,
        known: Callable[[Denoise], Denoise] | None = None,
        seed: int = 0,
        callback: Callback | None = None,
    ) -> Tensor:
        """Generate waveforms, [batch, 1, n_samples].

        Args:
            n_samples: Length; that of the training clips by default. The network runs on the next multiple of its hop.
            label: One of `labels`; None leaves the class open.
            vector: What the sound is to be like, [vector_size] or [batch, vector_size]; None leaves it open.
            guidance: Scale of guidance: 0 ignores the condition, 1 obeys it, more exaggerates it; the model's own by
                default. Other scales than 0 and 1 call two networks in each step.
            projected: Whether guidance leaves out what only makes the sound louder: `ProjectedGuidance`.
            guide: Worse model to guide away from, under the same condition: auto-guidance. The model itself without
                its condition by default: classifier-free guidance.
            batch: Clips; clip i takes its noise from seed + i.
            steps: Solver steps; the model's own by default.
            solver: How to step; the model's own by default.
            times: Timesteps from the start's time to 0, [steps + 1]; those of `grid` by default.
            start: Initial state, such as a `Variation` of a recording; pure noise by default.
            known: Wraps the denoiser in what else is known of the sound, such as `guidance.ReconstructionGuidance`.
            callback: Called after each step with its index and the diffused signal.

        Raises:
            TypeError: The solver or the start is something else.
            ValueError: A number is below 1, the label is unknown, the vector of another size or not finite, the guide
                another kind of model, or the times make no grid.
        """
        n_samples = self.n_samples if n_samples is None else n_samples
        start = self.start if start is None else start
        if n_samples < 1 or batch < 1:
            raise ValueError(f"n_samples={n_samples}, batch={batch}: both must be at least 1")
        whole = -(-n_samples // self.hop_length) * self.hop_length
        times = self.resolve_timesteps(steps, solver, times, start)
        sampling = SamplingConfig(start, solver or self.solver, times, seed, callback)
        denoise = self.denoise(batch, label, guidance, vector=vector, projected=projected, guide=guide)
        stages = self.stages(sampling, known(denoise) if known else denoise)
        return stages(torch.empty(batch, 1, whole, dtype=torch.float32, device=self.device))[..., :n_samples]

    def stages(
        self, sampling: SamplingConfig, denoise: Denoise, noise: Callable[[int, int], NoiseSource] | None = None
    ) -> Stages:
        """Return sampling as a chain of stages from an empty signal, [B, 1, T], to a waveform of its shape.

        Args:
            sampling: Start, solver, times, seed and callback.
            denoise: The denoiser under its condition.
            noise: As for `Stages`.
        """

        def bind(signal: Tensor) -> Bound:
            gains = self.whitening.gains(signal)
            encode, decode = (functools.partial(f, gains=gains) for f in (self.whitening.encode, self.whitening.decode))
            return Bound(encode, decode, lambda: denoise)

        return Stages(bind, sampling, self.denoiser.schedule, noise=noise)

    def denoise(
        self,
        batch: int,
        label: str | None = None,
        guidance: float | None = None,
        *,
        vector: Any = None,
        projected: bool = False,
        guide: "Generator | None" = None,
    ) -> Denoise:
        """Bind a condition to the denoiser, guided if the scale is other than 0 and 1 (or, with a guide, than 1).

        Raises:
            ValueError: The label is unknown, the vector of another size or not finite, the guide another kind of model,
                or guidance is asked for without a condition and without a guide.
        """
        condition = self.condition(batch, label, vector)
        scale = self.guidance if guidance is None else guidance
        if guide is not None:
            self.check_guide(guide)
            weak = guide.conditioned(guide.condition(batch, label, vector))
            return _guided(self.conditioned(condition), weak, scale, projected)
        if label is None and vector is None:
            if guidance not in ((None, 1.0) if condition is None else (None, 0.0, 1.0)):
                kind = "vector" if self.vector_size and not self.labels else "label"
                raise ValueError(f"guidance={guidance:g} strengthens a {kind}: {self._remedy()}")
            return self.conditioned(condition)
        if scale == 0:
            return self.conditioned(self.condition(batch))
        if scale == 1:
            return self.conditioned(condition)
        return _guided(self.conditioned(condition), self.conditioned(self.condition(batch)), scale, projected)

    @torch.no_grad()
    def try_out(self) -> None:
        """Ask the denoiser for two frames without a condition; raise whatever it raises if it does not fit."""
        x = torch.zeros(1, 1, 2 * self.hop_length, dtype=torch.float32, device=self.device)
        self.denoise(1, guidance=1.0)(x, torch.tensor(0.5, dtype=torch.float64)).x.view_as(x)

    def condition(self, batch: int, label: str | None = None, vector: Any = None) -> Tensor | None:
        """Compute the network's condition of a batch, [batch, embedding]; None for an unconditional model.

        Raises:
            ValueError: The label is unknown, or the vector is of another size or not finite.
        """
        labels = vectors = None
        if label is not None or self.labels:
            number = -1 if label is None else self.number_of(label)
            labels = torch.full((batch,), number, device=self.device)
        if vector is not None or self.vector_size:
            vectors = self._vectors(batch, vector)
        return None if labels is None and vectors is None else self.denoiser.network.encode_clip(labels, vectors)

    def check_guide(self, guide: Self) -> None:
        """Check that another generator can guide this one.

        Raises:
            ValueError: It makes another kind of sound.
        """
        fields = ("sample_rate", "hop_length", "labels", "vector_size")
        different = [f for f in fields if getattr(self, f) != getattr(guide, f, None)]
        if different:
            raise ValueError(f"the guide has another {', '.join(different)}: give a worse model of the same sounds")

    def number_of(self, label: str) -> int:
        """Look up the number of a class.

        Raises:
            ValueError: There is no such class; the nearest is suggested.
        """
        return number_of(label, self.labels)

    def _vectors(self, batch: int, vector: Any) -> Tensor:
        """Check a vector, or one for each clip, and repeat it: [batch, vector_size]; NaN if there is none."""
        if vector is None:
            return torch.full((batch, self.vector_size), torch.nan, dtype=torch.float32, device=self.device)
        if not self.vector_size:
            raise ValueError("this model knows no vectors: leave out the vector")
        vectors = torch.as_tensor(vector, dtype=torch.float32, device=self.device)
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != self.vector_size:
            raise ValueError(f"the vector is {list(vectors.shape)}: this model takes {self.vector_size} numbers")
        if not bool(vectors.isfinite().all()):
            raise ValueError("the vector is not finite: it holds a NaN or an infinity")
        if vectors.ndim == 2 and len(vectors) != batch:
            raise ValueError(f"{len(vectors)} vectors for {batch} clips: give one, or one for each")
        return vectors.expand(batch, -1)

    def _remedy(self) -> str:
        kinds = [f"one of {', '.join(self.labels)}"] if self.labels else []
        kinds += [f"a vector of {self.vector_size} numbers"] if self.vector_size else []
        return f"give {' or '.join(kinds)}" if kinds else "this model knows no labels and no vectors, leave it out"


def _guided(strong: Conditioned, weak: Conditioned, scale: float, projected: bool) -> Denoise:
    return strong if scale == 1 else (ProjectedGuidance if projected else ClassifierFreeGuidance)(strong, weak, scale)
