"""The network of coefficients: what passes it, what it hears, and that all of it learns."""

import torch
from support.drawn import draw
from torch import nn

from audiodiff.nn import CoefficientNetwork

HOP, FRAMES = 16, 6


def network(random=True):
    made = CoefficientNetwork(
        HOP, 8, (1, 2), 1, 3, n_heads=2, attention_window=FRAMES, embedding=8, n_labels=2, n_positions=FRAMES
    ).double()
    if random:
        generator = torch.Generator().manual_seed(0)
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.3, generator=generator)
    return made


def call(net, x, label=0, level=0.0):
    labels = torch.full((len(x),), label)
    return net(x, torch.full((len(x),), level, dtype=x.dtype), net.encode_labels(labels))


def test_untrained_network_answers_nothing():
    assert torch.equal(call(network(random=False), draw(2, 1, 96)), torch.zeros(2, 1, 96).double())


def test_mask_of_one_passes_every_coefficient_exactly():
    """What a width of 8 could not carry: 16 independent coefficients in each frame."""
    net, x = network(random=False), draw(2, 1, 96)
    with torch.no_grad():
        net.outward.bias[:HOP] = 1.0
    assert torch.equal(call(net, x), x)


def test_network_hears_how_loud_random_signs_are():
    """With the signs hidden from it, its mask still follows the magnitudes."""
    net, x = network(), draw(1, 1, 96)
    with torch.no_grad():
        net.inward.weight[:, :HOP] = 0.0
        net.outward.weight[HOP:], net.outward.bias[HOP:] = 0.0, 0.0
    masks = [call(net, z) / z for z in (x, -x, 3 * x)]
    assert torch.allclose(masks[0], masks[1])
    assert not torch.allclose(masks[0], masks[2], atol=1e-3)


def test_network_hears_class_level_and_place():
    net, x = network(), draw(1, 1, 96)
    base = call(net, x)
    assert not torch.allclose(call(net, x, label=1), base, atol=1e-3)
    assert not torch.allclose(call(net, x, level=2.0), base, atol=1e-3)
    moved = call(net, x.roll(HOP, -1)).roll(-HOP, -1)
    assert not torch.allclose(moved, base, atol=1e-3)


def test_network_trains_all_of_its_parameters():
    net = network()
    (call(net, draw(1, 1, 96)) + call(net, draw(1, 1, 96), 1) + call(net, draw(1, 1, 96), -1)).square().sum().backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
