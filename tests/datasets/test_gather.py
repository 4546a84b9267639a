"""Gathering recordings from public repositories: against a server on this machine, and from a folder of copies."""

import itertools

import numpy as np
import pytest
import soundfile
from support.datasets import FOLDER, script, serving, write_places

from audiodiff.data.manifest import read_manifest

fetching, gather = script("fetching"), script("gather")
RATE, SPLITS = 8000, ("train", "valid", "test")


def hit(n, seed):
    rng = np.random.default_rng(seed)
    return 0.5 * rng.normal(size=n).clip(-2, 2) * np.exp(-np.arange(n) / 900) / 2


@pytest.fixture
def place(tmp_path):
    """Repositories of stereo files with silence before the sound, at another level; a list; a folder of copies."""
    rows = []
    for i, split in enumerate(("train", "train", "valid", "test")):
        sound = gather.as_pcm(hit(3000 + 100 * i, i))
        name = f"kit{i}/snare/hit {i}#.flac"
        original = np.concatenate([np.zeros(444 * (i + 1)), sound / 2**15, np.zeros(500)]) * 0.5
        source = tmp_path / "host" / "owner" / "repo" / "abc" / f"hit {i}#.wav"
        source.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(source, np.stack([original, original], axis=1), RATE, subtype="FLOAT")
        (tmp_path / "copies" / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / "copies" / name, sound, RATE, subtype="PCM_16")
        levels = " ".join(str(round(v)) for v in gather.envelope(sound / 2**15))
        place = {"repository": "owner/repo", "commit": "abc", "path": f"hit {i}#.wav", "sample_rate": RATE}
        about = {"label": "snare", "kit": f"kit{i}", "licence": "CC0-1.0"}
        rows.append(
            {"file": name, "split": split, **about, **place}
            | {"n_samples": len(sound), "sha256": gather.sample_hash(sound), "levels": levels}
        )
    write_places(tmp_path / "places.csv", rows)
    return tmp_path


@pytest.fixture
def server(place):
    """Serves the repositories on the loopback address, and notes what was asked for."""
    with serving(place / "host") as served:
        yield served


def run(place, *arguments):
    return gather.main("Gathers.", place / "places.csv", [str(place / "out"), *arguments])


def test_fetched_sounds_are_those_of_the_list(place, server, capsys):
    assert run(place, "--base", server[0]) == 0
    parts = {split: read_manifest(place / "out" / f"{split}.jsonl") for split in SPLITS}
    assert [len(part) for part in parts.values()] == [2, 1, 1]
    for recording in itertools.chain(*parts.values()):
        fetched, rate = soundfile.read(recording.path)
        copy, _ = soundfile.read(place / "copies" / recording.path.relative_to(place / "out"))
        assert (rate, len(fetched)) == (RATE, len(copy))
        likeness = np.correlate(fetched, copy, "full") / np.linalg.norm(fetched) / np.linalg.norm(copy)
        assert likeness.max() > 0.95
        assert (
            abs(int(likeness.argmax()) - len(copy) + 1) <= gather.STEP * RATE
        )  # cut at the same onset, within one step
        assert np.abs(fetched).max() == pytest.approx(np.abs(copy).max(), rel=0.1)  # at the same level
        assert recording.about == {"kit": recording.path.parts[-3], "licence": "CC0-1.0"}
    assert "| snare | 2 | 1 | 1 |" in capsys.readouterr().out


def test_second_run_fetches_only_what_is_missing(place, server):
    source = place / "host/owner/repo/abc/hit 1#.wav"
    content = source.read_bytes()
    source.unlink()
    assert run(place, "--base", server[0]) == 1
    assert len(read_manifest(place / "out" / "train.jsonl")) == 1
    source.write_bytes(content)
    server[1].clear()
    assert run(place, "--base", server[0]) == 0
    assert server[1] == ["/owner/repo/abc/hit 1#.wav"]
    assert len(read_manifest(place / "out" / "train.jsonl")) == 2


def test_another_sound_and_no_sound_are_refused(place, server, capsys):
    soundfile.write(place / "host/owner/repo/abc/hit 0#.wav", hit(4000, 9)[::-1], RATE)
    (place / "host/owner/repo/abc/hit 1#.wav").write_bytes(b"<html>")
    assert run(place, "--base", server[0]) == 2  # nothing is left to train on
    error = capsys.readouterr().err
    assert "another recording than the list has" in error
    assert "is no audio" in error
    assert not (place / "out" / "train.jsonl").exists()


def test_copies_are_compared_by_hash(place, capsys):
    assert run(place, "--from", str(place / "copies")) == 0
    for recording in read_manifest(place / "out" / "train.jsonl"):
        copy = place / "copies" / recording.path.relative_to(place / "out")
        assert np.array_equal(soundfile.read(recording.path)[0], soundfile.read(copy)[0])
    changed = place / "copies/kit0/snare/hit 0#.flac"
    samples, _ = soundfile.read(changed, dtype="int16")
    samples[100] += 1
    soundfile.write(changed, samples, RATE)
    (place / "out/kit0/snare/hit 0#.flac").unlink()
    assert run(place, "--from", str(place / "copies")) == 1
    assert "not those of the list" in capsys.readouterr().err


def test_list_that_leads_out_of_the_folder_is_refused(place, capsys):
    text = (place / "places.csv").read_text().replace("kit0/snare", "../kit0")
    (place / "places.csv").write_text(text)
    assert run(place, "--from", str(place / "copies")) == 2
    assert "no file of this folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "field", "count", "labels"),
    [("drum_kits", "maker", 2051, 9), ("spoken_commands", "speaker", 2600, 10)],
)
def test_shipped_list_holds_whole_makers_and_speakers_out(name, field, count, labels):
    places = fetching.read_places(FOLDER / name / "places.csv")
    assert len(places) == len({place.file for place in places}) == count
    groups = {split: {p.about[field] for p in places if p.split == split} for split in SPLITS}
    assert not groups["train"] & (groups["valid"] | groups["test"])
    assert not groups["valid"] & groups["test"]
    for split in ("train", "test"):
        assert len({p.about["label"] for p in places if p.split == split}) == labels
    free = ("CC0", "CC-BY-3.0", "CC-BY-4.0", "public domain", "Unlicense")
    assert all(place.about["licence"].startswith(free) for place in places)
    assert all(len(place.commit) == 40 and "SA" not in place.about["licence"] for place in places)
