"""Models on disk: whole, exact, and without code that a file brings along."""

import copy
import io
import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import TINY, tiny_vocoder
from support.damage import Payload
from support.export import tiny_generator

import audiodiff
from audiodiff.models import checkpoint as models_checkpoint
from audiodiff.models import registry
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.config import build


@pytest.fixture
def vocoder(tiny_model_path):
    return Model.load(tiny_model_path)


def moved(model, step=0.01):
    """The same weights, each a little larger: what a trainer's last weights are to their average."""
    return {name: tensor + step for name, tensor in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def checkpoint(path, model, raw=None, **changes):
    """Writes what the trainer writes."""
    content = {
        "state_dict": {f"model.{name}": tensor for name, tensor in model.state_dict().items()},
        "audiodiff": {"config": model.config, "info": model.info},
    }
    if raw is not None:
        content["current_model_state"] = {f"model.{name}": tensor for name, tensor in raw.items()}
    torch.save({**content, **changes}, path)
    return path


def edited(path, folder, edit):
    """Copies a model with its JSON changed."""
    header = json.loads(path.with_suffix(".json").read_text())
    replaced = edit(header)
    (folder / "model.safetensors").write_bytes(path.read_bytes())
    (folder / "model.json").write_text(json.dumps(header if replaced is None else replaced))
    return folder / "model.safetensors"


def test_saved_model_comes_back_bit_for_bit(vocoder, tmp_path):
    vocoder.save(tmp_path / "a.safetensors")
    back = Model.load(tmp_path / "a.safetensors")
    assert same(back.state_dict(), vocoder.state_dict())
    assert (back.config, back.info) == (vocoder.config, vocoder.info)
    mel = torch.full((1, 80, 10), -5.0)
    assert torch.equal(back.generate(mel, seed=2), vocoder.generate(mel, seed=2))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_saved_model_is_ready_to_be_used(tiny_model_path):
    model = Model.load(tiny_model_path)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.device == torch.device("cpu")


def test_model_saves_and_loads_itself(vocoder, tmp_path):
    vocoder.save(tmp_path / "name")  # the suffix is added
    assert same(Vocoder.load(tmp_path / "name.safetensors").state_dict(), vocoder.state_dict())
    with pytest.raises(ValueError, match="holds a Vocoder, and a Generator is wanted"):
        Generator.load(tmp_path / "name.safetensors")


def test_generator_comes_back_too(tmp_path):
    generator = tiny_generator()
    generator.save(tmp_path / "g")
    back = Generator.load(tmp_path / "g.safetensors")
    assert torch.equal(back.generate(640, steps=2), generator.generate(640, steps=2))


def test_raw_weights_are_kept_beside_the_averaged(vocoder, tmp_path):
    raw = moved(vocoder)
    vocoder.save(tmp_path / "a", raw)
    assert same(Model.load(tmp_path / "a.safetensors").state_dict(), vocoder.state_dict())
    assert same(Model.load(tmp_path / "a.safetensors", weights="ema").state_dict(), vocoder.state_dict())
    assert same(Model.load(tmp_path / "a.safetensors", weights="raw").state_dict(), raw)


def test_raw_weights_that_are_not_there_are_a_clear_error(tiny_model_path, vocoder, tmp_path):
    with pytest.raises(ValueError, match="holds only averaged weights; leave out --weights raw"):
        Model.load(tiny_model_path, weights="raw")
    with pytest.raises(ValueError, match="holds one set of weights; leave out --weights raw"):
        Model.load(checkpoint(tmp_path / "a.ckpt", vocoder), weights="raw")
    with pytest.raises(ValueError, match="weights='best': choose ema or raw"):
        Model.load(tiny_model_path, weights="best")


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float16, 11), (torch.bfloat16, 8)])
def test_model_stored_in_half_precision_is_used_in_full(vocoder, tmp_path, dtype, bits):
    vocoder.save(tmp_path / "half", dtype=dtype)
    back = Model.load(tmp_path / "half.safetensors")
    for name, tensor in back.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.allclose(tensor, vocoder.state_dict()[name], rtol=2**-bits, atol=1e-7)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * sum(4 * p.numel() for p in vocoder.parameters())


