"""Diffusion: schedules, predictions, denoisers, solvers, guidance."""

from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import EpsPrediction, Estimate, FlowPrediction, VPrediction, XPrediction

__all__ = ["Denoiser", "EpsPrediction", "Estimate", "FlowPrediction", "VPrediction", "XPrediction"]
