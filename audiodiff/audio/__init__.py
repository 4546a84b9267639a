"""Waveforms: files, transforms, windows of long sounds."""

from audiodiff.audio.decoding import Reader, opened
from audiodiff.audio.io import AUDIO_SUFFIXES, lowered, read, resample, to_pcm, write

__all__ = ["AUDIO_SUFFIXES", "Reader", "lowered", "opened", "read", "resample", "to_pcm", "write"]
