"""Diffusion: schedules, predictions, denoisers, solvers, guidance."""

from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import EpsPrediction, FlowPrediction, VPrediction, XPrediction

__all__ = ["Denoiser", "EpsPrediction", "FlowPrediction", "VPrediction", "XPrediction"]