def test_checkpoint_of_the_trainer_is_a_model(vocoder, tmp_path):
    raw = moved(vocoder)
    path = checkpoint(tmp_path / "last.ckpt", vocoder, raw)
    assert same(Model.load(path).state_dict(), vocoder.state_dict())
    assert same(Model.load(path, weights="raw").state_dict(), raw)
    assert Model.load(path).info == vocoder.info
    models_checkpoint.export(path, tmp_path / "model.safetensors")
    assert same(Model.load(tmp_path / "model.safetensors").state_dict(), vocoder.state_dict())
    assert same(Model.load(tmp_path / "model.safetensors", weights="raw").state_dict(), raw)
    models_checkpoint.export(path, tmp_path / "small.safetensors", torch.bfloat16, keep_raw=False)
    with pytest.raises(ValueError, match="only averaged"):
        Model.load(tmp_path / "small.safetensors", weights="raw")


def test_run_folder_means_its_model_or_else_its_checkpoint(vocoder, tmp_path):
    with pytest.raises(ValueError, match=r"holds neither model\.safetensors nor last\.ckpt; give a run's folder"):
        Model.load(tmp_path)
    checkpoint(tmp_path / "last.ckpt", vocoder)
    assert registry.locate(tmp_path) == tmp_path / "last.ckpt"
    assert same(Model.load(tmp_path).state_dict(), vocoder.state_dict())
    vocoder.save(tmp_path / "model")
    assert registry.locate(tmp_path) == tmp_path / "model.safetensors"


def test_unknown_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "shipped", lambda: ["one", "two"])
    with pytest.raises(ValueError, match=r"spech: no such model; give a file, .* \(one, two\)"):
        Model.load("spech")


def crafted(kind, path, vocoder, marker):
    if kind == "bare pickle":
        path.write_bytes(pickle.dumps(Payload(marker)))
    elif kind == "torch file":
        torch.save(Payload(marker), path)
    elif kind == "old torch file":
        torch.save(Payload(marker), path, _use_new_zipfile_serialization=False)
    else:
        checkpoint(path, vocoder, optimizer=Payload(marker))
    return path


@pytest.mark.parametrize("kind", ["bare pickle", "torch file", "old torch file", "checkpoint with one bad entry"])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".pt"])
def test_crafted_pickle_is_refused_and_its_payload_does_not_run(vocoder, tmp_path, kind, suffix):
    marker = tmp_path / "payload-ran"
    path = crafted(kind, tmp_path / f"model{suffix}", vocoder, marker)
    with pytest.raises(ValueError, match=r"refused as a checkpoint|is no safetensors file") as refused:
        Model.load(path)
    assert "\n" not in str(refused.value)
    assert not marker.exists()
    content = io.BytesIO(path.read_bytes())  # the payload is live: whoever trusts the file runs it
    pickle.load(content) if kind == "bare pickle" else torch.load(content, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize(
    "target", ["os.system", "audiodiff.audio.io.os.system", "torch.load", "audiodiff.models.checkpoint.read"]
)
def test_description_that_names_foreign_code_is_refused(tiny_model_path, tmp_path, target):
    def edit(header):
        header["config"]["whitening"] = {"_target_": target, "command": "true"}

    with pytest.raises(ValueError, match=rf"model\.safetensors: _target_ '{target}' (is refused|does not exist)"):
        Model.load(edited(tiny_model_path, tmp_path, edit))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda header: {"format": "audiodiff"}, "its description lacks a configuration"),
        (lambda header: [1, 2], "its description lacks a configuration"),
        (lambda header: {"config": 3}, "builds a int, and no model"),
        (lambda header: {"config": header["config"]["mel"]}, "builds a MelSpec, and no model"),
        (lambda header: header["config"].update(mell=header["config"].pop("mel")), "missing .*'mel'"),
        (lambda header: header["config"]["denoiser"]["network"].update(n_heads=3), "n_heads=3 must divide width=16"),
        (lambda header: header["config"]["denoiser"]["network"].update(width=32), "tensors and configuration disagree"),
        (
            lambda header: header["config"]["denoiser"]["network"].update(n_stages=2),
            "tensors and configuration disagree",
        ),
        (lambda header: header["config"]["denoiser"]["network"].update(n_mels=0), "tensors and configuration disagree"),
    ],
)
def test_description_that_does_not_fit_is_refused(tiny_model_path, tmp_path, edit, message):
    with pytest.raises(ValueError, match=rf"model\.safetensors: .*{message}"):
        Model.load(edited(tiny_model_path, tmp_path, edit))


