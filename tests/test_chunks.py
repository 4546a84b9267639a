"""A network in pieces gives what the whole gives."""

import pytest
import torch

from audiodiff.chunks import Chunked
from audiodiff.denoisers import Data, Denoiser, Velocity
from audiodiff.nn import HybridNetwork
from audiodiff.schedules import CosineVP, even_log_snr
from audiodiff.solvers import DPMSolver2M, sample

HOP = 8


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    network = HybridNetwork(
        HOP,
        32,
        width=8,
        dilations=(1, 2),
        n_stages=1,
        kernel=3,
        n_heads=2,
        reach=3,
        embedding=8,
        n_mels=5,
        mel_hop_length=16,
    ).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return network.requires_grad_(False)


@pytest.mark.parametrize("prediction", [Velocity(), Data(0.5)])
@pytest.mark.parametrize("frames", [1, 5, 16, 37, 60, 1000])
def test_denoiser_in_chunks_equals_the_whole(network, prediction, frames):
    denoiser, condition = Denoiser(network, prediction, CosineVP()), network.encode(draw(2, 5, 30))
    x_t, t = draw(2, 1, 60 * HOP), torch.tensor(0.6, dtype=torch.float64)
    whole, pieces = denoiser(x_t, t, condition), Chunked(denoiser, condition, frames * HOP)(x_t, t)
    assert torch.allclose(pieces.x, whole.x, atol=1e-12)  # float64
    assert torch.allclose(pieces.eps, whole.eps, atol=1e-12)


def test_denoiser_with_less_context_would_differ(network):
    denoiser, condition = Denoiser(network, Velocity(), CosineVP()), network.encode(draw(1, 5, 30))
    x_t, t = draw(1, 1, 60 * HOP), torch.tensor(0.6, dtype=torch.float64)
    short = Chunked(denoiser, condition, 16 * HOP)
    short.context -= 6 * HOP  # four frames of it are the transform's, where windows are thin
    assert not torch.allclose(short(x_t, t).x, denoiser(x_t, t, condition).x, atol=1e-6)


def test_denoiser_in_chunks_sees_no_more_than_it_needs(network):
    denoiser, condition = Denoiser(network, Velocity(), CosineVP()), network.encode(draw(1, 5, 40))
    chunked, lengths = Chunked(denoiser, condition, 10 * HOP), []
    hook = network.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[-1]))
    chunked(draw(1, 1, 80 * HOP), torch.tensor(0.6, dtype=torch.float64))
    hook.remove()
    field = network.receptive_field()
    assert field <= chunked.context < field + HOP
    assert len(lengths) == 8
    assert lengths[0] == lengths[-1] == 10 * HOP + chunked.context
    assert set(lengths[3:5]) == {10 * HOP + 2 * chunked.context}


def test_solver_goes_the_same_way_in_chunks(network):
    denoiser, condition = Denoiser(network, Velocity(), CosineVP()), network.encode(draw(1, 5, 30))
    whole, pieces = (Chunked(denoiser, condition, frames * HOP) for frames in (1000, 7))
    times = even_log_snr(whole.schedule, 4)
    ends = [sample(denoise, DPMSolver2M(), draw(1, 1, 60 * HOP), times) for denoise in (whole, pieces)]
    assert whole.schedule is denoiser.schedule
    assert torch.allclose(*ends, atol=1e-9)


@pytest.mark.parametrize("chunk", [0, -8])
def test_chunks_must_not_be_empty(network, chunk):
    with pytest.raises(ValueError, match="chunk_frames must be at least 1"):
        Chunked(Denoiser(network, Velocity(), CosineVP()), draw(1, 4, 1, 8), chunk)
