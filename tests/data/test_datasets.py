"""The speech corpus: what is used, how files are named, and that no split leaks into another. Without network."""

import doctest
import json
import random
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import FOLDER, script

SAMPLE_RATE = 16000


plan = script("debian_speech/speech_plan")
prepare = script("debian_speech/prepare", "debian_speech_prepare")
SOURCES = {source.key: source for source in plan.SOURCES}


def clip(folder, name, speaker, position=1):
    return plan.Clip(f"audio/{folder}/{name}.flac", 8000, SAMPLE_RATE, speaker, folder, "CC-BY-3.0", 44100, position)


@pytest.fixture
def clips():
    """Two languages of one training speaker, one of another, and the held-out speaker with a gap in his positions."""
    some = [clip(folder, f"p{i:03d}", "allison") for folder in ("asterisk-en", "asterisk-es") for i in range(60)]
    some += [clip("festvox-ru", f"ru_{i:04d}", "shmyrev") for i in range(101)]
    return some + [clip("asterisk-it", f"p{i:03d}", plan.HELD_OUT, i) for i in range(1, 40) if i != 7]


def tone(frequency=440.0, seconds=0.5, sample_rate=SAMPLE_RATE):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * sample_rate)) / sample_rate)


def peak_hz(waveform, sample_rate):
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return np.argmax(spectrum) * sample_rate / len(waveform)


@pytest.mark.parametrize("module", [plan, prepare], ids=["plan", "prepare"])
def test_examples_in_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


# ---- splits


def test_splits_are_disjoint_and_lose_nothing(clips):
    parts = plan.split(clips)
    plan.check_splits(parts)
    assert sorted(c.path for part in parts.values() for c in part) == sorted(c.path for c in clips)


def test_held_out_speaker_is_never_trained_on_and_halved_by_position(clips):
    parts = plan.split(clips)
    assert plan.HELD_OUT not in {c.speaker for name in ("train", "valid_seen") for c in parts[name]}
    assert {c.speaker for name in ("valid", "test") for c in parts[name]} == {plan.HELD_OUT}
    assert [c.position for c in parts["valid"]] == [i for i in range(1, 40, 2) if i != 7]
    assert [c.position for c in parts["test"]] == list(range(2, 40, 2))


