"""Distances between sets of embeddings: the Fréchet distance, and precision, recall, density and coverage.

    precision   share of generated points within the radius of a real one
    recall      share of real points within the radius of a generated one
    density     mean number of real points whose radius holds a generated one, over k
    coverage    share of real points whose radius holds a generated one

The radius of a point is the distance to its k-th nearest neighbour in its own set. Density and coverage are robust to
outliers, whose radius is large.
References: Kynkäänniemi et al., 2019, arXiv:1904.06991; Naeem et al., 2020, arXiv:2002.09797.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Manifold(NamedTuple):
    """Hold the coverage measures of a generated and a real set."""

    precision: float
    recall: float
    density: float
    coverage: float


def compare_manifolds(real: Tensor, generated: Tensor, k: int = 5) -> Manifold:
    """Compare two sets of vectors, [N, D] and [M, D].

    Raises:
        ValueError: A set has no more than k vectors.

    >>> x = torch.arange(8.0)[:, None]
    >>> compare_manifolds(x, x, k=1)
    Manifold(precision=1.0, recall=1.0, density=2.75, coverage=1.0)
    """
    if k < 1 or min(len(real), len(generated)) <= k:
        raise ValueError(f"{len(real)} and {len(generated)} vectors: more than k={k} of each are wanted")
    between = torch.cdist(real.double(), generated.double())
    within = between <= radii(real, k)[:, None]
    return Manifold(
        precision=float(within.any(0).double().mean()),
        recall=float((between <= radii(generated, k)[None]).any(1).double().mean()),
        density=float(within.double().sum(0).mean() / k),
        coverage=float(within.any(1).double().mean()),
    )


def radii(vectors: Tensor, k: int) -> Tensor:
    """Measure the distance of each vector, [N, D], to its k-th nearest neighbour, [N]."""
    distances = torch.cdist(vectors.double(), vectors.double())
    distances.fill_diagonal_(0.0)
    return distances.kthvalue(k + 1, dim=1).values


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return |m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½) of two sets of vectors, [N, D] each.

    >>> frechet_distance(torch.eye(3), torch.eye(3)) < 1e-6
    True
    """
    means, covariances = zip(*((v.double().mean(0), v.double().T.cov()) for v in (a, b)), strict=True)
    values, vectors = torch.linalg.eigh(covariances[0])
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    middle = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    return float((means[0] - means[1]).square().sum() + covariances[0].trace() + covariances[1].trace() - 2 * middle)
