"""Conditions of a generator: a label, a vector, both or neither; guided away from nothing or from a worse model."""

import json
import math

import numpy as np
import pytest
import torch
from support.generators import LABELS, RATE, conditioned, tiny

from audiodiff import audio
from audiodiff.data import OneShots
from audiodiff.data.manifest import read_manifest
from audiodiff.data.vectors import vector_of
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator

VECTOR = [0.5, -1.0, 2.0]


def differ(a, b):
    return not torch.allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("labels", [(), tuple(LABELS)], ids=["vector alone", "both"])
def test_sound_depends_on_its_vector_alone_in_a_batch(labels):
    model = conditioned(labels)
    vectors = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    batch = model.generate(batch=3, vector=vectors, seed=5)
    for i in range(3):
        assert torch.allclose(batch[i], model.generate(vector=vectors[i].tolist(), seed=5 + i)[0], atol=1e-5)
    assert differ(batch[0], model.generate(seed=5)[0])


def test_label_and_vector_each_change_the_sound():
    model = conditioned(LABELS)
    both = model.generate(label="low", vector=VECTOR, seed=1)
    for less in ({"label": "low"}, {"vector": VECTOR}, {"label": "high", "vector": VECTOR}):
        assert differ(both, model.generate(**less, seed=1))


def test_guidance_extrapolates_from_neither_to_both():
    model = conditioned(LABELS)
    given = {"label": "low", "vector": VECTOR, "steps": 1, "seed": 1}
    free, bound, twice = (model.generate(**given, guidance=g) for g in (0.0, 1.0, 2.0))
    assert torch.allclose(twice, 2 * bound - free, atol=1e-4)
    assert torch.allclose(free, model.generate(steps=1, seed=1), atol=1e-6)


def test_guide_replaces_the_missing_condition():
    """One step of DDIM from pure noise is linear in both models' estimates."""
    model, worse = conditioned(LABELS), conditioned(LABELS, seed=9)
    given = {"label": "low", "vector": VECTOR, "steps": 1, "seed": 1}
    guided = model.generate(**given, guidance=3.0, guide=worse)
    assert torch.allclose(guided, 3 * model.generate(**given) - 2 * worse.generate(**given), atol=1e-4)
    assert torch.equal(model.generate(**given, guidance=1.0, guide=worse), model.generate(**given))
    without = {"steps": 1, "seed": 1}  # a guide needs no condition
    guided = model.generate(**without, guidance=2.0, guide=worse)
    assert torch.allclose(guided, 2 * model.generate(**without) - worse.generate(**without), atol=1e-4)


def test_projected_guidance_is_orthogonal_to_the_estimate():
    model = conditioned(LABELS)
    given = {"label": "low", "vector": VECTOR, "steps": 1, "seed": 1, "n_samples": 1024}
    plain, projected = (model.generate(**given, guidance=g, projected=True) for g in (1.0, 4.0))
    moved = projected - plain
    assert float(moved.abs().max()) > 1e-3
    assert abs(float((moved * plain).sum())) < 1e-3 * float(moved.norm() * plain.norm())


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"vector": [1.0, 2.0]}, "this model takes 3 numbers"),
        ({"vector": np.zeros((2, 2, 3))}, "this model takes 3 numbers"),
        ({"vector": [1.0, math.nan, 0.0]}, "not finite"),
        ({"vector": [1.0, math.inf, 0.0]}, "not finite"),
        ({"vector": np.zeros((2, 3)), "batch": 3}, "2 vectors for 3 clips"),
        ({"label": "low"}, "knows no labels"),
        ({"guidance": 2.0}, "a vector of 3 numbers"),
        ({"vector": VECTOR, "guide": tiny()}, "the guide has another labels, vector_size"),
    ],
)
def test_bad_conditions_are_refused(given, word):
    with pytest.raises(ValueError, match=word):
        conditioned().generate(**given)


def test_model_without_vectors_refuses_them():
    with pytest.raises(ValueError, match="knows no vectors"):
        tiny().generate(vector=VECTOR)


