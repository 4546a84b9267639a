"""Classifier of generated sounds, trained on the recordings of the training set."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from audiodiff.data.augment import Augment, Shift
from audiodiff.data.manifest import Recording
from audiodiff.data.one_shots import OneShots
from audiodiff.mel import LogMel, MelSpec

EMBEDDING = 32  # size
STEPS, BATCH = 600, 32


class Classifier(nn.Module):
    """Classify log-mels; small enough to train in a minute or two.

    Args:
        sample_rate: Hz.
        n_labels: Classes.
    """

    def __init__(self, sample_rate: int, n_labels: int) -> None:
        super().__init__()
        self.log_mel = LogMel(MelSpec(sample_rate, n_mels=64, f_max=sample_rate / 2))
        self.trunk = nn.Sequential(
            nn.Conv1d(64, 96, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv1d(96, 96, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv1d(96, 96, 5, stride=2, padding=2),
            nn.GELU(),
        )
        self.inward = nn.Linear(2 * 96, EMBEDDING)
        self.outward = nn.Linear(EMBEDDING, n_labels)

    def mel(self, sounds: Tensor) -> Tensor:
        """Compute log-mels, [B, 1, T] to [B, 64, F], of sounds scaled to a peak of 1."""
        return self.log_mel(sounds / sounds.abs().amax((1, 2), keepdim=True).clamp(min=1e-5))

    def embed(self, mel: Tensor) -> Tensor:
        """Map log-mels to embeddings, [B, 32]."""
        h = self.trunk((mel + 6) / 3)
        return functional.gelu(self.inward(torch.cat([h.mean(2), h.amax(2)], dim=1)))

    def forward(self, mel: Tensor) -> Tensor:
        """Map log-mels to the classes' logits, [B, n_labels]."""
        return self.outward(self.embed(mel))


def train_classifier(recordings: Sequence[Recording], labels: Sequence[str], n_samples: int, rate: int) -> Classifier:
    """Train the classifier with augmented speed, level, onset and spectral tilt, from a fixed seed."""
    later = {"shift": Shift(0.5, 0.1 * n_samples / rate)}
    augment = Augment([0.8, 0.9, 1.0, 1.0, 1.1, 1.25], (-12.0, 0.0), then=later)
    data = OneShots(recordings, labels, n_samples, rate, seed=1, augment=augment)
    generator, classifier = torch.Generator().manual_seed(0), Classifier(rate, len(labels))
    with torch.no_grad():
        for parameter in classifier.parameters():
            bound = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.0
            parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    tilt = torch.linspace(-1, 1, 64)[None, :, None]
    for step in tqdm(range(STEPS), desc="classifier", unit="step", disable=None):
        clips, numbers = zip(*(data[step * BATCH + i] for i in range(BATCH)), strict=True)
        with torch.no_grad():
            mel = classifier.mel(torch.stack(clips))
            mel = mel + 0.5 * tilt * torch.randn(BATCH, 1, 1, generator=generator)
        loss = functional.cross_entropy(classifier(mel), torch.tensor(numbers), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier.eval().requires_grad_(False)
