"""Recordings in, training clips out: crops and augmentation."""

from audiodiff.data.augment import Augment
from audiodiff.data.clips import ClipData, NumberSampler, clip_loader
from audiodiff.data.one_shots import OneShots, labels_of
from audiodiff.data.shard_clips import ShardClips
from audiodiff.data.shard_one_shots import ShardOneShots
from audiodiff.data.shards import Shards
from audiodiff.recordings import Recording, read_manifest, scan_folder

__all__ = [
    "Augment",
    "ClipData",
    "NumberSampler",
    "OneShots",
    "Recording",
    "ShardClips",
    "ShardOneShots",
    "Shards",
    "clip_loader",
    "labels_of",
    "read_manifest",
    "scan_folder",
]
