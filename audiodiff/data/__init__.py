"""Recordings in, training clips out: manifests, folders, crops, augmentation."""

from audiodiff.data.augment import Augment
from audiodiff.data.clips import ClipData, Recording, read_manifest, scan_folder

__all__ = ["Augment", "ClipData", "Recording", "read_manifest", "scan_folder"]
