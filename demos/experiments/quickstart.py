"""Score runs of the quickstart experiment on the clips that they were trained on."""

from pathlib import Path

import torch

from audiodiff import audio
from audiodiff.evaluation.metrics import score
from audiodiff.models.base import Model
from audiodiff.pipelines.resynthesis import resynthesise
from audiodiff.utils.config import shipped_path

MEASURES = ("log_mel_l1", "lsd_db", "mr_stft", "pesq_wb", "stoi")


def measure(run_dir: Path) -> dict[str, float]:
    """Score a run's averaged weights on the clips of the quickstart."""
    model = Model.load(run_dir)
    scores = []
    for path in sorted(shipped_path("datasets/clips/speech").glob("*.flac")):
        waveform, rate = audio.read(path, model.sample_rate)
        torch.manual_seed(0)
        scores.append(score(waveform[0], resynthesise(model, waveform).waveform[0], rate))
    return {name: round(sum(s[name] for s in scores) / len(scores), 4) for name in MEASURES if name in scores[0]}
