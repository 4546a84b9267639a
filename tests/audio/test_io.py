"""Reading, resampling and writing sound: honest levels, whole files, and one sentence for whatever is wrong."""

import errno
import io
import logging
import math
import os
import struct
import sys
import tempfile

import numpy as np
import pytest
import soundfile
import torch

from audiodiff import audio
from audiodiff.data.folders import scan_folder
from audiodiff.utils import files


def ramp(n=2000):
    return torch.linspace(-0.9, 0.9, n)[None]


def tone(frequency, sample_rate, seconds=1.0, dtype=torch.float64):
    return torch.sin(
        2 * math.pi * frequency * torch.arange(int(seconds * sample_rate), dtype=torch.float64) / sample_rate
    )[None].to(dtype)


def test_mp3_that_announces_more_than_memory_holds_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(440, 16000).numpy()[0], 16000)
    content = bytearray(path.read_bytes())
    frames = content.index(b"Xing" if b"Xing" in content else b"Info") + 8
    content[frames : frames + 4] = b"\x01\x00\x00\x0b"  # 36 GB of samples
    path.write_bytes(content)
    waveform, rate = audio.read(path)
    assert rate == 16000
    assert abs(waveform.shape[1] - 16000) < 3000


def test_recording_is_the_same_whatever_blocks_it_is_decoded_in(tmp_path, monkeypatch):
    audio.write(tmp_path / "a.wav", ramp().repeat(2, 1), 16000)
    whole = audio.read(tmp_path / "a.wav")[0]
    monkeypatch.setattr("audiodiff.audio.decoding.BLOCK", 700)
    for start, frames in ((0, -1), (10, -1), (10, 1000), (1990, 50)):
        part = audio.read(tmp_path / "a.wav", start=start, frames=frames)[0]
        assert torch.equal(part, whole[:, start : None if frames < 0 else start + frames])


def test_pcm_maps_full_scale_to_32767():
    samples, clipped = audio.to_pcm(torch.tensor([[1.0, -1.0, 0.0, 0.5, -0.25, 1 / 32767]]))
    assert samples.dtype == np.int16
    assert samples[:, 0].tolist() == [32767, -32767, 0, 16384, -8192, 1]
    assert clipped == 0


def test_pcm_clamps_and_counts_what_is_above_full_scale():
    samples, clipped = audio.to_pcm(torch.tensor([[1.0001, -7.0, 1.0, 0.2], [0.0, 0.0, 2.0, -1.0]]))
    assert samples.tolist() == [[32767, 0], [-32767, 0], [32767, 32767], [6553, -32767]]
    assert clipped == 3


