"""A folder as it is found, with all that is in it, is trained on; what cannot be, is said in one line."""

import json
import math
import os

import pytest
import soundfile
import torch
from conftest import voiced
from support.training import run, steps

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.cli.jobs import Kinds, plan_batch
from audiodiff.data.folders import scan_folder
from audiodiff.data.manifest import read_manifest
from audiodiff.data.recordings import held_out, usable
from audiodiff.models.base import Model
from audiodiff.training.callbacks import Previews

RATE = 16000


def write(path, seconds=0.6, rate=RATE, channels=1, seed=0, **kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), voiced(seconds, rate, seed=seed).repeat(channels, 1).T.numpy(), rate, **kind)
    return path


def torn(path):
    """A FLAC whose header is whole and whose samples are not."""
    data = write(path, 1.5).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.fixture
def folder(tmp_path):
    """Nested folders, rates, channels, encodings, hidden files, links, and names that hurt."""
    place = tmp_path / "any"
    for n, rate in enumerate([8000, 16000, 22050, 44100]):
        write(place / "a b" / "ü" / f"{n}.wav", rate=rate, channels=1 + n % 2, seed=n)
    write(place / "deep" / "er" / "eight.flac", channels=8)
    write(place / "x\ny|[z].OGG", format="OGG")
    write(place / os.fsdecode(b"latin\xe9.wav"))
    write(place / "._0.wav").write_bytes(b"a Mac's")
    write(place / ".hidden" / "h.wav")
    write(tmp_path / "elsewhere" / "linked.wav")
    (place / "link").symlink_to(tmp_path / "elsewhere")
    (place / "deep" / "loop").symlink_to(place)
    (place / "a link").symlink_to(place / "deep")
    (place / "list.wav").mkdir()
    return place


NAMES = ["0.wav", "1.wav", "2.wav", "3.wav", "eight.flac", "latin\udce9.wav", "linked.wav", "x\ny|[z].OGG"]


def test_folder_of_any_layout_is_listed_once_and_under_its_own_name(folder):
    found = scan_folder(folder, max_bad=0)
    assert sorted(r.path.name for r in found) == NAMES
    assert {r.path.name: r.label for r in found}["eight.flac"] == "deep"  # and not "a link"
    assert all(len(audio.read(r.path)[0]) in (1, 2, 8) for r in found)


def test_commands_see_the_files_that_scan_sees(folder, tmp_path):
    """Linked folders too, whose files `resynth` and `mel` once passed over."""
    jobs = plan_batch([str(folder)], str(tmp_path / "out"), Kinds(audio.AUDIO_SUFFIXES, (".npy",)), force=False).jobs
    assert sorted(job.input for job in jobs) == sorted(r.path for r in scan_folder(folder))
    assert tmp_path / "out" / "link" / "linked.npy" in {job.output for job in jobs}


