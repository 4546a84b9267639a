"""The models: vocoder and generator, where they start, how they stream, how they are saved."""

from audiodiff.models.generator import Generator
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, RealTimeGriffinLim, Variation
from audiodiff.models.vocoder import Vocoder
from audiodiff.models.whitening import Identity, MelWhitening

__all__ = [
    "CoarseToFine",
    "Generator",
    "GriffinLim",
    "Identity",
    "MelNoise",
    "MelWhitening",
    "PureNoise",
    "RealTimeGriffinLim",
    "Variation",
    "Vocoder",
]
