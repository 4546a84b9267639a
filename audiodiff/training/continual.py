"""Continual learning: an anchor for the weights, and a report of what was forgotten.

    L2-SP:  loss + weight sum (theta - theta_0)²               EWC:  loss + weight sum F (theta - theta_0)²

F is the diagonal of the Fisher information on old data, scaled to a mean of 1.
References: Li et al., 2018, arXiv:1802.01483 (L2-SP); Kirkpatrick et al., 2017, arXiv:1612.00796 (EWC).
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from audiodiff import audio
from audiodiff.audio.io import mono
from audiodiff.data import Crops
from audiodiff.data.manifest import Recording, read_manifest
from audiodiff.evaluation.metrics import score
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import resynthesise
from audiodiff.utils import files

LONGEST = 10.0  # seconds of each recording
MEASURES = {"pesq_wb": 1, "stoi": 1, "log_mel_l1": -1, "mr_stft": -1, "lsd_db": -1}  # 1: more is better


class Anchor:
    """Penalise the distance of weights from their initial values.

    Args:
        model: The model with its initial weights.
        weight: Weight of the penalty.
        fisher: Importance of each weight by name; None for equal importance.

    Raises:
        ValueError: The weight is negative.
    """

    def __init__(self, model: nn.Module, weight: float, fisher: dict[str, Tensor] | None = None) -> None:
        if weight < 0:
            raise ValueError(f"continual.weight={weight}: a penalty is not negative")
        self.weight = weight
        self.origin = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.fisher = fisher

    def __call__(self, model: nn.Module) -> Tensor:
        """Return the penalty, []."""
        total = torch.zeros((), device=next(model.parameters()).device)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                squares = (parameter - self.origin[name].to(parameter)).square()
                total = total + (squares if self.fisher is None else self.fisher[name].to(squares) * squares).sum()
        return self.weight * total

    def save(self, path: str | Path) -> None:
        """Write initial values and importance, so that a resumed run has the same anchor."""
        tensors = {f"origin.{name}": t.cpu().contiguous() for name, t in self.origin.items()}
        tensors |= {f"fisher.{name}": t.cpu().contiguous() for name, t in (self.fisher or {}).items()}
        with files.atomic_file(path) as file:
            file.write(safetensors.torch.save(tensors))

    def load(self, path: str | Path) -> None:
        """Read the file of `save`."""
        tensors = safetensors.torch.load_file(path)
        self.origin = {n.removeprefix("origin."): t for n, t in tensors.items() if n.startswith("origin.")}
        fisher = {n.removeprefix("fisher."): t for n, t in tensors.items() if n.startswith("fisher.")}
        self.fisher = fisher or None


def fisher_of(model: nn.Module, losses: Iterable[Callable[[], Tensor]]) -> dict[str, Tensor]:
    """Estimate the diagonal of the Fisher information: squared gradients of losses, scaled to a mean of 1.

    Args:
        model: The model.
        losses: Functions that compute the loss of one clip each, [].
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    squares = {name: torch.zeros_like(p) for name, p in named.items()}
    count = 0
    for loss in losses:
        gradients = torch.autograd.grad(loss(), list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None and bool(torch.isfinite(gradient).all()):
                squares[name] += gradient.square()
        count += 1
    mean = sum(float(f.sum()) for f in squares.values()) / sum(f.numel() for f in squares.values())
    if not count or not mean > 0:
        raise ValueError("the old data gave no gradient: is continual.manifest what the model was trained on?")
    return {name: f / mean for name, f in squares.items()}


def anchor_of(config: dict[str, Any], lit: Any, run_dir: Path, resumed: bool) -> Anchor:
    """Build the anchor of a new run, or read that of a resumed one.

    Args:
        config: Configuration of the run, as plain containers.
        lit: Lightning module; its loss on old clips decides the importance.
        run_dir: Folder of `anchor.safetensors`.
        resumed: Whether the run is resumed.

    Raises:
        ValueError: The run is resumed, but began without an anchor.
    """
    options, path = config["continual"], run_dir / "anchor.safetensors"
    anchor = Anchor(lit.model, options["weight"])
    if resumed:
        if not path.is_file():
            raise ValueError(
                f"{run_dir / 'last.ckpt'}: began without continual=, so there is no anchor; "
                "say resume=false, or another name=, to begin anew"
            )
        anchor.load(path)
        return anchor
    if options["manifest"]:
        data, rate = config["data"], lit.model.sample_rate
        clips = Crops(read_manifest(options["manifest"]), data["n_samples"], rate, seed=config["seed"])
        generator = torch.Generator().manual_seed(config["seed"])
        losses = [lambda n=n: lit.compute_loss(clips[n][None], generator).total.mean() for n in range(options["clips"])]
        anchor.fisher = fisher_of(lit.model, losses)
    anchor.save(path)
    return anchor


@torch.no_grad()
def score_recordings(model: Model, recordings: Sequence[Recording], limit: int = 12, seed: int = 0) -> dict[str, float]:
    """Score a vocoder's resynthesis of the first seconds of recordings: the mean of each measure."""
    if not isinstance(model, Vocoder):
        raise ValueError(f"forgetting: a {type(model).__name__} cannot be compared with recordings; leave it out")
    scores, training = [], model.training
    model.eval()
    for recording in recordings[:: max(1, len(recordings) // limit)][:limit]:
        waveform = mono(audio.read(recording.path, model.sample_rate, seconds=LONGEST)[0], recording.path)
        result = resynthesise(model, waveform, seed=seed).waveform
        scores.append(score(waveform[0], result[0], model.sample_rate, MEASURES))
    model.train(training)
    values = {m: [s[m] for s in scores if math.isfinite(s.get(m, math.nan))] for m in MEASURES}
    return {m: sum(own) / len(own) for m, own in values.items() if own}


def forgetting_report(before: dict[str, float], after: dict[str, float], path: str | Path) -> str:
    """Write the scores before and after as JSON, and return them as a table."""
    lines = ["| measure | before | after | |", "|---|---|---|---|"]
    for name in (name for name in before if name in after):
        change = (after[name] - before[name]) * MEASURES[name]
        verdict = "better" if change > 0 else "worse" if change < 0 else "the same"
        lines.append(f"| {name} | {before[name]:.4f} | {after[name]:.4f} | {verdict} |")
    files.write_text(path, json.dumps({"before": before, "after": after}, indent=2) + "\n")
    return "\n".join(lines)