def test_pcm_of_every_sample_value_is_that_value():
    values = torch.arange(-32767, 32768)
    assert np.array_equal(audio.to_pcm(values[None] / 32767)[0][:, 0], values.numpy())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_pcm_refuses_what_is_not_finite(value, tmp_path):
    with pytest.raises(ValueError, match="NaN or infinite"):
        audio.write(tmp_path / "a.wav", torch.tensor([[0.0, value]]), 16000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("rate", [16000, 22050])
def test_write_and_read_return_the_samples(tmp_path, channels, rate):
    waveform = ramp().repeat(channels, 1) * torch.arange(1, channels + 1)[:, None] / channels
    assert audio.write(tmp_path / "a.wav", waveform, rate) == 0
    back, found = audio.read(tmp_path / "a.wav")
    assert found == rate
    assert back.dtype == torch.float32
    assert back.shape == waveform.shape
    assert torch.allclose(back, waveform, atol=1.6 / 32768)  # half a step, and full scale 32767 against 32768
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_16"


def test_write_reports_clamped_samples(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert audio.write(tmp_path / "a.wav", torch.tensor([[0.0, 1.5, -3.0]]), 16000) == 2
    assert "2 samples were above full scale" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_atomic_file_leaves_nothing_behind_when_its_block_fails(tmp_path, error):
    (tmp_path / "old").write_text("old")
    for name in ("old", "new"):
        with pytest.raises(type(error)), files.atomic_file(tmp_path / name) as file:
            file.write(b"half")
            raise error
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"


def test_atomic_file_is_invisible_until_it_is_whole(tmp_path):
    with files.atomic_file(tmp_path / "a") as file:
        file.write(b"half")
        file.flush()
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"half"


def test_atomic_file_gives_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with files.atomic_file(tmp_path / "a") as file:
        file.write(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_write_says_when_the_disk_is_full(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match=r"a\.wav: cannot be written \(No space left on device\); choose another"):
        audio.write(tmp_path / "a.wav", ramp(), 16000)
    assert not list(tmp_path.iterdir())


def test_write_says_when_the_folder_cannot_be_written(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)  # root, who runs these tests, may write everywhere
    with pytest.raises(ValueError, match=r"a\.wav: cannot be written \(Permission denied\)"):
        audio.write(tmp_path / "a.wav", ramp(), 16000)


def test_write_refuses_a_missing_folder_and_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"the folder .*missing does not exist; create it first"):
        audio.write(tmp_path / "missing" / "a.wav", ramp(), 16000)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(ValueError, match="is a folder; give a file name"):
        audio.write(tmp_path / "folder.wav", ramp(), 16000)


def test_read_takes_every_pcm_depth_to_the_same_values(tmp_path):
    samples = (0.8 * tone(440, 16000, 0.1)).numpy().T
    read = {}
    for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT"):
        soundfile.write(tmp_path / f"{subtype}.wav", samples, 16000, subtype=subtype)
        read[subtype] = audio.read(tmp_path / f"{subtype}.wav")[0]
    assert torch.allclose(read["PCM_16"], read["FLOAT"], atol=2**-15)  # a bit of each
    assert torch.allclose(read["PCM_24"], read["FLOAT"], atol=2**-23)
    assert torch.allclose(read["PCM_32"], read["FLOAT"], atol=2**-24)
    assert not torch.equal(read["PCM_16"], read["PCM_24"])


@pytest.mark.parametrize(
    ("name", "shape", "rate", "message"),
    [
        ("out.ogg", (1, 9), 16000, "ends in .wav"),
        ("out.wav", (9,), 16000, r"\[channels, samples\]"),
        ("out.wav", (2000, 9), 16000, "of 1 to 1024"),
        ("out.wav", (1, 9), 0, "whole number of Hz"),
        ("out.wav", (1, 9), 16000.5, "whole number of Hz"),
    ],
)
def test_write_refuses_what_is_no_wav_file(tmp_path, name, shape, rate, message):
    with pytest.raises(ValueError, match=message):
        audio.write(tmp_path / name, torch.zeros(shape), rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "tolerance"), [("flac", 2**-15), ("aiff", 2**-15), ("ogg", 0.05), ("mp3", 0.05)])
def test_read_takes_what_libsndfile_reads(tmp_path, suffix, tolerance):
    samples = (0.5 * tone(440, 16000)).numpy().T
    soundfile.write(tmp_path / f"a.{suffix}", samples, 16000)
    waveform, rate = audio.read(tmp_path / f"a.{suffix}")
    assert rate == 16000
    assert f".{suffix}" in audio.AUDIO_SUFFIXES
    n = min(len(samples), waveform.shape[-1])
    assert n > 15000
    assert float((waveform[0, :n] - torch.from_numpy(samples[:n, 0])).abs().median()) < tolerance


def test_read_resamples_if_asked(tmp_path):
    audio.write(tmp_path / "a.wav", 0.5 * tone(440, 44100), 44100)
    waveform, rate = audio.read(tmp_path / "a.wav", 16000)
    assert (rate, waveform.shape) == (16000, (1, 16000))
    assert torch.allclose(waveform[0, 500:-500], 0.5 * tone(440, 16000, dtype=torch.float32)[0, 500:-500], atol=1e-4)


def wav_bytes(n_samples=1000, announced=None, extra=b""):
    data = (b"\x01\x02") * n_samples
    size = len(data) if announced is None else announced
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(data), b"WAVE")
        + form
        + extra
        + struct.pack("<4sI", b"data", size)
        + data
    )


