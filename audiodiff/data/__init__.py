"""Recordings in, training clips out: crops and augmentation."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.data.augment.chain import Augment as Augment
    from audiodiff.data.crops import Crops as Crops
    from audiodiff.data.crops import ResumableSampler as ResumableSampler
    from audiodiff.data.crops import clip_loader as clip_loader
    from audiodiff.data.folders import scan_folder as scan_folder
    from audiodiff.data.manifest import Recording as Recording
    from audiodiff.data.manifest import read_manifest as read_manifest
    from audiodiff.data.one_shots import OneShots as OneShots
    from audiodiff.data.one_shots import labels_of as labels_of
    from audiodiff.data.sources import Files as Files

__getattr__, __dir__, __all__ = lazy_names(__name__)
