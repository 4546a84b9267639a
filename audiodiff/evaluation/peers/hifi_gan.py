"""HiFi-GAN V1, 22.05 kHz; its weights are on a drive. Tested: hifi-gan 0.0.2."""

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "hifi-gan==0.0.2", ("hifi_gan",)

V1 = {
    "resblock": "1",
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 512,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
}


def systems() -> list[System]:
    """Build what is measured."""
    from hifi_gan.env import AttrDict
    from hifi_gan.models import Generator

    model = Generator(AttrDict(V1)).eval()
    model.remove_weight_norm()
    return [System("HiFi-GAN V1", MelSpec(22050), model, 1, model, False, seconds=0.5)]
