"""DiffWave (LMNT), 22.05 kHz, its six-step schedule; its weights are on a server. Tested: diffwave 0.1.7.

`predict` draws from the global generator and finds its model in `models`, which spares a checkpoint file.
"""

import torch
from torch import Tensor

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "diffwave==0.1.7", ("diffwave",)


def systems() -> list[System]:
    """Build what is measured."""
    from diffwave import inference
    from diffwave.model import DiffWave
    from diffwave.params import AttrDict, params

    model = DiffWave(AttrDict(params)).eval()
    inference.models["random"] = model

    def vocode(mel: Tensor) -> Tensor:
        return inference.predict(mel, "random", device=torch.device("cpu"), fast_sampling=True)[0]

    return [System("DiffWave", MelSpec(22050), vocode, 6, model, False, seconds=0.5)]
