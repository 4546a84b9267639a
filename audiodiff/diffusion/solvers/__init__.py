"""Step from noise to audio: one family of solvers a file, and `sample`, which takes them all.

A name such as "unipc" is a file of conf/solver: the class and its arguments.
"""

from audiodiff.diffusion.solvers.base import NoiseSource, Solver
from audiodiff.diffusion.solvers.ddim import DDIM
from audiodiff.diffusion.solvers.dpm_solver import DPMSolver1, DPMSolver2M, DPMSolver2S, DPMSolver3M, SDEDPMSolver2M
from audiodiff.diffusion.solvers.euler_maruyama import EulerMaruyama
from audiodiff.diffusion.solvers.heun import Heun
from audiodiff.diffusion.solvers.midpoint import Midpoint
from audiodiff.diffusion.solvers.predictor_corrector import PredictorCorrector
from audiodiff.diffusion.solvers.unipc import UniPC
