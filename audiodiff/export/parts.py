"""What is exported of a vocoder: the network's step, and the whole way from mel and noise to the waveform.

step:     x_t, alpha, sigma, mel → x̂, ε̂, and x̂ as a waveform      one call of the denoiser
sampler:  mel, noise → start → calls → landing → waveform           all that `Vocoder.generate` does
"""

import torch
from torch import Tensor, nn

from audiodiff.diffusion.denoiser import MOST_LOG_SNR
from audiodiff.diffusion.predictions import Estimate, noise_of
from audiodiff.export.networks import real_network
from audiodiff.export.plans import Plan, table_of
from audiodiff.export.projection import RealProjection, hops, samples, start_of
from audiodiff.models.streaming import SamplingConfig
from audiodiff.models.vocoder import Vocoder

__all__ = ["Sampler", "Step"]


class Step(nn.Module):
    """Calls the denoiser of a vocoder, projected onto the mel if the vocoder projects every estimate.

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
        """Estimates x, eps and what x sounds like, [B, 1, F hop] each.

        Args:
            x_t: Noisy signal in the diffused space, [B, 1, F hop].
            alpha, sigma: Its scales, [B]; the network is told the log-SNR, 2 log(alpha / sigma).
            mel: Log-mel spectrograms, [B, M, F].
        """
        log_snr = (2 * (alpha.log() - sigma.log())).clamp(-MOST_LOG_SNR, MOST_LOG_SNR)
        scales, shape = (alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)), self.whitening.gains(mel)
        x, eps = self.estimate(x_t, *scales, log_snr, mel, self.network.encode(mel), shape)
        return x, eps, self.whitening.decode(x, shape)

    def estimate(
        self, x_t: Tensor, alpha: Tensor, sigma: Tensor, log_snr: Tensor, mel: Tensor, condition: Tensor, shape: Tensor
    ) -> Estimate:
        """Does what `Vocoder.bind` makes: network, prediction, projection; scales are [1 or B, 1, 1], log_snr [B]."""
        output = self.network(x_t / self.prediction.norm(alpha, sigma), log_snr, condition)
        estimate = self.prediction.estimate(output, x_t, alpha, sigma)
        if not self.project.n_iter:
            return estimate
        waveform = hops(self.whitening.decode(estimate.x, shape), mel.shape[-1])
        x = self.whitening.encode(samples(self.project(waveform, mel)), shape)
        return Estimate(x, noise_of(x_t, x, alpha, sigma))


class Sampler(nn.Module):
    """Makes a waveform of a mel and noise: `Vocoder.generate`, its solver replaced by what it does.

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
        self.plan = plan
        self.begin = start_of(sampling.start)
        first = [float(scale) for scale in vocoder.denoiser.schedule(sampling.times[0])]
        self.register_buffer("first", torch.tensor(first), persistent=False)
        self.register_buffer("scales", table_of(plan), persistent=False)
        self.final_iters = RealProjection(vocoder.mel, vocoder.final_iters)

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Maps log-mels, [B, M, F], and white noise, [B, 1, F hop], to waveforms, [B, 1, F hop]."""
        shape, condition = self.whitening.gains(mel), self.step.network.encode(mel)
        signals = [self.start(mel, noise, shape)]
        for call, (alpha, sigma, log_snr) in zip(self.plan.calls, self.scales, strict=True):
            told = log_snr.flatten().expand(mel.shape[0])
            signals += self.step.estimate(_sum(signals, call.weights), alpha, sigma, told, mel, condition, shape)
        waveform = self.whitening.decode(_sum(signals, self.plan.end), shape)
        return samples(self.finish(hops(waveform, mel.shape[-1]), mel))

    def start(self, mel: Tensor, noise: Tensor, shape: Tensor) -> Tensor:
        """Makes the first signal, as `Vocoder.begin` does."""
        alpha, sigma = self.first
        if self.begin is None:
            return sigma * noise
        return alpha * self.whitening.encode(self.initial_state(mel, noise), shape) + sigma * noise


def _sum(signals: list[Tensor], weights: dict[int, float]) -> Tensor:
    return sum(weight * signals[key] for key, weight in weights.items())
