"""What another model knew is taken, carried over where frequency says how, or named; adapters add to it and merge."""

import json
import shutil

import pytest
import torch
from conftest import tiny_vocoder
from support.continual import manifest
from support.training import TINY, equal, run, states, steps
from torch import nn

from audiodiff.models import lora_files
from audiodiff.models.base import Model
from audiodiff.nn.coefficients import CoefficientNetwork
from audiodiff.nn.hybrid import HybridNetwork
from audiodiff.nn.lora import LowRank, adapt, merged
from audiodiff.training.hydra_config import composed
from audiodiff.training.transfer import interpolation, transfer
from audiodiff.utils.config import build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def model_of(*overrides):
    from audiodiff.training.hydra_config import plain

    config = plain(composed([*TINY, *overrides]).model)
    model = build(config)
    model.config, model.info = config, {}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator(parameter.numel())))
    return model


def test_equal_models_transfer_everything():
    first, model = model_of(), model_of("seed=1")
    nn.init.zeros_(model.denoiser.network.norm.weight)
    told = transfer(model, first)
    assert equal(first.state_dict(), model.state_dict())
    assert len(told.same) == len(first.state_dict())
    assert not told.carried + told.fresh + told.unused


def test_strict_transfer_names_what_does_not_fit_and_the_remedy():
    first, model = model_of(), model_of("model.denoiser.network.n_stages=2")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"stages\.1.* and \d+ more do not fit.*init_strict=false"):
        transfer(model, first)
    assert equal(before, model.state_dict())


def test_loose_transfer_takes_what_fits_and_tells_the_rest_tensor_by_tensor():
    first, model = model_of("model.denoiser.network.n_stages=2"), model_of()
    fresh = model.state_dict()["denoiser.network.mel_encoder.outward.weight"].clone()
    told = transfer(model, first, strict=False)
    assert torch.equal(model.denoiser.network.norm.weight, first.denoiser.network.norm.weight)
    assert torch.equal(model.denoiser.network.mel_encoder.outward.weight, fresh)
    lines = str(told).splitlines()
    assert lines[0].startswith(f"{len(told.same)} tensors")
    assert any("fresh: denoiser.network.mel_encoder.outward.weight" in line for line in lines)
    assert sum("unused" in line for line in lines) == len(told.unused) > 0


def test_other_bands_give_the_features_of_a_mel_that_is_smooth():
    first, model = model_of(), model_of("mel.n_mels=100")
    told = transfer(model, first, strict=False)
    assert any("mel_encoder.layers.0.weight [16, 80, 7] → [16, 100, 7]" in line for line in told.carried)

    def features(model):
        from audiodiff.mel.filterbank import band_centres

        place = band_centres(model.mel).float() / 8000
        mel = (-5 + 3 * (3 * place).sin())[None, :, None].expand(1, -1, 12)
        return model.denoiser.network.mel_encoder(mel)

    assert torch.allclose(features(model), features(first), atol=0.02 * float(features(first).std()))
    assert not any("mel_encoder.layers.0" in line for line in told.fresh)


def test_network_at_twice_the_rate_does_below_the_old_limit_what_the_old_one_did():
    def network(n_fft, hop):
        return HybridNetwork(
            hop, n_fft, width=16, dilations=[1], n_stages=1, n_heads=2, attention_window=4, embedding=16
        )

    class Holder:
        def __init__(self, rate, n_fft, hop):
            inner = network(n_fft, hop)
            self.sample_rate = rate
            self.denoiser = nn.Module()
            self.denoiser.network = inner
            self.state_dict, self.load_state_dict = self.denoiser.state_dict, self.denoiser.load_state_dict

    first, model = Holder(8000, 128, 64), Holder(16000, 256, 128)
    with torch.no_grad():
        for parameter in first.denoiser.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator(parameter.numel())))
    transfer(model, first, strict=False)
    frames = 160
    spectrum = torch.fft.rfft(torch.randn(1, 1, frames * 64, generator=generator()))
    spectrum[..., int(0.8 * spectrum.shape[-1]) :] = 0
    slow = torch.fft.irfft(spectrum, n=frames * 64)
    fast = 2 * torch.fft.irfft(spectrum, n=frames * 128)  # the same sound
    with torch.no_grad():
        one, two = (m.denoiser.network(x, torch.zeros(1)) for m, x in ((first, slow), (model, fast)))
    low = torch.fft.rfft(two)[..., : frames * 32 + 1] / 2
    heard = torch.fft.irfft(low, n=frames * 64)
    inner = slice(20 * 64, -20 * 64)
    error = (heard - one)[..., inner].norm() / (one - slow)[..., inner].norm()
    assert float(error) < 0.05
    assert float((one - slow).norm()) > 0.25 * float(slow.norm())


