"""Training clips: pure functions of seed and number, cut, joined and changed as promised."""

import json
import logging
import math
import random

import pytest
import soundfile
import torch

from audiodiff import audio
from audiodiff.data import Augment, Crops, ResumableSampler, clip_loader
from audiodiff.data.folders import scan_folder
from audiodiff.data.manifest import Recording, read_manifest
from audiodiff.data.recordings import measure_level, recordings_of, usable

RATE = 8000


def recording(path, samples, rate=RATE):
    soundfile.write(path, samples.T.numpy(), rate, subtype="FLOAT")
    return Recording(path, samples.shape[-1], rate)


def tone(frequency, seconds=2.0, rate=RATE):
    return 0.5 * torch.sin(2 * math.pi * frequency * torch.arange(int(seconds * rate)) / rate)[None]


def pitch(clip, rate=RATE):
    """Frequency of the strongest bin, within 1 Hz."""
    spectrum = torch.fft.rfft(clip[0] * torch.hann_window(clip.shape[-1]), n=rate).abs()
    return int(spectrum.argmax())


@pytest.fixture
def noisy(tmp_path):
    generator = torch.Generator().manual_seed(0)
    return [recording(tmp_path / f"{i}.wav", torch.rand(1, 8000, generator=generator) - 0.5) for i in range(3)]


def test_augment_clip_is_a_function_of_seed_and_number(noisy):
    augment = Augment([0.8, 1.0, 1.25], [-12, 3])
    data, again = (Crops(noisy, 2000, RATE, seed=5, augment=augment) for _ in range(2))
    clips = [data[n] for n in range(6)]
    assert all(clip.shape == (1, 2000) for clip in clips)
    random.seed(1)
    torch.manual_seed(1)
    for n in reversed(range(6)):  # neither order nor global randomness matters
        assert torch.equal(again[n], clips[n])
    assert not any(torch.equal(clips[0], clip) for clip in clips[1:])
    assert not torch.equal(Crops(noisy, 2000, RATE, seed=6, augment=augment)[0], clips[0])


def test_clip_is_a_piece_of_a_recording(tmp_path):
    ramp = torch.linspace(-0.5, 0.5, 8000)[None]
    data = Crops([recording(tmp_path / "a.wav", ramp)], 1000, RATE)
    starts = []
    for n in range(60):
        clip = data[n][0]
        assert torch.allclose(clip.diff(), ramp[0].diff()[:999], atol=1e-6)  # whole, in order
        starts.append(float((clip[0] + 0.5) * 7999))
    assert min(starts) < 1000  # of 0 to 6998: sixty draws leave out a seventh with probability 1e-4
    assert max(starts) > 6000


def test_clip_may_be_the_whole_recording(tmp_path):
    samples = torch.rand(1, 1000, generator=torch.Generator().manual_seed(0)) - 0.5
    assert torch.equal(Crops([recording(tmp_path / "a.wav", samples)], 1000, RATE)[0], samples)


def test_clip_joins_recordings_that_are_too_short(tmp_path):
    short = [recording(tmp_path / f"{i}.wav", torch.full((1, 300), 0.1 * (i + 1))) for i in range(3)]
    clip = Crops(short, 1000, RATE)[0][0]
    assert clip.shape == (1000,)
    for part in clip.split(300):
        assert torch.equal(part, part[:1].expand(len(part)))
    assert {round(level, 5) for level in clip.unique().tolist()} <= {0.1, 0.2, 0.3}


def test_clips_come_from_recordings_in_proportion_to_their_seconds(tmp_path):
    long = recording(tmp_path / "long.wav", torch.full((1, 6000), 0.1))  # 0.75 s
    fine = recording(tmp_path / "fine.wav", torch.full((1, 4000), 0.2), rate=16000)  # 0.25 s, though more samples/s
    data = Crops([long, fine], 100, RATE)
    share = sum(float(data[n].mean()) < 0.15 for n in range(400)) / 400
    assert share == pytest.approx(0.75, abs=0.08)  # standard error 0.022


def test_clip_is_mono_at_the_rate_of_the_model(tmp_path):
    left = tone(440, rate=16000)
    data = Crops([recording(tmp_path / "a.wav", torch.cat([left, torch.zeros_like(left)]), 16000)], 4000, RATE)
    clip = data[0]
    assert clip.shape == (1, 4000)
    assert pitch(clip) == 440
    assert float(clip[:, 500:-500].abs().max()) == pytest.approx(0.25, abs=0.01)  # the mean of the channels


@pytest.mark.parametrize(("speed", "heard"), [(1.0, 1000), (1.25, 1250), (0.8, 800)])
def test_augment_speed_moves_the_pitch(tmp_path, speed, heard):
    data = Crops([recording(tmp_path / "a.wav", tone(1000))], 4000, RATE, augment=Augment([speed]))
    for n in range(3):
        assert data[n].shape == (1, 4000)
        assert abs(pitch(data[n]) - heard) <= 1


