"""The causal twin of a model, with which the training of the live one begins (demos/experiments/flagship/causal.py)."""

import importlib.util

import torch
from conftest import tiny_vocoder

from audiodiff.nn.conv import DepthwiseConv
from audiodiff.utils.config import shipped_path

path = shipped_path("demos/experiments/flagship/causal.py")
module_spec = importlib.util.spec_from_file_location("causal", path)
causal = importlib.util.module_from_spec(module_spec)
module_spec.loader.exec_module(causal)


def test_causal_twin_sees_no_later_frame_and_keeps_what_fits():
    model = tiny_vocoder()
    twin = causal.causal_twin(model)
    network = twin.denoiser.network
    assert all(block.look_ahead == 0 for stage in network.stages for block in stage)
    assert any(block.look_ahead for stage in model.denoiser.network.stages for block in stage)
    assert network.mel_encoder.context.future == model.denoiser.network.mel_encoder.context.future > 0
    old = model.state_dict()
    assert [n for n, t in twin.state_dict().items() if not torch.equal(t, old[n])] == [
        n for n in old if n.endswith("conv.weight")
    ]


def test_causal_kernel_answers_as_before_where_nothing_follows():
    """At the last frame that is not zero the taps that looked ahead saw nothing, so both kernels give the same."""
    before, after = DepthwiseConv(4, 7, 2), DepthwiseConv(4, 7, 2, causal=True)
    after.load_state_dict({"weight": causal.behind(before.weight.detach()), "bias": before.bias.detach()})
    h = torch.randn(1, 30, 4, generator=torch.Generator().manual_seed(0))
    h[:, 20:] = 0
    assert torch.allclose(before(h)[:, 19], after(h)[:, 19], atol=1e-6)
    assert not torch.allclose(before(h)[:, 10], after(h)[:, 10], atol=1e-2)
