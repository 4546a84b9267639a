"""Diffusion: schedules, predictions, denoisers, solvers, guidance."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.diffusion.denoiser import Denoiser
    from audiodiff.diffusion.predictions import EpsPrediction, Estimate, FlowPrediction, VPrediction, XPrediction

__getattr__, __dir__, __all__ = lazy_names(__name__)
