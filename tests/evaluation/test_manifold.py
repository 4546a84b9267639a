"""Precision, recall, density and coverage on sets for which they are known."""

import pytest
import torch

from audiodiff.evaluation.manifold import Manifold, compare_manifolds, frechet_distance

GENERATOR = torch.Generator().manual_seed(0)


def drawn(n, d=4, centre=0.0, spread=1.0):
    return centre + spread * torch.randn(n, d, generator=GENERATOR)


def test_sets_far_apart_share_nothing():
    assert compare_manifolds(drawn(50), drawn(60, centre=100)) == Manifold(0.0, 0.0, 0.0, 0.0)


def test_same_set_is_covered_whole():
    x = drawn(80)
    found = compare_manifolds(x, x)
    assert (found.precision, found.recall, found.coverage) == (1.0, 1.0, 1.0)
    assert found.density >= 1.0  # each lies within its own reach and its neighbours'


def test_density_of_fresh_draws_is_about_one():
    """Its expectation is 1 for two draws of one law; coverage is 1 - 2^-k (Naeem et al., 2020, section 3.3)."""
    values = [compare_manifolds(drawn(400), drawn(400), k=3) for _ in range(4)]
    assert sum(v.density for v in values) / 4 == pytest.approx(1.0, abs=0.05)
    assert sum(v.coverage for v in values) / 4 == pytest.approx(1 - 0.5**3, abs=0.03)


def test_collapse_keeps_precision_and_loses_recall_and_coverage():
    real = torch.cat([drawn(100, centre=-20), drawn(100, centre=20)])
    found = compare_manifolds(real, drawn(200, centre=20))
    assert found.precision > 0.95
    assert 0.4 < found.recall <= 0.5
    assert 0.4 < found.coverage <= 0.5


def test_invented_sounds_lose_precision_and_keep_recall():
    generated = torch.cat([drawn(100), drawn(100, centre=50)])
    found = compare_manifolds(drawn(100), generated)
    assert found.precision == pytest.approx(0.5, abs=0.03)
    assert found.recall > 0.85


def test_outlier_deceives_recall_of_generated_but_not_coverage():
    """One generated point far away has a reach that holds all of the real ones; coverage asks the real ones' reach."""
    real = drawn(100)
    generated = torch.cat([drawn(20, centre=30), drawn(5, centre=-30)])
    found = compare_manifolds(real, generated)
    assert found.recall == 1.0
    assert found.coverage == 0.0


def test_known_numbers_on_a_line():
    """Real 0, 1, 3 with reaches 1, 1, 2 (k = 1); generated 0.5, 4.5 with reaches 4, 4."""
    real, generated = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [4.5]])
    found = compare_manifolds(real, generated, k=1)
    assert found == Manifold(precision=1.0, recall=1.0, density=1.5, coverage=1.0)


@pytest.mark.parametrize(("n", "m", "k"), [(5, 9, 5), (9, 5, 5), (9, 9, 0)])
def test_too_few_vectors_are_refused(n, m, k):
    with pytest.raises(ValueError, match=f"more than k={k}"):
        compare_manifolds(drawn(n), drawn(m), k)


def test_frechet_distance_is_that_of_gaussians():
    a = drawn(100_000, 2) * torch.tensor([1.0, 2.0])
    b = drawn(100_000, 2) * torch.tensor([3.0, 2.0]) + torch.tensor([0.0, 4.0])
    assert frechet_distance(a, b) == pytest.approx((1 - 3) ** 2 + 4**2, rel=0.03)
