"""The detector of conventions: wrong ones are named, right ones pass, on speech that ships."""

import itertools
import json
import math
import re
from pathlib import Path

import pytest
import torch

from audiodiff import audio
from audiodiff.mel import LogMel
from audiodiff.mel.detection import MelStatistics, alike, doubt, presets, presets_with
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.config import choose, shipped_path

VOICES = sorted(shipped_path("demos/audio/voices").glob("*.flac"))
NAMES = [*presets(), "16k-hop256"]
SPECS = {name: choose("mel", name) for name in NAMES}


@pytest.fixture(scope="module")
def mels():
    """For each convention and recording: {name: {(language, number): [M, F]}}."""
    found = {name: {} for name in NAMES}
    for path, (name, spec) in itertools.product(VOICES, SPECS.items()):
        waveform, _ = audio.read(path, spec.sample_rate)
        found[name][path.stem] = LogMel(spec)(waveform[None])[0]
    return found


@pytest.fixture(scope="module")
def statistics():
    """Statistics of the training set of speech-16k, from experiments/mel_confusion/run.py --save."""
    return json.loads((Path(__file__).parent / "mel_statistics.json").read_text())


def test_wrong_conventions_are_named_and_right_ones_pass(mels, statistics):
    """The confusion matrix over all conventions that have as many bands, each pair on a third of the recordings."""
    assert len(VOICES) == 15
    named, passed = [], []
    for i, (model, spec) in enumerate(SPECS.items()):
        learnt = MelStatistics.from_dict(statistics[model], spec.n_mels)
        for k, (given, other) in enumerate(SPECS.items()):
            if other.n_mels == spec.n_mels:
                heard = [mel for n, mel in enumerate(mels[given].values()) if (i + k + n) % 3 == 0]
                verdicts = [doubt(mel, spec, learnt, spec) for mel in heard]
                if alike(other, spec):
                    passed += [verdict is None for verdict in verdicts]
                else:
                    suggested = [SPECS.get((v or "").partition("--mel-preset ")[2], spec) for v in verdicts]
                    named += [alike(suggestion, other) for suggestion in suggested]
    assert len(named) > 300
    assert len(passed) > 100
    assert sum(named) / len(named) >= 0.95
    assert sum(passed) / len(passed) >= 0.99


def test_shipped_weights_know_their_convention(mels):
    vocoder = Vocoder.load("speech-16k")
    statistics = MelStatistics.from_dict(vocoder.info["mel_statistics"], 80)
    verdicts = {
        name: [doubt(mel, vocoder.mel, statistics, vocoder.mel) for mel in mels[name].values()]
        for name in NAMES
        if SPECS[name].n_mels == 80
    }
    for name in ("16k-hop256", "hifigan", "tacotron2", "matcha"):
        assert verdicts[name] == [None] * 15
    for name in ("diffwave", "whisper", "matcha-normalized"):
        assert all(verdict == f"it looks like {name}: try --mel-preset {name}" for verdict in verdicts[name])
    assert sum(v is not None and ("espnet-pwg" in v or "speecht5" in v) for v in verdicts["speecht5"]) >= 14


def test_claiming_the_wrong_preset_is_noticed(mels):
    vocoder = Vocoder.load("speech-16k")
    statistics = MelStatistics.from_dict(vocoder.info["mel_statistics"], 80)
    own = mels["16k-hop256"]["it-1"]
    for claimed in ("whisper", "diffwave", "espnet-pwg"):
        verdict = doubt(own, SPECS[claimed], statistics, vocoder.mel)
        assert (
            "hifigan" in verdict or "without --mel-preset" in verdict or "matcha" in verdict or "tacotron2" in verdict
        )
        assert doubt(mels[claimed]["it-1"], SPECS[claimed], statistics, vocoder.mel) is None


def test_quiet_and_loud_recordings_pass():
    vocoder = Vocoder.load("speech-16k")
    statistics = MelStatistics.from_dict(vocoder.info["mel_statistics"], 80)
    for path, gain in itertools.product(VOICES, (0.05, 0.3, 2.0)):
        waveform, _ = audio.read(path, 16000)
        assert doubt(LogMel(vocoder.mel)(gain * waveform[None])[0], vocoder.mel, statistics, vocoder.mel) is None


def test_mel_in_other_units_is_doubted_and_music_is_not():
    vocoder = Vocoder.load("speech-16k")
    statistics = MelStatistics.from_dict(vocoder.info["mel_statistics"], 80)
    waveform, _ = audio.read(VOICES[0], 16000)
    own = LogMel(vocoder.mel)(waveform[None])[0]
    told = {name: doubt(m, vocoder.mel, statistics, vocoder.mel) for name, m in unlike(own).items()}
    assert all("no convention that is known here" in verdict for verdict in told.values()), told
    assert re.search(r"lies \+(9|10)\d dB", told["samples of 16 bits"])
    time = torch.arange(48000) / 16000
    for sound in (torch.zeros(48000), (2 * torch.pi * 440 * time).sin(), 0.1 * torch.randn(48000)):
        assert doubt(LogMel(vocoder.mel)(sound[None, None])[0], vocoder.mel, statistics, vocoder.mel) is None


def unlike(mel):
    """Log-mels in units that no convention has."""
    return {"decibels": mel * 20 / math.log(10), "squares": 2 * mel, "samples of 16 bits": mel + math.log(32768)}


def test_square_mel_with_swapped_axes_is_noticed(mels):
    vocoder = Vocoder.load("speech-16k")
    statistics = MelStatistics.from_dict(vocoder.info["mel_statistics"], 80)
    square = mels["16k-hop256"]["it-1"][:, 20:100]
    assert doubt(square, vocoder.mel, statistics, vocoder.mel) is None
    assert "transpose" in doubt(square.mT, vocoder.mel, statistics, vocoder.mel)


def test_statistics_survive_being_written(mels):
    statistics = MelStatistics.of(list(mels["hifigan"].values()), SPECS["hifigan"])
    read = MelStatistics.from_dict(statistics.to_dict(), 80)
    assert torch.allclose(read.mean, statistics.mean, atol=1e-3)
    assert MelStatistics.from_dict(None, 80) is None
    assert MelStatistics.from_dict({"mean": [1.0]}, 80) is None
    assert MelStatistics.from_dict(statistics.to_dict(), 100) is None
    assert MelStatistics.from_dict(statistics.to_dict() | {"mean": ["x"] * 80}, 80) is None


def test_presets_are_known_by_their_bands():
    assert presets_with(100) == ["bigvgan-24k-100", "rfwave", "vocos-24k-100"]
    assert presets_with(77) == []
