"""Adapts the shipped vocoder to a new voice with three minutes of it, in several ways, and asks what it forgets.

    python datasets/debian_speech/prepare.py --all data/debian_speech_all
    python demos/experiments/adaptation/run.py runs/adapt data/debian_speech_all data/debian_speech --steps 150

New is one speaker of the recordings under GPL-2-or-later, whom the shipped weights never heard: three minutes train,
other sentences of hers test. Old are held-out sentences of speakers whom the shipped weights know. Every row goes
through the same few-step stage for the same steps, one network call behind the same start, and is scored as it is
shipped; `from scratch` begins with a fresh network of the same shape, and `too fast` is fine-tuned at a rate at which
the old voices suffer. Rows that the CSV has are skipped.
"""

import argparse
import csv
import json
import random
from pathlib import Path

from audiodiff.data.manifest import read_manifest
from audiodiff.models.base import Model
from audiodiff.training.continual import score_recordings
from audiodiff.training.hydra_config import composed
from audiodiff.training.run import train

SPEAKER, SECONDS, SHORTEST = "tuxpaint-ro", 180.0, 1.5
SHOWN = {"pesq_wb": "PESQ-wb", "log_mel_l1": "log-mel L1", "mr_stft": "MR-STFT", "lsd_db": "LSD (dB)"}
COLUMNS = [(voice, name) for voice in ("new", "old") for name in SHOWN]
STAGE = [
    "experiment=speech-few",
    "objective.calls=[1]",
    "data.batch_size=4",
    *("objective.denoising_weight=1", "ema_decay=0.998"),
    "augment=none",
    "previews=0",
]
FAST = ["optimizer.lr=3e-3"]  # so that fine-tuning forgets


def manifests(folder: Path, everything: Path, default: Path) -> dict[str, Path]:
    """Write lists of the new voice, to train and to test, and of old voices, to test and to replay."""

    def lines(manifest: Path) -> list[dict]:
        told = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        return [line | {"path": str((manifest.parent / line["path"]).absolute())} for line in told]

    def seconds(line: dict) -> float:
        return line["n_samples"] / line["sample_rate"]

    hers = [line for line in lines(everything / "train.jsonl") if line["speaker"] == SPEAKER]
    random.Random(0).shuffle(hers)
    train_on: list[dict] = []
    while sum(map(seconds, train_on)) < SECONDS:
        train_on.append(hers.pop())
    parts = {
        "new": train_on,
        "new-test": [line for line in hers if seconds(line) >= SHORTEST][:24],
        "old": lines(default / "train.jsonl"),
        "old-test": [line for line in lines(default / "valid_seen.jsonl") if seconds(line) >= SHORTEST],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found), encoding="utf-8")
    return {name: folder / f"{name}.jsonl" for name in parts}


def listed(lists: dict[str, Path]) -> list[str]:
    """Return the overrides that say on what to train."""
    return [f"data.manifest={lists['new']}", f"data.valid_manifest={lists['new-test']}", "data.validation_clips=8"]


def variants(lists: dict[str, Path], fresh: Path) -> dict[str, list[str] | None]:
    """Name what is compared, with the overrides of each."""
    replay = f"replay={{manifest: {lists['old']}, share: 0.5}}"
    return {
        "not adapted": None,
        "from scratch": [f"init_from={fresh}"],
        "fine-tuned": [],
        "fine-tuned, LoRA": ["adapter=lora", "adapter.rank=16", "optimizer.lr=1e-3"],
        "fine-tuned, replay": [replay],
        "too fast": FAST,
        "too fast, replay": [*FAST, replay],
        "too fast, EWC": [*FAST, "continual=ewc", f"continual.manifest={lists['old']}", "continual.weight=1.0"],
        "too fast, L2-SP": [*FAST, "continual=l2-sp", "continual.weight=1.0"],
    }


def made(
    folder: Path, name: str, given: list[str] | None, lists: dict[str, Path], steps: int, seed: int
) -> dict[str, object]:
    """Train one variant and scores it on new and old voices."""
    model = "speech-16k"
    if given is not None:
        model = folder / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
        budget = [
            f"seed={seed}",
            f"trainer.max_steps={steps}",
            f"trainer.val_check_interval={steps}",
            "lr_schedule.warmup_steps=20",
        ]
        begin = [] if any(override.startswith("init_from=") for override in given) else ["init_from=speech-16k"]
        train(
            composed(
                [*STAGE, *listed(lists), *budget, "ema_decay=0.99", f"seed={seed}", *begin, *given, f"run_dir={model}"]
            )
        )
    vocoder, row = Model.load(model), {"variant": name, "seed": seed, "steps": 0 if given is None else steps}
    for whose in ("new", "old"):
        found = score_recordings(vocoder, read_manifest(lists[f"{whose}-test"]), limit=24)
        row |= {f"{whose} {measure}": round(value, 4) for measure, value in found.items()}
    return row


def tables(path: Path) -> str:
    """Return the means over seeds as a Markdown table."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = ["| | " + " | ".join(f"{SHOWN[name]}, {voice} voice" for voice, name in COLUMNS) + " |"]
    lines.append("|---" * (1 + len(COLUMNS)) + "|")
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant]
        means = [sum(float(row[f"{voice} {name}"]) for row in own) / len(own) for voice, name in COLUMNS]
        lines.append(f"| {variant} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what the CSV has not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument("everything", type=Path, help="debian_speech, prepared with --all")
    parser.add_argument("default", type=Path, help="debian_speech, as the shipped weights saw it")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the order of clips, and of the noise")
    args = parser.parse_args()
    lists, fresh = manifests(args.folder, args.everything, args.default), args.folder / "fresh"
    if not (fresh / "model.safetensors").exists():
        begin = ["trainer.max_steps=1", "trainer.val_check_interval=1", "optimizer.lr=0.0", "previews=0"]
        train(composed(["experiment=speech", *begin, *listed(lists), f"run_dir={fresh}"]))
    rows = list(csv.DictReader(args.table.open(encoding="utf-8"))) if args.table.exists() else []
    for name, given in variants(lists, fresh).items():
        if (name, str(args.seed)) in [(row["variant"], str(row["seed"])) for row in rows]:
            continue
        rows.append(made(args.folder, name, given, lists, args.steps, args.seed))
        print(rows[-1], flush=True)
        with args.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
