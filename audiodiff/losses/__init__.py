"""Training losses: draw a time and noise, denoise, compare; one value per clip.

    L = w(log_snr(t)) d(x̂, x) + sum_i weight_i auxiliary_i(decode(x̂), decode(x))

Four independent choices, each a config group: the *time sampling* of t, the *weighting* w, the *distance* d in the
diffused space, and *auxiliary* losses on waveforms.
"""

from audiodiff.losses.auxiliary import AuxiliaryLoss, LogSpectral, MelL1, MultiResolutionSTFT, MultiScaleMel, Phase
from audiodiff.losses.denoising import DenoisingLoss, LossTerms
from audiodiff.losses.distances import EnergyBalanced, OctaveWeighted, SquaredError
from audiodiff.losses.loudness import Loudness
from audiodiff.losses.time_sampling import LogitNormalTimes, LogNormalTimes, PowerTimes, TimeSampler
from audiodiff.losses.weightings import DataWeight, MinSNR, NoiseWeight, SigmoidWeight, VelocityWeight, Weighting