@pytest.mark.parametrize("gain_db", [-12.0, 0.0, 3.0])
def test_augment_gain_moves_the_level(tmp_path, gain_db):
    data = Crops([recording(tmp_path / "a.wav", tone(1000))], 4000, RATE, augment=Augment(gain_db=[gain_db] * 2))
    assert float(data[0].abs().max()) == pytest.approx(0.5 * 10 ** (gain_db / 20), rel=0.01)


def test_augment_gain_never_clips(tmp_path):
    data = Crops([recording(tmp_path / "a.wav", tone(1000))], 4000, RATE, augment=Augment(gain_db=[20, 20]))
    assert float(data[0].abs().max()) == pytest.approx(1)
    assert torch.allclose(data[0] * 0.5, Crops(data.source, 4000, RATE, augment=Augment(gain_db=[0, 0]))[0], atol=2e-3)


def test_augment_draws_every_speed_and_gains_evenly():
    augment, rng = Augment([0.9, 1.0, 1.1], [-10, 2]), random.Random(0)
    drawn = [augment.draw(rng) for _ in range(600)]
    for speed in (0.9, 1.0, 1.1):
        assert sum(s == speed for s, _ in drawn) == pytest.approx(200, abs=50)  # standard error 12
    gains = sorted(20 * math.log10(g) for _, g in drawn)
    assert -10 <= gains[0] < -9.8
    assert 1.8 < gains[-1] <= 2
    assert gains[300] == pytest.approx(-4, abs=1)  # standard error 0.25


def test_augment_leaves_clips_alone_unless_told():
    assert Augment().draw(random.Random(0)) == (1.0, 1.0)


@pytest.mark.parametrize("wrong", [{"speeds": []}, {"speeds": [1.0, 0.0]}, {"speeds": [-1.0]}])
def test_augment_refuses_speeds_that_are_none(wrong):
    with pytest.raises(ValueError, match="must be positive factors"):
        Augment(**wrong)


@pytest.mark.parametrize("gain_db", [[0.0, -3.0], [0.0], [0.0, 1.0, 2.0]])
def test_augment_refuses_gains_in_the_wrong_order(gain_db):
    with pytest.raises(ValueError, match="lowest and the highest gain"):
        Augment(gain_db=gain_db)


def test_resume_continues_the_count_exactly():
    whole = list(ResumableSampler(0, 40))
    assert whole == list(range(40))
    for seen in (0, 8, 39):
        assert list(ResumableSampler(seen, 40)) == whole[seen:]
    assert len(ResumableSampler(8, 40)) == 40  # of the run, which is what a trainer that resumes counts against


def test_ddp_ranks_share_the_clips_without_overlap():
    for start in (0, 8):
        ranks = [list(ResumableSampler(start, 40, rank, 2)) for rank in range(2)]
        assert len(ranks[0]) == len(ranks[1]) == (40 - start) // 2
        assert sorted(ranks[0] + ranks[1]) == list(range(start, 40))
    assert [len(ResumableSampler(8, 40, rank, 2)) for rank in range(2)] == [20, 20]


@pytest.mark.parametrize("n_workers", [0, 1])
def test_loader_batches_clips_in_the_order_of_their_numbers(noisy, n_workers):
    data = Crops(noisy, 500, RATE)
    batches = list(clip_loader(data, ResumableSampler(4, 13), 4, n_workers))
    assert [tuple(batch.shape) for batch in batches] == [(4, 1, 500)] * 2  # the ninth is no batch
    for i, clip in enumerate(torch.cat(batches)):
        assert torch.equal(clip, data[4 + i])


def manifest(folder, *lines):
    path = folder / "train.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_manifest_paths_are_relative_to_it(tmp_path):
    entry = {"path": "audio/a.flac", "n_samples": 100, "sample_rate": 8000, "speaker": "x"}
    assert read_manifest(manifest(tmp_path, entry)) == [
        Recording(tmp_path / "audio/a.flac", 100, 8000, None, {"speaker": "x"})
    ]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("{", "path, n_samples and sample_rate"),
        ("[1, 2]", "path, n_samples and sample_rate"),
        ("7", "path, n_samples and sample_rate"),
        ('{"path": "a.wav", "n_samples": 100}', "sample_rate=None; whole numbers"),
        ('{"path": "a.wav", "n_samples": "many", "sample_rate": 8000}', "n_samples='many', .* whole numbers"),
        ('{"path": 3, "n_samples": 1, "sample_rate": 8000}', "path=3; the name of a file"),
    ],
)
def test_manifest_names_the_line_that_is_wrong(tmp_path, line, wanted):
    good = {"path": "a.wav", "n_samples": 100, "sample_rate": 8000}
    with pytest.raises(ValueError, match=rf"train\.jsonl, line 2: .*{wanted}"):
        read_manifest(manifest(tmp_path, good, line, good))


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_manifest_of_any_encoding_is_read(tmp_path, encoding):
    """With the marks of Windows's editors, blank lines, and a line separator within a name."""
    names = ["a\u2028b.wav", "\u00fc\x85.wav"]
    lines = [json.dumps({"path": p, "n_samples": 5, "sample_rate": 8000}, ensure_ascii=False) for p in names]
    (tmp_path / "m.jsonl").write_bytes("\r\n".join([lines[0], "", " ", lines[1], "", ""]).encode(encoding))
    assert [r.path.name for r in read_manifest(tmp_path / "m.jsonl")] == names
    (tmp_path / "m.jsonl").write_bytes(("\ufeff" + lines[0] + "\n\ufeff" + lines[1]).encode(encoding))  # joined by cat
    assert [r.path.name for r in read_manifest(tmp_path / "m.jsonl")] == names


