"""Vocos, 24 kHz, in the size of its vocos-mel-24khz; its weights are on a hub. Tested: vocos 0.1.0."""

from importlib import metadata

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "vocos==0.1.0", ("vocos",)


def systems() -> list[System]:
    from vocos.feature_extractors import MelSpectrogramFeatures
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone
    from vocos.pretrained import Vocos

    model = Vocos(
        MelSpectrogramFeatures(24000, 1024, 256, 100),
        VocosBackbone(input_channels=100, dim=512, intermediate_dim=1536, num_layers=8),
        ISTFTHead(dim=512, n_fft=1024, hop_length=256),
    ).eval()
    spec = MelSpec(24000, n_mels=100, f_max=12000, scale="htk", norm="none", center=True, floor=1e-7)
    package = f"vocos=={metadata.version('vocos')}"
    return [System("Vocos", spec, model.decode, 1, model.backbone, False, package)]
