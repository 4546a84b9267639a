"""Puts a trained generator into the package: weights in eight bits, facts, card, table and contact sheet.

    python demos/release/ship_generator.py runs/drums data/drums/test.jsonl data/drums/train.jsonl

The averaged weights go to `audiodiff/weights/NAME.safetensors`, configuration and facts to NAME.json, the evaluation to
NAME.eval.json; the card NAME.md is written from these, the pictures go to the documents. Then run
demos/docs/results.py.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from ship import ROOT, batch_of, replace, wall_hours

from audiodiff.cli import main as audiodiff
from audiodiff.evaluation.generator_table import markdown_of
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator

FACTS, PICTURES = Path(__file__).with_name("drums.json"), ROOT / "demos/docs/pages/pictures"
CARD = """# {name}

{summary}

| | |
|---|---|
| licence | {licence} (see [{name}.LICENSE]({name}.LICENSE)) |
| data | {data} |
| sounds | {clips} |
| labels | {labels} |
| training | {steps} steps of {batch} sounds of {seconds:.3g} s, {wall:.2f} h on {hardware} |
| command | `{command}` |
| size | {parameters:,} parameters, stored in eight bits |
| sampling by default | {sampling} |

## Measured

Held out are {held_out}. Reproduce with `{evaluate}`

{table}

{measures}

## Limits

{limits}
"""
MEASURES = """`accuracy`: the classifier hears the class that was asked for. `fad`: Fréchet distance to half of the
training recordings; as many sounds of the other half are its floor. `precision`, `recall`, `density`, `coverage`: how
the sounds and the held-out recordings cover each other; of the held-out recordings, how one half covers the other.
`diversity`: log-mel distance between sounds of a class, that of the held-out recordings being 1. `nearest`: log-mel
distance to the nearest training recording of the class. `copies`: share nearer to one than 99 % of the held-out
recordings are."""


def main() -> int:
    """Export, evaluate, write the card, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("test")
    parser.add_argument("train")
    parser.add_argument("--facts", type=Path, default=FACTS, help="words no program knows")
    options = parser.parse_args()
    facts = json.loads(options.facts.read_text(encoding="utf-8"))
    name = facts["name"]
    target = ROOT / "audiodiff" / "weights" / f"{name}.safetensors"
    model = Model.load(options.run / "last.ckpt")
    model.info |= {key: facts[key] for key in ("name", "licence", "data", "command", "hardware", "attribution")}
    model.info["training_hours"] = round(wall_hours(options.run) + facts.get("earlier_hours", 0.0), 2)
    model.info["command"] = facts["command"].format(steps=f"{model.info['steps']:,}")
    model.info["steps"] += facts.get("earlier_steps", 0)  # what the run began with was trained too
    model.config |= facts.get("config", {})
    model.save(target, dtype=torch.int8)
    table_file = target.with_suffix(".eval.json")
    call = ["eval", name, options.test, "--train", options.train]
    if status := audiodiff([*call, "--out", str(table_file), "-f"]):
        return status
    table = json.loads(table_file.read_text(encoding="utf-8"))
    replace(
        target.with_suffix(".md"), card(target, facts, table, batch_of(options.run), " ".join(["audiodiff", *call]))
    )
    return picture(name, facts["pictured"])


def card(target: Path, facts: dict, table: dict, batch: int, command: str) -> str:
    """Write the model card."""
    model = Generator.load(target)
    return CARD.format(
        **(facts | model.info),
        batch=batch,
        labels=", ".join(model.labels),
        seconds=model.n_samples / model.sample_rate,
        wall=model.info["training_hours"],
        parameters=sum(p.numel() for p in model.parameters()),
        sampling=f"{model.steps} steps of {type(model.solver).__name__}, guidance {model.guidance:g}",
        evaluate=command,
        table=markdown_of(table),
        measures=MEASURES,
    )


def picture(name: str, labels: list[str]) -> int:
    """Draw eight sounds of each of some classes, one sheet under the other, to the docs' pictures."""
    for label in labels:
        with tempfile.TemporaryDirectory() as folder:
            if status := audiodiff(["generate", folder, "--model", name, "--label", label, "-n", "8", "-f"]):
                return status
            shutil.copy(Path(folder) / "contact-sheet.png", PICTURES / f"{name}-{label}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
