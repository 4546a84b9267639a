"""Recipes and sidecars: what is written beside a sound is enough to make it again, and nothing in it is trusted."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_vocoder, voiced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.models import named_starts
from audiodiff.models.starts import GriffinLim, PureNoise
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines import sidecar, vocoding
from audiodiff.pipelines.resynthesis import Resynthesis
from audiodiff.utils import devices


@pytest.fixture
def place(tmp_path, tiny_model_path, monkeypatch):
    """A folder with a stereo recording at another rate, its mel, and a model."""
    for path in (tiny_model_path, tiny_model_path.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    audio.write("in.wav", torch.cat([voiced(0.5, 22050), voiced(0.5, 22050, pitch=150, seed=1)]), 22050)
    np.save("mel.npy", np.random.default_rng(0).normal(-5, 2, (80, 30)).astype(np.float32))
    return tmp_path


def made(*options, source="in.wav", command="resynth"):
    """Makes out.wav; returns its sidecar."""
    assert main([command, source, "out.wav", "--model", "tiny.safetensors", *options]) == 0
    return json.loads((Path("out.wav.json")).read_text())


# --- what is written ---------------------------------------------------------------------------------------------


def test_sidecar_holds_what_is_needed_and_nothing_else(place):
    note = made("--seed", "3", "--steps", "4", "--solver", "midpoint", "--chunk-seconds", "0.32")
    vocoder = Vocoder.load("tiny.safetensors")
    assert note == {
        "command": "resynth",
        "model": str(place / "tiny.safetensors"),
        "model_hash": vocoder.fingerprint(),
        "weights": "ema",
        "device": devices.resolve("auto").type,
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "seed": 3,
        "solver": "midpoint",
        "times": [1.0, 0.75, 0.5, 0.25, 0.0],
        "start": {"name": "noise"},
        "chunk_frames": 20,
        "mel": None,
        "input": str(place / "in.wav"),
        "input_sha256": sidecar.file_hash("in.wav"),
        "versions": sidecar.versions(),
    }
    assert sidecar.versions().keys() == {"audiodiff", "torch", "numpy", "python"}


def test_sidecar_names_the_steps_and_the_start_that_the_model_chose(place):
    vocoder = tiny_vocoder()
    vocoder.config["start"] = {
        "_target_": "audiodiff.models.GriffinLim",
        "mel": vocoder.config["mel"],
        "time": 0.25,
        "n_iter": 3,
    }
    vocoder.save("warm.safetensors")
    own = made("--model", "warm.safetensors")
    assert len(own["times"]) == vocoder.steps + 1
    assert own["start"] == named_starts.describe_start(GriffinLim(vocoder.mel, time=0.25, n_iter=3))
    assert (own["start"]["name"], own["start"]["time"], own["start"]["n_iter"]) == ("griffin-lim", 0.25, 3)
    asked = made("--model", "warm.safetensors", "--start", "griffin-lim", "-f")
    assert asked["start"] == own["start"]  # the model's own parameters, where it is of this kind
    assert made("--model", "warm.safetensors", "--start", "noise", "-f")["start"] == {"name": "noise"}


def test_hash_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sidecar.file_hash(tmp_path / "abc") == expected


# --- making it again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "source", "options"),
    [
        ("resynth", "in.wav", ["--seed", "5"]),
        ("resynth", "in.wav", ["--steps", "3", "--solver", "dpmpp-2m", "--chunk-seconds", "0.2"]),
        ("resynth", "in.wav", ["--start", "griffin-lim", "--steps", "1"]),
        ("vocode", "mel.npy", ["--seed", "9"]),
    ],
)
def test_regenerate_reproduces_the_bytes_from_anywhere(place, tmp_path_factory, monkeypatch, command, source, options):
    made(*options, source=source, command=command)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert main(["regenerate", str(place / "out.wav.json"), "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == (place / "out.wav").read_bytes()
    assert Path("again.wav.json").read_bytes() == (place / "out.wav.json").read_bytes()


def test_regenerate_follows_every_field(place):
    """Each field that decides the sound is changed in the sidecar, and the sound must change with it."""
    note = made("--steps", "2")
    original = Path("out.wav").read_bytes()
    griffin_lim = named_starts.describe_start(GriffinLim(Vocoder.load("tiny.safetensors").mel))
    for change in (
        {"seed": 1},
        {"times": [1.0, 0.6, 0.2, 0.0]},
        {"solver": "dpmpp-2m"},
        {"start": griffin_lim, "times": [0.45, 0.2, 0.0]},
    ):
        Path("other.wav.json").write_text(json.dumps(note | change))
        assert main(["regenerate", "other.wav.json", "other.wav", "-f"]) == 0
        assert Path("other.wav").read_bytes() != original, change


def test_regenerate_takes_the_weights_that_were_taken(place):
    tiny_vocoder().save("both.safetensors", raw=tiny_vocoder(seed=1).state_dict())
    assert made("--model", "both.safetensors", "--weights", "raw")["weights"] == "raw"
    assert main(["regenerate", "out.wav.json", "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == Path("out.wav").read_bytes()


def test_regenerate_multiplies_in_the_precision_of_then(place, monkeypatch):
    assert made("--precision", "float32")["precision"] == "float32"
    assert made("-f", "--precision", "bfloat16")["precision"] == "bfloat16"
    used, make = [], Vocoder.generate
    monkeypatch.setattr(Vocoder, "generate", lambda self, *a, **k: used.append(self.precision) or make(self, *a, **k))
    assert main(["regenerate", "out.wav.json", "again.wav"]) == 0
    assert set(used) == {"bfloat16"}
    assert Path("again.wav").read_bytes() == Path("out.wav").read_bytes()


def test_regenerate_uses_as_many_threads_as_then(place, monkeypatch):
    with devices.cpu_threads(3):
        assert made()["threads"] == 3
    used, before, make = [], torch.get_num_threads(), Vocoder.generate
    monkeypatch.setattr(Vocoder, "generate", lambda *a, **k: used.append(torch.get_num_threads()) or make(*a, **k))
    assert main(["regenerate", "out.wav.json", "again.wav"]) == 0
    assert set(used) == {3}
    assert torch.get_num_threads() == before


def test_regenerate_does_not_overwrite_without_force(place, capsys):
    made()
    before = Path("out.wav").read_bytes()
    assert main(["regenerate", "out.wav.json", "out.wav"]) == 2
    assert "-f" in capsys.readouterr().err
    assert Path("out.wav").read_bytes() == before
    assert main(["regenerate", "out.wav.json", "out.wav", "-f"]) == 0
    assert Path("out.wav").read_bytes() == before


def test_regenerate_does_not_overwrite_somebodys_sidecar(place, capsys):
    made()
    Path("again.wav.json").write_text("valued")
    assert main(["regenerate", "out.wav.json", "again.wav"]) == 2
    assert "-f" in capsys.readouterr().err
    assert (Path("again.wav.json").read_text(), Path("again.wav").exists()) == ("valued", False)


# --- what has changed --------------------------------------------------------------------------------------------


def refusal(capsys, *words):
    """Checks that regenerate refuses in one line with these words, and writes nothing."""
    capsys.readouterr()
    assert main(["regenerate", "out.wav.json", "again.wav"]) == 2
    err = capsys.readouterr().err
    assert (err[:11], err.count("\n")) == ("audiodiff: ", 1), err
    assert [word for word in words if word not in err] == [], err
    assert not Path("again.wav").exists()
    assert not Path("again.wav.json").exists()


def test_changed_input_is_refused(place, capsys):
    made()
    audio.write("in.wav", voiced(0.5, 22050, seed=9), 22050)
    refusal(capsys, "in.wav has changed", sidecar.file_hash("in.wav")[:16])


def test_missing_input_is_refused(place, capsys):
    made()
    Path("in.wav").unlink()
    refusal(capsys, "in.wav", "gone", "put it back")


def test_changed_model_is_refused(place, capsys):
    made()
    tiny_vocoder(seed=1).save("tiny.safetensors")
    refusal(capsys, "tiny.safetensors has changed", tiny_vocoder(seed=1).fingerprint())


def test_missing_model_is_refused(place, capsys):
    made()
    Path("tiny.safetensors").unlink()
    refusal(capsys, "tiny.safetensors", "no such model")


def test_other_versions_are_told_and_no_error(place, caplog):
    note = made()
    Path("out.wav.json").write_text(json.dumps(note | {"versions": note["versions"] | {"torch": "1.0"}}))
    assert main(["regenerate", "out.wav.json", "again.wav"]) == 0
    assert len([record for record in caplog.records if "full scale" not in record.getMessage()]) == 1
    assert f"torch {torch.__version__}" in caplog.text
    assert "numpy" not in caplog.text


# --- a stranger's sidecar ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF\xff\xfe",
        b"[1, 2]",
        b"null",
        b'"text"',
        b"{}",
        b"{" * 50_000,
        b"[" * 90_000,
        b" " * 200_000,
        b"1e999",
    ],
)
def test_what_is_no_sidecar_is_refused(place, capsys, content):
    Path("out.wav.json").write_bytes(content)
    refusal(capsys, "out.wav.json", "sidecar")


def test_missing_and_unknown_fields_are_named(place, capsys):
    note = made()
    Path("out.wav.json").write_text(json.dumps({name: v for name, v in note.items() if name != "seed"}))
    refusal(capsys, "seed")
    Path("out.wav.json").write_text(json.dumps(note | {"speed": 2}))
    refusal(capsys, "speed")


WARM = named_starts.describe_start(GriffinLim(tiny_vocoder().mel))
BAD_FIELDS = [
    ({"command": "rm"}, "command='rm'"),
    ({"command": ["resynth"]}, "command=['resynth']"),
    ({"model": 3}, "model=3"),
    ({"model_hash": None}, "model_hash=None"),
    ({"weights": "best"}, "weights='best'"),
    ({"device": {}}, "device={}"),
    ({"device": "meta"}, "device 'meta'"),
    ({"precision": "float16"}, "precision="),
    ({"threads": 0}, "threads=0"),
    ({"threads": 10**9}, "threads=1000000000"),
    ({"seed": -1}, "seed=-1"),
    ({"seed": 2**64}, "seed=18446744073709551616"),
    ({"seed": 1.5}, "seed=1.5"),
    ({"seed": True}, "seed=True"),
    ({"solver": ["ddim"]}, "solver=['ddim']"),
    ({"solver": "euler"}, "out.wav.json: unknown solver 'euler'"),
    ({"times": [0.0]}, "times="),
    ({"times": [1.0, 0.5]}, "times="),
    ({"times": [0.5, 1.0, 0.0]}, "times="),
    ({"times": [1.5, 0.0]}, "times="),
    ({"times": [1.0, True, 0.0]}, "times="),
    ({"times": [float("nan"), 0.0]}, "times="),
    ({"times": "even-t"}, "times='even-t'"),
    ({"start": "noise"}, "start='noise'"),
    ({"start": {}}, "start None"),
    ({"start": {"name": "silence"}}, "start 'silence'"),
    ({"start": {"name": ["noise"]}}, "start ['noise']"),
    ({"start": {"name": "noise", "time": 1.0}}, "['time'] are given"),
    ({"start": {"name": "griffin-lim"}}, "[] are given"),
    ({"start": WARM | {"n_iter": 10**9}}, "n_iter=1000000000"),
    ({"start": WARM | {"n_iter": True}}, "n_iter=True"),
    ({"start": WARM | {"n_iter": 2.0}}, "n_iter=2.0"),
    ({"start": WARM | {"time": float("nan")}}, "time=nan"),
    ({"start": WARM | {"time": 3}}, "time=3"),
    ({"start": WARM | {"time": True}}, "time=True"),
    ({"start": WARM | {"momentum": "0.9"}}, "momentum='0.9'"),
    ({"chunk_frames": 0}, "chunk_frames=0"),
    ({"chunk_frames": 2.5}, "chunk_frames=2.5"),
    ({"input": 1}, "input=1"),
    ({"input": "/dev/zero"}, "/dev/zero"),
    ({"input": "/"}, "/: the input"),
    ({"input": "in\0\x1b[2J.wav"}, r"in\x00\x1b[2J.wav: the input"),
    ({"input_sha256": 7}, "input_sha256=7"),
    ({"versions": "1.0"}, "versions='1.0'"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory, tiny_model_path, speech):
    """A sound with its sidecar, for tests that only read it."""
    path = tmp_path_factory.mktemp("sound") / "out.wav"
    assert main(["resynth", str(speech), str(path), "--model", str(tiny_model_path)]) == 0
    return path


@pytest.mark.parametrize(("change", "words"), BAD_FIELDS, ids=str)
def test_field_out_of_range_is_refused(sound, tmp_path, monkeypatch, capsys, change, words):
    monkeypatch.chdir(tmp_path)
    note = json.loads(sidecar.sidecar_path(sound).read_text())
    Path("out.wav.json").write_text(json.dumps(note | change))
    refusal(capsys, words)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from([f.name for f in dataclasses.fields(vocoding.VocodeRecipe)] + ["input", "versions"]),
    value=JSON,
)
def test_any_value_in_any_field_is_taken_or_refused_in_words(sound, tmp_path, field, value):
    note = json.loads(sidecar.sidecar_path(sound).read_text())
    path = tmp_path / "any.json"
    path.write_text(json.dumps(note | {field: value}))
    try:
        read = sidecar.Sidecar.read(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        return
    kept = json.loads(read.text())
    assert kept == json.loads(path.read_text()) or value != value  # a NaN never gets here, but is not equal to itself


# --- recipes -----------------------------------------------------------------------------------------------------


def test_start_survives_being_written_down():
    mel = tiny_vocoder().mel
    start = GriffinLim(mel, time=0.4, n_iter=7, momentum=0.5)
    rebuilt = named_starts.build_start(json.loads(json.dumps(named_starts.describe_start(start))), mel)
    assert vars(rebuilt) == vars(start)
    assert type(named_starts.build_start(named_starts.describe_start(PureNoise()), mel)) is PureNoise


def test_start_with_rounds_is_the_models_own_but_for_them():
    vocoder = Vocoder.load("speech-16k")
    start = named_starts.named_start("coarse-to-fine=1/4/8/16", vocoder)
    assert (start.iterations, start.time, start.mel) == ((1, 4, 8, 16), vocoder.start.time, vocoder.mel)
    assert vocoder.look_ahead(steps=1, start=start) < vocoder.look_ahead(steps=1) / 3
    assert named_starts.named_start("griffin-lim=7", vocoder).n_iter == 7
    assert named_starts.build_start(named_starts.describe_start(start), vocoder.mel).iterations == start.iterations


@pytest.mark.parametrize(
    "name",
    [
        "coarse-to-fine=1/2",
        "coarse-to-fine=1/2/4/-8",
        "coarse-to-fine=1/2/4/99999",
        "griffin-lim=a",
        "mel=1",
        "noise=1",
    ],
)
def test_start_with_other_rounds_than_it_takes_is_refused(name):
    with pytest.raises(
        ValueError, match=r"it takes (coarse-to-fine=full/half/quarter/eighth|griffin-lim=n_iter|.* alone)"
    ):
        named_starts.named_start(name, Vocoder.load("speech-16k"))


def test_named_start_takes_defaults_where_the_model_has_another_kind():
    vocoder = tiny_vocoder()
    assert vars(named_starts.named_start("griffin-lim", vocoder)) == vars(GriffinLim(vocoder.mel))
    assert named_starts.named_start("noise", vocoder) is vocoder.start


def test_sound_that_is_not_finite_leaves_neither_file(place):
    recipe = vocoding.VocodeRecipe.from_options("resynth", Vocoder.load("tiny.safetensors"), "tiny.safetensors")
    broken = Resynthesis(torch.full((1, 100), float("nan")), 1)
    with pytest.raises(ValueError, match="NaN"):
        sidecar.write("new.wav", broken, recipe, "in.wav", 16000)
    assert sorted(path.name for path in place.iterdir()) == ["in.wav", "mel.npy", "tiny.json", "tiny.safetensors"]


def test_clipped_samples_are_counted(place):
    recipe = vocoding.VocodeRecipe.from_options("resynth", Vocoder.load("tiny.safetensors"), "tiny.safetensors")
    loud = Resynthesis(torch.tensor([[0.5, 1.5, -2.0]]), 1)
    assert sidecar.write("new.wav", loud, recipe, "in.wav", 16000) == 2
