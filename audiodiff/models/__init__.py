"""The models: vocoder and generator, where they start, how they stream, how they are saved."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.models.generator import Generator
    from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, RealTimeGriffinLim, Variation
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.models.whitening import Identity, MelWhitening, PowerMDCT

__all__ = [
    "CoarseToFine",
    "Generator",
    "GriffinLim",
    "Identity",
    "MelNoise",
    "MelWhitening",
    "PowerMDCT",
    "PureNoise",
    "RealTimeGriffinLim",
    "Variation",
    "Vocoder",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "generator": ("Generator",),
        "starts": (
            "CoarseToFine",
            "GriffinLim",
            "MelNoise",
            "PureNoise",
            "RealTimeGriffinLim",
            "Variation",
        ),
        "vocoder": ("Vocoder",),
        "whitening": (
            "Identity",
            "MelWhitening",
            "PowerMDCT",
        ),
    },
    __all__,
)
