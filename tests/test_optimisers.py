"""Which weights learn, how fast, which decay; and that every optimiser and schedule trains, resumes and ends."""

import pytest
import torch
from test_training import equal, run, states, steps
from torch import nn

from audiodiff import files
from audiodiff.compose import composed, plain
from audiodiff.config import build, choices
from audiodiff.training.parameters import freeze, optimizer_of, parameter_groups


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.conv = nn.Conv1d(2, 2, 3)
        self.norm = nn.LayerNorm(4)
        self.labels = nn.Embedding(5, 4)
        self.positions = nn.Parameter(torch.zeros(6, 4))


def test_matrices_and_kernels_decay_and_nothing_else():
    decayed, kept = sorted(parameter_groups(Small()), key=lambda group: group.get("weight_decay", 1), reverse=True)
    assert sorted(decayed["names"]) == ["conv.weight", "linear.weight"]
    assert sorted(kept["names"]) == [
        "conv.bias",
        "labels.weight",
        "linear.bias",
        "norm.bias",
        "norm.weight",
        "positions",
    ]
    assert kept["weight_decay"] == 0
    optimizer = optimizer_of(lambda groups: torch.optim.AdamW(groups, lr=1.0, weight_decay=0.5), Small())
    assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0.0, 0.5]


def test_weights_that_do_not_decay_stay_without_a_gradient():
    module = Small()
    nn.init.ones_(module.norm.weight)
    before = module.linear.weight.detach().clone()
    optimizer = optimizer_of(lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5), module)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(module.norm.weight, torch.ones(4))
    assert torch.allclose(module.linear.weight, before * 0.95)


def test_learning_rates_follow_their_patterns_the_last_one_first():
    module = Small()
    factors = {"*": 0.5, "linear.*": 0.1}
    optimizer = optimizer_of(lambda groups: torch.optim.SGD(groups, lr=2.0), module, factors)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(module.linear.weight)] == rates[id(module.linear.bias)] == pytest.approx(0.2)
    assert rates[id(module.conv.weight)] == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"'lstm\.\*' matches none"):
        optimizer_of(lambda groups: torch.optim.SGD(groups, lr=2.0), module, {"lstm.*": 1})


def test_frozen_weights_do_not_learn_and_a_pattern_without_a_match_is_refused():
    module = Small()
    assert freeze(module, ["conv.*"]) == ["conv.bias", "conv.weight"]
    assert not module.conv.weight.requires_grad
    assert all("conv" not in name for group in parameter_groups(module) for name in group["names"])
    with pytest.raises(ValueError, match=r"freeze: 'cnov\.\*' matches none of the weights, such as"):
        freeze(module, ["cnov.*"])
    with pytest.raises(ValueError, match="nothing that could learn"):
        freeze(module, ["*"])


def test_a_run_with_frozen_weights_changes_the_others_alone(tmp_path):
    run(tmp_path, *steps(1))
    before = files.load(tmp_path, weights="raw").state_dict()
    run(tmp_path, *steps(3), "freeze=[denoiser.network.stages.*]", "resume=false", f"init_from={tmp_path}")
    after = files.load(tmp_path, weights="raw").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(".stages." in name for name in moved)


@pytest.mark.parametrize("name", choices("optim"))
def test_every_optimiser_resumes_bit_for_bit(tmp_path, name):
    given = [f"optim={name}", "optim.warmup_steps=2", "optim.total_steps=6"]
    run(tmp_path / "whole", *steps(4, every=2), *given)
    run(tmp_path / "parts", *steps(2, every=2), *given)
    half = states(tmp_path / "parts")
    run(tmp_path / "parts", *steps(4, every=2), *given)
    whole, resumed = states(tmp_path / "whole"), states(tmp_path / "parts")
    for weights in ("raw", "ema"):
        assert equal(whole[weights], resumed[weights])
    assert not equal(half["raw"], resumed["raw"])


def test_muon_orthogonalises_matrices_and_leaves_the_rest_to_adam():
    from functools import partial

    from pytorch_optimizer import Muon

    module = Small()
    optimizer = optimizer_of(partial(Muon, lr=1.0, momentum=0.0, nesterov=False, adamw_lr=0.1), module)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    before = module.linear.weight.detach().clone()
    optimizer.step()
    singular = torch.linalg.svdvals(module.linear.weight.detach() - before)
    assert float(singular.max() / singular.min()) < 2
    groups = {id(p): group["use_muon"] for group in optimizer.param_groups for p in group["params"]}
    assert groups[id(module.linear.weight)]
    assert not any(groups[id(p)] for p in (module.conv.weight, module.labels.weight, module.linear.bias))


@pytest.mark.parametrize("name", choices("lr"))
def test_every_schedule_rises_from_little_never_exceeds_one_and_ends_as_told(name):
    given = ["data.path=x", f"lr={name}", "optim.warmup_steps=10", "optim.total_steps=100", "optim.final_factor=0.1"]
    factor = build(plain(composed(given).lr))
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert values[:10] == sorted(values[:10])
    assert max(values) == 1
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[100] == pytest.approx(1.0 if name == "constant" else 0.1)
    assert (values[70] == 1) == (name != "cosine")


def test_missing_package_is_named_with_its_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"optimisers\]"):
        run(tmp_path, *steps(1), "optim.optimizer._target_=pytorch_optimizer.NoSuch")
