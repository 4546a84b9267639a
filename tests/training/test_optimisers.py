"""Which weights learn, how fast, which decay; and that every optimiser and schedule trains, resumes and ends."""

from functools import partial

import pytest
import torch
from support.training import equal, run, states, steps
from torch import nn

from audiodiff.models.base import Model
from audiodiff.training.hydra_config import composed, plain
from audiodiff.training.muon import Muon
from audiodiff.training.param_groups import freeze, optimizer_of, parameter_groups
from audiodiff.utils.config import build, choices


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.conv = nn.Conv1d(2, 2, 3)
        self.norm = nn.LayerNorm(4)
        self.labels = nn.Embedding(5, 4)
        self.positions = nn.Parameter(torch.zeros(6, 4))


class Wide(Small):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 48)


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
    before = Model.load(tmp_path, weights="raw").state_dict()
    run(tmp_path, *steps(3), "freeze=[denoiser.network.stages.*]", "resume=false", f"init_from={tmp_path}")
    after = Model.load(tmp_path, weights="raw").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(".stages." in name for name in moved)


@pytest.mark.parametrize("name", choices("optimizer"))
def test_every_optimiser_resumes_bit_for_bit(tmp_path, name):
    given = [f"optimizer={name}", "lr_schedule=cosine", "lr_schedule.warmup_steps=2", "lr_schedule.total_steps=6"]
    run(tmp_path / "whole", *steps(4, every=2), *given)
    run(tmp_path / "parts", *steps(2, every=2), *given)
    half = states(tmp_path / "parts")
    run(tmp_path / "parts", *steps(4, every=2), *given)
    whole, resumed = states(tmp_path / "whole"), states(tmp_path / "parts")
    for weights in ("raw", "ema"):
        assert equal(whole[weights], resumed[weights])
    assert not equal(half["raw"], resumed["raw"])


def gradients(module, seed=0):
    source = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=source)


def moved(module, optimizer, times=3):
    """What some steps change, by name."""
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for seed in range(times):
        gradients(module, seed)
        optimizer.step()
    return {name: p.detach() - before[name] for name, p in module.named_parameters()}


def test_muon_orthogonalises_matrices_alone_and_steps_as_far_as_adam():
    module = Wide()
    optimizer = optimizer_of(partial(Muon, lr=1.0, weight_decay=0.0), module)
    changes = moved(module, optimizer, 1)
    singular = torch.linalg.svdvals(changes["linear.weight"])
    assert float(singular.max() / singular.min()) < 2
    assert 0.68 < float(changes["linear.weight"].square().mean().sqrt()) / 0.2 < 1.13  # where its singular values end
    by_group = {id(p): group["matrices"] for group in optimizer.param_groups for p in group["params"]}
    named = {name: by_group[id(p)] for name, p in module.named_parameters()}
    assert [name for name, matrices in named.items() if matrices] == ["linear.weight"]


def test_muon_moves_what_is_no_matrix_as_adamw_does():
    torch.manual_seed(0)
    one, other = Wide(), Wide()
    other.load_state_dict(one.state_dict())
    given = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1}
    ours = moved(one, optimizer_of(partial(Muon, **given), one))
    theirs = moved(other, optimizer_of(partial(torch.optim.AdamW, **given), other))
    for name in set(ours) - {"linear.weight"}:
        assert torch.allclose(ours[name], theirs[name], atol=1e-6), name
    assert not torch.allclose(ours["linear.weight"], theirs["linear.weight"], atol=1e-2)


def test_muon_agrees_with_that_of_torch():
    torch.manual_seed(0)
    one, other = nn.Linear(40, 24, bias=False), nn.Linear(40, 24, bias=False)
    other.load_state_dict(one.state_dict())
    given = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    ours = moved(one, optimizer_of(partial(Muon, **given), one))["weight"]
    theirs = moved(other, torch.optim.Muon(other.parameters(), adjust_lr_fn="match_rms_adamw", **given))["weight"]
    assert float((ours - theirs).norm() / theirs.norm()) < 0.02  # theirs iterates in bfloat16


def test_muon_refuses_a_kernel_among_its_matrices():
    with pytest.raises(ValueError, match=r"shape \[2, 2, 3\] is no matrix"):
        Muon([{"params": list(Small().conv.parameters()), "matrices": True}])


@pytest.mark.parametrize("name", choices("lr_schedule"))
def test_every_schedule_rises_from_little_never_exceeds_one_and_ends_as_told(name):
    end = [] if name == "constant" else ["lr_schedule.total_steps=100", "lr_schedule.final_factor=0.1"]
    cfg = composed(["data.path=x", f"lr_schedule={name}", "lr_schedule.warmup_steps=10", *end])
    factor = build(plain(cfg.lr_schedule))
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert values[:10] == sorted(values[:10])
    assert max(values) == 1
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[100] == pytest.approx(1.0 if name == "constant" else 0.1)
    assert (values[70] == 1) == (name != "cosine")


def test_missing_package_is_named_with_its_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"optimisers\]"):
        run(tmp_path, *steps(1), "optimizer._target_=pytorch_optimizer.NoSuch")


def test_a_run_that_was_to_end_is_prolonged_as_if_it_never_was(tmp_path):
    given = ["lr_schedule=wsd", "lr_schedule.warmup_steps=2"]
    run(tmp_path / "whole", *steps(7, every=7), *given, "lr_schedule.total_steps=40")
    early = [*given, "lr_schedule.total_steps=5"]  # the fall would begin behind step 4
    run(tmp_path / "parts", *steps(4, every=4), *early)
    run(tmp_path / "parts", *steps(7, every=7), *given, "lr_schedule.total_steps=40")
    assert equal(states(tmp_path / "whole")["raw"], states(tmp_path / "parts")["raw"])
