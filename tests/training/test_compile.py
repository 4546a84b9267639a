"""`compile=true`: the same steps in fewer passes over memory, only where a step is; and what it wants is said."""

import copy

import pytest
import torch
from conftest import tiny_vocoder
from support.training import run, states, steps

from audiodiff.training import compile
from audiodiff.training.compile import Compiled, compile_blocks
from audiodiff.training.dropout import blocks_of


def awake(model):
    """Gives a fresh network weights under which every part of it is heard."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return model


def gradients(network, loss):
    return dict(zip(dict(network.named_parameters()), torch.autograd.grad(loss, network.parameters()), strict=True))


@pytest.mark.slow
def test_compiled_blocks_give_the_same_loss_and_gradients_and_keep_their_names():
    plain = awake(tiny_vocoder().denoiser.network)
    fused = copy.deepcopy(plain)
    compile_blocks(fused)
    draw = torch.Generator().manual_seed(0)
    x, mel = torch.randn(2, 1, 4096, generator=draw), torch.randn(2, plain.mel_encoder.layers[0].in_channels, 16)
    losses = [n(x, torch.zeros(2), n.encode(mel)).square().mean() for n in (plain, fused)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
    ours, theirs = gradients(fused, losses[1]), gradients(plain, losses[0])
    assert ours.keys() == theirs.keys() == plain.state_dict().keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()) + 1e-8)


@pytest.mark.slow
def test_compiled_run_is_resumed_and_stays_close_to_one_that_is_not_compiled(tmp_path):
    run(tmp_path / "plain", *steps(6))
    run(tmp_path / "fused", *steps(6, every=3), "compile=true", "previews=1")
    whole = states(tmp_path / "fused")["raw"]
    run(tmp_path / "parts", *steps(3, every=3), "compile=true")
    run(tmp_path / "parts", *steps(6, every=3), "compile=true")
    parts, plain = states(tmp_path / "parts")["raw"], states(tmp_path / "plain")["raw"]
    assert whole.keys() == plain.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=1e-6)
        torch.testing.assert_close(plain[name], weight, rtol=0, atol=1e-4)


def test_compiled_blocks_are_set_aside_while_a_run_validates_and_taken_up_when_it_fails(monkeypatch):
    told = []
    monkeypatch.setattr(torch.compiler, "set_stance", told.append)
    callback = Compiled()
    callback.on_validation_start(None, None)
    callback.on_validation_end(None, None)
    callback.on_validation_start(None, None)
    callback.on_exception(None, None, ValueError())
    assert told == ["force_eager", "default"] * 2


def test_every_block_is_compiled_and_nothing_else():
    network = tiny_vocoder().denoiser.network
    compile_blocks(network)
    compiled = [m for m in network.modules() if m._compiled_call_impl is not None]
    assert compiled == blocks_of(network) != []


def test_network_without_blocks_and_machine_without_a_compiler_are_told(monkeypatch):
    with pytest.raises(ValueError, match="knows no block of a Linear"):
        compile_blocks(torch.nn.Linear(1, 1))
    monkeypatch.setattr(compile.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="needs a C\\+\\+ compiler"):
        compile_blocks(tiny_vocoder().denoiser.network)
