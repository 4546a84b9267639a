"""Diffusion: schedules, predictions, denoisers, solvers, guidance."""

from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import Data, Flow, Noise, Velocity

__all__ = ["Data", "Denoiser", "Flow", "Noise", "Velocity"]
