"""The denoising loss: one draw of time and noise per clip."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Denoiser, scales
from audiodiff.losses.auxiliary import AuxiliaryLoss
from audiodiff.losses.distances import Distance, SquaredError
from audiodiff.losses.time_sampling import TimeSampler
from audiodiff.losses.weightings import VelocityWeight, Weighting


class LossTerms(NamedTuple):
    """Hold the values of a loss per clip, [B] each; all but `total` are detached, auxiliary ones unweighted."""

    total: Tensor
    error: Tensor
    auxiliary: dict[str, Tensor]
    log_snr: Tensor


class DenoisingLoss:
    """Measure how well a denoiser recovers clips from random noise levels.

    Args:
        time_sampling: Draws the times.
        weighting: Weights the distance by log-SNR.
        distance: Compares estimate and truth in the diffused space.
        auxiliary: Auxiliary losses on waveforms by name; each is multiplied by its own weight.
    """

    def __init__(
        self,
        time_sampling: TimeSampler,
        weighting: Weighting | None = None,
        distance: Distance | None = None,
        auxiliary: Mapping[str, AuxiliaryLoss] | None = None,
    ) -> None:
        self.time_sampling = time_sampling
        self.weighting = weighting or VelocityWeight()
        self.distance = distance or SquaredError()
        self.auxiliary = dict(auxiliary or {})

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        condition: Tensor | None,
        decode: Callable[[Tensor], Tensor],
        generator: torch.Generator,
        rank: int = 0,
        world: int = 1,
        refine: Callable[[Tensor], Tensor] | None = None,
    ) -> LossTerms:
        """Compute the loss of a batch.

        Args:
            x: Clean signals in the diffused space, [B, 1, T].
            condition: What the network's `encode` returned, or None.
            decode: Maps the diffused space to waveforms.
            generator: A CPU generator, from which times and noise are drawn.
            rank, world: This process and the number of processes; together they stratify the times.
            refine: Maps the estimate before it is compared, such as a mel projection; gradients pass through.
        """
        t = self.time_sampling(len(x), generator, denoiser.schedule, rank, world)
        eps = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        alpha, sigma = scales(denoiser.schedule, t, x)
        log_snr = denoiser.schedule.log_snr(t)
        estimate = denoiser(alpha * x + sigma * eps, t, condition).x
        if refine is not None:
            estimate = refine(estimate)
        error = self.weighting(log_snr, denoiser.prediction.sigma_data).to(x) * self.distance(estimate, x, decode)
        return self.total(error, estimate, x, decode, log_snr)

    def total(
        self, error: Tensor, estimate: Tensor, x: Tensor, decode: Callable[[Tensor], Tensor], log_snr: Tensor
    ) -> LossTerms:
        """Add the weighted auxiliary losses of decoded signals to an error, [B].

        Args:
            error: Weighted distance per clip, [B].
            estimate, x: Signals to compare in the diffused space, [B, 1, T].
            decode: Maps the diffused space to waveforms.
            log_snr: Log-SNR per clip, [B], which the result carries.
        """
        values = {}
        if self.auxiliary:
            test, reference = decode(estimate), decode(x)
            values = {name: loss(test, reference) for name, loss in self.auxiliary.items()}
        total = error + sum(loss.weight * values[name] for name, loss in self.auxiliary.items())
        detached = {name: value.detach() for name, value in values.items()}
        return LossTerms(total, error.detach(), detached, log_snr.to(error))
