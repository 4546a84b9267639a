"""Log-mel spectrograms: conventions, filters, files, and the detection of a convention."""

from audiodiff.mel.spec import MelSpec
from audiodiff.mel.spectrogram import LogMel

__all__ = ["LogMel", "MelSpec"]
