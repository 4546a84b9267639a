"""The hub: its layout, what is looked up where, and that nothing reaches the network unasked. Sockets are shut here."""

import json
import shutil
import socket

import pytest
import torch

import audiodiff
from audiodiff.cli import main
from audiodiff.models import registry
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_):
        raise OSError("the network is shut")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def far(tmp_path, monkeypatch):
    """A hub that is a folder."""
    place = tmp_path / "far"

    class Api:
        def create_repo(self, name, private, exist_ok):
            (place / name).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, place / repo_id, dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, revision, allow_patterns: place / name)
    return place


def test_pushed_model_comes_back_equal(far, tiny_model_path):
    model = Vocoder.load(tiny_model_path)
    assert model.push_to_hub("me/tiny") == "hf://me/tiny"
    assert sorted(p.name for p in (far / "me" / "tiny").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for back in (Vocoder.from_pretrained("me/tiny"), Vocoder.load("hf://me/tiny@main"), Vocoder.load(far / "me/tiny")):
        assert back.fingerprint() == model.fingerprint()
        assert back.config == model.config and back.info == model.info


def test_shipped_weights_stay_in_sixteen_bits_and_keep_their_card(far):
    Model.load("speech-16k").push_to_hub("me/speech")
    size = (far / "me/speech/model.safetensors").stat().st_size
    assert size == pytest.approx(registry.locate("speech-16k").stat().st_size, rel=0.02)  # and the description
    card = (far / "me/speech/README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\nlibrary_name: audiodiff\npipeline_tag: audio-to-audio\n")
    assert "# speech-16k" in card
    assert "[LICENSE](LICENSE)" in card and (far / "me/speech/LICENSE").read_text()
    assert 'audiodiff.Vocoder.from_pretrained("me/speech")' in card
    assert hasattr(audiodiff, "Vocoder")


@pytest.mark.parametrize("name", registry.shipped())
def test_card_of_a_shipped_model_has_a_licence_that_the_hub_knows(name, tmp_path):
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import ModelCard

    model = Model.load(name)
    model.write_hub_layout(tmp_path / "out", "me/it")
    data = ModelCard((tmp_path / "out" / "README.md").read_text()).data
    assert data.license in {"cc-by-sa-4.0", "gpl-3.0", "apache-2.0", "cc-by-4.0", "cc0-1.0"}
    assert data.library_name == "audiodiff"
    assert {"audio", "diffusion"} < set(data.tags)


def test_weights_beyond_sixteen_bits_are_stored_in_thirty_two(tmp_path, tiny_model_path):
    model = Vocoder.load(tiny_model_path)
    with torch.no_grad():
        next(model.parameters()).fill_(1 / 3)
    model.write_hub_layout(tmp_path / "out", "me/tiny")
    assert Vocoder.load(tmp_path / "out").fingerprint() == model.fingerprint()


def test_names_here_never_reach_the_network(tiny_model_path):
    assert Vocoder.from_pretrained("speech-16k").sample_rate == 16000
    assert Vocoder.from_pretrained(tiny_model_path).sample_rate == 16000


@pytest.mark.parametrize("name", ["nobody/nothing", "hf://nobody/nothing"])
def test_unreachable_hub_is_told_in_one_line(name):
    with pytest.raises(ValueError, match=r"hf://nobody/nothing: cannot be fetched and is not in the cache") as error:
        Vocoder.from_pretrained(name) if "hf" not in name else Vocoder.load(name)
    assert "\n" not in str(error.value)


def test_cached_model_loads_offline(tmp_path, monkeypatch, tiny_model_path):
    """The cache is laid out as huggingface_hub lays it out: refs name a commit, snapshots hold its files."""
    cache = tmp_path / "cache"
    commit = "0" * 39 + "1"
    Vocoder.load(tiny_model_path).write_hub_layout(cache / "models--me--tiny" / "snapshots" / commit, "me/tiny")
    (cache / "models--me--tiny" / "refs").mkdir()
    (cache / "models--me--tiny" / "refs" / "main").write_text(commit)
    download = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: download(*a, cache_dir=cache, **k))
    assert Vocoder.from_pretrained("me/tiny").fingerprint() == Vocoder.load(tiny_model_path).fingerprint()


def test_repository_of_something_else_is_refused(far):
    (far / "me" / "bert").mkdir(parents=True)
    (far / "me" / "bert" / "config.json").write_text(json.dumps({"architectures": ["Bert"]}))
    with pytest.raises(ValueError, match=r"holds no model.safetensors; it is no model of audiodiff"):
        Vocoder.from_pretrained("me/bert")


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "../x", "hf://"])
def test_what_is_no_name_of_the_hub_is_refused(name, tiny_model_path, capsys):
    assert main(["push", str(tiny_model_path), name]) == 2
    assert "owner/name is wanted" in capsys.readouterr().err


def test_push_can_write_a_folder_instead(tmp_path, tiny_model_path, capsys):
    assert main(["push", str(tiny_model_path), "me/tiny", "--out", str(tmp_path / "out")]) == 0
    assert "nothing was uploaded" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "out")]) == 0
    assert main(["push", str(tiny_model_path), "me/tiny", "--out", str(tmp_path / "out")]) == 2


def test_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"audiodiff-torch\[hub\]"):
        Vocoder.load("hf://me/tiny")
