"""Parts of a vocoder to export: the network's step, and the whole way from mel and noise to the waveform.

step:     x_t, alpha, sigma, mel → x̂, ε̂, and x̂ as a waveform      one call of the denoiser
sampler:  mel, noise → start → calls → landing → waveform           all that `Vocoder.generate` does
"""

import torch
from torch import Tensor, nn

from audiodiff.diffusion.denoiser import MOST_LOG_SNR
from audiodiff.diffusion.predictions import Estimate, noise_of
from audiodiff.export.networks import real_network
from audiodiff.export.plans import Plan, PlannedSteps
from audiodiff.export.projection import RealProjection, hops, samples, start_of
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.vocoder import Vocoder


class Step(nn.Module):
    """Call the denoiser of a vocoder, projected onto the mel if the vocoder projects every estimate.

    Args:
        vocoder: The model.
    """

    def __init__(self, vocoder: Vocoder) -> None:
        super().__init__()
        self.network = real_network(vocoder.denoiser.network)
        self.prediction = vocoder.denoiser.prediction
        self.whitening = vocoder.whitening
        self.project = RealProjection(vocoder.mel, vocoder.projection_iters)

    def forward(self, x_t: Tensor, alpha: Tensor, sigma: Tensor, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate x, eps and what x sounds like, [B, 1, F hop] each.

        Args:
            x_t: Noisy signal in the diffused space, [B, 1, F hop].
            alpha, sigma: Its scales, [B]; the network is told the log-SNR, 2 log(alpha / sigma).
            mel: Log-mel spectrograms, [B, M, F].
        """
        log_snr = (2 * (alpha.log() - sigma.log())).clamp(-MOST_LOG_SNR, MOST_LOG_SNR)
        scales, gains = (alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)), self.whitening.gains(mel)
        x, eps = self.estimate(x_t, *scales, log_snr, mel, self.network.encode(mel), gains)
        return x, eps, self.whitening.decode(x, gains)

    def estimate(
        self, x_t: Tensor, alpha: Tensor, sigma: Tensor, log_snr: Tensor, mel: Tensor, condition: Tensor, gains: Tensor
    ) -> Estimate:
        """Call what `Vocoder.make_denoiser` returns; scales are [1 or B, 1, 1], log_snr is [B]."""
        output = self.network(x_t / self.prediction.norm(alpha, sigma), log_snr, condition)
        estimate = self.prediction.estimate(output, x_t, alpha, sigma)
        if not self.project.n_iter:
            return estimate
        waveform = hops(self.whitening.decode(estimate.x, gains), mel.shape[-1])
        x = self.whitening.encode(samples(self.project(waveform, mel)), gains)
        return Estimate(x, noise_of(x_t, x, alpha, sigma))


class Sampler(nn.Module):
    """Make a waveform from a mel and noise: `Vocoder.generate`, its solver replaced by its plan.

    Args:
        vocoder: The model.
        sampling: How to sample.
        plan: What its solver does.

    Raises:
        ValueError: The network or the start cannot be exported.
    """

    def __init__(self, vocoder: Vocoder, sampling: SamplingConfig, plan: Plan) -> None:
        super().__init__()
        self.step = Step(vocoder)
        self.whitening = vocoder.whitening
        self.steps = PlannedSteps(plan)
        self.first_waveform = start_of(sampling.start)
        first = [float(scale) for scale in vocoder.denoiser.schedule(sampling.times[0])]
        self.register_buffer("first", torch.tensor(first), persistent=False)
        self.final_projection = RealProjection(vocoder.mel, vocoder.final_iters)

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Map log-mels, [B, M, F], and white noise, [B, 1, F hop], to waveforms, [B, 1, F hop]."""
        gains, condition = self.whitening.gains(mel), self.step.network.encode(mel)
        x = self.steps(
            self.first_state(mel, noise, gains),
            lambda x_t, alpha, sigma, log_snr: self.step.estimate(x_t, alpha, sigma, log_snr, mel, condition, gains),
        )
        waveform = self.whitening.decode(x, gains)
        return samples(self.final_projection(hops(waveform, mel.shape[-1]), mel))

    def first_state(self, mel: Tensor, noise: Tensor, gains: Tensor) -> Tensor:
        """Make the signal with which sampling starts, as `Vocoder.initial_state` does."""
        alpha, sigma = self.first
        if self.first_waveform is None:
            return sigma * noise
        return alpha * self.whitening.encode(self.first_waveform(mel, noise), gains) + sigma * noise
