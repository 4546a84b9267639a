"""Packed corpora of classes: the class that a recording had is that of its piece, and training draws by it."""

import json
from collections import Counter

import pytest
import soundfile
import torch
from support.labelled_shards import TINY
from support.training import equal, states

from audiodiff.data import Augment, OneShots, ShardOneShots, Shards, labels_of
from audiodiff.data.manifest import read_manifest
from audiodiff.data.shards.index import opened
from audiodiff.data.shards.writing import pack
from audiodiff.models.base import Model
from audiodiff.training.hydra_config import composed
from audiodiff.training.run import train

RATE = 8000
COUNTS = {"tom": 30, "kick": 20, "hat": 9, "bell": 1}


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A manifest of sixty sounds, all different, in four classes of which one is rare; every fourth validates."""
    place = tmp_path_factory.mktemp("sounds")
    labels = [label for label, count in COUNTS.items() for _ in range(count)]
    lines = []
    for n, label in enumerate(labels):
        noise = 0.2 * torch.randn(400 + 20 * n, generator=torch.Generator().manual_seed(n)).clamp(-4, 4)
        soundfile.write(place / f"{n:02d}.wav", noise.numpy(), RATE, subtype="PCM_16")
        lines.append({"path": f"{n:02d}.wav", "n_samples": 400 + 20 * n, "sample_rate": RATE, "label": label})
    for name, part in (("train", lines), ("valid", lines[::4])):
        (place / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in part))
    return place


@pytest.fixture(scope="module")
def recordings(listed):
    return read_manifest(listed / "train.jsonl")


@pytest.fixture(scope="module")
def packed(listed, recordings, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "shards"
    pack(recordings, read_manifest(listed / "valid.jsonl"), out, chunk_mb=0.01)
    return out


def samples(data):
    with opened(data) as file:
        return file.read(dtype="int16").tobytes()


def test_shard_piece_has_the_class_of_its_recording(packed, recordings, listed):
    shards = Shards(str(packed))
    of = {hash(soundfile.read(r.path, dtype="int16")[0].tobytes()): r.label for r in recordings}
    for chunk, labels in enumerate(shards.classes()):
        assert labels == [of[hash(samples(shards.read(chunk, piece)))] for piece in range(len(labels))]
    assert Counter(label for labels in shards.classes() for label in labels) == COUNTS
    assert shards.facts["labels"] == labels_of(recordings)
    wanted = [r.label for r in read_manifest(listed / "valid.jsonl")]
    assert [r.label for r in shards.validation()] == wanted


def test_shard_classes_follow_their_pieces_past_one_that_cannot_be_read(listed, tmp_path):
    broken = read_manifest(listed / "train.jsonl")
    broken[7] = broken[7]._replace(path=tmp_path / "lost.wav")
    pack(broken, broken[:1], tmp_path / "out", max_bad=0.1)
    of = {hash(soundfile.read(r.path, dtype="int16")[0].tobytes()): r.label for n, r in enumerate(broken) if n != 7}
    shards = Shards(str(tmp_path / "out"))
    found = {hash(samples(shards.read(c, p))): v for c, row in enumerate(shards.classes()) for p, v in enumerate(row)}
    assert found == of


def test_shard_one_shot_is_that_of_the_manifest_and_of_its_class(packed, recordings):
    """The same samples, silence behind the short and fade of the long, whoever reads."""
    plain = {hash(OneShots([r], [r.label], 1000, RATE)[0][0].numpy().tobytes()): r.label for r in recordings}
    assert len(plain) == 60
    labels = ["kick", "bell", "tom", "hat"]
    data = ShardOneShots(Shards(str(packed)), labels, 1000, RATE)
    for clip, number in (data[n] for n in range(300)):
        assert plain[hash(clip.numpy().tobytes())] == labels[number]


def test_shard_one_shot_is_a_function_of_seed_and_number_and_classes_are_drawn_equally_often(packed):
    augment, labels = Augment([0.8, 1.25], [-6, 0]), list(COUNTS)
    one, other = (ShardOneShots(Shards(str(packed)), labels, 700, 6000, 5, augment) for _ in range(2))
    numbers = list(range(0, 400, 9))
    found = {n: one[n] for n in numbers}
    for n in reversed(numbers):
        clip, label = other[n]
        assert label == found[n][1]
        assert torch.equal(clip, found[n][0])
    drawn = Counter(one[n][1] for n in range(1200))
    assert max(drawn.values()) - min(drawn.values()) < 5 * (1200 * 0.25 * 0.75) ** 0.5  # five deviations
    assert len({path for n in range(1200) for path in one.sources(n)}) == 60


def test_shard_one_shot_comes_from_the_chunk_in_turn_unless_its_class_is_not_in_it(packed):
    data = ShardOneShots(Shards(str(packed)), list(COUNTS), 1000, RATE)
    classes, away = data.shards.classes(), 0
    for n in range(200):
        chunk, _ = data.lanes.place(n)
        at_home = data.sources(n)[0].name.startswith(f"chunk-0-{chunk}.bin#")
        assert at_home == (data.labels[data[n][1]] in classes[chunk])
        away += not at_home
    assert 0 < away < 100  # the bell, and here and there a hat


def test_shard_class_belongs_to_the_piece_with_the_onset(listed, tmp_path):
    (long,) = [r for r in read_manifest(listed / "train.jsonl") if r.n_samples == 400 + 20 * 59]
    pack([long], [long], tmp_path / "out", seconds=0.1)
    shards = Shards(str(tmp_path / "out"))
    classes = [label for labels in shards.classes() for label in labels]
    assert Counter(classes) == {"bell": 1, None: 1}
    data = ShardOneShots(shards, ["bell"], 700, RATE)
    onset = soundfile.read(long.path, frames=600, dtype="float32")[0]
    assert all(torch.equal(data[n][0][0, :500], torch.from_numpy(onset[:500])) for n in range(8))
    with pytest.raises(ValueError, match=r"cut after at most 0\.1 s, clips are 0\.2 s long; pack again"):
        ShardOneShots(shards, ["bell"], 1600, RATE)


def test_shards_without_classes_or_of_others_are_refused(packed, recordings, tmp_path):
    bare = [r._replace(label=None) for r in recordings]
    pack(bare, bare[:1], tmp_path / "bare")
    assert not (tmp_path / "bare" / "labels.json").exists()
    with pytest.raises(ValueError, match="packed without classes; pack sub-folders, or a manifest with labels"):
        ShardOneShots(Shards(str(tmp_path / "bare")), ["tom"], 100, RATE)
    with pytest.raises(ValueError, match="no recording has the label gong"):
        ShardOneShots(Shards(str(packed)), ["tom", "gong"], 100, RATE)
    pack(recordings, recordings[:1], tmp_path / "other")
    path = tmp_path / "other" / "labels.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))
    with pytest.raises(ValueError, match=r"labels\.json: it is of another index; pack the corpus again"):
        Shards(str(tmp_path / "other")).classes()


def trained(folder, steps, *overrides):
    given = [f"run_dir={folder}", f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}"]
    return train(composed([*TINY, *given, *overrides]))


def test_generator_trains_from_labelled_shards_with_the_labels_of_the_manifest_in_order(packed, listed, tmp_path):
    given = ["data=labelled-shards", f"data.path={packed}"]
    trained(tmp_path / "straight", 4, *given)
    for steps in (2, 4):
        trained(tmp_path / "resumed", steps, *given)
    one, other = states(tmp_path / "straight"), states(tmp_path / "resumed")
    assert equal(one["raw"], other["raw"])
    assert equal(one["ema"], other["ema"])
    manifest = [f"data.manifest={listed / 'train.jsonl'}", f"data.valid_manifest={listed / 'valid.jsonl'}"]
    trained(tmp_path / "plain", 1, "data=one-shots", "data.path=null", *manifest)
    assert Model.load(tmp_path / "straight").labels == Model.load(tmp_path / "plain").labels == sorted(COUNTS)
    trained(tmp_path / "ordered", 1, *given, "data.labels=[tom,bell,kick]")
    assert Model.load(tmp_path / "ordered").labels == ["tom", "bell", "kick"]
    assert Model.load(tmp_path / "ordered").info["clips"] == 60


def test_recipe_of_classes_composes_with_labelled_shards():
    data = composed(["experiment=drums", "data=labelled-shards", "data.path=shards"]).data
    assert data.shards
    assert data.one_shots
    assert data.manifest is None
    assert data.n_samples == 32768
