"""Measure how loud a filled gap is beside what was there.

    python demos/experiments/generation/gaps.py data/drum_kits -o gaps.csv NAME=MODEL[,solver=ancestral][,steps=32]

A tenth of a second is cut out of held-out sounds, from 50 ms on, and filled under their class. `error_db` is the mean
over the sounds of the filled level less the recording's, `error_db_95` half of its interval, `absolute_db` the mean of
its size: a gap of the same class may rightly be louder or softer.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.data.manifest import read_manifest
from audiodiff.data.one_shots import read_one_shot
from audiodiff.models.generator import Generator
from audiodiff.pipelines.generation import GenerateRecipe

LABELS = ("snare", "tom", "cymbal", "hat-open")  # that last longer than the gap
BEGIN, END = 0.05, 0.15  # seconds
EDGE = 0.005  # seconds beside each end of the gap that do not count


def level(sound: Tensor, rate: int) -> float:
    """Measure the level within the gap of a sound, [1, T], in dB."""
    inner = sound[..., round((BEGIN + EDGE) * rate) : round((END - EDGE) * rate)]
    return float(10 * (inner.square().mean() + 1e-12).log10())


def errors_of(model: str, options: dict[str, str], folder: Path, per_label: int) -> Tensor:
    """Fill the gap of held-out sounds; return the errors of their levels in dB."""
    generator = Generator.load(model)
    rate, length = generator.sample_rate, generator.n_samples
    recordings = read_manifest(folder / "test.jsonl")
    errors = []
    with tempfile.TemporaryDirectory() as place:
        for label in LABELS:
            of_label = [r for r in recordings if r.label == label]
            for recording in of_label[:: max(1, len(of_label) // per_label)][:per_label]:
                path = Path(place) / "sound.wav"
                audio.write(path, read_one_shot(recording, length, rate), rate)
                recipe = GenerateRecipe.from_options(
                    generator,
                    model,
                    label=label,
                    gap=(BEGIN, END),
                    solver=options.get("solver"),
                    steps=int(options["steps"]) if "steps" in options else None,
                )
                errors.append(level(recipe.run(generator, path).waveform, rate) - level(audio.read(path)[0], rate))
    return torch.tensor(errors)


def main() -> None:
    """Measure each way to fill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="test.jsonl")
    parser.add_argument("ways", nargs="+", metavar="NAME=MODEL[,solver=NAME][,steps=N]")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--per-label", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, _, rest in (way.partition("=") for way in options.ways):
        model, *settings = rest.split(",")
        errors = errors_of(model, dict(text.split("=", 1) for text in settings), options.folder, options.per_label)
        half = 1.96 * float(errors.std()) / len(errors) ** 0.5
        row = {"name": name, "sounds": len(errors), "error_db": f"{errors.mean():.1f}", "error_db_95": f"{half:.1f}"}
        rows.append(row | {"absolute_db": f"{errors.abs().mean():.1f}"})
        print(rows[-1], flush=True)
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
