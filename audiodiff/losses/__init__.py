"""Training losses: draw a time and noise, denoise, compare; one value per clip.

    L = w(log_snr(t)) d(x̂, x) + sum_i weight_i auxiliary_i(decode(x̂), decode(x))

Four independent choices, each a config group: the *time sampling* of t, the *weighting* w, the *distance* d in the
diffused space, and *auxiliary* losses on waveforms.
"""

from audiodiff.losses.auxiliary import AuxiliaryLoss as AuxiliaryLoss
from audiodiff.losses.auxiliary import LogSpectral as LogSpectral
from audiodiff.losses.auxiliary import MelL1 as MelL1
from audiodiff.losses.auxiliary import MultiResolutionSTFT as MultiResolutionSTFT
from audiodiff.losses.auxiliary import MultiScaleMel as MultiScaleMel
from audiodiff.losses.auxiliary import Phase as Phase
from audiodiff.losses.denoising import DenoisingLoss as DenoisingLoss
from audiodiff.losses.denoising import LossTerms as LossTerms
from audiodiff.losses.distances import EnergyBalanced as EnergyBalanced
from audiodiff.losses.distances import OctaveWeighted as OctaveWeighted
from audiodiff.losses.distances import SquaredError as SquaredError
from audiodiff.losses.loudness import Loudness as Loudness
from audiodiff.losses.time_sampling import LogitNormalTimes as LogitNormalTimes
from audiodiff.losses.time_sampling import LogNormalTimes as LogNormalTimes
from audiodiff.losses.time_sampling import PowerTimes as PowerTimes
from audiodiff.losses.time_sampling import TimeSampler as TimeSampler
from audiodiff.losses.weightings import DataWeight as DataWeight
from audiodiff.losses.weightings import MinSNR as MinSNR
from audiodiff.losses.weightings import NoiseWeight as NoiseWeight
from audiodiff.losses.weightings import SigmoidWeight as SigmoidWeight
from audiodiff.losses.weightings import VelocityWeight as VelocityWeight
from audiodiff.losses.weightings import Weighting as Weighting
