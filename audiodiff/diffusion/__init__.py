"""Diffusion: schedules, predictions, denoisers, solvers, guidance."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.diffusion.denoiser import Denoiser as Denoiser
    from audiodiff.diffusion.predictions import EpsPrediction as EpsPrediction
    from audiodiff.diffusion.predictions import Estimate as Estimate
    from audiodiff.diffusion.predictions import FlowPrediction as FlowPrediction
    from audiodiff.diffusion.predictions import VPrediction as VPrediction
    from audiodiff.diffusion.predictions import XPrediction as XPrediction

__getattr__, __dir__, __all__ = lazy_names(__name__)
