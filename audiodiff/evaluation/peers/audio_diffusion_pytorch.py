"""The DiffusionVocoder of audio-diffusion-pytorch as its README builds it, 48 kHz; no weights exist.

Tested: audio-diffusion-pytorch 0.1.3. It fails unless the frames are a multiple of eight, so the mel is lengthened.
Two steps, where its README takes ten: time is proportional to them, and ten last minutes.
"""

from torch import Tensor
from torch.nn import functional

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "audio-diffusion-pytorch==0.1.3", ("audio_diffusion_pytorch",)


def systems() -> list[System]:
    """Build what is measured."""
    from audio_diffusion_pytorch import DiffusionVocoder, UNetV0, VDiffusion, VSampler

    model = DiffusionVocoder(
        mel_n_fft=1024,
        mel_channels=80,
        mel_sample_rate=48000,
        mel_normalize_log=True,
        net_t=UNetV0,
        channels=[8, 32, 64, 256, 256, 512, 512, 1024, 1024],
        factors=[1, 4, 4, 4, 2, 2, 2, 2, 2],
        items=[1, 2, 2, 2, 2, 2, 2, 4, 4],
        diffusion_t=VDiffusion,
        sampler_t=VSampler,
    ).eval()

    def vocode(mel: Tensor) -> Tensor:
        whole = functional.pad(mel, (0, -mel.shape[-1] % 8))
        return model.sample(whole, num_steps=2)[..., : mel.shape[-1] * 256]

    spec = MelSpec(48000, f_max=24000)
    return [System("audio-diffusion-pytorch", spec, vocode, 2, model.net, False, seconds=0.5)]
