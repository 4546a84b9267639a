"""Augmentation of waveforms."""

from audiodiff.data.augment.chain import Augment
from audiodiff.data.augment.codecs import Codec
from audiodiff.data.augment.effects import (
    BandLimit,
    Effect,
    Equaliser,
    Noise,
    PitchShift,
    Polarity,
    Room,
    Shift,
    Tilt,
)

__all__ = [
    "Augment",
    "BandLimit",
    "Codec",
    "Effect",
    "Equaliser",
    "Noise",
    "PitchShift",
    "Polarity",
    "Room",
    "Shift",
    "Tilt",
]
