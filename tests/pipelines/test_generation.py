"""Sounds of a class, of nothing, and of a recording: by API and command line, with bad input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.generators import LABELS, RATE, made, tiny

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.data import OneShots, labels_of
from audiodiff.data.folders import scan_folder
from audiodiff.data.manifest import Recording, read_manifest
from audiodiff.evaluation.generator_table import evaluate_generator, markdown_of, shaped_noise
from audiodiff.models.generator import Generator
from audiodiff.models.starts import Variation
from audiodiff.pipelines import sidecar
from audiodiff.utils.config import build


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny().save("tiny")
    tiny(labels=()).save("plain")
    audio.write("in.wav", 0.3 * torch.sin(torch.arange(1500) / 5)[None], RATE)
    return tmp_path


# --- the model ---------------------------------------------------------------------------------------------------


def test_clip_depends_on_its_own_seed_and_label_alone():
    model = tiny()
    batch = model.generate(batch=3, label="low", seed=5)
    assert batch.shape == (3, 1, 1000)
    for i in range(3):
        alone = model.generate(label="low", seed=5 + i)
        assert torch.allclose(batch[i], alone[0], atol=1e-5)
    assert not torch.allclose(batch[0], model.generate(label="high", seed=5)[0], atol=1e-3)
    assert not torch.allclose(batch[0], model.generate(seed=5)[0], atol=1e-3)


def test_guidance_is_an_extrapolation_from_no_label_to_the_label():
    """One step of DDIM from pure noise returns the estimate of x, in which guidance is linear."""
    model = tiny()
    free, bound, twice = (model.generate(label="low", guidance=g, steps=1, seed=1) for g in (0.0, 1.0, 2.0))
    assert torch.allclose(twice, 2 * bound - free, atol=1e-4)
    assert torch.allclose(free, model.generate(steps=1, seed=1), atol=1e-6)
    assert not torch.allclose(free, bound, atol=1e-3)


def test_variation_keeps_less_the_stronger_it_is():
    model = tiny()
    recording = 0.3 * torch.sin(torch.arange(1024) / 5)[None, None]
    near, far = (model.generate(1024, start=Variation(recording, t), seed=1) for t in (0.1, 0.9))
    assert float((near - recording).abs().mean()) < float((far - recording).abs().mean())


def test_network_knows_the_place_of_a_frame():
    model = tiny()
    with torch.no_grad():
        model.denoiser.network.positions[10:] = 5
    assert not torch.allclose(model.generate(seed=1), tiny().generate(seed=1), atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"label": "hihg"}, "did you mean high?"),
        ({"guidance": 2.0}, "strengthens a label"),
        ({"batch": 0}, "at least 1"),
        ({"n_samples": 0}, "at least 1"),
    ],
)
def test_generator_refuses(arguments, word):
    with pytest.raises(ValueError, match=word.replace("?", r"\?")):
        tiny().generate(**arguments)


def test_model_without_labels_refuses_them():
    plain = tiny(labels=())
    for wrong in ({"label": "low"}, {"guidance": 2.0}):
        with pytest.raises(ValueError, match="knows no labels"):
            plain.generate(**wrong)
    with pytest.raises(ValueError, match="labels are named"):
        build(tiny().config | {"labels": ["a"]})


# --- data --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sounds(tmp_path):
    """Six short tones in two sub-folders, of other lengths each."""
    for label, step in (("high", 1.5), ("low", 0.2)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(3):
            tone = 0.5 * torch.sin(torch.arange(600 + 300 * i) * step * (1 + 0.05 * i))
            audio.write(tmp_path / "data" / label / f"{i}.wav", tone[None], RATE)
    return tmp_path / "data"


def test_folders_are_classes_and_every_clip_begins_at_the_onset(sounds):
    recordings = scan_folder(sounds)
    assert labels_of(recordings) == LABELS
    data = OneShots(recordings, LABELS, 1000, RATE)
    assert {data[i][1] for i in range(20)} == {0, 1}
    assert all(torch.equal(data[i][0], data[i][0]) for i in range(5))
    short = next(clip for clip, _ in (data[i] for i in range(50)) if not clip[0, 700:].any())
    assert short.shape == (1, 1000)
    assert short[0, 1:600].abs().max() > 0.4
    long = next(clip for clip, _ in (data[i] for i in range(50)) if clip[0, 950:].any())
    assert abs(float(long[0, -1])) < 1e-6  # faded out


def test_manifest_may_give_labels_and_missing_ones_are_named(sounds, tmp_path):
    line = {"path": "data/high/0.wav", "n_samples": 600, "sample_rate": RATE, "label": "x"}
    (tmp_path / "list.jsonl").write_text(json.dumps(line) + "\n")
    (recording,) = read_manifest(tmp_path / "list.jsonl")
    assert recording.label == "x"
    with pytest.raises(ValueError, match="classes are wanted"):
        labels_of([recording])
    with pytest.raises(ValueError, match="classes are wanted"):
        labels_of([Recording(Path("a.wav"), 1, 1)])
    with pytest.raises(ValueError, match="no recording has the label y"):
        OneShots([recording], ["x", "y"], 100, RATE)


# --- how good ----------------------------------------------------------------------------------------------------


def test_shaped_noise_has_the_mean_spectrum_of_a_class():
    tone = torch.sin(torch.arange(4096) * 0.5)[None, None].expand(3, -1, -1)
    noise = shaped_noise(tone, 2, 0)
    assert noise.shape == (2, 1, 4096)
    spectra = [torch.fft.rfft(v[0, 0]).abs() for v in (tone, noise)]
    assert int(spectra[0].argmax()) == pytest.approx(int(spectra[1].argmax()), abs=16)  # a bin of 512 is 8 of these


def test_evaluation_finds_recordings_of_the_training_set_to_be_copies_and_rightly_classed(sounds, monkeypatch):
    import audiodiff.evaluation.classifier as module

    monkeypatch.setattr(module, "STEPS", 60)
    monkeypatch.setattr(module, "BATCH", 8)
    recordings = scan_folder(sounds)
    table = evaluate_generator(tiny(n_samples=2048), recordings, recordings, per_label=3, seeds=2)
    rows = {row["name"]: row for row in table["rows"]}
    copied = rows["training recordings of the other half"]
    assert copied["nearest"][0] == pytest.approx(0, abs=1e-6)
    assert rows["held-out recordings"]["accuracy"][0] == 1
    assert copied["accuracy"][0] == 1
    assert copied["fad"][0] < rows["noise with the class' mean spectrum"]["fad"][0]
    assert rows["the model"]["nearest"][0] > 0.5
    assert "| the model |" in markdown_of(table)


# --- the command line --------------------------------------------------------------------------------------------


def test_list_prints_the_labels(place, capsys):
    assert made("--list", "--model", "tiny.safetensors") == 0
    assert capsys.readouterr().out.split() == LABELS


def test_sounds_come_with_sidecars_and_a_picture_and_can_be_made_again(place):
    assert (
        made("out", "--model", "tiny.safetensors", "--label", "low", "-n", "3", "--seed", "7", "--guidance", "2") == 0
    )
    names = sorted(p.name for p in Path("out").iterdir())
    wavs = [f"low-000{i}.wav" for i in (7, 8, 9)]
    assert names == sorted([*wavs, *(f"{w}.json" for w in wavs), "contact-sheet.png"])
    assert Path("out/contact-sheet.png").read_bytes().startswith(b"\x89PNG")
    for wav in wavs:
        assert main(["regenerate", f"out/{wav}.json", "again.wav", "-f"]) == 0
        assert Path("again.wav").read_bytes() == Path(f"out/{wav}").read_bytes()
    assert made("alone", "--model", "tiny.safetensors", "--label", "low", "--seed", "8", "--guidance", "2") == 0
    assert Path("alone/low-0008.wav").read_bytes() == Path("out/low-0008.wav").read_bytes()


def test_gap_is_mended_and_the_rest_kept_to_the_sample(place):
    arguments = ["--model", "tiny.safetensors", "--inpaint", "in.wav", "--from", "0.05", "--to", "0.08"]
    arguments += ["--solver", "ddim"]  # or this untrained model's peaks would be lowered
    assert made("out", *arguments) == 0
    (wav,) = Path("out").glob("*.wav")
    before, after = (audio.read(p)[0][0, :1000] for p in ("in.wav", wav))
    gap = slice(400, 640)
    assert torch.equal(torch.cat([before[:400], before[640:]]), torch.cat([after[:400], after[640:]]))
    assert not torch.allclose(before[gap], after[gap], atol=1e-2)
    assert main(["regenerate", f"{wav}.json", "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == wav.read_bytes()


def test_variation_is_made_again_only_of_the_same_recording(place, capsys):
    assert made("out", "--model", "tiny.safetensors", "--init", "in.wav", "--strength", "0.4") == 0
    note = sidecar.Sidecar.read("out/variation-0000.wav.json")
    assert note.recipe.times[0] == 0.4
    assert main(["regenerate", "out/variation-0000.wav.json", "again.wav"]) == 0
    audio.write("in.wav", 0.1 * torch.ones(1, 1500), RATE)
    capsys.readouterr()
    assert main(["regenerate", "out/variation-0000.wav.json", "more.wav"]) == 2
    assert "has changed" in capsys.readouterr().err


BAD = {
    "unknown label": (["--label", "lw"], "did you mean low?"),
    "none": (["-n", "0"], "argument -n: 0: a whole number from 1"),
    "guidance without a label": (["--guidance", "3"], "strengthens a label"),
    "no number of guidance": (["--label", "low", "--guidance", "nan"], "--guidance: nan: a number from 0 to 100"),
    "guidance backwards": (["--label", "low", "--guidance", "-1"], "--guidance: -1: a number from 0 to 100"),
    "projected without guidance": (["--label", "low", "--guidance", "1", "--projected"], "projected changes nothing"),
    "guide without guidance": (["--guide", "tiny.safetensors", "--guidance", "1"], "guide changes nothing"),
    "short recording": (["--init", "in.wav", "--seconds", "0.5"], "lasts 0.19 s"),
    "gap outside": (["--inpaint", "in.wav", "--from", "0.1", "--to", "2"], "lies outside"),
    "gap backwards": (["--inpaint", "in.wav", "--from", "0.1", "--to", "0.05"], "ends before it begins"),
    "half a gap": (["--inpaint", "in.wav", "--from", "0.1"], "belong together"),
    "strength alone": (["--strength", "0.5"], "give --init"),
    "too strong": (["--init", "in.wav", "--strength", "1.5"], "up to 1"),
    "both": (["--init", "in.wav", "--inpaint", "in.wav"], "give one of them"),
    "no recording": (["--init", "none.wav"], "none.wav"),
    "endless": (["--seconds", "inf"], "up to 3600"),
    "no steps": (["--steps", "0"], "--steps: 0: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(place, capsys, name):
    arguments, word = BAD[name]
    assert made("out", "--model", "tiny.safetensors", *arguments) == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1
    assert name == "short recording" or not Path("out").exists()  # how long it is, is seen when its turn comes


def test_nothing_is_overwritten_and_no_vocoder_taken(place, capsys):
    assert made("out", "--model", "plain.safetensors") == 0
    assert made("out", "--model", "plain.safetensors") == 2
    assert "exists" in capsys.readouterr().err
    assert made("other", "--model", "speech-16k") == 2
    assert "a Generator is wanted" in capsys.readouterr().err
    assert made("--model", "plain.safetensors") == 2
    assert made("out", "--model", "plain.safetensors", "--label", "x") == 2
    assert made("out", "--model", "plain.safetensors", "-f") == 0


def test_training_on_folders_of_classes_gives_a_generator_that_knows_them(sounds, tmp_path):
    from audiodiff.training.hydra_config import composed
    from audiodiff.training.run import train

    network = "model.denoiser.network"
    small = [f"{network}.width=8", f"{network}.n_stages=1", f"{network}.attention_window=8", f"{network}.n_heads=2"]
    small += [f"{network}.hop_length=64", f"{network}.n_fft=256", f"{network}.embedding=8", "model.sample_rate=8000"]
    run = ["trainer.max_steps=2", "trainer.val_check_interval=2", "data.batch_size=2", f"run_dir={tmp_path}/run"]
    train(
        composed(
            [
                *("model=one-shots", "data=one-shots", f"data.path={sounds}", "model.n_samples=1024", "model.steps=2"),
                *("data.validation_clips=2", "trainer.accelerator=cpu", *small, *run),
            ]
        )
    )
    model = Generator.load(tmp_path / "run")
    assert model.labels == LABELS
    assert model.generate(label="low").shape == (1, 1, 1024)
    assert np.isfinite(model.generate(label="low").numpy()).all()


# --- what ships --------------------------------------------------------------------------------------------------


def test_shipped_drums_hit_at_once_die_away_and_differ_by_class():
    drums = Generator.load("drums")
    assert {"kick", "snare", "hat-closed", "hat-open", "tom", "cymbal", "clap"} <= set(drums.labels)
    centroids = {}
    for label in ("kick", "hat-closed"):
        sound = drums.generate(label=label, seed=1)[0, 0]
        assert sound.shape == (drums.n_samples,)
        early, late = sound.square().chunk(2)
        assert float(early.sum()) > 10 * float(late.sum())
        assert 0.05 < float(sound.abs().max()) < 3
        power = torch.fft.rfft(sound).abs().square()
        centroids[label] = float((power * torch.linspace(0, drums.sample_rate / 2, len(power))).sum() / power.sum())
    assert centroids["kick"] < 500 < 2000 < centroids["hat-closed"]
