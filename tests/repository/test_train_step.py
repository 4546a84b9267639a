"""demos/benchmarks/train_step.py counts every product of a step, and its step is the trainer's."""

import pytest
import torch
from support.tree import load_script
from torch.utils.flop_counter import FlopCounterMode

from audiodiff.training.ema import EMA
from audiodiff.training.hydra_config import composed
from audiodiff.training.param_groups import optimizer_of

SMALL = ["data.path=x", "model.denoiser.network.width=16", "data.n_samples=4096", "data.batch_size=2"]


@pytest.fixture
def train_step():
    return load_script("demos/benchmarks/train_step.py")


def test_products_that_are_made_again_are_all_of_a_step(train_step):
    lit, batch, autocast = train_step.built(SMALL)
    optimizer, ema = optimizer_of(lit.optimizer, lit.model, None), EMA()
    with FlopCounterMode(display=False) as counter:
        train_step.step(lit, batch, optimizer, ema, autocast)
    with train_step.Products() as products:
        train_step.step(lit, batch, optimizer, ema, autocast)
    assert products.operations == counter.get_total_flops() > 1e6
    assert products.again() > 0


def test_step_moves_weights_and_average(train_step):
    lit, batch, autocast = train_step.built(SMALL)
    optimizer, ema = optimizer_of(lit.optimizer, lit.model, None), EMA()
    before = {name: p.detach().clone() for name, p in lit.named_parameters()}
    found = train_step.step(lit, batch, optimizer, ema, autocast)
    assert set(found) == set(train_step.PARTS)
    assert sum(not torch.equal(before[name], p) for name, p in lit.named_parameters()) > len(before) / 2
    assert ema.updates == 1


def test_fused_optimiser_moves_weights_as_the_loop_does_to_within_rounding():
    """`fused` makes one pass over a weight where a dozen operations are; nothing else changes."""
    settings = {k: v for k, v in composed(["data.path=x"]).optimizer.items() if not k.startswith("_")}
    assert settings.pop("fused") is True
    draw = torch.Generator().manual_seed(0)
    ours, theirs = (torch.nn.Parameter(torch.ones(50, 20)) for _ in range(2))
    optimizers = [torch.optim.AdamW([ours], fused=True, **settings), torch.optim.AdamW([theirs], **settings)]
    for _ in range(20):
        ours.grad = theirs.grad = torch.randn(50, 20, generator=draw)
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
