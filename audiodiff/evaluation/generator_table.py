"""Makes the table that says how good a class-conditional generator is: `audiodiff eval MODEL TEST --train TRAIN`.

A small classifier is trained on the training recordings and frozen before any generator is scored; its last layer but
one is the embedding of the Fréchet audio distance (Kilgour et al., 2019, arXiv:1812.08466: there VGGish). Measures:

    accuracy      share of sounds that the classifier hears as the class that was asked for
    fad           Fréchet distance between the embeddings of the sounds and of the training recordings
    diversity     mean log-mel distance between sounds of one class, in units of the training recordings' own
    nearest       mean log-mel distance to the nearest training recording of the class, nepers
    copies        share of sounds nearer to a training recording than 99 % of the held-out recordings are
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from audiodiff.audio.stft import hann, istft, stft
from audiodiff.data.augment.chain import Augment
from audiodiff.data.manifest import Recording
from audiodiff.data.one_shots import OneShots, read_one_shot
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models.generator import Generator

__all__ = ["Classifier", "evaluate_generator", "frechet_distance", "markdown_of", "train_classifier"]

EMBEDDING = 32
STEPS, BATCH = 400, 32  # of the classifier's training
MEASURES = ("accuracy", "fad", "diversity", "nearest", "copies")


class Classifier(nn.Module):
    """Tells classes apart by log-mels; small enough to be trained in a minute.

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
        """Maps [B, 1, T] to log-mels, [B, 64, F]."""
        return self.log_mel(sounds)

    def embed(self, mel: Tensor) -> Tensor:
        """Maps log-mels to embeddings, [B, 32]."""
        h = self.trunk((mel + 6) / 3)
        return functional.gelu(self.inward(torch.cat([h.mean(2), h.amax(2)], dim=1)))

    def forward(self, mel: Tensor) -> Tensor:
        """Maps log-mels to the classes' logits, [B, n_labels]."""
        return self.outward(self.embed(mel))


