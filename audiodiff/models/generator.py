"""The model that makes sound out of nothing, out of a class, or out of a recording.

label → condition;  noise or a noised recording → solver steps, guided if asked → waveform
"""

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Conditioned, Denoise, Denoiser
from audiodiff.diffusion.guidance import ClassifierFreeGuidance
from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.solvers import Solver
from audiodiff.diffusion.solvers.base import Callback
from audiodiff.models.base import Model
from audiodiff.models.starts import PureNoise, Start
from audiodiff.models.whitening import Identity

__all__ = ["Generator"]


class Generator(Model):
    """Makes sound out of nothing, or of a class.

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
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sample_rate: int,
        hop_length: int,
        whitening: Identity | None = None,
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
        known = getattr(denoiser.network, "n_labels", 0)
        if known != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels are named, and the network knows {known}: make them equal")

    @torch.no_grad()  # not inference mode: guidance differentiates through what is made here
    def generate(
        self,
        n_samples: int | None = None,
        *,
        label: str | None = None,
        guidance: float | None = None,
        batch: int = 1,
        steps: int | None = None,
        solver: Solver | None = None,
        times: Tensor | None = None,
        start: Start | None = None,
        known: Callable[[Denoise], Denoise] | None = None,
        seed: int = 0,
        callback: Callback | None = None,
    ) -> Tensor:
        """Makes waveforms, [batch, 1, n_samples].

        Args:
            n_samples: Length; that of the training clips by default. The network runs on the next multiple of its hop.
            label: One of `labels`; none leaves the class open.
            guidance: Scale of classifier-free guidance: 0 ignores the label, 1 obeys it, more exaggerates it; the
                model's own by default. Other scales than 0 and 1 call the network twice in each step.
            batch: Clips; clip i takes its noise from seed + i.
            steps: Solver steps; the model's own by default.
            solver: How to step; the model's own by default.
            times: Grid of times from the start's time to 0, [steps + 1]; that of `grid` by default.
            start: Where to start, such as a `Variation` of a recording; pure noise by default.
            known: Wraps the denoiser in what else is known of the sound, such as `guidance.ReconstructionGuidance`.
            callback: Called after each step with its index and the diffused signal.

        Raises:
            TypeError: The solver or the start is something else.
            ValueError: A number is below 1, the label is unknown, or the times make no grid.
        """
        n_samples = self.n_samples if n_samples is None else n_samples
        start = self.start if start is None else start
        if n_samples < 1 or batch < 1:
            raise ValueError(f"n_samples={n_samples}, batch={batch}: both must be at least 1")
        whole = -(-n_samples // self.hop_length) * self.hop_length
        times = self.resolve_timesteps(steps, solver, times, start)
        denoise = self.denoise(batch, label, guidance)
        field = NoiseField(range(seed, seed + batch))
        noise = field.draw(torch.empty(batch, 1, whole, device=self.device))
        shape = self.whitening.gains(noise)
        x = start(noise, noise, lambda waveform: self.whitening.encode(waveform, shape), self.denoiser.schedule)
        x = sample(
            known(denoise) if known else denoise,
            solver or self.solver,
            x,
            times,
            generator=field,
            callback=callback,
        )
        return self.whitening.decode(x, shape)[..., :n_samples]

    def denoise(self, batch: int, label: str | None, guidance: float | None) -> Denoise:
        """Binds a class to the denoiser, guided if the scale is other than 0 and 1.

        Raises:
            ValueError: The label is unknown, or guidance is asked of a model without labels or without a label.
        """
        if not self.labels:
            if label is not None or guidance not in (None, 1.0):
                raise ValueError("this model knows no labels: leave out label and guidance")
            return self.conditioned(None)
        scale = self.guidance if guidance is None else guidance
        if label is None and guidance not in (None, 0.0, 1.0):
            raise ValueError(f"guidance={guidance:g} strengthens a label: give one of {', '.join(self.labels)}")
        network = self.denoiser.network

        def bound(number: int) -> Conditioned:
            return self.conditioned(network.encode_labels(torch.full((batch,), number, device=self.device)))

        if label is None or scale == 0:
            return bound(-1)
        conditional = bound(self.number_of(label))
        return conditional if scale == 1 else ClassifierFreeGuidance(conditional, bound(-1), scale)

    def number_of(self, label: str) -> int:
        """Returns the number of a class.

        Raises:
            ValueError: There is no such class; the nearest is suggested.
        """
        if label not in self.labels:
            near = difflib.get_close_matches(label, self.labels, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"unknown label {label!r}{hint}: choose one of {', '.join(self.labels)}")
        return self.labels.index(label)
