"""Noise is decided by seed, draw and position alone."""

import numpy as np
import pytest
import torch

from audiodiff.diffusion.noise import BLOCK, NoiseField


def signal(length, batch=1, dtype=torch.float32):
    return torch.empty(batch, 1, length, dtype=dtype)


def test_noise_is_the_counter_based_generator_s():
    bits = np.random.Philox(key=np.array([5, 0], np.uint64), counter=np.array([0, 1, 0, 0], np.uint64))
    wanted = np.random.Generator(bits).standard_normal(BLOCK, dtype=np.float32)
    found = NoiseField([5], begin=BLOCK).draw(signal(BLOCK))
    assert np.array_equal(found[0, 0].numpy(), wanted)


@pytest.mark.parametrize("begin", [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 17])
@pytest.mark.parametrize("length", [0, 1, 16, 2 * BLOCK + 3])
def test_noise_depends_on_position_not_on_where_a_piece_begins(begin, length):
    whole = NoiseField([3]).draw(signal(6 * BLOCK))
    assert torch.equal(NoiseField([3], begin).draw(signal(length)), whole[..., begin : begin + length])


def test_noise_is_white_and_normal():
    z = NoiseField([1]).draw(signal(2**20, dtype=torch.float64))[0, 0]
    deviation = len(z) ** -0.5
    assert abs(float(z.mean())) < 4 * deviation
    assert abs(float(z.square().mean()) - 1) < 6 * deviation
    assert abs(float((z.abs() < 1).double().mean()) - 0.682689) < 4 * deviation
    for lag in (1, 2, BLOCK - 1, BLOCK, BLOCK + 1):  # blocks are strangers
        assert abs(float((z[lag:] * z[:-lag]).mean())) < 5 * deviation


def test_noise_of_other_seeds_steps_draws_and_blocks_is_other_noise():
    field = NoiseField([1])
    first, second = field.draw(signal(2 * BLOCK)), field.draw(signal(2 * BLOCK))
    others = [second, field.of_step(1).draw(first), field.of_step(2).draw(first), NoiseField([2]).draw(first)]
    pieces = [*first.split(BLOCK, -1), *(piece for other in others for piece in other.split(BLOCK, -1))]
    products = torch.corrcoef(torch.cat(pieces, 1)[0])
    assert float((products - torch.eye(len(pieces))).abs().max()) < 5 * BLOCK**-0.5


def test_noise_of_a_step_begins_anew():
    field = NoiseField([1])
    field.draw(signal(8))
    assert torch.equal(field.of_step(3).draw(signal(8)), NoiseField([1], step=3).draw(signal(8)))


def test_noise_of_a_clip_does_not_depend_on_its_batch():
    assert torch.equal(NoiseField([4, 9]).draw(signal(50, 2))[1:], NoiseField([9]).draw(signal(50)))


@pytest.mark.parametrize("seed", [-1, 2**64 - 1, 2**63])
def test_noise_takes_any_seed(seed):
    assert torch.isfinite(NoiseField([seed]).draw(signal(9))).all()


def test_noise_wants_a_seed_for_each_clip():
    with pytest.raises(ValueError, match="1 seeds for 2 clips"):
        NoiseField([0]).draw(signal(4, 2))