@pytest.mark.parametrize("hops", [(8, 16), (16, 8)])
def test_other_blocks_are_read_and_written_at_their_frequency(hops):
    def holder(hop):
        held = nn.Module()
        held.sample_rate, held.denoiser = 1600, nn.Module()
        held.denoiser.network = CoefficientNetwork(
            hop, width=16, dilations=[1], n_stages=1, n_heads=2, attention_window=4, embedding=16, n_positions=96 // hop
        )
        return held

    def places(network, of):
        return (torch.arange(of) + 0.5) / of

    first, model = (holder(hop) for hop in hops)
    old, new = first.denoiser.network, model.denoiser.network
    with torch.no_grad():
        for line in (old.positions, old.outward.bias.unflatten(0, (2, -1)).T):
            line.copy_(places(old, len(line))[:, None].expand_as(line))
    transfer(model, first, strict=False)
    inner = slice(1, -1)  # half a bin at each end is held, not continued
    for line in (new.positions, new.outward.bias.unflatten(0, (2, -1)).T):
        assert torch.allclose(line[inner], places(new, len(line))[inner, None].expand_as(line[inner]), atol=1e-6)
    assert float(new.outward.bias.detach().min()) > 0
    smooth = [(2 * places(network, network.hop_length)).sin().repeat(2) for network in (old, new)]
    features = [network.inward(x) for network, x in zip((old, new), smooth, strict=True)]
    assert torch.allclose(*features, atol=0.05)
    assert float(features[0].detach().std()) > 0.25


def test_interpolation_reproduces_lines_and_stops_at_the_last_place():
    known, wanted = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 0.25, 2.0, 3.0, 3.5])
    matrix = interpolation(known, wanted)
    assert torch.allclose(matrix @ (2 * known + 1).double(), torch.tensor([1.0, 1.5, 5.0, 7.0, 0.0]).double())


def test_a_run_with_another_number_of_bands_goes_on_from_a_model(tmp_path, caplog):
    run(tmp_path / "old", *steps(1))
    with pytest.raises(ValueError, match="init_strict=false"):
        run(tmp_path / "new", *steps(1), "mel.n_mels=64", f"init_from={tmp_path / 'old'}")
    with caplog.at_level("INFO"):
        run(tmp_path / "new", *steps(1), "mel.n_mels=64", f"init_from={tmp_path / 'old'}", "init_strict=false")
    assert "carried: denoiser.network.mel_encoder.layers.0.weight" in caplog.text


TARGETS = ["*stages.*.mlp.*.weight", "*.qkv.weight", "*conv.weight"]


@pytest.mark.parametrize("dora", [False, True])
def test_fresh_adapter_changes_nothing_and_a_trained_one_is_what_it_merges_to(dora):
    plain, adapted = model_of(), model_of()
    adapted.load_state_dict(plain.state_dict())
    names = adapt(adapted, TARGETS, rank=2, dora=dora)
    mel = torch.randn(1, plain.mel.n_mels, 12, generator=generator())
    assert torch.allclose(adapted.generate(mel), plain.generate(mel), atol=1e-5)
    learning = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert len(learning) == len(names) * (3 if dora else 2)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if name in learning:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator(parameter.numel())))
    assert not torch.allclose(adapted.generate(mel), plain.generate(mel), atol=1e-4)
    plain.load_state_dict(merged(adapted.state_dict()))
    assert torch.allclose(adapted.generate(mel), plain.generate(mel), atol=1e-5)