def flac_bytes():
    content = io.BytesIO()
    soundfile.write(content, 0.3 * np.random.default_rng(0).standard_normal(16000), 16000, format="FLAC")
    return content.getvalue()


BROKEN = {
    "empty": (b"", "cannot be read as audio"),
    "text": (b"this is no sound, it is a letter\n" * 40, "cannot be read as audio"),
    "header only": (wav_bytes(0), "holds no samples"),
    "half a header": (wav_bytes()[:20], "cannot be read as audio"),
    "without a header": (wav_bytes()[44:], "cannot be read as audio"),
    "truncated FLAC": (flac_bytes()[:9000], "cannot be read as audio"),
    "truncated": (wav_bytes(1000)[:-500], "ends before the audio that its header announces"),
    "truncated after an odd chunk": (
        wav_bytes(1000, extra=struct.pack("<4sI", b"note", 3) + b"abc\0")[:-500],
        "ends before the audio",
    ),
    "short of one sample": (wav_bytes(1000)[:-2], "ends before the audio"),
    "nothing after the header": (wav_bytes(1000)[:44], "holds no samples|ends before"),
}


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_read_refuses_a_broken_file(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.wav: .*({message})") as refused:
        audio.read(path)
    assert "\n" not in str(refused.value)


def test_read_takes_a_whole_file_with_an_odd_chunk(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(extra=struct.pack("<4sI", b"note", 3) + b"abc\0"))
    assert audio.read(tmp_path / "a.wav")[0].shape == (1, 1000)


STREAMED = [0, 0x7FFFF000, 0x7FFFFFFF, 0x7FFFFFDB, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF]


@pytest.mark.parametrize("announced", STREAMED, ids=hex)
def test_streamed_wav_is_read_to_its_end(tmp_path, announced):
    """Of sox, espeak, arecord and ffmpeg, which cannot go back in a pipe; also a piece of it, and its length."""
    for n, listed in ((1000, b""), (1001, struct.pack("<4sI4s", b"LIST", 4, b"INFO"))):
        path = tmp_path / "a.wav"
        path.write_bytes(wav_bytes(n, announced, listed))
        waveform, _ = audio.read(path)
        assert waveform.shape == (1, n)
        assert bool((waveform == 0x0201 / 32768).all())
        assert torch.equal(audio.read(path, start=n - 10, frames=50)[0], waveform[:, -10:])
        assert scan_folder(tmp_path)[0].n_samples == n


def test_wav_of_no_samples_before_notes_stays_empty(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(0) + struct.pack("<4sI4s", b"LIST", 4, b"INFO"))
    with pytest.raises(ValueError, match="holds no samples"):
        audio.read(tmp_path / "a.wav")


def damaged_mp3(path):
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(32000), 16000, format="MP3")
    content = bytearray(path.read_bytes())
    for place in range(2000, len(content), 40):
        content[place] ^= 0xFF
    path.write_bytes(content)
    return path