def test_last_four_percent_of_each_speaker_validate(clips):
    parts = plan.split(clips)
    for speaker, n_files in (("allison", 120), ("shmyrev", 101)):
        seen = [Path(c.path).name for c in parts["valid_seen"] if c.speaker == speaker]
        train = [Path(c.path).name for c in parts["train"] if c.speaker == speaker]
        assert len(seen) == -(-4 * n_files // 100)
        assert max(train) <= min(seen)
    assert {c.package for c in parts["valid_seen"] if c.speaker == "allison"} == {"asterisk-en", "asterisk-es"}


def test_splits_do_not_depend_on_the_order_of_the_clips(clips):
    shuffled = random.Random(0).sample(clips, len(clips))
    assert plan.split(shuffled) == plan.split(clips)


def test_check_finds_a_leak(clips):
    parts = plan.split(clips)
    with pytest.raises(ValueError, match="more than one split"):
        plan.check_splits({**parts, "test": [*parts["test"], parts["train"][0]]})
    with pytest.raises(ValueError, match="held-out speaker"):
        plan.check_splits({**parts, "train": [*parts["train"], replace(parts["valid"][0], path="other")]})


def test_manifest_line_is_one_json_object_with_the_agreed_fields():
    line = plan.manifest_line(clip("gcin-chu_lo", "ㄅㄚ+5", "chu_lo"))
    assert line.endswith("\n") and line.count("\n") == 1
    row = json.loads(line)
    assert list(row) == ["path", "n_samples", "sample_rate", "speaker", "package", "licence", "native_rate"]
    assert row["path"] == "audio/gcin-chu_lo/ㄅㄚ+5.flac" and row["native_rate"] == 44100


# ---- names and choice of files

part = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
path = st.lists(part, min_size=1, max_size=3).map("/".join)


@given(st.lists(st.tuples(path, st.sampled_from([".ogg", ".wav", ".ogg.ogg"])).map("".join), unique=True, max_size=8))
def test_flat_names_are_distinct_plain_file_names(paths):
    names = plan.flat_names(paths)
    assert len(set(names)) == len(paths)
    assert all(name.isascii() and "/" not in name and name for name in names)


def test_flat_names_keep_the_folders_and_can_be_read_back():
    assert plan.flat_names(["a/1.g722", "a-1.g722", "a+1.g722"]) == ["a+1", "a-1", "a%2B1"]
    assert unquote(plan.flat_names(["ㄅㄚ/5.ogg"])[0].replace("+", "/")) == "ㄅㄚ/5"


@pytest.mark.parametrize(
    ("key", "file", "speaker"),
    [
        ("asterisk-en", "vm-youhave.g722", "allison"),
        ("asterisk-es", "vm-youhave.g722", "allison"),
        ("asterisk-en", "tt-monkeysintro.g722", "allison"),
        ("asterisk-en", "tt-monkeys.g722", None),
        ("asterisk-en", "beeperr.g722", None),
        ("asterisk-fr", "silence/10.g722", None),
        ("asterisk-it", "confbridge-join.g722", None),
        ("asterisk-it", "confbridge-leave-in.g722", "carlo"),
        ("asterisk-ru", "confbridge-join.g722", "ivrvoice-ru"),
        ("asterisk-ru", "descending-2tone.g722", None),
        ("gcin-chu_lo", "ㄅㄚ/5.ogg", "chu_lo"),
        ("gcin-chu_lo", "ㄅㄚ/3.ogg", None),
        ("gcin-edward_liu", "ㄅㄚ/3.ogg", "edward_liu"),
        ("tuxpaint", "food/corn_desc_pt_BR.wav", "tuxpaint-pt_BR"),
        ("tuxpaint", "food/corn_desc_es.ogg", None),
        ("tuxpaint", "animals/dog.ogg", None),
        ("fillets", "cabin1/cs/k1-m-lebku.ogg", "fillets-m"),
        ("fillets", "keys/cs/rand-4-5.ogg", "fillets-other"),
        ("klettres", "de/alpha/a.ogg", "klettres-de"),
        ("klettres", "tn/alpha/a.ogg", None),
        ("ktuberling", "sr@latin/oko.ogg", "ktuberling-sr"),
        ("ktuberling", "wa/egypt_pont.ogg", None),
    ],
)
def test_files_are_used_by_rule(key, file, speaker):
    assert plan.speaker_of(SOURCES[key], file) == speaker


def test_default_sources_are_permissive_and_hold_the_held_out_speaker():
    default = [source for source in plan.SOURCES if source.default]
    assert not [source.key for source in default if "GPL" in source.licence]
    assert [source.key for source in default if source.speaker == plan.HELD_OUT] == ["asterisk-it"]
    assert len(SOURCES) == len(plan.SOURCES)


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [
        (tone(), None),
        (np.zeros(0), "empty"),
        (tone(seconds=0.1), "shorter than 0.2 s"),
        (1e-4 * tone(), "silent"),
        (np.clip(4 * tone(), -1, 1), "clipped"),
        (np.where(np.arange(8000) == 5, np.nan, tone()), "not finite"),
    ],
)
def test_faults_are_named(waveform, reason):
    assert plan.fault(waveform, SAMPLE_RATE) == reason


# ---- files