def test_manifest_that_is_no_text_is_told_in_a_line(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b'{"path": "caf\xe9.wav"}')
    with pytest.raises(ValueError, match=r"m\.jsonl: is not text \(.*at byte 13\); save it as UTF-8"):
        read_manifest(tmp_path / "m.jsonl")


def test_name_too_long_for_any_file_is_refused_with_its_line(tmp_path):
    good = {"path": "a.wav", "n_samples": 100, "sample_rate": 8000}
    with pytest.raises(ValueError, match=r"line 2: path=.{3,110}; the name of a file of this machine is wanted"):
        read_manifest(manifest(tmp_path, good, good | {"path": "x" * 3000}))


def test_recording_whose_name_is_impossible_is_left_out(tmp_path):
    audio.write(tmp_path / "a.wav", torch.ones(1, 100), 8000)
    good = {"path": "a.wav", "n_samples": 100, "sample_rate": 8000}
    listed = read_manifest(manifest(tmp_path, good, good | {"path": "a\0.wav"}))
    assert [recording.path.name for recording in usable(listed, 2)] == ["a.wav"]


def test_manifest_must_be_there_and_hold_something(tmp_path):
    with pytest.raises(ValueError, match=r"no such manifest; run the data set's prepare\.py"):
        read_manifest(tmp_path / "train.jsonl")
    with pytest.raises(ValueError, match="the manifest is empty; a line for each recording is wanted"):
        read_manifest(manifest(tmp_path))


def test_scan_finds_readable_audio_in_order_of_names(tmp_path, caplog):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    wanted = [
        recording(tmp_path / "a.wav", torch.zeros(1, 10)),
        recording(tmp_path / "b" / "C.WAV", torch.zeros(2, 20), 16000)._replace(label="b"),
        recording(tmp_path / "b" / "deep" / "d.wav", torch.zeros(1, 30))._replace(label="b"),
    ]
    (tmp_path / "b" / "broken.wav").write_text("no sound")
    (tmp_path / "notes.txt").write_text("no sound either")
    recording(tmp_path / "empty.wav", torch.zeros(1, 0))
    with caplog.at_level(logging.WARNING):
        assert scan_folder(tmp_path) == wanted
    assert "broken.wav: cannot be read" in caplog.text


def test_scan_refuses_a_folder_without_audio(tmp_path):
    with pytest.raises(ValueError, match=r"holds no readable audio \(.*\.wav"):
        scan_folder(tmp_path)
    with pytest.raises(ValueError, match=r"no such folder; give data\.path=FOLDER"):
        scan_folder(tmp_path / "missing")


def test_level_of_recordings_is_that_of_all_their_samples(tmp_path):
    recordings = [
        recording(tmp_path / "a.wav", torch.full((1, 3000), 0.1)),
        recording(tmp_path / "b.wav", torch.full((1, 1000), -0.5)),
    ]
    assert measure_level(recordings) == {"rms": pytest.approx(math.sqrt((3 * 0.01 + 0.25) / 4), abs=1e-5), "peak": 0.5}
    assert measure_level(recordings, limit=1) == {"rms": pytest.approx(0.1, abs=1e-5), "peak": 0.1}


def test_length_of_the_file_itself_decides_what_is_long_enough(tmp_path):
    lines = []
    for name, seconds, listed in (("shrunk", 0.2, 3.0), ("grown", 3.0, 0.2), ("right", 2.0, 2.0)):
        audio.write(tmp_path / f"{name}.wav", torch.zeros(1, int(seconds * 8000)), 8000)
        lines.append(json.dumps({"path": f"{name}.wav", "n_samples": int(listed * 8000), "sample_rate": 8000}))
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    assert [r.path.stem for r in recordings_of(tmp_path / "list.jsonl", 1.0)] == ["right", "grown"]
    assert [r.path.stem for r in recordings_of(tmp_path / "list.jsonl", 1.0, 1)] == ["grown"]
    with pytest.raises(ValueError, match="no recording is 9 s long"):
        recordings_of(tmp_path / "list.jsonl", 9.0)
    (tmp_path / "list.jsonl").write_text(lines[1])
    assert [r.path.stem for r in recordings_of(tmp_path / "list.jsonl", 1.0)] == ["grown"]
