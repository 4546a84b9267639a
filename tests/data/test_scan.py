"""What is wrong with recordings is found, and what is right with them is not."""

import io
import json
import math

import pytest
import soundfile
import torch

from audiodiff import audio
from audiodiff.cli import main
from audiodiff.data import Crops, OneShots, scan
from audiodiff.data.folders import scan_folder
from audiodiff.data.manifest import Recording
from audiodiff.utils.config import shipped_path

RATE = 8000


def noise(seconds=1.0, seed=0, rate=RATE):
    steps = torch.randn(int(seconds * 20), generator=torch.Generator().manual_seed(seed))
    loud = torch.nn.functional.interpolate(steps[None, None].exp(), int(seconds * rate), mode="linear")[0]
    return 0.02 * loud * torch.randn(1, loud.shape[-1], generator=torch.Generator().manual_seed(seed + 99))


def write(path, samples, rate=RATE, subtype="FLOAT"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T.numpy(), rate, subtype=subtype)
    return path


def troubles(*paths, **limits):
    return {one.path.name: one.troubles for one in scan.scan(paths, scan.Limits(**limits))}


@pytest.fixture
def speech():
    return audio.read(shipped_path("demos/audio/speech.flac"))


@pytest.mark.parametrize(
    ("trouble", "spoilt"),
    [
        ("silent", lambda x: x * 1e-5),
        ("clipped", lambda x: (4 * x).clamp(-0.1, 0.1)),
        ("offset", lambda x: x + 0.05),
        ("too short", lambda x: x[:, :2000]),
        ("not finite", lambda x: torch.where(torch.arange(x.shape[-1]) == 77, math.nan, x)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_trouble_is_found_and_nothing_else(tmp_path, trouble, spoilt):
    good, bad = write(tmp_path / "good.wav", noise()), write(tmp_path / "bad.wav", spoilt(noise(seed=5)))
    assert troubles(good, bad) == {"good.wav": [], "bad.wav": [trouble]}


def test_unreadable_and_odd_files_are_found(tmp_path):
    (tmp_path / "text.wav").write_text("no sound at all " * 20)
    (tmp_path / "empty.wav").touch()
    paths = [write(tmp_path / f"{n}.wav", noise(seed=n)) for n in range(3)]
    odd = write(tmp_path / "odd.wav", noise(seed=9, rate=2 * RATE), 2 * RATE)
    found = troubles(*paths, odd, tmp_path / "text.wav", tmp_path / "empty.wav")
    assert found == {
        **{f"{n}.wav": [] for n in range(3)},
        "odd.wav": ["odd rate"],
        "text.wav": ["unreadable"],
        "empty.wav": ["unreadable"],
    }


@pytest.mark.parametrize("frequency", [50, 200, 1000])
def test_a_loud_sine_is_not_clipped(tmp_path, frequency):
    sine = torch.sin(2 * math.pi * frequency * torch.arange(RATE) / RATE)[None]
    assert troubles(write(tmp_path / "sine.wav", sine)) == {"sine.wav": []}


@pytest.mark.parametrize("change", ["gain", "rate", "MP3", "OGG"])
def test_copy_is_found_behind_gain_rate_and_encoding(tmp_path, speech, change):
    waveform, rate = speech
    other = tmp_path / "other.wav"
    if change == "gain":
        write(other, 0.1 * waveform, rate)
    elif change == "rate":
        write(other, audio.resample(waveform, rate, 24000), 24000)
    else:
        coded = io.BytesIO()
        soundfile.write(coded, waveform.T.numpy(), rate, format=change)
        other = tmp_path / f"other.{change.lower()}"
        other.write_bytes(coded.getvalue())
    (copy,) = (one for one in scan.scan([shipped_path("demos/audio/speech.flac"), other]) if one.of)
    assert (copy.path, copy.of) == (other, shipped_path("demos/audio/speech.flac"))


def test_speakers_who_say_other_things_are_no_copies(tmp_path):
    paths = sorted(shipped_path("datasets/clips/speech").glob("*.flac"))
    cut = [write(tmp_path / f"{p.stem}.wav", audio.read(p)[0][:, :24000], 16000) for p in paths]
    assert not any(one.of for one in scan.scan(cut, scan.Limits(seconds=0.1)))


def test_command_tells_names_and_status(tmp_path, capsys):
    folder = tmp_path / "folder"
    for n in range(4):
        write(folder / "deep" / f"{n}.wav", noise(seed=n))
    (folder / "._0.wav").write_bytes(b"a Mac's")
    assert main(["scan", str(folder)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    write(folder / "quiet.wav", noise(seed=8) * 0)
    out = tmp_path / "scan.json"
    assert main(["scan", str(folder), "--out", str(out)]) == 1
    assert "| silent | 1 |" in capsys.readouterr().out
    assert json.loads(out.read_text())["bad"] == 1
    assert main(["scan", str(folder), "--out", str(out)]) == 2
    assert main(["scan", str(tmp_path / "nowhere")]) == 2
    assert main(["scan", str(tmp_path / "deep")]) == 2


def test_manifest_that_is_no_longer_true_is_told(tmp_path, capsys):
    for seed, name in enumerate(("true", "faster", "longer")):
        write(tmp_path / f"{name}.wav", noise(seed=seed))
    facts = {"true": (RATE, RATE), "faster": (RATE, 2 * RATE), "longer": (100, RATE)}
    lines = [json.dumps({"path": f"{k}.wav", "n_samples": n, "sample_rate": rate}) for k, (n, rate) in facts.items()]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    assert main(["scan", str(tmp_path / "list.jsonl"), "--json"]) == 1
    found = {
        one["path"].rpartition("/")[2].removesuffix(".wav"): one["troubles"]
        for one in json.loads(capsys.readouterr().out)["recordings"]
    }
    stale = {name: "listed otherwise" in troubles for name, troubles in found.items()}
    assert stale == {"true": False, "faster": True, "longer": True}


def test_training_draws_anew_for_a_file_that_cannot_be_read_and_names_it(tmp_path, caplog):
    good = [Recording(write(tmp_path / f"{n}.wav", noise(seed=n)), RATE, RATE, "a") for n in range(3)]
    torn = tmp_path / "torn.wav"
    torn.write_bytes(good[0].path.read_bytes()[:60])
    everything = [*good, Recording(torn, RATE, RATE, "a")]
    data, again = (Crops(everything, 4000, RATE, seed=1) for _ in range(2))
    clips = [data[n] for n in range(20)]
    assert all(bool(torch.isfinite(clip).all()) for clip in clips)
    assert all(torch.equal(again[n], clips[n]) for n in reversed(range(20)))  # whoever met the file first
    assert data.bad.paths == {torn}
    assert caplog.text.count(str(torn)) == 2
    assert all(torn not in data.sources(n) for n in range(20))
    shots = OneShots(everything, ["a"], 4000, RATE)
    assert all(bool(torch.isfinite(shots[n][0]).all()) for n in range(20))


def test_too_many_bad_files_end_the_run(tmp_path):
    good = [Recording(write(tmp_path / f"{n}.wav", noise(seed=n)), RATE, RATE) for n in range(8)]
    torn = [Recording(tmp_path / f"torn{n}.wav", RATE, RATE) for n in range(2)]
    data = Crops(good + torn, 4000, RATE, max_bad=0.1)
    with pytest.raises(ValueError, match=r"2 of 10 files cannot be used.*audiodiff scan"):
        [data[n] for n in range(200)]
    for recording in torn:
        recording.path.write_bytes(b"no sound")
    assert len(scan_folder(tmp_path, max_bad=0.2)) == 8
    with pytest.raises(ValueError, match=r"raise data\.max_bad"):
        scan_folder(tmp_path, max_bad=0.1)


def test_empty_recordings_do_not_hold_training_up(tmp_path):
    good = Recording(write(tmp_path / "good.wav", noise()), RATE, RATE)
    empty = Recording(tmp_path / "empty.wav", 0, RATE)
    assert Crops([empty, good], 4000, RATE)[0].shape == (1, 4000)
    with pytest.raises(ValueError, match="no recording that holds samples"):
        Crops([empty], 4000, RATE)
    with pytest.raises(ValueError, match="none of the recordings can be read"):
        Crops([Recording(tmp_path / "lost.wav", 8000, RATE)], 4000, RATE)[0]


def test_folder_of_any_layout_is_a_data_set(tmp_path):
    write(tmp_path / "a b" / "ü ñ.wav", noise(), RATE)
    write(tmp_path / "deep" / "er" / "stereo.flac", noise().repeat(2, 1), 2 * RATE, "PCM_16")
    write(tmp_path / ".hidden" / "x.wav", noise())
    (tmp_path / "deep" / "._stereo.flac").write_bytes(b"a Mac's")
    (tmp_path / "deep" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "list.wav").mkdir()
    found = scan_folder(tmp_path, max_bad=0)
    assert sorted(r.path.name for r in found) == ["stereo.flac", "ü ñ.wav"]
    assert Crops(found, 30000, RATE)[0].shape == (1, 30000)


def test_recordings_too_short_for_a_sample_do_not_hold_training_up(tmp_path):
    blip = Recording(write(tmp_path / "blip.wav", torch.ones(1, 1), 6 * RATE), 1, 6 * RATE)
    good = Recording(write(tmp_path / "good.wav", noise()), RATE, RATE)
    with pytest.raises(ValueError, match=r"blip\.wav.*none of the recordings can be read, 100 tried"):
        Crops([blip], 4000, RATE)[0]
    data = Crops([blip] * 200000 + [good], 4000, RATE)  # so many of them that they are drawn
    assert all(data[n].shape == (1, 4000) for n in range(10))
    assert data.bad.paths == {blip.path}


@pytest.mark.parametrize(("n_samples", "rate"), [(0, RATE), (-5, RATE), (4000, 0)])
def test_clips_without_length_are_refused(tmp_path, n_samples, rate):
    with pytest.raises(ValueError, match="both must be 1 or more"):
        Crops([Recording(tmp_path / "a.wav", RATE, RATE)], n_samples, rate)
