"""Recordings in, training clips out: crops and augmentation."""

from audiodiff.data.augment import Augment
from audiodiff.data.clips import ClipData, NumberSampler, clip_loader
from audiodiff.recordings import Recording, read_manifest, scan_folder

__all__ = ["Augment", "ClipData", "NumberSampler", "Recording", "clip_loader", "read_manifest", "scan_folder"]
