"""SpeechBrain's HiFi-GAN V1, 22.05 kHz; its weights are on a hub. Tested: speechbrain 1.1.2."""

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "speechbrain==1.1.2", ("speechbrain",)


def systems() -> list[System]:
    """Build what is measured."""
    from speechbrain.lobes.models.HifiGAN import HifiganGenerator

    model = HifiganGenerator(
        in_channels=80,
        out_channels=1,
        resblock_type="1",
        resblock_dilation_sizes=[[1, 3, 5]] * 3,
        resblock_kernel_sizes=[3, 7, 11],
        upsample_kernel_sizes=[16, 16, 4, 4],
        upsample_initial_channel=512,
        upsample_factors=[8, 8, 2, 2],
    ).eval()
    model.remove_weight_norm()
    return [System("SpeechBrain HiFi-GAN", MelSpec(22050), model, 1, model, False, seconds=0.5)]
