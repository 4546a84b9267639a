"""Trains contestants for equal CPU time on the same data and tabulates how each sounds on a speaker it never heard.

    python demos/experiments/tournament/run.py runs/tournament --seconds 240

Each contestant is a list of overrides of the training configuration; all see the same recordings, augmentation and
seed, at a constant learning rate, until the process has used its CPU seconds. Each is scored on recordings of the
validation half from pure noise: at four calls and at one, as it is, and projected onto the mel at the end. Contestants
that the CSV has are skipped.
"""

import argparse
import csv
import time
from pathlib import Path

import lightning
import torch

from audiodiff import audio
from audiodiff.data.recordings import recordings_of
from audiodiff.evaluation.metrics import MEASURES
from audiodiff.models.base import Model
from audiodiff.training import run as training
from audiodiff.training.hydra_config import composed

CONTESTANTS = {
    "a: frames": [],
    "a, v output": ["prediction=v"],
    "a, whitening exponent 0": ["model.whitening.exponent=0", "model.whitening.scale=0.1"],
    "a, whitening exponent 1": ["model.whitening.exponent=1", "model.whitening.scale=1.2"],
    "a, magnitudes as input": ["+model.denoiser.network.magnitudes=input", "+model.denoiser.network.mel=${mel}"],
    "a, magnitudes scale the residual": [
        "+model.denoiser.network.magnitudes=residual",
        "+model.denoiser.network.mel=${mel}",
    ],
    "a, both": ["+model.denoiser.network.magnitudes=both", "+model.denoiser.network.mel=${mel}"],
    "a, balanced distance": ["distance=balanced"],
    "a, projection inside": ["objective.projection_iters=1"],
    "a, hop 256": ["model.denoiser.network.hop_length=256", "model.denoiser.network.width=256"],
    "b: sub-bands": ["model=band-split"],
    "c: resolutions": ["model=multi-resolution"],
    "d: samples": ["model=diffwave"],
}
WAYS = {"4": (4, 0), "4, projected": (4, 16), "1, projected": (1, 16)}  # calls, rounds at the end
SHOWN = ("pesq_wb", "stoi", "log_mel_l1", "mr_stft")


class Budget(lightning.Callback):
    """Stop training when the process has used its CPU seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began = time.process_time()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Look at the clock."""
        trainer.should_stop |= time.process_time() - self.began > self.seconds


def measure(run_dir: Path, manifest: str, clips: int) -> dict[str, float]:
    """Score a run's averaged weights, and times the network."""
    model = Model.load(run_dir / "last.ckpt")
    scores: dict[str, list[float]] = {}
    seconds = taken = 0.0
    for recording in recordings_of(manifest, 2.0, clips):
        waveform = audio.read(recording.path, model.sample_rate)[0][:1]
        waveform = waveform[:, : waveform.shape[-1] // model.hop_length * model.hop_length]
        mel = model.spectrogram(waveform[None])
        for name, (calls, rounds) in WAYS.items():
            model.projection_iters, model.final_iters = 0, rounds
            began = time.perf_counter()
            out = model.generate(mel, steps=calls)[0, 0]
            if name == "4":
                taken += (time.perf_counter() - began) / calls
                seconds += waveform.shape[-1] / model.sample_rate
            for key in SHOWN:
                found = MEASURES[key][0](waveform[0], out, model.sample_rate)
                scores.setdefault(f"{key} at {name}", []).append(found)
    means = {key: round(sum(values) / len(values), 4) for key, values in scores.items()}
    return {**means, "x real time per call": round(seconds / taken, 1)}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("--seconds", type=float, default=240, help="CPU seconds of training (240)")
    parser.add_argument("--clips", type=int, default=10, help="recordings that are scored (10)")
    parser.add_argument("--only", help="one contestant")
    options = parser.parse_args()
    done = {row["contestant"] for row in csv.DictReader(options.table.open())} if options.table.exists() else set()
    make_trainer = training._trainer
    for name, overrides in CONTESTANTS.items():
        if name in done or (options.only and name != options.only):
            continue
        run_dir = options.folder / "".join(c if c.isalnum() else "-" for c in name)
        cfg = composed(
            [
                "experiment=speech",
                f"run_dir={run_dir}",
                *(
                    "resume=false",
                    "previews=0",
                    "ema_decay=0.98",
                    "lr_schedule.final_factor=1",
                    "lr_schedule.warmup_steps=50",
                ),
                *("trainer.max_steps=100000", "trainer.val_check_interval=100000", "trainer.checkpoint_every=100000"),
                *overrides,
            ]
        )
        budget = Budget(options.seconds)

        def with_budget(*args: object, budget: Budget = budget) -> lightning.Trainer:
            trainer = make_trainer(*args)
            trainer.callbacks.insert(0, budget)
            return trainer

        training._trainer = with_budget
        training.train(cfg)
        model = Model.load(run_dir / "last.ckpt")
        row = {
            "contestant": name,
            "steps": model.info["steps"],
            "million parameters": round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
            **measure(run_dir, cfg.data.valid_manifest, options.clips),
        }
        fresh = not options.table.exists()
        with options.table.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
