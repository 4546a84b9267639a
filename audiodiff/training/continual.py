"""Learning something new without forgetting what was known: an anchor for the weights, and a report of what was lost.

    L2-SP:  loss + weight sum (theta - theta_0)²               EWC:  loss + weight sum F (theta - theta_0)²

F is the diagonal of the Fisher information on old data, scaled to a mean of 1: weights that mattered are held, others
go. References: Li et al., 2018, arXiv:1802.01483 (L2-SP); Kirkpatrick et al., 2017, arXiv:1612.00796 (EWC).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from audiodiff import audio
from audiodiff.data import Crops
from audiodiff.data.manifest import Recording, read_manifest
from audiodiff.evaluation.metrics import score
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import resynthesise
from audiodiff.utils import files

__all__ = ["Anchor", "anchor_of", "fisher_of", "forgetting", "judged"]

LONGEST = 10.0  # seconds of a recording that are resynthesised
JUDGED = {"pesq_wb": 1, "stoi": 1, "log_mel_l1": -1, "mr_stft": -1, "lsd_db": -1}  # 1: more is better


class Anchor:
    """Hold weights near where they began.

    Args:
        model: As it begins.
        weight: Of the penalty.
        fisher: Importance of each weight, by name; None counts all alike.

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
                away = (parameter - self.origin[name].to(parameter)).square()
                total = total + (away if self.fisher is None else self.fisher[name].to(away) * away).sum()
        return self.weight * total

    def save(self, path: str | Path) -> None:
        """Write where the weights began and their importance, so that a run that goes on has the same anchor."""
        tensors = {f"origin.{name}": t.cpu().contiguous() for name, t in self.origin.items()}
        tensors |= {f"fisher.{name}": t.cpu().contiguous() for name, t in (self.fisher or {}).items()}
        with files.atomic_file(path) as file:
            file.write(safetensors.torch.save(tensors))

    def load(self, path: str | Path) -> None:
        """Read what `save` wrote."""
        tensors = safetensors.torch.load_file(path)
        self.origin = {n.removeprefix("origin."): t for n, t in tensors.items() if n.startswith("origin.")}
        fisher = {n.removeprefix("fisher."): t for n, t in tensors.items() if n.startswith("fisher.")}
        self.fisher = fisher or None


def fisher_of(model: nn.Module, losses: Iterable[Callable[[], Tensor]]) -> dict[str, Tensor]:
    """Estimate the diagonal of the Fisher information: mean squares of the gradients of losses, of mean 1 in all.

    Args:
        losses: Each computes the loss of one clip, [].
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = {name: torch.zeros_like(p) for name, p in named.items()}
    count = 0
    for loss in losses:
        gradients = torch.autograd.grad(loss(), list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None and bool(torch.isfinite(gradient).all()):
                found[name] += gradient.square()
        count += 1
    mean = sum(float(f.sum()) for f in found.values()) / sum(f.numel() for f in found.values())
    if not count or not mean > 0:
        raise ValueError("the old data gave no gradient: is continual.manifest what the model was trained on?")
    return {name: f / mean for name, f in found.items()}


def anchor_of(config: dict[str, Any], lit: Any, run_dir: Path, resumed: bool) -> Anchor:
    """Make the anchor of a run that begins, or read that of a run that goes on.

    Args:
        config: Of the run, plain.
        lit: Whose loss on old clips says which weights matter.
        run_dir: Keeps `anchor.safetensors`.
        resumed: Whether the run goes on.

    Raises:
        ValueError: The run goes on, but began without.
    """
    given, path = config["continual"], run_dir / "anchor.safetensors"
    anchor = Anchor(lit.model, given["weight"])
    if resumed:
        if not path.is_file():
            raise ValueError(
                f"{run_dir / 'last.ckpt'}: began without continual=, so where to hold it is not known; "
                "say resume=false, or another name=, to begin anew"
            )
        anchor.load(path)
        return anchor
    if given["manifest"]:
        data, rate = config["data"], lit.model.sample_rate
        clips = Crops(read_manifest(given["manifest"]), data["n_samples"], rate, seed=config["seed"])
        generator = torch.Generator().manual_seed(config["seed"])
        losses = [lambda n=n: lit.terms(clips[n][None], generator).total.mean() for n in range(given["clips"])]
        anchor.fisher = fisher_of(lit.model, losses)
    anchor.save(path)
    return anchor


@torch.no_grad()
def judged(model: Model, recordings: Sequence[Recording], limit: int = 12, seed: int = 0) -> dict[str, float]:
    """Measure how a vocoder resynthesises the first seconds of recordings: the means of what `score` prints."""
    if not isinstance(model, Vocoder):
        raise ValueError(f"forgetting: a {type(model).__name__} cannot be compared with recordings; leave it out")
    scores, training = [], model.training
    model.eval()
    for recording in recordings[:: max(1, len(recordings) // limit)][:limit]:
        waveform = audio.read(recording.path, model.sample_rate, seconds=LONGEST)[0].mean(0, keepdim=True)
        made = resynthesise(model, waveform, seed=seed).waveform
        scores.append(score(waveform[0], made[0], model.sample_rate, JUDGED))
    model.train(training)
    return {m: sum(s[m] for s in scores) / len(scores) for m in JUDGED if all(m in s for s in scores)}


def forgetting(before: dict[str, float], after: dict[str, float], path: str | Path) -> str:
    """Write what was known before and after as JSON, and return the table."""
    lines = ["| measure | before | after | |", "|---|---|---|---|"]
    for name in before:
        change = (after[name] - before[name]) * JUDGED[name]
        what = "better" if change > 0 else "worse" if change < 0 else "the same"
        lines.append(f"| {name} | {before[name]:.4f} | {after[name]:.4f} | {what} |")
    with files.atomic_file(path) as file:
        file.write((json.dumps({"before": before, "after": after}, indent=2) + "\n").encode())
    return "\n".join(lines)
