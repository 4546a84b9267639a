"""torchaudio's InverseMelScale and GriffinLim, 32 rounds. Tested: 2.11.0."""

import torch
from torch import Tensor

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "torchaudio", ("torchaudio",)


def systems() -> list[System]:
    """Build what is measured."""
    from torchaudio import transforms

    spec = MelSpec(16000, center=True, pad_mode="constant")
    inverse = transforms.InverseMelScale(513, 80, 16000, 0.0, 8000.0, norm="slaney", mel_scale="slaney")
    phases = transforms.GriffinLim(1024, n_iter=32, hop_length=256, power=1.0)

    def vocode(mel: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return phases(inverse(spec.expand(mel.transpose(1, 2)).transpose(1, 2)))

    return [System("torchaudio, InverseMelScale and GriffinLim", spec, vocode, seconds=0.5)]
