"""Sampling by speaker: every speaker equally often, and still a pure function of (seed, n)."""

from collections import Counter
from pathlib import Path

import pytest
import soundfile
import torch

from audiodiff.data import ClipData
from audiodiff.data.manifest import Recording, read_manifest

RATE = 8000


@pytest.fixture
def recordings(tmp_path):
    """Nine seconds of one speaker in two files, one second of another; the files' values tell them apart."""
    lengths = {"long": (6, "a"), "short": (3, "a"), "single": (1, "b")}
    for value, (name, (seconds, _)) in enumerate(lengths.items(), start=1):
        soundfile.write(tmp_path / f"{name}.wav", torch.full((seconds * RATE,), value / 10).numpy(), RATE)
    return [Recording(tmp_path / f"{n}.wav", s * RATE, RATE, None, who) for n, (s, who) in lengths.items()]


def drawn(data, count):
    return Counter(data.sources(n)[0].stem for n in range(count))


def test_balanced_speakers_are_drawn_equally_often(recordings):
    found = drawn(ClipData(recordings, 800, RATE, balance="speaker"), 1000)
    assert abs(found["single"] / 1000 - 1 / 2) < 0.06  # four standard deviations
    assert abs(found["long"] / 1000 - 1 / 3) < 0.06


def test_length_is_what_counts_unless_speakers_are_balanced(recordings):
    assert abs(drawn(ClipData(recordings, 800, RATE), 1000)["single"] / 1000 - 1 / 10) < 0.04


def test_balanced_clip_depends_on_seed_and_number_alone(recordings):
    first, again = (ClipData(recordings, 800, RATE, seed=3, balance="speaker") for _ in range(2))
    later = [again[n] for n in (7, 6, 5)]
    assert all(torch.equal(first[n], clip) for n, clip in zip((7, 6, 5), later, strict=True))


def test_unknown_speaker_or_balance_is_named(recordings):
    unknown = [*recordings, Recording(Path("who.wav"), RATE, RATE)]
    with pytest.raises(ValueError, match=r"who\.wav: its speaker is unknown"):
        ClipData(unknown, 800, RATE, balance="speaker")
    with pytest.raises(ValueError, match="choose length or speaker"):
        ClipData(recordings, 800, RATE, balance="minutes")


def test_manifest_tells_the_speaker(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"path": "a.wav", "n_samples": 1, "sample_rate": 8000, "speaker": "s"}\n')
    assert read_manifest(tmp_path / "m.jsonl")[0].speaker == "s"
