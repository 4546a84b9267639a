"""Mels as files: three kinds, both orders of axes, and nothing that runs."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from support.damage import Payload
from support.processes import environment, python

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.evaluation.metrics import log_mel_l1
from audiodiff.mel import LogMel
from audiodiff.mel import io as mel_io
from audiodiff.mel.detection import presets
from audiodiff.pipelines import sidecar
from audiodiff.pipelines.sidecar import Sidecar
from audiodiff.utils.config import choose, shipped_path

VOICE = shipped_path("demos/audio/voices/it-2.flac")
MODEL = ["--model", "speech-16k"]  # which conversions lead to


@pytest.fixture(scope="module")
def mel():
    return torch.randn(80, 30, generator=torch.Generator().manual_seed(0))


WRITERS = {
    "mel.npy": lambda path, mel: np.save(path, mel.numpy()),
    "half.npy": lambda path, mel: np.save(path, mel.double().numpy()),
    "mel.pt": lambda path, mel: torch.save(mel, path),
    "dict.pt": lambda path, mel: torch.save({"mel": mel, "pitch": mel[0]}, path),
    "single.pt": lambda path, mel: torch.save({"x": mel, "name": "clip"}, path),
    "mel.safetensors": lambda path, mel: safetensors.torch.save_file({"anything": mel}, path),
    "several.safetensors": lambda path, mel: safetensors.torch.save_file({"mel": mel, "other": mel + 1}, path),
    "NPY.NPY": lambda path, mel: np.lib.format.write_array(path.open("wb"), mel.numpy()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_mel(tmp_path, mel, name):
    WRITERS[name](tmp_path / name, mel)
    assert torch.equal(mel_io.read_mel(tmp_path / name, 80), mel[None])


@pytest.mark.parametrize("order", ["bands first", "frames first"])
@pytest.mark.parametrize("channels", [0, 1, 2])
def test_axes_are_told_apart_by_the_number_of_bands(mel, order, channels):
    given = torch.stack([mel + i for i in range(channels)]) if channels else mel
    found = mel_io.oriented(given if order == "bands first" else given.mT, 80)
    assert torch.equal(found, given if channels else given[None])
    assert found.is_contiguous()


def test_square_mel_is_taken_bands_first():
    square = torch.arange(6400.0).view(80, 80)
    assert torch.equal(mel_io.oriented(square, 80)[0], square)


BAD = {
    "integers.pt": (lambda path, mel: torch.save(mel.int(), path), "int32 values"),
    "two.pt": (lambda path, mel: torch.save({"a": mel, "b": mel}, path), "2 tensors, none called 'mel'"),
    "list.pt": (lambda path, mel: torch.save([mel], path), "holds a list"),
    "none.safetensors": (lambda path, mel: safetensors.torch.save_file({}, path), "0 tensors"),
    "text.safetensors": (lambda path, mel: path.write_text("hello"), "cannot be read as .safetensors"),
    "text.pt": (lambda path, mel: path.write_text("hello"), "refused"),
    "bands.pt": (lambda path, mel: torch.save(mel[:77], path), "80 bands"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_contents_are_refused_in_one_line_with_the_name(tmp_path, mel, name):
    write, word = BAD[name]
    write(tmp_path / name, mel)
    with pytest.raises(ValueError, match=word) as caught:
        mel_io.read_mel(tmp_path / name, 80)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_pickle_in_a_pt_file_does_not_run(tmp_path):
    torch.save({"mel": Payload(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="more than tensors"):
        mel_io.read_mel(tmp_path / "evil.pt", 80)
    assert not (tmp_path / "ran").exists()


# --- on the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vocode(*arguments):
    return main(["vocode", *arguments, *MODEL, "--start", "mel", "--steps", "1"])


def test_mel_of_a_preset_is_that_of_its_formula(place):
    assert main(["mel", str(VOICE), "w.npy", "--mel-preset", "whisper"]) == 0
    spec = choose("mel", "whisper")
    waveform = audio.read(VOICE, 16000)[0]
    padded = torch.nn.functional.pad(waveform, (0, -waveform.shape[-1] % 160))
    assert np.abs(np.load("w.npy") - LogMel(spec)(padded[None])[0].numpy()).max() < 1e-6


def test_foreign_mel_is_converted_told_and_made_again(place, caplog):
    main(["mel", str(VOICE), "h.npy", "--mel-preset", "hifigan"])
    with caplog.at_level(logging.WARNING):
        assert vocode("h.npy", "h.wav", "--mel-preset", "hifigan") == 0
    assert "converted" in caplog.text
    assert "dB on average" in caplog.text
    assert "looks like" not in caplog.text
    note = sidecar.Sidecar.read("h.wav.json")
    assert note.recipe.mel["sample_rate"] == 22050
    made = Path("h.wav").read_bytes()
    assert main(["regenerate", "h.wav.json", "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == made


def test_spec_file_and_what_info_prints_mean_the_same(place, capsys):
    main(["mel", str(VOICE), "a.npy"])
    capsys.readouterr()
    main(["info", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["mel_fingerprint"]) == 12
    Path("info.json").write_text(json.dumps(shown))
    Path("mel.json").write_text(json.dumps(shown["mel"]))
    for file in ("info.json", "mel.json"):
        assert main(["mel", str(VOICE), "b.npy", "-f", "--mel-spec", file]) == 0
        assert np.array_equal(np.load("a.npy"), np.load("b.npy"))


def test_wrong_convention_is_named(place, caplog):
    main(["mel", str(VOICE), "w.npy", "--mel-preset", "diffwave"])
    Path("w.npy.json").unlink()  # which says what it is
    with caplog.at_level(logging.WARNING):
        assert vocode("w.npy", "w.wav") == 0
    assert "looks like diffwave: try --mel-preset diffwave" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--mel-preset", "hifgan"], "did you mean hifigan?"),
        (["--mel-preset", "hifigan", "--mel-spec", "narrow.json"], "give one of them"),
        (["--mel-spec", "x.json"], "no such file"),
        (["--mel-spec", "text.json"], "no JSON"),
        (["--mel-spec", "odd.json"], "no fmin"),
        (["--mel-spec", "narrow.json"], "f_max is 4000 Hz, and 8000 Hz are needed"),
    ],
)
def test_bad_convention_is_refused_in_one_line(place, capsys, arguments, word):
    np.save("m.npy", np.full((80, 40), -5.0, dtype=np.float32))
    Path("text.json").write_text("{")
    Path("odd.json").write_text('{"sample_rate": 16000, "fmin": 0}')
    Path("narrow.json").write_text('{"sample_rate": 16000, "f_max": 4000}')
    capsys.readouterr()
    assert vocode("m.npy", "m.wav", *arguments) == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1
    assert not Path("m.wav").exists()


# --- behind a synthesiser ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_text_to_speech_demo_speaks_in_every_convention(place, tmp_path):
    """With a stand-in for espeak-ng that plays a recording."""
    engine = tmp_path / "bin" / "espeak-ng"
    engine.parent.mkdir()
    samples, rate = soundfile.read(VOICE)
    soundfile.write(tmp_path / "voice.wav", samples, rate)
    engine.write_text(f'#!/bin/sh\ncp "{tmp_path}/voice.wav" "$2"\n')
    engine.chmod(0o755)
    demo = shipped_path("demos/experiments/mel_conversion/run.py")
    found_first = environment() | {"PATH": f"{engine.parent}:{os.environ['PATH']}"}

    def speak(text):
        return python(demo, text, "spoken", "--engine", "espeak-ng", env=found_first)

    done = speak("hello")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["own", *presets()]
    assert all(float(row[2]) < 0.6 for row in rows)
    assert sorted(p.stem for p in Path("spoken").glob("*.wav")) == sorted(["own", "synthesiser", *presets()])
    assert speak(" ").returncode == 2


def test_note_says_what_a_mel_is_whatever_model_speaks_it(place, caplog):
    """A mel at 22.05 kHz, which has as many bands as the model's own at 16 kHz, is not spoken slowly and low."""
    for preset in ("hifigan", None):
        name = preset or "own"
        options = ["--mel-preset", preset] if preset else MODEL
        assert main(["mel", str(VOICE), f"{name}.npy", *options]) == 0
        assert main(["vocode", f"{name}.npy", f"{name}.wav", *MODEL]) == 0
    (own, rate), (converted, _) = audio.read("own.wav"), audio.read("hifigan.wav")
    assert abs(own.shape[-1] - converted.shape[-1]) <= 512  # 22,050 / 16,000 as long, without the note
    assert log_mel_l1(own[0, : converted.shape[-1]], converted[0, : own.shape[-1]], rate) < 0.4
    note = json.loads(Path("hifigan.npy.json").read_text())
    assert (note["preset"], note["sample_rate"]) == ("hifigan", 22050)
    assert Sidecar.read("hifigan.wav.json").recipe.mel == note["mel"]
    assert main(["regenerate", "hifigan.wav.json", "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == Path("hifigan.wav").read_bytes()


def test_folder_of_mels_is_vocoded_by_its_notes_and_not_twice(place, capsys):
    Path("mels").mkdir()
    for preset in ("hifigan", "speecht5"):
        assert main(["mel", str(VOICE), f"mels/{preset}.npy", "--mel-preset", preset]) == 0
    for _ in range(2):
        assert main(["vocode", "mels", "sounds", "--workers", "1", *MODEL]) == 0
    assert "2 were there" in capsys.readouterr().err
    assert sorted(p.name for p in Path("sounds").glob("*.wav")) == ["hifigan.wav", "speecht5.wav"]


@pytest.mark.parametrize(
    ("spoil", "options", "word"),
    [
        (lambda: np.save("x.npy", np.load("x.npy") + 1), [], "describes another array"),
        (lambda: Path("x.npy.json").write_text("[]"), [], "describes no mel"),
        (lambda: Path("x.npy.json").write_text('{"mel": {"sample_rate": 1}}'), [], "x.npy.json"),
        (lambda: None, ["--mel-preset", "whisper"], "in hifigan, and another is asked for"),
    ],
    ids=["another array", "no object", "no mel", "another preset"],
)
def test_note_that_does_not_fit_is_refused_in_one_line(place, capsys, spoil, options, word):
    assert main(["mel", str(VOICE), "x.npy", "--mel-preset", "hifigan"]) == 0
    spoil()
    assert main(["vocode", "x.npy", "out.wav", *options]) == 2
    assert word in capsys.readouterr().err
    assert not Path("out.wav").exists()


def test_mel_and_its_note_appear_together_or_not_at_all(place, capsys):
    Path("x.npy.json").write_text("mine")
    assert main(["mel", str(VOICE), "x.npy"]) == 2
    assert "exists" in capsys.readouterr().err
    assert Path("x.npy.json").read_text() == "mine"
    assert not Path("x.npy").exists()


def test_mel_that_no_sound_has_is_an_error_not_a_noise(place, capsys):
    np.save("x.npy", np.random.default_rng(0).uniform(-4, 35, (80, 60)).astype(np.float32))
    assert main(["vocode", "x.npy", "out.wav", "--mel-preset", "hifigan", *MODEL]) == 2
    assert "no sound has this mel" in capsys.readouterr().err
    assert not Path("out.wav").exists()
