"""The models: vocoder and generator, where they start, how they stream, how they are saved."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.models.generator import Generator
    from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, RealTimeGriffinLim, Variation
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.models.whitening import Identity, MelWhitening, PowerMDCT

__getattr__, __dir__, __all__ = lazy_names(__name__)
