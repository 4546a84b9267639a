"""Waveforms: files, transforms, windows of long sounds."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.audio.decoding import Reader, opened
    from audiodiff.audio.io import AUDIO_SUFFIXES, WRITTEN, lowered, read, resample, to_pcm, write

__getattr__, __dir__, __all__ = lazy_names(__name__)
