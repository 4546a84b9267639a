"""Augmentation of waveforms: speed, level, mixtures, effects, codecs."""

from audiodiff.data.augment.chain import Augment as Augment
from audiodiff.data.augment.codecs import Codec as Codec
from audiodiff.data.augment.effects import AdditiveNoise as AdditiveNoise
from audiodiff.data.augment.effects import BandLimit as BandLimit
from audiodiff.data.augment.effects import Effect as Effect
from audiodiff.data.augment.effects import Equaliser as Equaliser
from audiodiff.data.augment.effects import PitchShift as PitchShift
from audiodiff.data.augment.effects import Polarity as Polarity
from audiodiff.data.augment.effects import Room as Room
from audiodiff.data.augment.effects import Shift as Shift
from audiodiff.data.augment.effects import Tilt as Tilt
