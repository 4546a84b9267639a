"""The twin with half as many frames, from which speech-24k was trained on (demos/experiments/flagship/coarser.py)."""

import copy
import importlib.util

import pytest
import torch
from conftest import TINY

from audiodiff.nn.conv import DepthwiseConv
from audiodiff.utils.config import build, shipped_path

path = shipped_path("demos/experiments/flagship/coarser.py")
module_spec = importlib.util.spec_from_file_location("coarser", path)
coarser = importlib.util.module_from_spec(module_spec)
module_spec.loader.exec_module(coarser)


def trained_vocoder():
    """Return a vocoder whose weights are all random, so that no block is the identity."""
    config = copy.deepcopy(TINY)
    config["denoiser"]["network"]["dilations"] = [1, 4]
    model = build(config)
    model.config = config
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def answer(model):
    """Call the network on noise."""
    generator = torch.Generator().manual_seed(1)
    x, mel = torch.randn(1, 1, 32 * model.hop_length, generator=generator), torch.full((1, model.mel.n_mels, 32), -5.0)
    network = model.denoiser.network
    with torch.inference_mode():
        return network(x, torch.tensor([3.0]), network.encode(mel)) - x


def test_twin_has_half_the_frames_and_new_blocks_change_nothing():
    model = trained_vocoder()
    twin, deeper = coarser.coarser_twin(model), coarser.coarser_twin(model, 2)
    old, new = model.denoiser.network, deeper.denoiser.network
    assert new.hop_length == 2 * old.hop_length and new.transform.n_fft == old.transform.n_fft
    assert [block.conv.dilation for block in old.stages[0][:-1]] == [1, 4]
    assert [block.conv.dilation for block in new.stages[0][:-1]] == [1, 2, 2, 1]
    assert torch.equal(answer(deeper), answer(twin))
    assert not torch.equal(answer(deeper), torch.zeros_like(answer(deeper)))


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_kernel_mixes_over_the_same_time(dilation):
    """Twice the dilation of the new kernel is the old one's; between two taps frames that rise evenly are as before."""
    before, after = DepthwiseConv(4, 7, dilation), DepthwiseConv(4, 7, max(1, dilation // 2))
    taps = coarser.halved("network.stages.0.0.conv.weight", before.weight.detach(), [dilation])
    after.load_state_dict({"weight": taps, "bias": before.bias.detach()})
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(1, 80, 4, generator=generator)
    if dilation == 1:
        h = torch.arange(80.0)[None, :, None] * h[:, :1]
    assert torch.allclose(before(h)[:, 24:56:2], after(h[:, ::2])[:, 12:28], rtol=1e-4, atol=1e-4)


def test_features_of_the_mel_are_the_mean_of_both_frames():
    model = trained_vocoder()
    twin = coarser.coarser_twin(model)
    mel = torch.randn(1, model.mel.n_mels, 12, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before, after = (m.denoiser.network.encode(mel) for m in (model, twin))
    assert torch.allclose(before.unflatten(1, (-1, 2)).mean(2), after, atol=1e-5)
