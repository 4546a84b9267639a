"""BigVGAN-base, 24 kHz, 100 bands; its weights are on a hub. Tested: bigvgan 2.4.1."""

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "bigvgan==2.4.1", ("bigvgan",)

BASE = {
    "resblock": "1",
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 512,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    "activation": "snakebeta",
    "snake_logscale": True,
    "num_mels": 100,
}


def systems() -> list[System]:
    """Build what is measured."""
    from bigvgan.bigvgan import BigVGAN
    from bigvgan.env import AttrDict

    model = BigVGAN(AttrDict(BASE)).eval()
    model.remove_weight_norm()
    spec = MelSpec(24000, n_mels=100, f_max=12000)
    return [System("BigVGAN-base", spec, model, 1, model, False, seconds=0.5)]
