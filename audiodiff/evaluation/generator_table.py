"""Quality table of a conditional generator: `audiodiff eval MODEL TEST --train TRAIN`.

A small classifier is trained on the training recordings and frozen before any generator is scored; its last layer but
one is the embedding of the Fréchet audio distance (Kilgour et al., 2019, arXiv:1812.08466: there VGGish) and of the
manifold measures. All sounds are compared at one peak level. Measures:

    accuracy                 share of sounds that the classifier hears as the class that was asked for
    fad                      Fréchet distance to half of the training recordings; sounds of the other half are the floor
    precision, recall,       how the sounds and the held-out recordings cover each other (`manifold`); of the held-out
    density, coverage        recordings themselves, how one half covers the other
    diversity                mean log-mel distance between sounds of one class, the held-out recordings' own being 1
    nearest                  mean log-mel distance to the nearest training recording of the class, nepers
    copies                   share of sounds nearer to a training recording than 99 % of the held-out recordings are

Values over several seeds come with the half-width of their 95 % interval (Student's t).
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from audiodiff.audio.stft import hann, istft, stft
from audiodiff.data.manifest import Recording
from audiodiff.data.one_shots import read_one_shot
from audiodiff.evaluation.classifier import EMBEDDING, Classifier, train_classifier
from audiodiff.evaluation.manifold import compare_manifolds, frechet_distance
from audiodiff.models.generator import Generator

MEASURES = (
    *("accuracy", "fad", "precision", "recall", "density", "coverage"),
    *("diversity", "nearest", "copies"),
)
HELD_OUT = "held-out recordings"
SPECTRUM, SPECTROGRAM = "noise with the class' mean spectrum", "noise with its mean spectrogram"
REAL = "training recordings of the other half"
Way = Callable[[str, int], Tensor]  # maps a class and a seed to sounds, [N, 1, T]
NEIGHBOURS = 5  # of the manifold measures; fewer where there are fewer recordings
BATCH = 8  # sounds that are generated at once
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26}  # Student's t by number of seeds


def evaluate_generator(
    generator: Generator,
    training: Sequence[Recording],
    held_out: Sequence[Recording],
    per_label: int = 16,
    seeds: int = 3,
    guidance: float | None = None,
) -> dict[str, Any]:
    """Score held-out recordings, the model, noise shaped like each class, and training recordings.

    Args:
        generator: The model; its labels and length count.
        training: Recordings of the training set.
        held_out: Recordings of other origin.
        per_label: Generated sounds of each class.
        seeds: Number of sets of sounds, each with its own noise.
        guidance: Scale of classifier-free guidance; the model's own by default.

    Returns:
        A row for each, with the mean over the seeds of each measure, and the half-width of its interval.
    """
    labels, n, rate = generator.labels, generator.n_samples, generator.sample_rate
    if not labels:
        raise ValueError("this model knows no labels, by which its sounds could be judged")
    judge = Judge.of(training, held_out, labels, n, rate)

    def ours(label: str, seed: int) -> Tensor:
        return sounds_of(generator, label, per_label, seed, guidance=guidance)

    rows = [{"name": HELD_OUT} | {m: [v, 0.0] for m, v in judge.score_held_out().items()}]
    for name, way in ({"the model": ours} | comparisons(judge, per_label)).items():
        rows.append({"name": name} | judge.score_seeds(way, seeds, name))
    return {
        "model": generator.fingerprint(),
        "embedding": f"{EMBEDDING} values of a classifier trained on the {len(training)} training recordings",
        "reference": f"half of {sum(len(v) for v in judge.recordings.values())} training recordings",
        "neighbours": judge.k,
        "held_out": sum(len(v) for v in judge.held_out.values()),
        "sounds": per_label * len(labels),
        "seeds": seeds,
        "guidance": generator.guidance if guidance is None else guidance,
        "steps": generator.steps,
        "rows": rows,
    }


def comparisons(judge: "Judge", per_label: int) -> dict[str, Way]:
    """Return what a generator is compared with: shaped noise, and as many real sounds as it makes."""
    real = judge.recordings
    return {
        SPECTRUM: lambda label, seed: shaped_noise(real[label], per_label, seed, False),
        SPECTROGRAM: lambda label, seed: shaped_noise(real[label], per_label, seed),
        REAL: lambda label, seed: _drawn(real[label][1::2], per_label, seed),
    }


def sounds_of(generator: Generator, label: str, count: int, seed: int, **options: Any) -> Tensor:
    """Generate the sounds of one class and one seed that are judged, [count, 1, T]; options as for `generate`."""
    first, n = 1 + 10_000 * seed, generator.n_samples
    sizes = [min(BATCH, count - i) for i in range(0, count, BATCH)]
    starts = [first + BATCH * i for i in range(len(sizes))]
    batches = zip(starts, sizes, strict=True)
    return torch.cat([generator.generate(n, label=label, seed=s, batch=b, **options).cpu() for s, b in batches])


class Judge:
    """Hold what sounds are compared with: the classifier, training recordings and held-out ones.

    Args:
        classifier: Frozen; it hears classes, and its embedding is where distances are taken.
        real: Training recordings by class, [N, 1, T] each.
        held_out: Recordings of other origin, likewise.
    """

    def __init__(self, classifier: Classifier, real: dict[str, Tensor], held_out: dict[str, Tensor]) -> None:
        self.classifier, self.labels, self.recordings = classifier, list(real), real
        self.mels = {label: classifier.mel(sounds) for label, sounds in real.items()}
        self.held_out = {label: classifier.mel(sounds) for label, sounds in held_out.items() if len(sounds)}
        self.training = self._embedded({label: mel[::2] for label, mel in self.mels.items()})
        self.real = self._embedded(self.held_out)
        self.k = min(NEIGHBOURS, (len(self.real) - 1) // 2)
        self.spread = {label: _pairs(mel) for label, mel in self.held_out.items() if len(mel) > 1}
        nearest = torch.cat([self._nearest(label, mel) for label, mel in self.held_out.items()])
        self.closest = float(nearest.quantile(0.01))

    @classmethod
    def of(
        cls,
        training: Sequence[Recording],
        held_out: Sequence[Recording],
        labels: Sequence[str],
        n_samples: int,
        sample_rate: int,
        classifier: Classifier | None = None,
    ) -> "Judge":
        """Read the recordings; without a classifier, train one on those of the training set."""
        classifier = classifier or train_classifier(training, labels, n_samples, sample_rate)
        return cls(classifier, *(_read(group, labels, n_samples, sample_rate) for group in (training, held_out)))

    def score(self, sounds: dict[str, Tensor]) -> dict[str, float]:
        """Score sets of sounds, [N, 1, T] by class."""
        mels = {label: self.classifier.mel(s) for label, s in sounds.items() if len(s)}
        return self._of_mels(mels, self.real, self._embedded(mels))

    def score_seeds(self, way: Way, seeds: int, name: str = "sounds") -> dict[str, list[float]]:
        """Measure a way to make sounds, with several seeds: mean and half-width of the interval of each measure."""
        bar = tqdm(range(seeds), desc=name, unit="set", disable=None)
        scores = [self.score({label: way(label, seed) for label in self.labels}) for seed in bar]
        return {measure: over_seeds([score[measure] for score in scores]) for measure in MEASURES}

    def score_held_out(self) -> dict[str, float]:
        """Score the held-out recordings, one half against the other."""
        halves = [self._embedded({label: mel[first::2] for label, mel in self.held_out.items()}) for first in (0, 1)]
        return self._of_mels(self.held_out, *halves)

    def _of_mels(self, mels: dict[str, Tensor], real: Tensor, generated: Tensor) -> dict[str, float]:
        correct = [self.classifier(mel).argmax(1) == self.labels.index(label) for label, mel in mels.items()]
        nearest = torch.cat([self._nearest(label, mel) for label, mel in mels.items()])
        varied = [_pairs(mels[label]) / spread for label, spread in self.spread.items() if len(mels.get(label, ())) > 1]
        k = min(self.k, len(real) - 1, len(generated) - 1)
        values = {
            "accuracy": float(torch.cat(correct).float().mean()),
            "fad": frechet_distance(self._embedded(mels), self.training),
            **compare_manifolds(real, generated, k)._asdict(),
            "diversity": sum(varied) / len(varied) if varied else math.nan,
            "nearest": float(nearest.mean()),
            "copies": float((nearest < self.closest).float().mean()),
        }
        return {name: round(value, 4) for name, value in values.items()}

    def _embedded(self, mels: dict[str, Tensor]) -> Tensor:
        return torch.cat([self.classifier.embed(mel) for mel in mels.values() if len(mel)])

    def _nearest(self, label: str, mels: Tensor) -> Tensor:
        return torch.stack([(self.mels[label] - mel).abs().mean((1, 2)).min() for mel in mels])


def shaped_noise(sounds: Tensor, count: int, seed: int, in_time: bool = True) -> Tensor:
    """Shape white noise by the mean spectrogram of sounds, [N, 1, T], or by their mean spectrum."""
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
    """Format the table as Markdown."""
    lines = ["| sounds | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 1) + "|"]
    for row in table["rows"]:
        cells = [f"{row[m][0]:.3g}" + (f" ± {row[m][1]:.2g}" if row[m][1] else "") for m in MEASURES]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    settings = (
        f"{table['sounds']} sounds for each of {table['seeds']} seeds, {table['steps']} steps, "
        f"guidance {table['guidance']:g}"
    )
    against = (
        f"Fréchet distance to {table['reference']} by {table['embedding']}; "
        f"{table['neighbours']} neighbours; {table['held_out']} held-out recordings"
    )
    return "\n".join([*lines, "", f"{settings}. {against}."])


def _read(recordings: Sequence[Recording], labels: Sequence[str], n_samples: int, rate: int) -> dict[str, Tensor]:
    sounds = {label: [read_one_shot(r, n_samples, rate) for r in recordings if r.label == label] for label in labels}
    return {label: torch.stack(v) if v else torch.empty(0, 1, n_samples) for label, v in sounds.items()}


def _drawn(sounds: Tensor, count: int, seed: int) -> Tensor:
    if not len(sounds):
        raise ValueError("a class has a single training recording: two are wanted, of which one is the reference")
    return sounds[torch.randint(len(sounds), (count,), generator=torch.Generator().manual_seed(seed))]


def _pairs(mels: Tensor) -> float:
    """Measure the mean distance between two of a set of mels."""
    chosen = mels[:: max(1, len(mels) // 24)]
    pairs = list(itertools.combinations(range(len(chosen)), 2))
    return float(np.mean([float((chosen[i] - chosen[j]).abs().mean()) for i, j in pairs]))


def over_seeds(values: Sequence[float]) -> list[float]:
    """Return the mean of a measure, and the half-width of its 95 % interval by Student's t."""
    n = len(values)
    t = T_95.get(n, 2.0) if n > 1 else 0.0
    return [round(float(np.mean(values)), 4), round(t * float(np.std(values, ddof=min(1, n - 1))) / math.sqrt(n), 4)]
