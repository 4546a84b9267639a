"""Spoil the mel that a vocoder sees, not the sound that it must make: TTS models' mels are not recorded ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["MelAugment"]


class MelAugment:
    """Smooth, masks and jitters log-mels.

    A text-to-speech model's mels are smoother than those of recordings, since it regresses to a mean; a vocoder that
    has seen only sharp ones answers with buzz. Each clip draws its own strength, from none to the most that is said
    here. Prior, start and projection see the spoilt mel too, as they will when the model is used.

    Args:
        smooth: Largest standard deviations of a Gaussian blur, in bands and in frames.
        noise: Largest standard deviation of noise in each cell, in the mel's unit.
        masks: Stretches of frames that are replaced by the clip's quietest values, at most.
        mask_frames: Longest of these.
        probability: Share of the clips that are spoilt at all.

    Raises:
        ValueError: A size is negative, or the probability no share.
    """

    def __init__(
        self,
        smooth: Sequence[float] = (0.0, 0.0),
        noise: float = 0.0,
        masks: int = 0,
        mask_frames: int = 4,
        probability: float = 1.0,
    ) -> None:
        if len(smooth) != 2 or min(*smooth, noise, masks, mask_frames) < 0:
            raise ValueError(f"smooth={list(smooth)}, noise={noise}, masks={masks}: sizes are not negative")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability={probability} of the mel's augmentation is not in [0, 1]")
        self.smooth, self.noise = tuple(smooth), noise
        self.masks, self.mask_frames = masks, mask_frames
        self.probability = probability

    @property
    def active(self) -> bool:
        """Whether anything would be changed."""
        return bool(self.probability and (any(self.smooth) or self.noise or self.masks))

    def __call__(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """Spoil log-mels, [B, M, F]; draw nothing if it changes nothing."""
        if not self.active:
            return mel
        chosen = torch.rand(len(mel), generator=generator) < self.probability
        spoilt = torch.stack([self._spoilt(one, generator) for one in mel.cpu()])
        return torch.where(chosen[:, None, None], spoilt, mel.cpu()).to(mel)

    def _spoilt(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        for axis, most in enumerate(self.smooth):
            if most:
                mel = blurred(mel, most * float(torch.rand((), generator=generator)), axis)
        if self.noise:
            mel = mel + self.noise * torch.rand((), generator=generator) * torch.randn(mel.shape, generator=generator)
        quiet = mel.amin(1, keepdim=True)
        for _ in range(int(torch.randint(self.masks + 1, (), generator=generator)) if self.masks else 0):
            length = int(torch.randint(self.mask_frames + 1, (), generator=generator))
            start = int(torch.randint(max(1, mel.shape[1] - length), (), generator=generator))
            mel = mel.clone()
            mel[:, start : start + length] = quiet
        return mel


def blurred(mel: Tensor, deviation: float, axis: int) -> Tensor:
    """Blur [M, F] along an axis by a Gaussian; the edge values continue beyond the ends."""
    context = min(int(4 * deviation + 0.5), mel.shape[axis] - 1)
    if context < 1:
        return mel
    weights = (-0.5 * (torch.arange(-context, context + 1) / deviation) ** 2).exp()
    rows = mel.movedim(axis, -1)
    padded = torch.nn.functional.pad(rows[:, None], (context, context), mode="replicate")
    return torch.nn.functional.conv1d(padded, (weights / weights.sum())[None, None].to(mel))[:, 0].movedim(-1, axis)
