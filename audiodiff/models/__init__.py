"""The models: vocoder and generator, where they start, how they stream, how they are saved."""

from audiodiff.models.generator import Generator
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, Variation
from audiodiff.models.vocoder import Vocoder
from audiodiff.models.whitening import Identity, MelShaped

__all__ = [
    "CoarseToFine",
    "Generator",
    "GriffinLim",
    "Identity",
    "MelNoise",
    "MelShaped",
    "PureNoise",
    "Variation",
    "Vocoder",
]
