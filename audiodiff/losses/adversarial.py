"""What discriminators and a generator tell each other: scores apart, scores up, features alike. Means over all parts.

    discriminators:  mean (1 - D(real))² + D(fake)²
    generator:       mean (1 - D(fake))²,    and mean |feature(real) - feature(fake)| / mean |feature(real)|

References: least squares, Mao et al., 2016, arXiv:1611.04076; feature matching, Larsen et al., 2015, arXiv:1512.09300.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Judgement", "discriminator_loss", "feature_distance", "generator_loss"]


class Judgement(Protocol):
    """Describe what one discriminator says: scores, high for what is real, and feature maps."""

    @property
    def score(self) -> Tensor:
        """A map of scores."""
        ...

    @property
    def features(self) -> Sequence[Tensor]:
        """Map from within."""
        ...


def discriminator_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Ask scores of 1 for what is real and of 0 for what is not."""
    parts = [((1 - r.score) ** 2).mean() + (f.score**2).mean() for r, f in zip(real, fake, strict=True)]
    return sum(parts) / len(parts)


def generator_loss(fake: Sequence[Judgement]) -> Tensor:
    """Ask scores of 1 for what is not real."""
    return sum(((1 - f.score) ** 2).mean() for f in fake) / len(fake)


def feature_distance(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """Compare feature maps, relative to their size; those of real sound are constants."""
    distances = [
        (a.detach() - b).abs().mean() / a.detach().abs().mean().clamp(min=1e-3)
        for r, f in zip(real, fake, strict=True)
        for a, b in zip(r.features, f.features, strict=True)
    ]
    return sum(distances) / len(distances)
