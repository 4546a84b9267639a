"""The open speech corpus: fetched from a server on loopback, resumed, checked against the list, split by speaker."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
from support.datasets import FOLDER, script, serving, write_places

fetching = script("fetching")
prepare = script("open_speech/prepare", "open_speech_prepare")
pack = script("open_speech/pack")


def syllables(seed, rate, seconds=1.0):
    """Noise with a level that changes, so that two recordings differ in their envelopes."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0.05, 0.5, 10), int(rate * seconds) // 10)
    return np.convolve(rng.standard_normal(len(level)) * level, np.ones(8) / 8, "same")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "server").mkdir()
    with serving(tmp_path / "server") as (address, asked):
        yield tmp_path / "server", address, asked


@pytest.fixture
def listing(tmp_path, server):
    """A list of four recordings, which the server has: at 48 kHz in stereo, and at 22.05 kHz."""
    root, _, _ = server
    rows = []
    for number, (split, rate) in enumerate([("train", 48000), ("train", 22050), ("valid", 48000), ("test", 22050)]):
        place_path, kept = f"some audio/{number}.wav", min(rate, 24000)
        original = syllables(number, rate)
        target = root / "owner/name" / ("c" * 40) / place_path
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, np.stack([original, original], 1), rate, subtype="PCM_16")
        waveform, _ = soundfile.read(target, dtype="float32", always_2d=True)
        pcm = prepare.as_pcm(prepare.resampled(waveform.mean(1), rate, kept))
        levels = " ".join(str(round(level)) for level in fetching.envelope(pcm / 2**15))
        about = {"corpus": "C", "speaker": f"C:{number}", "licence": "CC0"}
        where = (f"C/{number}.flac", split, "owner/name", "c" * 40, place_path)
        rows.append(fetching.Place(*where, kept, len(pcm), fetching.sample_hash(pcm), levels, about))
    return written(tmp_path / "places.csv", rows), rows


def written(path, rows):
    columns = [dataclasses.asdict(row) for row in rows]
    return write_places(path, [row | row.pop("about") for row in columns])


def run(out, listing, base, *more):
    return prepare.main([str(out), "--places", str(listing), "--base", base, "--jobs", "2", *more])


def entries(out, split):
    return [json.loads(line) for line in (out / f"{split}.jsonl").read_text().splitlines()]


def test_corpus_is_fetched_and_listed_by_split(tmp_path, server, listing):
    assert run(tmp_path / "out", listing[0], server[1]) == 0
    assert [e["speaker"] for e in entries(tmp_path / "out", "train")] == ["C:0", "C:1"]
    assert [e["speaker"] for s in ("valid", "test") for e in entries(tmp_path / "out", s)] == ["C:2", "C:3"]
    for place in listing[1]:
        samples, rate = soundfile.read(tmp_path / "out" / place.file, dtype="int16")
        assert (fetching.sample_hash(samples), rate) == (place.sha256, place.sample_rate)


def test_second_run_fetches_only_what_is_missing(tmp_path, server, listing):
    run(tmp_path / "out", listing[0], server[1])
    (tmp_path / "out" / "C/1.flac").unlink()
    server[2].clear()
    assert run(tmp_path / "out", listing[0], server[1]) == 0
    assert server[2] == [f"/owner/name/{'c' * 40}/some audio/1.wav"]


def test_another_recording_at_the_address_is_refused(tmp_path, server, listing, capsys):
    path = server[0] / "owner/name" / ("c" * 40) / "some audio/1.wav"
    soundfile.write(path, syllables(9, 22050), 22050, subtype="PCM_16")
    assert run(tmp_path / "out", listing[0], server[1]) == 1
    assert "another recording" in capsys.readouterr().err
    assert not (tmp_path / "out" / "C/1.flac").exists()
    assert len(entries(tmp_path / "out", "train")) == 1


def test_copy_that_another_resampler_made_is_accepted(listing):
    place = listing[1][0]
    samples = prepare.as_pcm(0.999 * prepare.resampled(syllables(0, 48000).astype(np.float32), 48000, 24000))
    assert fetching.sample_hash(samples) != place.sha256
    assert prepare.fits(place, samples)
    assert not prepare.fits(place, samples[::-1].copy())


def test_prepared_folder_is_copied_and_its_hashes_are_checked(tmp_path, server, listing):
    run(tmp_path / "first", listing[0], server[1])
    damaged, _ = soundfile.read(tmp_path / "first/C/0.flac", dtype="int16")
    damaged[100] += 1
    soundfile.write(tmp_path / "first/C/0.flac", damaged, 24000, subtype="PCM_16")
    assert run(tmp_path / "second", listing[0], "http://127.0.0.1:9", "--from", str(tmp_path / "first")) == 1
    assert [p.name for p in sorted((tmp_path / "second/C").iterdir())] == ["1.flac", "2.flac", "3.flac"]


def test_lower_rate_is_stored_and_lower_recordings_stay(tmp_path, server, listing):
    assert run(tmp_path / "out", listing[0], server[1], "--sample-rate", "22050") == 0
    assert {e["sample_rate"] for s in prepare.SPLITS for e in entries(tmp_path / "out", s)} == {22050}
    assert soundfile.info(tmp_path / "out/C/0.flac").frames == 22050


def test_shipped_list_splits_by_speaker_and_pins_commits():
    rows = fetching.read_places(FOLDER / "open_speech" / "places.csv")
    speakers = {s: {p.about["speaker"] for p in rows if p.split == s} for s in prepare.SPLITS}
    assert [len(speakers[s]) for s in prepare.SPLITS] == [226, 12, 18]
    assert len(set().union(*speakers.values())) == 256
    assert all(len(p.commit) == 40 and len(p.sha256) == 64 for p in rows)
    assert len({p.file for p in rows}) == len(rows)


def test_empty_split_writes_no_manifest(tmp_path, server, listing, capsys):
    some = written(tmp_path / "some.csv", [p for p in listing[1] if p.split == "train"])
    assert run(tmp_path / "out", some, server[1]) == 2
    assert "there is nothing for valid" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_packed_copy_fits_its_size_and_keeps_the_validation_split(tmp_path, server, listing):
    run(tmp_path / "out", listing[0], server[1])
    assert pack.main([str(tmp_path / "out"), str(tmp_path / "small"), "--megabytes", "0.08"]) == 0
    assert (
        sum(p.stat().st_size for p in (tmp_path / "small").rglob("*") if p.is_file()) < 88_000
    )  # short files have more of the container
    first = entries(tmp_path / "small", "train")[0]
    samples, rate = soundfile.read(tmp_path / "small" / first["path"])
    assert (len(samples), rate) == (first["n_samples"], 24000)
    original, _ = soundfile.read(tmp_path / "out/C/0.flac")
    assert np.corrcoef(samples, original)[0, 1] > 0.9
    kept = entries(tmp_path / "small", "valid")[0]["path"]
    assert (tmp_path / "small" / kept).read_bytes() == (tmp_path / "out" / kept).read_bytes()


def test_packed_copy_that_leaves_too_few_bits_is_refused(tmp_path, server, listing, capsys):
    run(tmp_path / "out", listing[0], server[1])
    assert pack.main([str(tmp_path / "out"), str(tmp_path / "small"), "--megabytes", "0.045"]) == 2
    assert "allow more" in capsys.readouterr().err
