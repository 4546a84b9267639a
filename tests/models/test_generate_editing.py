"""Continuation, vectors and guidance on the command line: kept samples, sidecars, and bad input in one line."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.generators import RATE, conditioned, made, tiny

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.pipelines import sidecar


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with generators (of labels, of both), recordings and vectors, some of them bad."""
    monkeypatch.chdir(tmp_path)
    tiny().save("tiny")
    tiny(seed=9).save("worse")
    conditioned(("high", "low")).save("both")
    tone = 0.3 * torch.sin(torch.arange(400) / 5)[None]
    audio.write("in.wav", tone, RATE)
    audio.write("fast.wav", tone, 2 * RATE)
    audio.write("silent.wav", torch.zeros(1, 400), RATE)
    np.save("good.npy", np.array([0.5, -1.0, 2.0]))
    np.save("short.npy", np.array([0.5]))
    np.save("nan.npy", np.array([0.5, np.nan, 2.0]))
    return tmp_path


def read(path):
    return audio.read(path)[0][0]


@pytest.mark.parametrize(("begin", "kept"), [([], 400), (["--from", "0.02"], 160)])
def test_continuation_keeps_the_beginning_to_the_sample(place, begin, kept):
    quiet = ["--solver", "ddim"]  # or this untrained model's peaks would be lowered
    assert made("out", "--model", "tiny.safetensors", "--continue", "in.wav", *begin, *quiet) == 0
    before, after = read("in.wav"), read("out/continuation-0000.wav")
    assert len(after) == 1000  # as long as the training clips
    assert torch.equal(before[:kept], after[:kept])
    assert float(after[kept:].abs().max()) > 0.01
    assert main(["regenerate", "out/continuation-0000.wav.json", "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == Path("out/continuation-0000.wav").read_bytes()


def test_continuation_follows_its_beginning(place):
    """Two beginnings, one seed: what follows differs, or nothing was listened to."""
    audio.write("other.wav", 0.3 * torch.sin(torch.arange(400) / 2)[None], RATE)
    for name in ("in", "other"):
        assert made(name, "--model", "tiny.safetensors", "--continue", f"{name}.wav") == 0
    after = [read(f"{name}/continuation-0000.wav")[400:] for name in ("in", "other")]
    assert not torch.allclose(*after, atol=1e-2)


def test_short_sound_ends_in_silence(place):
    assert made("out", "--model", "tiny.safetensors", "--seconds", "0.05") == 0
    sound = read("out/sound-0000.wav")
    assert len(sound) == 400
    assert float(sound[-1].abs()) == 0
    assert float(sound[:300].abs().max()) > 0.01


def test_no_label_is_the_default(place):
    assert made("out", "--model", "tiny.safetensors", "--no-label") == 0
    assert made("again", "--model", "tiny.safetensors") == 0
    assert Path("out/sound-0000.wav").read_bytes() == Path("again/sound-0000.wav").read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "both.safetensors", "--label", "low", "--vector", "good.npy", "--guidance", "2"],
        ["--model", "tiny.safetensors", "--label", "low", "--guidance", "2", "--projected"],
        ["--model", "tiny.safetensors", "--guidance", "2", "--guide", "worse.safetensors"],
    ],
    ids=["vector", "projected", "guide"],
)
def test_guided_sound_is_regenerated_byte_for_byte(place, arguments):
    assert made("out", *arguments) == 0
    (wav,) = Path("out").glob("*.wav")
    assert main(["regenerate", f"{wav}.json", "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == wav.read_bytes()
    index = arguments.index("--guidance")
    assert made("weaker", *arguments[: index + 1], "1.5", *arguments[index + 2 :]) == 0
    assert next(Path("weaker").glob("*.wav")).read_bytes() != wav.read_bytes()


def test_changed_guide_is_refused(place, capsys):
    assert made("out", "--model", "tiny.safetensors", "--guidance", "2", "--guide", "worse.safetensors") == 0
    tiny(seed=5).save("worse")
    assert main(["regenerate", "out/sound-0000.wav.json", "again.wav"]) == 2
    assert "the guide" in capsys.readouterr().err


BAD = {
    "vector of another size": (["--model", "both.safetensors", "--vector", "short.npy"], "takes 3 numbers"),
    "vector that is not finite": (["--model", "both.safetensors", "--vector", "nan.npy"], "not finite"),
    "vector that is missing": (["--model", "both.safetensors", "--vector", "none.npy"], "no such file"),
    "vector that is a sound": (["--model", "both.safetensors", "--vector", "in.wav"], "holds no numbers"),
    "vector for a model of labels": (["--vector", "good.npy"], "knows no vectors"),
    "label and no label": (["--label", "low", "--no-label"], "--label and --no-label"),
    "continuation of silence": (["--continue", "silent.wav"], "is silent"),
    "continuation at another rate": (["--continue", "fast.wav"], "is at 16000 Hz, the model at 8000"),
    "continuation of more than is made": (["--continue", "in.wav", "--seconds", "0.05"], "more --seconds"),
    "continuation from beyond the end": (["--continue", "in.wav", "--from", "2"], "lasts 0.05 s"),
    "continuation from the beginning": (["--continue", "in.wav", "--from", "0"], "cannot be continued"),
    "continuation to": (["--continue", "in.wav", "--to", "0.1"], "--seconds says"),
    "continuation of nothing": (["--continue", "none.wav"], "none.wav"),
    "two sources": (["--continue", "in.wav", "--init", "in.wav"], "give one of them"),
    "zero length": (["--seconds", "0"], "above 0"),
    "guide of another kind": (["--guide", "both.safetensors", "--guidance", "2"], "the guide has another"),
    "guide that is missing": (["--guide", "none.safetensors", "--guidance", "2"], "no such model"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_edit_is_one_line(place, capsys, name):
    arguments, word = BAD[name]
    model = [] if "--model" in arguments else ["--model", "tiny.safetensors"]
    assert made("out", *model, *arguments) == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        (["--init", "long.wav"], RATE),
        (["--init", "long.wav"], 2 * RATE),
        (["--inpaint", "long.wav", "--from", "0.01", "--to", "0.02"], RATE),
        (["--continue", "long.wav", "--from", "0.05"], RATE),
    ],
)
def test_no_more_of_a_recording_is_read_than_is_made(place, arguments, rate):
    sound = 0.3 * np.sin(np.arange(2 * rate) / 5)
    sound[rate:] = np.nan  # which is refused where it is read
    soundfile.write("long.wav", sound, rate, subtype="FLOAT")
    assert made("out", "--model", "tiny.safetensors", *arguments, "--seconds", "0.1") == 0


@pytest.mark.parametrize(
    ("asked", "solver", "steps"),
    [([], "ancestral", 32), (["--steps", "3"], "ancestral", 3), (["--solver", "ddim"], "ddim", 3)],
)
def test_gap_is_filled_by_many_noisy_steps_unless_told(place, asked, solver, steps):
    audio.write("long.wav", 0.3 * torch.sin(torch.arange(1500) / 5)[None], RATE)
    gap = ["--inpaint", "long.wav", "--from", "0.01", "--to", "0.02"]
    assert made("out", "--model", "tiny.safetensors", *gap, *asked) == 0
    recipe = sidecar.Sidecar.read("out/sound-0000.wav.json").recipe
    assert (recipe.solver, len(recipe.times)) == (solver, steps + 1)