def train_classifier(recordings: Sequence[Recording], labels: Sequence[str], n_samples: int, rate: int) -> Classifier:
    """Trains the judge: changes of speed, level and spectral tilt, always the same seed."""
    augment = Augment([0.8, 0.9, 1.0, 1.0, 1.1, 1.25], (-12.0, 0.0))
    data = OneShots(recordings, labels, n_samples, rate, seed=1, augment=augment)
    generator, judge = torch.Generator().manual_seed(0), Classifier(rate, len(labels))
    with torch.no_grad():
        for parameter in judge.parameters():
            bound = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.0
            parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    tilt = torch.linspace(-1, 1, 64)[None, :, None]
    for step in tqdm(range(STEPS), desc="classifier", unit="step", disable=None):
        clips, numbers = zip(*(data[step * BATCH + i] for i in range(BATCH)), strict=True)
        with torch.no_grad():
            mel = judge.mel(torch.stack(clips))
            mel = mel + 0.5 * tilt * torch.randn(BATCH, 1, 1, generator=generator)
        loss = functional.cross_entropy(judge(mel), torch.tensor(numbers), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval().requires_grad_(False)


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Returns |m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½) of two sets of vectors, [N, D] each.

    >>> frechet_distance(torch.eye(3), torch.eye(3)) < 1e-6
    True
    """
    means, covariances = zip(*((v.double().mean(0), v.double().T.cov()) for v in (a, b)), strict=True)
    values, vectors = torch.linalg.eigh(covariances[0])
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    middle = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    return float((means[0] - means[1]).square().sum() + covariances[0].trace() + covariances[1].trace() - 2 * middle)


def evaluate_generator(
    generator: Generator,
    training: Sequence[Recording],
    held_out: Sequence[Recording],
    per_label: int = 16,
    seeds: int = 3,
    guidance: float | None = None,
) -> dict[str, Any]:
    """Scores held-out recordings, the model, noise shaped like each class, and recordings of the training set.

    Args:
        generator: The model; its labels and length count.
        training: On what it was trained.
        held_out: Recordings of other origin.
        per_label: Sounds of each class.
        seeds: Sets of sounds, each with its own noise.
        guidance: Scale of classifier-free guidance; the model's own by default.

    Returns:
        A row for each, with mean and standard deviation over the seeds of each measure.
    """
    labels, n, rate = generator.labels, generator.n_samples, generator.sample_rate
    if not labels:
        raise ValueError("this model knows no labels, by which its sounds could be judged")
    judge = train_classifier(training, labels, n, rate)
    real = _read(training, labels, n, rate)
    reference = _Reference(judge, real, _read(held_out, labels, n, rate))

    def ours(label: str, seed: int) -> Tensor:
        first = 1 + 10_000 * seed
        sounds = [generator.generate(n, label=label, guidance=guidance, seed=first + i) for i in range(per_label)]
        return torch.cat(sounds).cpu()

    ways: dict[str, Callable[[str, int], Tensor]] = {
        "the model": ours,
        "noise with the class' mean spectrum": lambda label, seed: shaped_noise(real[label], per_label, seed, False),
        "noise with its mean spectrogram": lambda label, seed: shaped_noise(real[label], per_label, seed),
        "recordings of the training set": lambda label, seed: _drawn(real[label], per_label, seed),
    }
    rows = [{"name": "held-out recordings"} | reference.score(reference.held_out)]
    for name, way in ways.items():
        scores = []
        for seed in tqdm(range(seeds), desc=name, unit="set", disable=None):
            scores.append(reference.score({label: way(label, seed) for label in labels}))
        rows.append({"name": name} | {key: _over_seeds([s[key][0] for s in scores]) for key in MEASURES})
    return {
        "model": generator.fingerprint(),
        "embedding": f"{EMBEDDING} values of a classifier trained on the {len(training)} training recordings",
        "reference": f"{sum(len(v) for v in real.values())} training recordings",
        "held_out": sum(len(v) for v in reference.held_out.values()),
        "sounds": per_label * len(labels),
        "seeds": seeds,
        "guidance": generator.guidance if guidance is None else guidance,
        "steps": generator.steps,
        "rows": rows,
    }


class _Reference:
    """What sounds are compared with: the judge, the training recordings' mels and the held-out ones' distances."""

    def __init__(self, judge: Classifier, real: dict[str, Tensor], held_out: dict[str, Tensor]) -> None:
        self.judge, self.labels, self.held_out = judge, list(real), held_out
        self.mels = {label: judge.mel(sounds) for label, sounds in real.items()}
        self.embeddings = judge.embed(torch.cat(list(self.mels.values())))
        self.spread = {label: _pairs(mel) for label, mel in self.mels.items()}
        nearest = torch.cat([self._nearest(label, judge.mel(s)) for label, s in held_out.items() if len(s)])
        self.closest = float(nearest.quantile(0.01))

    def score(self, sounds: dict[str, Tensor]) -> dict[str, list[float]]:
        """Measures sets of sounds, [N, 1, T] by class; each measure with a standard deviation of 0."""
        mels = {label: self.judge.mel(s) for label, s in sounds.items() if len(s)}
        right = torch.cat([self.judge(mel).argmax(1) == self.labels.index(label) for label, mel in mels.items()])
        nearest = torch.cat([self._nearest(label, mel) for label, mel in mels.items()])
        varied = [_pairs(mel) / self.spread[label] for label, mel in mels.items() if len(mel) > 1]
        found = {
            "accuracy": float(right.float().mean()),
            "fad": frechet_distance(self.judge.embed(torch.cat(list(mels.values()))), self.embeddings),
            "diversity": sum(varied) / len(varied),
            "nearest": float(nearest.mean()),
            "copies": float((nearest < self.closest).float().mean()),
        }
        return {name: [round(value, 4), 0.0] for name, value in found.items()}

    def _nearest(self, label: str, mels: Tensor) -> Tensor:
        return torch.stack([(self.mels[label] - mel).abs().mean((1, 2)).min() for mel in mels])


def shaped_noise(sounds: Tensor, count: int, seed: int, in_time: bool = True) -> Tensor:
    """Gives white noise the mean magnitudes of sounds, [N, 1, T]: of each time and frequency, or of each frequency."""
    window = hann(512, 512, 1.0, torch.float32, torch.device("cpu"))
    length = -(-sounds.shape[-1] // 128) * 128
    padding = (192, 192)
    padded = functional.pad(sounds[:, 0], (0, length - sounds.shape[-1]))
    magnitudes = stft(padded, window, 128, padding, "constant").abs().mean(0)
    magnitudes = magnitudes if in_time else magnitudes.mean(0)
    noise = torch.randn(count, length, generator=torch.Generator().manual_seed(seed))
    spectrum = stft(noise, window, 128, padding, "constant")
    shaped = spectrum / spectrum.abs().mean() * magnitudes
    return istft(shaped, window, 128, padding, length)[:, None, : sounds.shape[-1]]


def markdown_of(table: dict[str, Any]) -> str:
    """Formats the table as Markdown."""
    lines = ["| sounds | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 1) + "|"]
    for row in table["rows"]:
        cells = [f"{row[m][0]:.3g}" + (f" ± {row[m][1]:.2g}" if row[m][1] else "") for m in MEASURES]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    told = (
        f"{table['sounds']} sounds for each of {table['seeds']} seeds, {table['steps']} steps, "
        f"guidance {table['guidance']:g}"
    )
    return "\n".join([*lines, "", f"{told}; Fréchet distance to {table['reference']} by {table['embedding']}."])


def _read(recordings: Sequence[Recording], labels: Sequence[str], n_samples: int, rate: int) -> dict[str, Tensor]:
    found = {label: [read_one_shot(r, n_samples, rate) for r in recordings if r.label == label] for label in labels}
    return {label: torch.stack(v) if v else torch.empty(0, 1, n_samples) for label, v in found.items()}


def _drawn(sounds: Tensor, count: int, seed: int) -> Tensor:
    return sounds[torch.randint(len(sounds), (count,), generator=torch.Generator().manual_seed(seed))]


def _pairs(mels: Tensor) -> float:
    """Mean distance between two of a set of mels."""
    chosen = mels[:: max(1, len(mels) // 24)]
    pairs = list(itertools.combinations(range(len(chosen)), 2))
    return float(np.mean([float((chosen[i] - chosen[j]).abs().mean()) for i, j in pairs]))


def _over_seeds(values: Sequence[float]) -> list[float]:
    return [round(float(np.mean(values)), 4), round(float(np.std(values)), 4)]
