"""Puts a trained run into the package: weights in eight bits, facts, card, and the evaluation.

    python demos/release/ship.py runs/speech-16k data/debian_speech/test.jsonl
    python demos/release/ship.py shipped data/debian_speech/test.jsonl  # new sampling and tables, the same weights

The averaged weights go to `audiodiff/weights/NAME.safetensors`, configuration and facts to NAME.json, the evaluation to
NAME.eval.json, and the card NAME.md is written from these; `demos/docs/results.py` then writes the README's table.
"""

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path

import torch

from audiodiff.cli import main as cli
from audiodiff.evaluation import hardware
from audiodiff.evaluation import vocoder_table as evaluation
from audiodiff.models import checkpoint
from audiodiff.models.base import Model
from audiodiff.models.named_starts import describe_start
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils import devices
from audiodiff.utils.files import atomic_file

ROOT = Path(__file__).resolve().parents[2]
FACTS = Path(__file__).with_name("speech-16k.json")

CARD = """# {name}

{summary}

| | |
|---|---|
| licence | {licence} (see [{name}.LICENSE]({name}.LICENSE)) |
| data | {data} |
| clips, hours | {clips}, {hours} |
| level of the data | rms {rms}, peak {peak} (full scale 1) |
| training | {steps} steps of {batch} clips of {seconds:.3g} s, {wall:.2f} h on {hardware} |
| command | `{command}` |
| size | {parameters:,} parameters, stored in eight bits each |
| mel | {mel} |
| sampling by default | {sampling} |
| receptive field | ± {receptive_field} samples |

## Measured

On {clips_scored} recordings of {judged} (list {sha}), mean ± half the 95 % bootstrap
interval, {threads} CPU thread(s) of {machine}; torch {torch}. Reproduce with
`{evaluate}`

{table}

## Limits

{limits}
"""


def main() -> int:
    """Export, evaluate, and write card and README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--tuned", help="a model whose searched times are taken over (audiodiff tune-times)")
    parser.add_argument("--facts", type=Path, default=FACTS, help="words that no program knows")
    args = parser.parse_args()
    facts = json.loads(args.facts.read_text(encoding="utf-8"))
    name = facts["name"]
    target = ROOT / "audiodiff" / "weights" / f"{name}.safetensors"
    if str(args.run) == "shipped":
        model = Model.load(target)
        described(model, facts)
        model.save(target, dtype=torch.int8)
    else:
        export(args.run, target, facts)
    if args.tuned:
        checkpoint.save_timesteps(target, Model.load(args.tuned).times)
    table_file = target.with_suffix(".eval.json")
    # Written as the reader will type it: the manifest as given, the shipped name as the model.
    call = [name, str(args.manifest), "--clips", str(args.clips)]
    status = cli(["eval", *call, "--out", str(table_file), "--force"])
    if status:
        return status
    table = json.loads(table_file.read_text(encoding="utf-8"))
    replace(
        target.with_suffix(".md"),
        card(target, facts, table, f"audiodiff eval {' '.join(call)}"),
    )
    return 0


def export(run: Path, target: Path, facts: dict) -> None:
    """Write the averaged weights of a run's last checkpoint, with the facts, and the sampling defaults among them."""
    model = Model.load(run / "last.ckpt")
    model.info |= {key: facts[key] for key in ("name", "licence", "data", "command", "hardware", "attribution")}
    # What the run began with was trained too.
    model.info["training_hours"] = round(wall_hours(run) + facts.get("earlier_hours", 0.0), 2)
    model.info["steps"] += facts.get("earlier_steps", 0)
    described(model, facts)
    model.save(target, dtype=torch.int8)


def described(model: Model, facts: dict) -> None:
    """Put the sampling defaults of the facts into a model's configuration."""
    model.config |= facts.get("config", {})
    for start in ("start", "one_step_start"):
        if "mel" in (model.config.get(start) or {}):
            model.config[start]["mel"] = model.config["mel"]


def wall_hours(run: Path) -> float:
    """Add up the time between the lines of metrics.jsonl, from each line's rate of clips."""
    batch, hours, last = batch_of(run), 0.0, 0
    for line in (run / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if "clips_per_second" not in entry:  # of a validation
            continue
        hours += max(0, entry["step"] - last) * batch / entry["clips_per_second"] / 3600
        last = entry["step"]
    return hours


def batch_of(run: Path) -> int:
    """Read the batch size from the run's configuration."""
    return int(re.search(r"^  batch_size: (\d+)$", (run / "config.yaml").read_text(), re.MULTILINE)[1])


def card(target: Path, facts: dict, table: dict, command: str) -> str:
    """Write the model card."""
    model = Vocoder.load(target)
    start, quick = describe_start(model.start), model.one_step_start and describe_start(model.one_step_start)
    return CARD.format(
        **{**facts, **model.info, **model.info["level"]},
        seconds=facts["n_samples"] / model.sample_rate,
        wall=model.info["training_hours"],
        parameters=sum(p.numel() for p in model.parameters()),
        mel=", ".join(f"{k} {v}" for k, v in dataclasses.asdict(model.mel).items()),
        sampling=f"{model.steps} step(s) of DDIM from {start.pop('name')} {start}"
        + (f" (one step from {quick.pop('name')} {quick})" if quick else "")
        + f", {model.projection_iters} rounds"
        f" of projection onto the mel in every step and {model.final_iters} after the last"
        + (f"; searched times for {', '.join(str(len(t) - 1) for t in model.times)} steps" if model.times else ""),
        receptive_field=model.denoiser.network.receptive_field(),
        clips_scored=table["clips"],
        sha=table["clips_sha256"],
        threads=table["threads"],
        machine=machine(),
        torch=table["torch"],
        evaluate=command,
        table=evaluation.markdown(table),
    )


def machine() -> str:
    """Name the processor that measured, and whether it multiplies bfloat16."""
    fast = "bfloat16" in devices.inference_precisions(torch.device("cpu"), None)
    return f"an {hardware.describe()['processor']}" + " with AVX512-BF16" * fast


def replace(path: Path, text: str) -> None:
    """Write a text file, complete or not at all."""
    with atomic_file(path) as file:
        file.write(text.encode())


if __name__ == "__main__":
    sys.exit(main())
