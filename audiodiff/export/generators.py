"""What is exported of a generator: one call of its denoiser, and the whole way from noise and a class to the waveform.

step:     x_t, alpha, sigma, label → x̂, ε̂, and x̂ as a waveform
sampler:  noise, label → calls → waveform                        all that `Generator.generate` does

A model without labels, or with a guidance of 0, has no input `label`. The calls are one loop of the graph, whose state
is every signal so far: its size does not grow with the steps.
"""

import torch
from torch import Tensor, nn

from audiodiff.diffusion.denoiser import MOST_LOG_SNR
from audiodiff.diffusion.predictions import Estimate, noise_of
from audiodiff.export.networks import real_network
from audiodiff.export.plans import Plan, PlannedSteps
from audiodiff.models.generator import Generator


class ClassStep(nn.Module):
    """Call the denoiser of a generator, guided if the scale is other than 0 and 1.

    Args:
        generator: The model.
        guidance: Scale of classifier-free guidance.

    Raises:
        ValueError: Vectors condition the generator.
    """

    def __init__(self, generator: Generator, guidance: float) -> None:
        super().__init__()
        if generator.vector_size:
            raise ValueError("a generator that vectors condition is not exported yet: call it from Python")
        self.network = real_network(generator.denoiser.network)
        self.prediction = generator.denoiser.prediction
        self.whitening = generator.whitening
        self.guidance = guidance
        self.labelled = bool(generator.labels)
        self.takes_label = self.labelled and guidance != 0

    def forward(
        self, x_t: Tensor, alpha: Tensor, sigma: Tensor, label: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate x, eps and what x sounds like, [B, 1, F hop] each.

        Args:
            x_t: Noisy signal in the diffused space, [B, 1, F hop].
            alpha, sigma: Its scales, [B]; the network is told the log-SNR, 2 log(alpha / sigma).
            label: Numbers of the classes, [B] int64; -1 leaves the class open.
        """
        log_snr = (2 * (alpha.log() - sigma.log())).clamp(-MOST_LOG_SNR, MOST_LOG_SNR)
        scales = alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)
        x, eps = self.estimate(x_t, *scales, log_snr, self.conditions(x_t, label))
        return x, eps, self.whitening.decode(x, self.whitening.gains(x))

    def conditions(self, like: Tensor, label: Tensor | None) -> list[Tensor | None]:
        """Look up under what the network is called: what is left open, then the class, as far as they are needed."""
        if not self.labelled:
            return [None]
        nothing = torch.zeros_like(like[:, 0, 0], dtype=torch.int64) - 1
        asked = [nothing] if label is None else [label] if self.guidance == 1 else [nothing, label]
        return [self.network.encode_labels(numbers) for numbers in asked]

    def estimate(
        self, x_t: Tensor, alpha: Tensor, sigma: Tensor, log_snr: Tensor, conditions: list[Tensor | None]
    ) -> Estimate:
        """Do what `Generator.denoise` makes; scales are [1 or B, 1, 1], log_snr [B]."""
        inward = x_t / self.prediction.norm(alpha, sigma)
        outputs = [self.network(inward, log_snr, condition) for condition in conditions]
        estimates = [self.prediction.estimate(output, x_t, alpha, sigma) for output in outputs]
        if len(estimates) == 1:
            return estimates[0]
        free, obeying = (estimate.x for estimate in estimates)
        x = free + self.guidance * (obeying - free)
        return Estimate(x, noise_of(x_t, x, alpha, sigma))


class ClassSampler(nn.Module):
    """Make a waveform of noise and a class: `Generator.generate`, its solver replaced by what it does.

    Args:
        generator: The model.
        plan: What its solver does.
        guidance: Scale of classifier-free guidance.
        sigma: Scale of the noise at the first time.
    """

    def __init__(self, generator: Generator, plan: Plan, guidance: float, sigma: float) -> None:
        super().__init__()
        self.step = ClassStep(generator, guidance)
        self.sigma = sigma
        self.steps = PlannedSteps(plan)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Map white noise, [B, 1, F hop], and numbers of classes, [B], to waveforms, [B, 1, F hop]."""
        conditions = self.step.conditions(noise, label)
        x = self.steps(
            self.sigma * noise,
            lambda x_t, alpha, sigma, log_snr: self.step.estimate(x_t, alpha, sigma, log_snr, conditions),
        )
        return self.step.whitening.decode(x, self.step.whitening.gains(x))
