"""Waveforms: files, transforms, windows of long sounds."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.audio.decoding import Reader as Reader
    from audiodiff.audio.decoding import opened as opened
    from audiodiff.audio.io import AUDIO_SUFFIXES as AUDIO_SUFFIXES
    from audiodiff.audio.io import WRITTEN as WRITTEN
    from audiodiff.audio.io import lowered as lowered
    from audiodiff.audio.io import read as read
    from audiodiff.audio.io import resample as resample
    from audiodiff.audio.io import to_pcm as to_pcm
    from audiodiff.audio.io import write as write

__getattr__, __dir__, __all__ = lazy_names(__name__)
