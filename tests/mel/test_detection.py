"""The detector of conventions: wrong ones are named, right ones pass, on speech that ships and in the stored table."""

import csv
import dataclasses
import functools
import itertools
import math
import re
import time
from pathlib import Path

import pytest
import torch

from audiodiff import audio
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.detection import NEAR, diagnose_mel, distance, equivalent, judge, presets_with, rank_conventions
from audiodiff.utils.config import choices, choose, shipped_path

VOICES = sorted((Path(__file__).parents[2] / "demos" / "audio" / "voices").glob("*.flac"))
SPECS = {name: choose("mel", name) for name in choices("mel")}
OWN = SPECS["16k-hop256"]


@functools.cache
def mel_of(path, spec, gain=1.0):
    waveform, _ = audio.read(path, spec.sample_rate)
    return LogMel(spec)(gain * waveform[None])[0]


def test_stored_table_of_test_speakers_keeps_its_bounds():
    """As `demos/experiments/mel_detection/run.py FOLDER judge` wrote it, of 18 speakers that were not learnt from."""
    with open(shipped_path("demos/experiments/mel_detection/results.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["declared"] for row in rows} == set(SPECS)
    kinds = {
        "right": lambda d: d == "square" or (d != "swapped" and float(d) <= NEAR),
        "other values": lambda d: d == "inf",
        "axes": lambda d: d == "swapped",
    }
    shares = {}
    for kind, holds in kinds.items():
        chosen = [row for row in rows if holds(row["apart"])]
        shares[kind] = sum(int(row["doubted"]) for row in chosen) / sum(int(row["recordings"]) for row in chosen)
    assert shares["right"] <= 0.01
    assert shares["other values"] >= 0.97
    assert shares["axes"] >= 0.9


def test_wrong_conventions_are_doubted_and_right_ones_pass():
    """Every convention on one of fifteen recordings of five languages, each declared to be in every other."""
    noticed, doubted = [], []
    for number, (given, spec) in enumerate(SPECS.items()):
        ranked = rank_conventions(mel_of(VOICES[number % len(VOICES)], spec))
        for candidate in ranked:
            apart = distance(spec, candidate.spec)
            if apart <= NEAR:
                doubted.append((given, candidate.name, judge(ranked, candidate.spec) is not None))
            elif apart == math.inf:
                noticed.append((given, candidate.name, judge(ranked, candidate.spec) is not None))
    assert len(noticed) > 150
    assert len(doubted) > 40
    assert sum(doubt for *_, doubt in noticed) >= 0.97 * len(noticed), [pair for pair in noticed if not pair[2]]
    assert sum(doubt for *_, doubt in doubted) <= 0.02 * len(doubted), [pair for pair in doubted if pair[2]]


def test_other_base_of_the_logarithm_is_noticed():
    """In four conventions and five languages; the right base is never doubted."""
    noticed = []
    for name, voice in itertools.product(("hifigan", "16k-hop256", "f5-tts", "cosyvoice2"), VOICES[::3]):
        spec, mel = SPECS[name], mel_of(voice, SPECS[name])
        noticed.append(diagnose_mel(mel / math.log(10), spec, spec) is not None)
        assert diagnose_mel(mel, spec, spec) is None, (name, voice.stem)
    assert sum(noticed) >= 0.9 * len(noticed)


def test_wrong_preset_is_named_with_its_remedy():
    mel = mel_of(VOICES[0], SPECS["diffwave"])
    assert diagnose_mel(mel, OWN, OWN) == "it looks like diffwave: try --mel-preset diffwave"
    own = mel_of(VOICES[0], OWN)
    verdict = diagnose_mel(own, SPECS["whisper"], OWN)
    assert "try without --mel-preset" in verdict or equivalent(SPECS[verdict.rpartition(" ")[2]], OWN)


def test_convention_of_ones_own_is_judged_too():
    spec = dataclasses.replace(SPECS["hifigan"], sample_rate=24000, mean=-5.0, std=2.0)
    mel = mel_of(VOICES[3], spec)
    assert diagnose_mel(mel, spec, spec) is None
    assert diagnose_mel(mel, SPECS["hifigan"], SPECS["hifigan"]) is not None


@pytest.mark.parametrize("gain", [0.05, 0.3, 2.0])
def test_quiet_and_loud_recordings_pass(gain):
    doubts = [diagnose_mel(mel_of(voice, OWN, gain), OWN, OWN) for voice in VOICES[::3]]
    assert doubts == [None] * len(doubts)


def test_sounds_that_are_no_speech_pass():
    clock = torch.arange(48000) / 16000
    decay = (-(clock % 0.5) * 12).exp()
    sounds = {
        "silence": torch.zeros(48000),
        "tone": (2 * torch.pi * 440 * clock).sin(),
        "noise": 0.1 * torch.randn(48000, generator=torch.Generator().manual_seed(0)),
        "chord": sum((2 * torch.pi * pitch * clock).sin() for pitch in (220, 277, 330)) * decay / 3,
        "drum": 0.5 * torch.randn(48000, generator=torch.Generator().manual_seed(1)) * decay,
    }
    doubts = {name: diagnose_mel(LogMel(OWN)(sound[None, None])[0], OWN, OWN) for name, sound in sounds.items()}
    assert doubts == dict.fromkeys(sounds)


def test_mel_in_units_of_no_convention_is_doubted():
    own = mel_of(VOICES[0], OWN)
    units = {"decibels": own * 20 / math.log(10), "samples of 16 bits": own + math.log(32768)}
    doubts = {name: diagnose_mel(mel, OWN, OWN) for name, mel in units.items()}
    assert "no convention that is known here" in doubts["samples of 16 bits"]
    assert re.search(r"lies \+\d\d+ dB", doubts["samples of 16 bits"])
    assert doubts["decibels"] is not None


def test_square_mel_with_swapped_axes_is_noticed_and_a_right_one_passes():
    """Of a second and a quarter, in which an axis of time and one of bands look much alike."""
    squares = [mel_of(voice, OWN)[:, 20:100] for voice in VOICES]
    assert [diagnose_mel(square, OWN, OWN) for square in squares] == [None] * len(squares)
    verdicts = [diagnose_mel(square.mT, OWN, OWN) for square in squares]
    assert sum("transpose" in (verdict or "") for verdict in verdicts) >= 0.9 * len(squares)


def test_ranking_holds_each_convention_with_as_many_bands():
    mel = mel_of(VOICES[0], SPECS["vocos-24k-100"])
    own = MelSpec(16000, n_mels=100)
    ranked = rank_conventions(mel, own)
    assert {c.name for c in ranked} == {"", "24k-hop256", *presets_with(100)}
    assert [c.odds for c in ranked] == sorted((c.odds for c in ranked), reverse=True)
    assert equivalent(ranked[0].spec, SPECS["vocos-24k-100"])
    assert rank_conventions(mel[:, :1]) == []
    assert presets_with(77) == []


def test_an_hour_is_judged_as_fast_as_a_sentence():
    mel = mel_of(VOICES[0], OWN).repeat(1, 3600)
    begun = time.process_time()
    assert diagnose_mel(mel, OWN, OWN) is None
    assert time.process_time() - begun < 3  # reads four stretches; measured: 0.1 s
