"""UnivNet and SpeechT5's HiFi-GAN (AudioLDM's vocoder too) of transformers; weights are on a hub. Tested: 5.23.0."""

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "transformers", ("transformers",)


def systems() -> list[System]:
    """Build what is measured."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig, UnivNetConfig, UnivNetModel

    univnet = UnivNetModel(UnivNetConfig()).eval()
    hifigan = SpeechT5HifiGan(SpeechT5HifiGanConfig()).eval()
    wide = MelSpec(24000, n_mels=100, f_max=12000)
    return [
        System("UnivNet-c32", wide, lambda mel: univnet(mel.transpose(1, 2)).waveforms, 1, univnet, False, seconds=0.5),
        System(
            "SpeechT5 HiFi-GAN",
            MelSpec(16000),
            lambda mel: hifigan(mel.transpose(1, 2)),
            1,
            hifigan,
            False,
            seconds=1.0,
        ),
    ]
