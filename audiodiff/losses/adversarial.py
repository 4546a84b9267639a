"""Least-squares GAN losses and feature matching, averaged over the sub-discriminators.

    discriminators:  mean (1 - D(real))² + D(fake)²
    generator:       mean (1 - D(fake))²,    and mean |feature(real) - feature(fake)| / mean |feature(real)|

References: least squares, Mao et al., 2016, arXiv:1611.04076; feature matching, Larsen et al., 2015, arXiv:1512.09300.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class DiscriminatorOutput(Protocol):
    """Describe the output of one discriminator; `nn.discriminators.DiscriminatorOutput` satisfies it."""

    @property
    def score(self) -> Tensor:
        """Score, high for real sound."""
        ...

    @property
    def features(self) -> Sequence[Tensor]:
        """Feature maps of the layers."""
        ...


def discriminator_loss(real: Sequence[DiscriminatorOutput], fake: Sequence[DiscriminatorOutput]) -> Tensor:
    """Compute the loss of the discriminators: scores of 1 for real sound and of 0 for generated sound."""
    parts = [((1 - r.score) ** 2).mean() + (f.score**2).mean() for r, f in zip(real, fake, strict=True)]
    return sum(parts) / len(parts)


def generator_loss(fake: Sequence[DiscriminatorOutput]) -> Tensor:
    """Compute the adversarial loss of the generator: scores of 1 for generated sound."""
    return sum(((1 - f.score) ** 2).mean() for f in fake) / len(fake)


def feature_distance(real: Sequence[DiscriminatorOutput], fake: Sequence[DiscriminatorOutput]) -> Tensor:
    """Compute the mean relative L1 distance of feature maps; no gradient reaches those of real sound."""
    distances = [
        (a.detach() - b).abs().mean() / a.detach().abs().mean().clamp(min=1e-3)
        for r, f in zip(real, fake, strict=True)
        for a, b in zip(r.features, f.features, strict=True)
    ]
    return sum(distances) / len(distances)