def test_folder_of_any_layout_is_trained_on_with_its_bad_files_named(folder, tmp_path, caplog):
    torn(folder / "zz.flac")  # the last by name, which validates
    torn(folder / "a b" / "torn.flac")
    (folder / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    found = run(
        tmp_path / "run",
        "data=folder",
        f"data.path={folder}",
        "data.max_bad=0.3",
        "data.batch_size=2",
        "data.validation_clips=2",
        "data.n_samples=8192",
        "previews=1",
        "sanity_check=true",
        *steps(4),
    )
    assert found["valid/loss"] > 0
    assert (tmp_path / "run" / "sample.wav").is_file()
    assert len(list((tmp_path / "run" / "previews").iterdir())) == 1
    assert "dangling.wav" in caplog.text


def test_previews_called_alike_are_kept_and_impossible_ones_do_not_end_the_run(tmp_path, caplog):
    paths = [tmp_path / "one" / "001.wav", tmp_path / "two" / "001.wav", tmp_path / "six.wav", tmp_path / "gone.wav"]
    for seed, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        write(path, channels=6 if path.stem == "six" else 1, seed=seed)
    model, previews = Model.load("speech-16k"), Previews(tmp_path, paths)
    paths[-1].unlink()
    assert [name for name, *_ in previews._sounds(model)] == ["001-1", "001-2"]
    for name in ("six.wav", "gone.wav"):
        assert f"{name}: no preview" in caplog.text


def test_validation_holds_a_recording_that_can_be_read(tmp_path):
    for n in range(60):
        write(tmp_path / f"{n:02d}.wav", 0.1)
    recordings = scan_folder(tmp_path)
    assert [len(part) for part in held_out(recordings)] == [58, 2]
    for n in (57, 58, 59):
        torn((tmp_path / f"{n}.wav").rename(tmp_path / f"{n}.flac"))
    training, validation = held_out(scan_folder(tmp_path))
    assert [r.path.name for r in validation] == ["56.wav", "57.flac", "58.flac", "59.flac"]
    assert training == recordings[:56]
    with pytest.raises(ValueError, match=r"57\.flac: cannot be read, nor can any other"):
        held_out(validation[1:])


def test_folder_may_be_validated_by_a_manifest(tmp_path):
    write(tmp_path / "in" / "a.wav")
    (tmp_path / "out").mkdir()
    lost = {"path": "lost.wav", "n_samples": 100, "sample_rate": RATE}
    (tmp_path / "out" / "valid.jsonl").write_text(json.dumps(lost))
    overrides = ["data=folder", f"data.path={tmp_path / 'in'}", f"data.valid_manifest={tmp_path / 'out/valid.jsonl'}"]
    with pytest.raises(ValueError, match=r"lost\.wav: none of the recordings can be read"):
        run(tmp_path / "run", *overrides, *steps(2))


def test_one_short_recording_is_enough_for_any_batch(tmp_path):
    write(tmp_path / "one" / "a.wav", 0.3)
    found = run(
        tmp_path / "run",
        "data=folder",
        f"data.path={tmp_path / 'one'}",
        "data.batch_size=5",
        "data.validation_clips=3",
        "data.n_samples=8192",
        *steps(2),
    )
    assert found["valid/loss"] > 0


def test_scan_shows_names_that_hurt_without_hurting(folder, capsys):
    (folder / "latin\udce9.wav").write_bytes(b"no sound")
    (folder / "x\ny|[z].OGG").write_bytes(b"no sound")
    assert main(["scan", str(folder)]) == 1
    shown = capsys.readouterr().out
    (row,) = (line for line in shown.splitlines() if line.startswith("| unreadable | 2 |"))
    assert "latin\\udce9.wav" in row
    assert "x\\ny\\|[z].OGG" in row
    shown.encode()


def test_what_is_shown_can_be_read_to_its_end(tmp_path):
    bad, good = torn(tmp_path / "a.flac"), write(tmp_path / "b.flac")
    recordings = scan_folder(tmp_path)
    assert [r.path for r in recordings] == [bad, good]
    assert [r.path for r in usable(recordings, 5)] == [good]
    assert usable(recordings * 3, 2) == [recordings[1]] * 2


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="there is no file that even root cannot read")
def test_file_that_the_system_keeps_to_itself_is_one_bad_file(tmp_path, capsys):
    write(tmp_path / "in/good.wav", 1.5)
    (tmp_path / "in/kept.wav").symlink_to("/proc/self/mem")
    assert [r.path.name for r in scan_folder(tmp_path / "in")] == ["good.wav"]
    assert main(["scan", str(tmp_path / "in")]) == 1
    assert main(["mel", str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert "kept.wav: cannot be read (Input/output error)" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.npy", "good.npy.json"]


def refuse_deeper(monkeypatch, error):
    """Let the system refuse to list `deep/er`, which root may."""
    real = os.scandir

    def scandir(place):
        if str(place).endswith("er"):
            raise error(str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)


def test_folder_that_is_removed_while_all_are_listed_is_passed_over(folder, monkeypatch):
    refuse_deeper(monkeypatch, lambda place: FileNotFoundError(2, "No such file or directory", place))
    assert sorted(r.path.name for r in scan_folder(folder)) == [name for name in NAMES if name != "eight.flac"]


def test_folder_that_the_system_keeps_to_itself_is_named(folder, monkeypatch, capsys):
    refuse_deeper(monkeypatch, lambda place: PermissionError(13, "Permission denied", place))
    assert main(["scan", str(folder)]) == 2
    assert "deep/er: cannot be read (Permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        *({"n_samples": value} for value in (-1, None, True, 0.5, "long" * 5000, math.inf, math.nan, 10**400)),
        *({"sample_rate": value} for value in (0, -8000, None, True, 8000.5, "8 kHz", [8000])),
        *({"path": value} for value in (None, "", 5, ["a.wav"], "s3://bucket/a.wav", "x" * 5000)),
    ],
)
def test_manifest_names_a_line_that_makes_no_sense(tmp_path, change):
    line = {"path": "a.wav", "n_samples": 100, "sample_rate": 8000}
    (tmp_path / "train.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line | change))
    with pytest.raises(ValueError, match=rf"train\.jsonl, line 2: .*{next(iter(change))}=.* wanted$") as refused:
        read_manifest(tmp_path / "train.jsonl")
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("line", ["a.wav", "[1]", "null", "[" * 100_000, '{"path": "a.wav"', "{}\0", "9" * 5000])
def test_manifest_names_a_line_that_is_no_object(tmp_path, line):
    (tmp_path / "train.jsonl").write_text("\n" + line)
    with pytest.raises(ValueError, match=r"train\.jsonl, line 2: a JSON object with path, n_samples and"):
        read_manifest(tmp_path / "train.jsonl")


def test_manifest_takes_numbers_that_are_written_as_texts(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"path": "a.wav", "n_samples": "100", "sample_rate": 8000.0}')
    assert read_manifest(tmp_path / "train.jsonl")[0][1:3] == (100, 8000)


def test_clips_are_finite_whatever_the_folder(folder):
    from audiodiff.data import Crops

    data = Crops(scan_folder(folder), 4000, RATE)
    assert all(bool(torch.isfinite(data[n]).all()) and data[n].shape == (1, 4000) for n in range(40))
    assert not data.bad.paths
