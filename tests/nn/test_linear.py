"""Products of many rows are those of `nn.Linear`, by whichever library."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from audiodiff.nn.linear import FEW, Linear
from audiodiff.utils import devices

MANY = FEW // 48 + 1  # rows of 48


@pytest.fixture
def convolved(monkeypatch):
    """Lists the convolutions of a processor on which they are faster."""
    seen, convolve = [], functional.conv2d
    monkeypatch.setattr(devices, "_multiplies_by_halves", lambda: True)
    monkeypatch.setattr(functional, "conv2d", lambda *given, **more: seen.append(1) or convolve(*given, **more))
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(MANY, 48), (1, MANY, 48), (2, MANY // 2 + 1, 48), (3, 7, MANY // 20, 48)])
def test_linear_layer_by_convolution_gives_products_and_gradients(shape, bias, convolved):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).requires_grad_()
    layer = Linear(48, 33, bias=bias)
    wanted = nn.Linear.forward(layer, x)
    found = layer(x)
    assert len(convolved) == 1
    assert found.shape == wanted.shape and (found - wanted).abs().max() < 1e-5
    weights = torch.randn(wanted.shape, generator=generator)
    of = [x, *layer.parameters()]
    for one, other in zip(*(torch.autograd.grad((y * weights).sum(), of) for y in (found, wanted)), strict=True):
        assert (one - other).abs().max() < 1e-5 * max(1, float(other.abs().max()))


def test_linear_layer_convolves_nothing_where_that_is_no_faster(convolved, monkeypatch):
    layer, x = Linear(48, 33), torch.zeros(MANY, 48)
    layer(x[: FEW // 48])
    layer.double()(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        layer.float()(x)
    torch.export.export(layer, (x,))
    monkeypatch.setattr(devices, "_multiplies_by_halves", lambda: False)
    layer(x)
    assert not convolved


def test_linear_layer_of_an_adapter_has_its_weight(convolved):
    layer, x = Linear(48, 33), torch.ones(MANY, 48)
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Hardtanh(0.0, 0.1))
    assert (layer(x) - nn.Linear.forward(layer, x)).abs().max() < 1e-5 and convolved
