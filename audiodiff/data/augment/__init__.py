"""Augmentation of waveforms: speed, level, mixtures, effects, codecs."""

from audiodiff.data.augment.chain import Augment
from audiodiff.data.augment.codecs import Codec
from audiodiff.data.augment.effects import (
    AdditiveNoise,
    BandLimit,
    Effect,
    Equaliser,
    PitchShift,
    Polarity,
    Room,
    Shift,
    Tilt,
)
