"""Conversion between conventions: exact where values are functions of each other, honest where they are not."""

import dataclasses

import pytest
import torch

from audiodiff import audio
from audiodiff.audio import resample
from audiodiff.griffin_lim.mel_conversion import Conversion, convert_mel
from audiodiff.mel import LogMel, MelSpec
from audiodiff.utils.config import choose, shipped_path

OWN = choose("mel", "16k-hop256")
CENTRED = dataclasses.replace(OWN, center=True)


def mel_of(spec, waveform, rate=16000):
    samples = waveform if rate == spec.sample_rate else resample(waveform.float(), rate, spec.sample_rate).double()
    return LogMel(spec)(samples[None])


@pytest.fixture(scope="module")
def speech():
    path = shipped_path("demos/audio/voices/it-1.flac")
    return audio.read(path)[0][:, :32768].double()


CHANGES = {
    "log base": {"log": "log10"},
    "mean and std": {"mean": -5.5, "std": 2.1},
    "mean and std per band": {
        "mean": tuple(0.01 * i - 5 for i in range(80)),
        "std": tuple(1 + 0.01 * i for i in range(80)),
    },
    "norm": {"norm": "none"},
    "window scale": {"normalized": True},
    "deeper floor": {"floor": 1e-9},
    "ceiling": {"ceiling": 1.0},
    "all": {
        "log": "log10",
        "mean": -4.0,
        "std": 5.0,
        "norm": "none",
        "normalized": True,
        "ceiling": 10.0,
        "floor": 1e-7,
    },
    "range": {"dynamic_range": 4.0},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_of_value_are_converted_exactly(change, speech):
    """From a spec with a deep floor: what a floor has cut off cannot come back."""
    source, target = dataclasses.replace(OWN, floor=1e-10), dataclasses.replace(OWN, **change)
    conversion = Conversion(source, target)
    converted = conversion(mel_of(source, speech))
    assert conversion.exact
    assert converted.residual == 0
    assert float((converted.mel - mel_of(target, speech)).abs().max()) < 1e-9


@pytest.mark.parametrize("change", [c for c in CHANGES.values() if "ceiling" not in c and "dynamic_range" not in c])
def test_conversion_and_back_is_the_same_mel(change, speech):
    target = (
        dataclasses.replace(OWN, **change, floor=1e-10) if "floor" not in change else dataclasses.replace(OWN, **change)
    )
    mel = mel_of(OWN, speech)
    assert float((convert_mel(convert_mel(mel, OWN, target), target, OWN) - mel).abs().max()) < 1e-9


def test_frames_of_a_centred_mel_are_taken_as_they_are_and_the_shift_is_told(speech):
    conversion, mel = Conversion(CENTRED, OWN), mel_of(CENTRED, speech)
    assert conversion.exact
    assert torch.equal(conversion(mel).mel, mel)
    assert "8.0 ms late" in conversion.notes()[0]


# Measured on this recording, in nats: 0.06 to 0.17. Interpolated frames with least squares would have 0.19 to 0.47.
@pytest.mark.parametrize(
    ("name", "most"),
    [("hifigan", 0.12), ("vocos-24k-100", 0.16), ("diffwave", 0.2), ("whisper", 0.25), ("speecht5", 0.25)],
)
def test_other_analyses_come_out_near_the_true_mel(name, most, speech):
    source = choose("mel", name)
    conversion = Conversion(source, OWN)
    converted, wanted = conversion(mel_of(source, speech).float()), mel_of(OWN, speech)
    frames = min(converted.mel.shape[-1], wanted.shape[-1])
    miss = float((converted.mel[..., :frames] - wanted[..., :frames]).abs().mean())
    assert not conversion.exact
    assert abs(converted.mel.shape[-1] - wanted.shape[-1]) <= 1
    assert miss < most
    assert 0 < converted.residual < 0.3
    assert "by way of a waveform" in conversion.notes()[0]


def test_converted_mel_depends_on_the_seed_alone(speech):
    conversion, mel = Conversion(choose("mel", "whisper"), OWN), mel_of(choose("mel", "whisper"), speech).float()
    assert torch.equal(conversion(mel, seed=3).mel, conversion(mel, seed=3).mel)
    assert not torch.equal(conversion(mel, seed=3).mel, conversion(mel, seed=4).mel)


@pytest.mark.parametrize(
    ("source", "field"),
    [
        (MelSpec(16000, f_max=6000.0), "f_max is 6000 Hz, and 8000 Hz are needed"),
        (MelSpec(16000, f_min=300.0), "f_min is 300 Hz"),
        (MelSpec(16000, n_mels=32), "n_mels is 32"),
        (MelSpec(16000, hop_length=640), "hop_length is 40.0 ms"),
    ],
)
def test_what_a_mel_does_not_say_is_refused_by_name(source, field):
    with pytest.raises(ValueError, match=field):
        Conversion(source, OWN)


def test_same_convention_changes_nothing(speech):
    mel = mel_of(OWN, speech)
    assert convert_mel(mel, OWN, dataclasses.replace(OWN)) is mel