def test_change_of_an_adapter_has_its_rank():
    weight = torch.randn(10, 6, 3, generator=generator())
    low = LowRank(weight, 2, 4.0, generator=generator())
    nn.init.normal_(low.b, generator=generator(1))
    assert int(torch.linalg.matrix_rank((low(weight) - weight).detach().flatten(1), rtol=1e-4)) == 2


LORA = ["adapter=lora", "adapter.rank=2", "optimizer.lr=1e-2"]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A run, and another that went on from it with adapters."""
    folder = tmp_path_factory.mktemp("adapted")
    run(folder / "base", *steps(2))
    run(folder / "lora", *steps(4, every=2), *LORA, f"init_from={folder / 'base'}")
    return folder


def test_run_with_adapters_resumes_bit_for_bit_and_leaves_the_rest_alone(adapted, tmp_path):
    for n in (2, 4):
        run(tmp_path, *steps(n, every=2), *LORA, f"init_from={adapted / 'base'}")
    for weights in ("raw", "ema"):
        assert equal(states(adapted / "lora")[weights], states(tmp_path)[weights])
    base, after = Model.load(adapted / "base").state_dict(), states(tmp_path)["raw"]
    moved = {name for name in base if not torch.equal(base[name], after[name])}
    assert moved
    assert all(".mlp." in name or ".qkv." in name for name in moved)


def test_adapter_alone_makes_of_the_base_what_the_run_exported(adapted):
    path = adapted / "lora" / "adapter.safetensors"
    model = lora_files.load(Model.load(adapted / "base"), path)
    exported = Model.load(adapted / "lora")
    mel = torch.full((1, model.mel.n_mels, 12), -5.0)
    assert torch.allclose(model.generate(mel), exported.generate(mel), atol=1e-5)
    assert path.stat().st_size < 0.6 * (adapted / "base" / "model.safetensors").stat().st_size
    assert "parametrizations" not in json.dumps(list(exported.state_dict()))
    assert not (adapted / "base" / "adapter.safetensors").exists()


def test_adapter_of_another_model_is_refused(adapted, tmp_path):
    with pytest.raises(ValueError, match="give the model that was adapted"):
        lora_files.load(model_of("model.denoiser.network.width=32"), adapted / "lora" / "adapter.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"none")
    with pytest.raises(ValueError, match="is no safetensors file"):
        lora_files.load(tiny_vocoder(), tmp_path / "x.safetensors")


@pytest.mark.parametrize("given", [{"rank": 0}, {"targets": ["*lstm*"]}])
def test_adapter_that_cannot_be_is_refused(given):
    with pytest.raises(ValueError, match=r"at least 1|matches no weight"):
        adapt(tiny_vocoder(), **({"targets": TARGETS} | given))


@pytest.mark.parametrize(
    "given", ["adapter=lora", "model.denoiser.network.width=32", "continual=l2-sp", "forgetting={old}"]
)
def test_run_does_not_resume_as_what_it_did_not_begin_as(adapted, tmp_path, given):
    shutil.copytree(adapted / "base", tmp_path / "base")
    given = given.format(old=manifest(tmp_path / "old.jsonl"))
    with pytest.raises(ValueError, match=r"last.ckpt: (is of another model|began without).*resume=false"):
        run(tmp_path / "base", *steps(4), given)
    begin = [f"init_from={adapted / 'base'}"] if "adapter" in given else []  # an adapter wants a first model
    run(tmp_path / "base", *steps(1), given, "resume=false", *begin)


def test_parametrizations_of_others_than_the_model_are_no_adapter(tmp_path):
    judge = "discriminators.periods.0.parametrizations.weight.original0"
    torch.save({"state_dict": {judge: torch.ones(2), "model.layer.weight": torch.ones(2)}}, tmp_path / "last.ckpt")
    assert not lora_files.export(tmp_path / "last.ckpt", tmp_path / "adapter.safetensors")
    assert not (tmp_path / "adapter.safetensors").exists()
