"""The recipes of labelled sounds, each on a tiny tree of the corpus' own shape."""

import json
import struct

import numpy as np
import pytest
import soundfile
from support.datasets import FOLDER, script

from audiodiff.data import OneShots, labels_of
from audiodiff.data.manifest import read_manifest

RATE = 8000
PARTS = ("train", "valid", "test")


def load(name):
    return script(f"{name}/prepare", f"prepare_{name}")


def tone(path, n=1600, amplitude=0.5, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, amplitude * np.sin(np.arange(n) * 0.3), rate)


@pytest.fixture
def commands(tmp_path):
    corpus = tmp_path / "speech_commands"
    for digit in load("speech_commands").DIGITS:
        for i in range(3):
            tone(corpus / digit / f"s{i}_nohash_0.wav")
    tone(corpus / "cat" / "s0_nohash_0.wav")
    (corpus / "validation_list.txt").write_text("one/s1_nohash_0.wav\ncat/s0_nohash_0.wav\n")
    (corpus / "testing_list.txt").write_text("two/s2_nohash_0.wav\n")
    return corpus


def test_digits_are_split_as_the_corpus_says(commands, tmp_path, capsys):
    assert load("speech_commands").main([str(commands), str(tmp_path / "out")]) == 0
    parts = {part: read_manifest(tmp_path / "out" / f"{part}.jsonl") for part in ("train", "valid", "test")}
    assert [len(found) for found in parts.values()] == [28, 1, 1]
    assert parts["valid"][0].label == "one"
    assert parts["test"][0].path.resolve() == (commands / "two" / "s2_nohash_0.wav").resolve()
    assert "cat" not in labels_of(parts["train"])
    assert OneShots(parts["train"], labels_of(parts["train"]), 2000, RATE)[0][0].shape == (1, 2000)
    assert "| nine | 3 | 0 | 0 |" in capsys.readouterr().out


def test_notes_carry_their_family(tmp_path, capsys):
    for part in ("train", "valid", "test"):
        folder = tmp_path / f"nsynth-{part}"
        examples = {}
        for family, source in (("guitar", "acoustic"), ("organ", "electronic")):
            name = f"{family}_{source}_000-060-100"
            tone(folder / "audio" / f"{name}.wav", rate=16000)
            about = {"instrument_family_str": family, "instrument_source_str": source, "pitch": 60, "velocity": 100}
            examples[name] = about
        examples["lost_acoustic_000-060-100"] = about | {"instrument_family_str": "lost"}
        (folder / "examples.json").write_text(json.dumps(examples))
    assert load("nsynth").main([str(tmp_path), str(tmp_path / "out")]) == 0
    assert "left out" in capsys.readouterr().err
    assert labels_of(read_manifest(tmp_path / "out" / "train.jsonl")) == ["guitar", "organ"]
    assert load("nsynth").main([str(tmp_path), str(tmp_path / "out"), "--source", "acoustic"]) == 0
    assert {r.label for r in read_manifest(tmp_path / "out" / "test.jsonl")} == {"guitar"}


def test_ljspeech_keeps_the_last_sentences_for_testing(tmp_path):
    for n in range(40):
        tone(tmp_path / "wavs" / f"LJ001-{n:04d}.wav", rate=16000)
    (tmp_path / "wavs" / "LJ001-0003.wav").write_bytes(b"")
    assert load("ljspeech").main([str(tmp_path), str(tmp_path / "out")]) == 0
    names = {p: [r.path.stem for r in read_manifest(tmp_path / "out" / f"{p}.jsonl")] for p in PARTS}
    assert names["test"] == ["LJ001-0038", "LJ001-0039"]
    assert names["valid"] == ["LJ001-0036", "LJ001-0037"]
    assert len(names["train"]) == 35


def speakers_of(out):
    return {part: {r.label for r in read_manifest(out / f"{part}.jsonl")} for part in PARTS}


def test_libritts_is_split_as_its_folders_are(tmp_path, capsys):
    for part, speaker in (("train-clean-100", "19"), ("train-other-500", "20"), ("dev-clean", "84")):
        tone(tmp_path / part / speaker / "198" / f"{speaker}_198_000000_000000.wav", rate=24000)
    assert load("libritts").main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert "has no test-* folder" in capsys.readouterr().err
    tone(tmp_path / "test-clean" / "61" / "70968" / "61_70968_000000_000000.wav", rate=24000)
    assert load("libritts").main([str(tmp_path), str(tmp_path / "out")]) == 0
    assert speakers_of(tmp_path / "out") == {"train": {"19", "20"}, "valid": {"84"}, "test": {"61"}}
    assert all(r.path.is_file() and r.sample_rate == 24000 for r in read_manifest(tmp_path / "out" / "train.jsonl"))