NETWORK = "denoiser", "network"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((*NETWORK, "width"), "wide", "width='wide' is given, a whole number is wanted"),
        ((*NETWORK, "width"), [16], r"width=\[16\] is given, a whole number is wanted"),
        ((*NETWORK, "width"), 10**6, r"the configuration wants more than the \d+ numbers of the file"),
        ((*NETWORK, "n_stages"), 10**6, r"the configuration wants more than the \d+ numbers of the file"),
        ((*NETWORK, "dilations"), [10**9], "dilation=1000000000: a whole number from 1 to 10000 is wanted"),
        ((*NETWORK, "mel_hop_length"), 128, "tensors and configuration disagree"),
        ((*NETWORK, "_target_"), None, "_target_ None is refused"),
        (("denoiser", "prediction"), {}, "prediction={} is given, a Prediction is wanted"),
        (("denoiser", "schedule"), None, "schedule=None is given, a Schedule is wanted"),
        (("steps",), True, "steps=True is given, a whole number is wanted"),
        (("steps",), 2**31, "steps=2147483648: a whole number from 1 to 10000 is wanted"),
        (("final_iters",), -1, "final_iters=-1: a whole number from 0 to 10000 is wanted"),
        (("times",), [0.5, 0], "is given, a list of lists of numbers, or none is wanted"),
        (("mel", "floor"), float("inf"), "floor=inf is given, a number is wanted"),
        (("mel", "n_fft"), 2**20, "n_fft must be at most 65536"),
        (("whitening", "mel", "floor"), 1e-4, "the MelWhitening is of another mel than the vocoder"),
        (("whitening", "block"), 0, "block=0 must divide"),
        (("solver",), {"_target_": "audiodiff.diffusion.solvers.DDIM", "eta": "x"}, "eta='x' is given, a number"),
    ],
)
def test_every_value_of_a_description_is_checked(tiny_model_path, tmp_path, place, value, message):
    def edit(header):
        section = header["config"]
        for name in place[:-1]:
            section = section[name]
        section[place[-1]] = value

    with pytest.raises(ValueError, match=rf"model\.safetensors: .*{message}") as refused:
        Model.load(edited(tiny_model_path, tmp_path, edit))
    assert "\n" not in str(refused.value)


def test_network_that_does_not_fit_the_model_is_refused(tmp_path):
    """Of parts that are in order alone; one that is tried out fails."""
    config = copy.deepcopy(TINY)
    config["denoiser"]["network"] |= {"n_mels": 40}
    model = build(config)
    model.config = config
    model.save(tmp_path / "a")
    with pytest.raises(ValueError, match=r"a\.safetensors: .* builds a model that fails \(.*40 channels"):
        Model.load(tmp_path / "a.safetensors")


