"""What training minimises: draw a time and noise, denoise, compare. Terms come per clip, unreduced.

    L = w(log_snr(t)) d(x̂, x) + sum_i weight_i term_i(decode(x̂), decode(x))

Four choices that do not know of each other: the *times* t that are drawn, the *weighting* w, the *distance* d in the
diffused space, and auxiliary *terms* on waveforms. Each is a config group.
"""

from audiodiff.losses.auxiliary import AuxiliaryLoss, LogSpectral, MelL1, MultiResolutionSTFT, MultiScaleMel, Phase
from audiodiff.losses.denoising import DenoisingLoss, LossTerms
from audiodiff.losses.distances import EnergyBalanced, SquaredError
from audiodiff.losses.loudness import Loudness
from audiodiff.losses.time_sampling import LogitNormalTimes, LogNormalTimes, PowerTimes, TimeSampler
from audiodiff.losses.weightings import DataWeight, MinSNR, NoiseWeight, SigmoidWeight, VelocityWeight, Weighting

__all__ = [
    "AuxiliaryLoss",
    "DataWeight",
    "DenoisingLoss",
    "EnergyBalanced",
    "LogNormalTimes",
    "LogSpectral",
    "LogitNormalTimes",
    "LossTerms",
    "Loudness",
    "MelL1",
    "MinSNR",
    "MultiResolutionSTFT",
    "MultiScaleMel",
    "NoiseWeight",
    "Phase",
    "PowerTimes",
    "SigmoidWeight",
    "SquaredError",
    "TimeSampler",
    "VelocityWeight",
    "Weighting",
]