def test_damaged_mp3_is_told_once_with_its_name(tmp_path, capfd, caplog):
    path = damaged_mp3(tmp_path / "a.mp3")
    soundfile.read(path)
    assert capfd.readouterr().err.count("\n") > 3  # what libmpg123 prints, without a name
    for _ in range(2):
        assert audio.read(path)[0].shape[0] == 1
    print("kept", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "kept\n"
    assert [record.message.startswith(f"{path}: damaged") for record in caplog.records] == [True]


def test_whole_mp3_read_from_its_middle_is_not_called_damaged(tmp_path, capfd, caplog):
    """libmpg123 misses the frames before the one that it is sent to, and says so."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(160000)
    soundfile.write(tmp_path / "a.mp3", noise, 16000, format="MP3")
    for start in range(1000, 100000, 7000):
        audio.read(tmp_path / "a.mp3", start=start, frames=500)
    assert capfd.readouterr().err == ""
    assert not caplog.records


def test_pieces_of_a_file_joined_are_the_file(tmp_path):
    audio.write(tmp_path / "a.wav", ramp(2345), 1000)
    with audio.opened(tmp_path / "a.wav") as file:
        assert torch.equal(torch.cat(list(file.pieces(0.5)), -1), audio.read(tmp_path / "a.wav")[0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_read_refuses_samples_that_are_not_finite(tmp_path, value):
    samples = np.zeros(1000, dtype=np.float32)
    samples[500] = value
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match="NaN or infinite; repair"):
        audio.read(tmp_path / "a.wav")


def test_read_refuses_what_is_not_there(tmp_path):
    for path in (tmp_path / "missing.wav", tmp_path):
        with pytest.raises(ValueError, match="no such file; give an audio file"):
            audio.read(path)


@pytest.mark.parametrize(("rate", "new_rate"), [(44100, 16000), (16000, 44100), (48000, 24000), (22050, 16000)])
def test_resample_moves_a_tone_to_the_new_rate(rate, new_rate):
    made = audio.resample(tone(1000, rate), rate, new_rate)
    assert made.shape == (1, new_rate)
    assert made.dtype == torch.float64
    middle = slice(new_rate // 10, -new_rate // 10)  # the ends ring, since sound begins and stops there
    # Measured -140 dB: soxr's very high quality; in phase, so nothing is delayed.
    assert torch.allclose(made[:, middle], tone(1000, new_rate)[:, middle], atol=1e-6)


def test_resample_removes_what_the_new_rate_cannot_hold():
    made = audio.resample(tone(10000, 44100), 44100, 16000)
    assert float(made[:, 1600:-1600].abs().max()) < 1e-5  # -100 dB


def test_resample_keeps_the_mean_and_treats_channels_alone():
    waveform = torch.cat([torch.full((1, 8000), 0.3), tone(440, 8000, dtype=torch.float32)])
    made = audio.resample(waveform, 8000, 16000)
    assert made.shape == (2, 16000)
    assert made.dtype == torch.float32
    assert torch.allclose(made[0, 1000:-1000], torch.tensor(0.3), atol=1e-5)  # float32
    assert torch.allclose(made[1], audio.resample(waveform[1:], 8000, 16000)[0])


def test_resample_to_the_same_rate_changes_nothing():
    waveform = ramp()
    assert torch.equal(audio.resample(waveform, 16000, 16000), waveform)


@pytest.mark.parametrize("n", [1000, 1001, 1002])
def test_resample_rounds_the_length(n):
    assert audio.resample(torch.zeros(1, n), 48000, 16000).shape[-1] == round(n / 3)


def test_write_takes_the_integers_of_numpy(tmp_path):
    assert audio.write(tmp_path / "a.wav", ramp(), np.int64(16000)) == 0
    assert audio.read(tmp_path / "a.wav")[1] == 16000


@pytest.mark.parametrize(("suffix", "kind", "error"), [(".flac", "FLAC", 1e-4), (".mp3", "MP3", 0.05)])
def test_suffix_decides_the_format_that_is_written(tmp_path, suffix, kind, error):
    sound, place = 0.5 * tone(440, 16000, dtype=torch.float32), tmp_path / f"sound{suffix}"
    audio.write(place, sound, 16000)
    assert soundfile.info(place).format == kind
    assert (audio.read(place)[0][..., :16000] - sound).abs().max() < error
    before = place.read_bytes()
    many = 9 if kind == "FLAC" else 3
    with pytest.raises(ValueError, match=f"does not take {many} channels at 16000 Hz; write .wav"):
        audio.write(place, torch.zeros(many, 100), 16000)
    assert place.read_bytes() == before


@pytest.mark.parametrize("rate", ["16000", None, True, 0.5, 10**8, math.nan])
def test_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="numbers from 1 to 10000000 are wanted"):
        audio.resample(torch.zeros(1, 100), rate, 16000)


@pytest.mark.parametrize("part", [{"start": 1.5}, {"start": "1"}, {"frames": None}, {"seconds": "3"}, {"seconds": 0}])
def test_part_that_is_none_is_refused(tmp_path, part):
    audio.write(tmp_path / "a.wav", torch.zeros(1, 100), 8000)
    with pytest.raises(ValueError, match=f"{next(iter(part))}={next(iter(part.values()))!r}.* wanted"):
        audio.read(tmp_path / "a.wav", **part)
