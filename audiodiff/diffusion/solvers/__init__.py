"""Step from noise to audio: one family of solvers a file; `diffusion.sampling.sample` takes them all.

A name such as "unipc" is a file of conf/solver: the class and its arguments.
"""

from audiodiff.diffusion.solvers.base import NoiseSource as NoiseSource
from audiodiff.diffusion.solvers.base import Solver as Solver
from audiodiff.diffusion.solvers.ddim import DDIM as DDIM
from audiodiff.diffusion.solvers.dpm_solver import DPMSolver1 as DPMSolver1
from audiodiff.diffusion.solvers.dpm_solver import DPMSolver2M as DPMSolver2M
from audiodiff.diffusion.solvers.dpm_solver import DPMSolver2S as DPMSolver2S
from audiodiff.diffusion.solvers.dpm_solver import DPMSolver3M as DPMSolver3M
from audiodiff.diffusion.solvers.dpm_solver import SDEDPMSolver2M as SDEDPMSolver2M
from audiodiff.diffusion.solvers.euler_maruyama import EulerMaruyama as EulerMaruyama
from audiodiff.diffusion.solvers.heun import Heun as Heun
from audiodiff.diffusion.solvers.midpoint import Midpoint as Midpoint
from audiodiff.diffusion.solvers.predictor_corrector import PredictorCorrector as PredictorCorrector
from audiodiff.diffusion.solvers.unipc import UniPC as UniPC
