"""Vocos, 24 kHz, in the size of its vocos-mel-24khz; its weights are on a hub. Tested: vocos 0.1.0.

Backbone and head alone: torchaudio, which the package imports, computes its mel, and ours is computed elsewhere. Where
torchaudio does not load, as beside a CPU build of torch, stand-ins take its place while the package is imported.
"""

import contextlib
import sys
from collections.abc import Generator
from unittest.mock import MagicMock, patch

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "vocos==0.1.0", ("vocos",)
IMPORTED = ("torchaudio", "torchaudio.functional", "torchaudio.functional.functional", "torchaudio.transforms")


@contextlib.contextmanager
def torchaudio_or_stand_ins() -> Generator[None]:
    """Let packages import torchaudio, whether it loads or not; nothing of a stand-in works."""
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        with patch.dict(sys.modules, {name: MagicMock(__spec__=None) for name in IMPORTED}):
            yield
    else:
        yield


def systems() -> list[System]:
    """Build what is measured."""
    with torchaudio_or_stand_ins():
        from vocos.heads import ISTFTHead
        from vocos.models import VocosBackbone

    backbone = VocosBackbone(input_channels=100, dim=512, intermediate_dim=1536, num_layers=8).eval()
    head = ISTFTHead(dim=512, n_fft=1024, hop_length=256).eval()
    spec = MelSpec(24000, n_mels=100, f_max=12000, scale="htk", norm="none", center=True, floor=1e-7)
    return [System("Vocos", spec, lambda mel: head(backbone(mel)), 1, backbone, False)]