@pytest.mark.parametrize(
    ("folder", "name"), [("wav48_silence_trimmed", "{}_001_mic1.flac"), ("wav48", "{}_001.wav")], ids=["0.92", "0.80"]
)
def test_vctk_holds_speakers_out(tmp_path, folder, name):
    for n in range(225, 251):
        tone(tmp_path / folder / f"p{n}" / name.format(f"p{n}"), rate=48000)
    tone(tmp_path / folder / "p225" / "p225_001_mic2.flac", rate=48000)
    assert load("vctk").main([str(tmp_path), str(tmp_path / "out")]) == 0
    found = speakers_of(tmp_path / "out")
    assert not found["train"] & (found["valid"] | found["test"])
    assert not found["valid"] & found["test"]
    assert sum(len(speakers) for speakers in found.values()) == 26
    paths = [r.path.name for part in PARTS for r in read_manifest(tmp_path / "out" / f"{part}.jsonl")]
    assert folder == "wav48" or not any("mic2" in path for path in paths)


@pytest.mark.parametrize("name", ["speech_commands", "nsynth", "ljspeech", "libritts", "vctk"])
def test_wrong_folder_is_one_line(tmp_path, capsys, name):
    assert load(name).main([str(tmp_path), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "give the folder" in error
    assert error.count("\n") == 1


# --- drums -------------------------------------------------------------------------------------------------------


def soundfont_bytes(samples):
    """A SoundFont with nothing but samples: (name, int16 waveform, rate, type)."""
    pcm, headers, at = b"", b"", 0
    for name, waveform, rate, kind in samples:
        data = waveform.astype("<i2").tobytes()
        end = at + len(waveform)
        headers += struct.pack("<20s5IBbHH", name.encode(), at, end, 0, 0, rate, 60, 0, 0, kind)
        pcm, at = pcm + data, end
    headers += struct.pack("<20s5IBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)

    def chunk(kind, body):
        return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    body = b"sfbk" + chunk(b"LIST", b"sdta" + chunk(b"smpl", pcm)) + chunk(b"LIST", b"pdta" + chunk(b"shdr", headers))
    return chunk(b"RIFF", body)


def test_samples_of_a_soundfont_are_read_and_right_channels_left_out(tmp_path):
    drums = load("drums")
    left = (1000 * np.sin(np.arange(500) * 0.2)).astype(np.int16)
    samples = [("36-Kick", left, 44100, 1), ("Snare(L)", left // 2, 22050, 4), ("Snare(R)", left, 22050, 2)]
    (tmp_path / "kit.sf2").write_bytes(soundfont_bytes(samples))
    found = list(drums.soundfont.samples(tmp_path / "kit.sf2"))
    assert [(name, rate, len(w)) for name, w, rate in found] == [("36-Kick", 44100, 500), ("Snare(L)", 22050, 500)]
    assert np.allclose(found[0][1], left / 32768)
    (tmp_path / "no.sf2").write_bytes(b"RIFF0000WAVE")
    with pytest.raises(ValueError, match="no SoundFont"):
        list(drums.soundfont.samples(tmp_path / "no.sf2"))


def test_one_shot_begins_at_its_onset_and_peaks_below_full_scale():
    drums, rate = load("drums"), 8000
    hit = np.exp(-np.arange(4000) / 800) * np.sin(np.arange(4000) * 0.5) * 0.1
    stereo = np.stack([np.concatenate([np.zeros(3000), hit])] * 2, axis=1)
    cut = drums.one_shot(stereo, rate)
    assert np.abs(cut).max() == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    assert np.abs(cut[: int(0.01 * rate)]).max() > 0.5
    assert len(drums.one_shot(np.random.default_rng(0).normal(size=9 * rate), rate)) == 3 * rate
    for bad in (np.zeros(8000), np.full(8000, np.nan), hit[:50]):
        with pytest.raises(ValueError, match=r"silent|short"):
            drums.one_shot(bad, rate)


def test_kits_keep_their_part_and_label_and_copies_are_left_out(tmp_path):
    drums = load("drums")
    kit = drums.KITS[0]
    root = tmp_path / "package"
    for i, name in enumerate(["BD_01", "SN_02", "HH_01", "readme"]):
        tone(root / kit.place / f"{name}.wav", 3000 + 100 * i, 0.1 + 0.1 * i)
    tone(root / kit.place / "BD_09.wav", 3000, 0.1)  # BD_01 again
    seen = set()
    lines = drums.convert(kit, root, tmp_path / "out", seen)
    assert sorted(line["label"] for line in lines) == ["hat", "kick", "snare"]
    assert {line["kit"] for line in lines} == {kit.name}
    assert all((tmp_path / "out" / line["path"]).is_file() for line in lines)
    assert drums.convert(kit, root, tmp_path / "out", seen) == []


def test_licences_of_what_ships_are_free_and_kits_do_not_cross_parts():
    kits = load("drums").KITS
    assert all(re_free(kit.licence) for kit in kits)
    assert {kit.part for kit in kits} == {"train", "valid", "test"}
    assert len({kit.name for kit in kits}) == len(kits)
    assert len({kit.part for kit in kits if kit.package.startswith("avldrums")}) == 1  # they share recordings


def re_free(licence):
    return licence.startswith(("CC0", "CC-BY", "MIT")) and "GPL" not in licence and "NC" not in licence


def test_datasets_are_where_the_readme_says():
    for name in ("drums", "speech_commands", "nsynth", "ljspeech", "libritts", "vctk"):
        assert (FOLDER / name / "prepare.py").is_file()
