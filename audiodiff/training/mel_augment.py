"""Augment the mel that conditions a vocoder, and not its target, towards the mels of acoustic models."""

from collections.abc import Sequence

import torch
from torch import Tensor


class MelAugment:
    """Blur, mask and jitter log-mels.

    Mels of text-to-speech models regress to a mean and are smoother than those of recordings; a vocoder that was
    trained on sharp mels alone responds with buzz. Each clip draws its own strength, up to the maxima below. Whitening,
    start and projection see the augmented mel too, as they do in use.

    Args:
        smooth: Largest standard deviations of a Gaussian blur, in bands and in frames.
        noise: Largest standard deviation of noise in each cell, in the mel's unit.
        masks: Largest number of stretches of frames that are replaced by the clip's minima.
        mask_frames: Length of the longest stretch.
        probability: Share of the clips that are augmented.

    Raises:
        ValueError: A size is negative, or the probability not in [0, 1].
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
        """Whether any mel is changed."""
        return bool(self.probability and (any(self.smooth) or self.noise or self.masks))

    def __call__(self, mel: Tensor, generator: torch.Generator) -> Tensor:
        """Augment log-mels, [B, M, F]; draw nothing if nothing would change."""
        if not self.active:
            return mel
        chosen = torch.rand(len(mel), generator=generator) < self.probability
        augmented = torch.stack([self._augmented(one, generator) for one in mel.cpu()])
        return torch.where(chosen[:, None, None], augmented, mel.cpu()).to(mel)

    def _augmented(self, mel: Tensor, generator: torch.Generator) -> Tensor:
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
