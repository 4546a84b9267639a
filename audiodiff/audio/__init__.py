"""Waveforms: files, transforms, windows of long sounds."""

from audiodiff.audio.io import AUDIO_SUFFIXES, lowered, openable, read, resample, to_pcm, write

__all__ = ["AUDIO_SUFFIXES", "lowered", "openable", "read", "resample", "to_pcm", "write"]