@pytest.fixture
def unpacked(tmp_path):
    """A package as dpkg unpacks it: stereo at 44.1 kHz, a copy of it, silence, text that claims to be audio."""
    source = plan.Source("made-up", "made-up", "usr/share/made-up", "voice", "CC0-1.0", "nobody", drop="^beep")
    base = tmp_path / "root" / source.base
    (base / "sub").mkdir(parents=True)
    left, right = tone(1000, 1.0, 44100), 0.1 * tone(3000, 1.0, 44100)
    soundfile.write(base / "sub" / "a.wav", np.stack([left, right], axis=1), 44100)
    (base / "sub" / "b.wav").write_bytes((base / "sub" / "a.wav").read_bytes())
    soundfile.write(base / "beep.wav", tone(), SAMPLE_RATE)
    soundfile.write(base / "quiet.wav", np.zeros(8000), SAMPLE_RATE)
    (base / "text.ogg").write_text("no audio here")
    return source, tmp_path / "root", tmp_path / "out"


def test_conversion_gives_mono_flac_at_the_wanted_rate_and_names_what_it_leaves_out(unpacked):
    source, root, out = unpacked
    clips, left_out = prepare.convert_source(source, out, SAMPLE_RATE, root)
    assert [(c.path, c.n_samples, c.native_rate, c.position) for c in clips] == [
        ("audio/made-up/sub+a.flac", SAMPLE_RATE, 44100, 3)
    ]
    assert {row["file"]: row["why"] for row in left_out} == {
        "beep.wav": prepare.NOT_USED,
        "quiet.wav": "silent",
        "sub/b.wav": "same as an earlier file",
        "text.ogg": "unreadable",
    }
    waveform, sample_rate = soundfile.read(out / clips[0].path)
    info = soundfile.info(out / clips[0].path)
    assert (sample_rate, waveform.ndim, info.subtype) == (SAMPLE_RATE, 1, "PCM_16")
    assert abs(peak_hz(waveform, sample_rate) - 1000) < 1
    # half of a 0.5 sine: 0.25 / sqrt 2, and the other channel's tenth on top
    assert np.sqrt(np.mean(waveform**2)) == pytest.approx(0.25 / np.sqrt(2) * np.hypot(1, 0.1), rel=1e-3)


def test_second_conversion_leaves_finished_files_alone_unless_the_rate_differs(unpacked):
    source, root, out = unpacked
    first = prepare.convert_source(source, out, SAMPLE_RATE, root)
    target = out / first[0][0].path
    before = target.stat().st_mtime_ns, target.stat().st_ino
    assert prepare.convert_source(source, out, SAMPLE_RATE, root) == first
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == before
    prepare.convert_source(source, out, 8000, root)
    assert soundfile.info(target).samplerate == 8000
    assert not list(out.rglob("*.tmp"))


def test_noted_state_is_used_only_by_the_same_rules(unpacked):
    source, root, out = unpacked
    built = plan.Built(source, SAMPLE_RATE, "1.0", *prepare.convert_source(source, out, SAMPLE_RATE, root), plan.RULES)
    note = asdict(built)
    (out / "state").mkdir()
    (out / "state" / "made-up.json").write_text(json.dumps(note))
    assert prepare.read_built(source, out, SAMPLE_RATE) == built
    assert prepare.read_built(source, out, 8000) is None
    assert prepare.read_built(replace(source, drop="x"), out, SAMPLE_RATE) is None
    (out / "state" / "made-up.json").write_text(json.dumps({**note, "rules": plan.RULES - 1}))
    assert prepare.read_built(source, out, SAMPLE_RATE) is None
    (out / "state" / "made-up.json").write_text(json.dumps(note))
    (out / built.clips[0].path).unlink()
    assert prepare.read_built(source, out, SAMPLE_RATE) is None