def test_tensors_without_any_description_are_refused(tiny_model_path, tmp_path):
    safetensors.torch.save_file(safetensors.torch.load_file(tiny_model_path), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"a\.json: is missing; keep it beside a\.safetensors"):
        Model.load(tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: is no JSON"):
        Model.load(tmp_path / "a.safetensors")


def test_model_that_was_killed_while_it_was_saved_is_the_new_one(vocoder, tmp_path, monkeypatch, caplog):
    """Between its two files: the tensors are in place, and beside them lies no description, or that of another."""
    other = tiny_vocoder(1)
    other.config["steps"] = 7
    wanted = other.state_dict()

    def die(path, header):
        raise KeyboardInterrupt

    for name in ("new", "old"):
        vocoder.save(tmp_path / "old")
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(models_checkpoint, "write_header", die)
            other.save(tmp_path / name)
        back = Model.load(tmp_path / f"{name}.safetensors")
        assert same(back.state_dict(), wanted)
        assert (back.steps, back.info) == (7, other.info)
    assert len(caplog.messages) == 1
    assert "old.json: is of other weights than old.safetensors, whose own description is taken" in caplog.messages[0]


def test_description_may_be_changed_by_hand(vocoder, tmp_path):
    vocoder.save(tmp_path / "a")
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(text.replace('"steps": 2', '"steps": 5'))
    assert Model.load(tmp_path / "a.safetensors").steps == 5


@pytest.mark.parametrize("damage", [lambda b: b[:-1000], lambda b: b[:4], lambda b: b"", lambda b: b"RIFF" + b[4:]])
def test_damaged_tensors_are_refused(tiny_model_path, tmp_path, damage):
    path = edited(tiny_model_path, tmp_path, lambda header: header)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="is no safetensors file"):
        Model.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audiodiff": {}}, "its description lacks a configuration"),
        ({"state_dict": {}}, "tensors and configuration disagree"),
        ({"state_dict": {"model.x": 3}}, "state_dict holds other things than tensors"),
        ({"state_dict": [3]}, "state_dict holds other things than tensors"),
        ({"state_dict": {"model.a.parametrizations.w.original": torch.zeros(2, 2)}}, "its adapters do not fit"),
    ],
)
def test_checkpoint_of_another_kind_is_refused(vocoder, tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"a\.ckpt: .*{message}"):
        Model.load(checkpoint(tmp_path / "a.ckpt", vocoder, **change))


def test_checkpoint_of_another_trainer_is_refused(tmp_path):
    for content in ({"weights": torch.zeros(3)}, torch.zeros(3), {"state_dict": {}}):
        torch.save(content, tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match="is no checkpoint of audiodiff's trainer"):
            Model.load(tmp_path / "a.ckpt")
    (tmp_path / "a.ckpt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="refused as a checkpoint"):
        Model.load(tmp_path / "a.ckpt")


def test_failed_save_leaves_the_old_model(vocoder, tmp_path, monkeypatch):
    vocoder.save(tmp_path / "a")
    before = (tmp_path / "a.safetensors").read_bytes()

    def fail(tensors):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save", fail)
    with pytest.raises(ValueError, match="No space left on device"):
        vocoder.save(tmp_path / "a")
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.safetensors"]


def test_model_hash_tells_weights_and_configurations_apart(vocoder, tmp_path):
    digest = vocoder.fingerprint()
    vocoder.save(tmp_path / "a")
    assert Model.load(tmp_path / "a.safetensors").fingerprint() == digest
    assert len(digest) == 16
    with torch.no_grad():
        next(vocoder.parameters()).view(-1)[0] += 1e-3
    assert vocoder.fingerprint() != digest
    other = Model.load(tmp_path / "a.safetensors")
    other.config["steps"] = 7
    assert other.fingerprint() != digest


def test_package_never_unpickles_code():
    sources = {p: p.read_text(encoding="utf-8") for p in Path(audiodiff.__file__).parent.rglob("*.py")}
    for path, source in sources.items():
        assert "weights_only=False" not in source, path
        assert "import pickle" not in source, path
        assert "allow_pickle=True" not in source, path
        assert source.count("torch.load(") == source.count("weights_only=True)"), path


def test_shipped_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch, caplog):
    (tmp_path / "speech-16k").mkdir()
    monkeypatch.chdir(tmp_path)
    registry.say_once.cache_clear()
    assert registry.locate("speech-16k").parent.name == "weights"
    assert registry.locate("speech-16k").parent.name == "weights"
    assert caplog.messages == ["speech-16k: the shipped model is taken; give ./speech-16k for what lies here"]
    with pytest.raises(ValueError, match="holds neither"):
        registry.locate("./speech-16k")


def test_names_with_dots_are_two_files(tmp_path, vocoder):
    for name in ("voice-v1.5", "voice-v1.6"):
        vocoder.save(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "voice-v1.5.json",
        "voice-v1.5.safetensors",
        "voice-v1.6.json",
        "voice-v1.6.safetensors",
    ]
    for name in ("voice-v1.5", "voice-v1.5.safetensors"):
        assert Vocoder.load(tmp_path / name).sample_rate == vocoder.sample_rate
