"""The MDCT: orthogonal at every length, and the textbook's in the interior."""

import math

import pytest
import torch
from support.drawn import draw

from audiodiff.audio.mdct import _dct as dct
from audiodiff.audio.mdct import imdct, mdct, onset_imdct, onset_mdct

BLOCKS = [2, 3, 4, 8, 15, 128, 147]
every_block = pytest.mark.parametrize("block", BLOCKS)


@every_block
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_mdct_is_inverted_and_preserves_energy(block, frames):
    x = draw(2, 1, frames * block)
    coefficients = mdct(x, block)
    assert coefficients.shape == (2, 1, frames, block)
    assert torch.allclose(imdct(coefficients), x, atol=1e-12)  # float64
    assert torch.allclose(mdct(imdct(coefficients), block), coefficients, atol=1e-12)
    assert float(coefficients.square().sum()) == pytest.approx(float(x.square().sum()), rel=1e-12)


@every_block
def test_mdct_is_an_orthogonal_matrix(block):
    matrix = mdct(torch.eye(4 * block, dtype=torch.float64), block).flatten(1)
    assert torch.allclose(matrix @ matrix.T, torch.eye(4 * block, dtype=torch.float64), atol=1e-12)


@every_block
def test_mdct_equals_the_windowed_transform_of_the_textbook(block):
    """X[k] = sqrt(2 / N) sum_n w(n) x(n) cos(pi / N (n + 1/2 + N/2) (k + 1/2)),  w(n) = sin(pi (n + 1/2) / 2N).

    The textbook's is ours of the reversed signal, with the sign turned. For odd N a frame begins half a sample off the
    grid, so that window and cosine are evaluated between samples there.
    """
    frames = 6
    x = draw(frames * block)
    ours, reverse = mdct(x, block).flip(0), x.flip(0)
    k = torch.arange(block, dtype=torch.float64) + 0.5
    for b in range(1, frames - 1):
        begin = b * block - block / 2
        samples = torch.arange(math.ceil(begin), math.ceil(begin + 2 * block))
        n_plus_half = samples.double() - begin + 0.5
        window = (math.pi * n_plus_half / (2 * block)).sin()
        basis = (math.pi / block * (n_plus_half[:, None] + block / 2) * k).cos()
        wanted = math.sqrt(2 / block) * (window * reverse[samples]) @ basis
        assert torch.allclose(ours[b], -wanted, atol=1e-10)  # float64


def test_mdct_leaves_white_noise_white():
    coefficients = mdct(draw(20000 * 16), 16)
    assert torch.allclose(imdct(coefficients), draw(20000 * 16), atol=1e-12)  # without a batch too
    covariance = coefficients.T @ coefficients / 20000
    # Each entry of the covariance of 2e4 draws has a standard error of 0.007 (0.01 on the diagonal).
    assert torch.allclose(covariance, torch.eye(16, dtype=torch.float64), atol=0.05)


def test_mdct_compacts_a_tone():
    # A smooth window: 99 % of a stationary tone's energy falls into four coefficients of 64.
    x = torch.sin(2 * math.pi * 0.1 * torch.arange(64 * 20, dtype=torch.float64))
    energy = mdct(x, 64)[2:-2].square()
    assert float((energy.topk(4).values.sum(-1) / energy.sum(-1)).min()) > 0.97


def test_mdct_basis_is_its_own_inverse():
    matrix = dct(9, torch.float64, torch.device("cpu"))
    assert torch.allclose(matrix @ matrix, torch.eye(9, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(matrix, matrix.T)


@pytest.mark.parametrize("block", [128, 147])
def test_mdct_in_float32_loses_nothing_audible(block):
    x = draw(1, 1, 40 * block, dtype=torch.float32)
    back = imdct(mdct(x, block))
    assert back.dtype == torch.float32
    assert torch.allclose(back, x, atol=1e-5)  # float32 through two products of that length


def test_mdct_does_not_mix_across_a_boundary_that_is_an_end():
    """A sound in the middle of a longer signal is transformed as if it were alone, and inverted too."""
    x = torch.randn(2, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inner = torch.tensor([True, False, True, True])
    c = mdct(x, 16, inner)
    torch.testing.assert_close(c, torch.cat([mdct(x[:, :32], 16), mdct(x[:, 32:], 16)], dim=1))
    torch.testing.assert_close(imdct(c, inner), x)


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("short", [2, 4, 16])
def test_onset_mdct_is_an_orthogonal_matrix_and_inverted(short, frames):
    matrix = onset_mdct(torch.eye(16 * frames, dtype=torch.float64), 16, short).flatten(1)
    assert torch.allclose(matrix @ matrix.T, torch.eye(16 * frames, dtype=torch.float64), atol=1e-12)
    x = draw(2, 1, 16 * frames)
    assert torch.allclose(onset_imdct(onset_mdct(x, 16, short), short), x, atol=1e-12)


def test_onset_mdct_is_the_plain_one_behind_the_first_blocks():
    x = draw(64 * 6)
    assert torch.allclose(onset_mdct(x, 64, 8)[2:], mdct(x, 64)[2:], atol=1e-12)
    assert not torch.allclose(onset_mdct(x, 64, 8)[1], mdct(x, 64)[1], atol=1e-3)  # overlaps with shorter ones


def test_change_of_an_onset_coefficient_lasts_two_short_blocks():
    c = torch.zeros(4, 64, dtype=torch.float64)
    c[0, 8 * 3 + 4] = 1  # the fourth of eight frequencies, the fifth of eight blocks
    heard = onset_imdct(c, 8).abs().nonzero()[:, 0]
    assert (int(heard.min()), int(heard.max())) == (8 * 4 - 4, 8 * 5 + 3)


def test_first_frame_of_a_tone_is_loudest_at_its_frequency():
    tone = (2 * math.pi * 0.25 * torch.arange(1024, dtype=torch.float64)).sin()  # half of the highest
    energy = onset_mdct(tone, 256, 16)[0].square()
    assert 0.45 < float((energy * torch.arange(256)).sum() / energy.sum()) / 256 < 0.55
