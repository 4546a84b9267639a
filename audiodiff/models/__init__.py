"""The models: vocoder and generator, where they start, how they stream, how they are saved."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.models.generator import Generator as Generator
    from audiodiff.models.starts import CoarseToFine as CoarseToFine
    from audiodiff.models.starts import GriffinLim as GriffinLim
    from audiodiff.models.starts import MelNoise as MelNoise
    from audiodiff.models.starts import PureNoise as PureNoise
    from audiodiff.models.starts import RealTimeGriffinLim as RealTimeGriffinLim
    from audiodiff.models.starts import Variation as Variation
    from audiodiff.models.vocoder import Vocoder as Vocoder
    from audiodiff.models.whitening import Identity as Identity
    from audiodiff.models.whitening import MelWhitening as MelWhitening
    from audiodiff.models.whitening import PowerMDCT as PowerMDCT

__getattr__, __dir__, __all__ = lazy_names(__name__)