def test_export_refuses_vectors(tmp_path):
    from audiodiff import export

    with pytest.raises(ValueError, match="not exported yet"):
        export.export(conditioned(), tmp_path / "out.onnx")


# --- data and training -------------------------------------------------------------------------------------------


@pytest.fixture
def manifest(tmp_path):
    """Tones whose pitch and level are their vectors; the last one's lie in a .npy beside it."""
    lines = []
    for i in range(6):
        pitch, level = 0.2 + 0.1 * i, 0.3 + 0.05 * i
        path = tmp_path / f"{i}.wav"
        audio.write(path, level * torch.sin(torch.arange(900) * pitch)[None], RATE)
        line = {"path": path.name, "n_samples": 900, "sample_rate": RATE, "label": LABELS[i % 2]}
        if i < 5:
            line["vector"] = [pitch, level]
        else:
            np.save(path.with_suffix(".npy"), np.array([pitch, level]))
        lines.append(json.dumps(line))
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    return tmp_path / "train.jsonl"


def test_each_clip_comes_with_the_vector_of_its_recording(manifest):
    recordings = read_manifest(manifest)
    data = OneShots(recordings, LABELS, 1000, RATE, vector_size=2)
    for n in range(12):
        clip, _, vector = data[n]
        assert float(clip.abs().max()) == pytest.approx(float(vector[1]), abs=0.01)
    assert vector_of(recordings[5]).tolist() == pytest.approx([0.7, 0.55])


@pytest.mark.parametrize(
    ("field", "word"),
    [([1.0], "has 1 numbers, 2 are wanted"), ([1.0, math.nan], "not finite"), (["a"], "no list"), ("x.npy", "no vec")],
)
def test_bad_vector_in_a_manifest_is_named(manifest, field, word):
    recordings = read_manifest(manifest)
    recordings[0].about["vector"] = field
    with pytest.raises(ValueError, match=word):
        OneShots(recordings, LABELS, 1000, RATE, vector_size=2)


def test_pickle_beside_a_recording_is_not_run(manifest):
    recordings = read_manifest(manifest)
    np.save(recordings[5].path.with_suffix(".npy"), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="holds no numbers"):
        vector_of(recordings[5])


@pytest.mark.parametrize("condition", ["vector", "both"])
def test_training_on_vectors_gives_a_generator_that_takes_them(manifest, tmp_path, condition):
    from audiodiff.training.hydra_config import composed
    from audiodiff.training.run import train

    network = "model.denoiser.network"
    small = [f"{network}.width=8", f"{network}.n_stages=1", f"{network}.attention_window=8", f"{network}.n_heads=2"]
    small += [f"{network}.hop_length=64", f"{network}.n_fft=256", f"{network}.embedding=8", "model.sample_rate=8000"]
    run = ["trainer.max_steps=3", "trainer.val_check_interval=3", "data.batch_size=2", f"run_dir={tmp_path}/run"]
    data = ["data=one-shots", "data.path=null", f"data.manifest={manifest}", f"data.condition={condition}"]
    data += ["data.vector_size=2", "data.validation_clips=2", "data.n_workers=0"]
    train(composed(["model=one-shots", "model.n_samples=1024", "model.steps=2", *data, *small, *run]))
    model = Generator.load(tmp_path / "run")
    assert (model.labels, model.vector_size) == (LABELS if condition == "both" else [], 2)
    state = Model.load(tmp_path / "run", weights="raw").denoiser.network.vectors.linear.weight
    assert float((state - model.denoiser.network.vectors.linear.weight).abs().max()) > 0  # it has learned
    assert model.generate(vector=[0.3, 0.4]).shape == (1, 1, 1024)


@pytest.mark.parametrize("change", [["data.vector_size=null"], ["data.condition=label"], ["data.condition=x"]])
def test_condition_and_its_size_must_agree(manifest, change, tmp_path):
    from audiodiff.training.hydra_config import composed
    from audiodiff.training.run import train

    data = ["data=one-shots", f"data.manifest={manifest}", "data.condition=vector", "data.vector_size=2", *change]
    with pytest.raises(ValueError, match=r"data\.condition="):
        train(composed(["model=one-shots", *data, f"run_dir={tmp_path}/run"]))
