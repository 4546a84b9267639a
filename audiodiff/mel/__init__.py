"""Log-mel spectrograms: conventions, filters, files, and the detection of a convention."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.mel.spec import MelSpec as MelSpec
    from audiodiff.mel.spectrogram import LogMel as LogMel

__getattr__, __dir__, __all__ = lazy_names(__name__)