def test_g722_decodes_to_the_tone_that_was_encoded(tmp_path):
    av = pytest.importorskip("av")
    file = tmp_path / "tone.g722"
    with av.open(str(file), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=SAMPLE_RATE, layout="mono")
        samples = (32767 * tone(1000, 1.0)).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    waveform, sample_rate = prepare.decode(file)
    assert sample_rate == SAMPLE_RATE and abs(len(waveform) - SAMPLE_RATE) < 400  # the codec works in blocks
    assert abs(peak_hz(waveform, sample_rate) - 1000) < 2
    assert np.sqrt(np.mean(waveform**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)  # 64 kbit/s ADPCM


# ---- what the user is told


def error_of(capsys, *arguments):
    """Runs the command, which must fail with code 2, and returns its one line."""
    assert prepare.main(list(map(str, arguments))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def debian(monkeypatch):
    """A machine that has all the tools, wherever the tests run."""
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(prepare.logging, "basicConfig", lambda **_: None)


def test_other_systems_are_told_so(debian, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    assert "apt-get not found" in error_of(capsys, tmp_path)


def test_missing_pyav_names_the_remedy(debian, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'audiodiff-torch[datasets]'" in error_of(capsys, tmp_path)


def test_unwritable_output_is_one_line(debian, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot write to" in error_of(capsys, tmp_path / "file" / "out")


def test_unknown_package_says_to_update(debian, monkeypatch, capsys, tmp_path):
    failed = subprocess.CompletedProcess([], 100, "", "E: Unable to locate package festvox-ru\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    assert "apt-get update" in error_of(capsys, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_table_counts_clips_minutes_and_splits(clips):
    built = plan.Built(SOURCES["festvox-ru"], SAMPLE_RATE, "1", [c for c in clips if "festvox" in c.path], [], 1)
    lines = prepare.table([built], plan.split(built.clips)).splitlines()
    assert lines[1].split() == ["festvox-ru", "101", "0.8", "1", "96", "5", "0", "0", "BSD-like"]
    assert lines[2].split() == ["all", "101", "0.8", "1", "96", "5", "0", "0"]


def test_scripts_carry_no_address_of_a_host():
    for file in (FOLDER / "debian_speech").iterdir():
        assert not file.is_file() or "://" not in file.read_text(encoding="utf-8"), file


def test_broad_set_and_unseen_voices_share_nobody_and_keep_the_licence(tmp_path, capsys, monkeypatch):
    broad = script("debian_speech/broad")
    (tmp_path / "audio").mkdir()
    samples, rows = tone(seconds=2.5), []
    for speaker, licence, offset, native in (
        ("allison", "CC-BY-SA-3.0", 0.0, 16000),
        ("fillets-m", "GPL-2.0-only", 0.0, 22050),
        ("tuxpaint-fr", "GPL-2.0-or-later", 0.0, 44100),
        ("tuxpaint-ro", "GPL-2.0-or-later", 0.0, 44100),
        ("edward_liu", "GPL-3.0-only OR LGPL-3.0-only", 0.2, 44100),
    ):
        for n in range(9):
            path = f"audio/{speaker}{n}.flac"
            soundfile.write(tmp_path / path, samples + offset, SAMPLE_RATE)
            facts = {"n_samples": len(samples), "sample_rate": SAMPLE_RATE, "native_rate": native}
            rows.append({"path": path, "speaker": speaker, "package": "p", "licence": licence} | facts)
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def divided(*options):
        monkeypatch.setattr(sys, "argv", ["broad.py", str(tmp_path), *options])
        broad.main()
        found = {}
        for part in ("broad", "unseen"):
            lines = (tmp_path / f"{part}.jsonl").read_text().splitlines()
            found[part] = [json.loads(line)["speaker"] for line in lines]
        return found

    assert divided() == {
        "broad": 9 * ["allison"] + 9 * ["tuxpaint-ro"],  # neither the GPL-2.0-only, the held out, nor the offset
        "unseen": 4 * ["fillets-m"] + 4 * ["tuxpaint-fr"],
    }
    assert divided("--lowest-rate", "22050", "--each", "2") == {
        "broad": 9 * ["tuxpaint-ro"],
        "unseen": 2 * ["fillets-m"] + 2 * ["tuxpaint-fr"],
    }
    assert "broad: 9 recordings" in capsys.readouterr().out
