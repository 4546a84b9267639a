"""Recordings in, training clips out: crops and augmentation."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.data.augment.chain import Augment
    from audiodiff.data.crops import Crops, ResumableSampler, clip_loader
    from audiodiff.data.manifest import Recording, read_manifest, scan_folder
    from audiodiff.data.one_shots import OneShots, labels_of
    from audiodiff.data.sources import Files

__getattr__, __dir__, __all__ = lazy_names(__name__)
