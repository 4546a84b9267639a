"""Learn the detector of mel conventions from train speakers, and judge it on test speakers.

    python demos/experiments/mel_detection/run.py speech-24k gather --turn 0 --readings turn0.npz   # and 1 and 2
    python demos/experiments/mel_detection/run.py speech-24k learn --readings turn[012].npz         # writes the weights
    python demos/experiments/mel_detection/run.py speech-24k calibrate                              # shifts them
    python demos/experiments/mel_detection/run.py speech-24k judge                                  # writes results.csv

The folder holds recordings and index.csv with their file, speaker_key and split (train, valid or test).
"""

import argparse
import csv
import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from tqdm import tqdm

from audiodiff import audio
from audiodiff.mel import LogMel, detection
from audiodiff.mel.features import LEVEL_AT, features

sys.path.insert(0, str(Path(__file__).parent))
from material import CONVENTIONS, other_sound, readings, recordings, varied

RESULTS = Path(__file__).with_name("results.csv")
WEIGHTS = Path(detection.__file__).with_name("detection.safetensors")
HIDDEN, DROPOUT, EPOCHS, BATCH, RATE, DECAY, JITTER = (96, 48), 0.1, 40, 256, 3e-3, 2e-2, 0.05
OTHER_SOUNDS = 0.35  # for each recording
DOUBTED, CALIBRATED, CALIBRATED_TURNS = (
    0.005,
    8,
    3,
)  # share; conventions for each of so many varied copies of a recording
IN_LOG10 = ("hifigan", "16k-hop256", "f5-tts", "bigvgan-24k-100", "cosyvoice2", "diffsinger")


def main() -> None:
    """Learn or judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("task", choices=["gather", "learn", "calibrate", "judge"])
    parser.add_argument("--split", default="test", help="whose speakers are judged (default: test)")
    parser.add_argument(
        "--turn", type=int, default=0, help="which variation of the recordings is gathered (default: 0)"
    )
    parser.add_argument(
        "--readings", type=Path, nargs="*", default=[], help="files that `gather` writes and `learn` reads"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.task == "gather":
        np.savez(options.readings[0], **gather(options.folder, options.turn))
    elif options.task == "learn":
        gathered = [np.load(path) for path in options.readings]
        x, right = (torch.from_numpy(np.concatenate([part[name] for part in gathered])) for name in ("x", "y"))
        safetensors.torch.save_file(learnt(x.float(), right.float()), WEIGHTS)
    elif options.task == "calibrate":
        stored = safetensors.torch.load_file(WEIGHTS)
        stored["bias_2"] += shift(options.folder)
        safetensors.torch.save_file(stored, WEIGHTS)
    else:
        rows = judged(options.folder, options.split)
        with open(RESULTS, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print("\n".join(summary(rows)))


def gather(folder: Path, turn: int) -> dict[str, np.ndarray]:
    """Describe readings, right and wrong ones, of the train speakers' recordings and of other sounds."""
    described, right = [], []
    for number, row in enumerate(tqdm(recordings(folder, "train"))):
        draw = np.random.default_rng([number, turn])
        waveform, rate = audio.read(folder / row["file"])
        for reading, is_right in readings(varied(waveform.mean(0, keepdim=True), rate, draw), rate, draw):
            described.append(reading)
            right.append(is_right)
        if draw.random() < OTHER_SOUNDS:  # of which a wrong reading is as good as a right one
            for reading, is_right in readings(other_sound(rate, draw), rate, draw):
                if is_right:
                    described.append(reading)
                    right.append(True)
    return {"x": torch.stack(described).numpy(), "y": np.array(right)}


def learnt(x: Tensor, right: Tensor) -> dict[str, Tensor]:
    """Fit the network to descriptions, [N, D], and whether they are of right readings, [N]."""
    torch.manual_seed(0)
    x = x.nan_to_num(0.0, 1e3, -1e3)
    mean, std = x.mean(0), x.std(0).clamp(min=1e-3)
    x = ((x - mean) / std).clamp(-5, 5)
    sizes = (x.shape[1], *HIDDEN)
    layers = [nn.Linear(a, b) for a, b in zip(sizes, (*HIDDEN, 1), strict=True)]
    network = nn.Sequential(
        *(part for layer in layers[:-1] for part in (layer, nn.SiLU(), nn.Dropout(DROPOUT))), layers[-1]
    )
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * (len(x) // BATCH))
    for _ in tqdm(range(EPOCHS)):
        for chosen in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            odds = network(x[chosen] + JITTER * torch.randn(BATCH, x.shape[1]))[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(odds, right[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
    level = (x * std + mean)[right > 0, LEVEL_AT].mean()
    tensors = {"mean": mean, "std": std, "level": level}
    for number, layer in enumerate(layers):
        tensors |= {f"weight_{number}": layer.weight.detach(), f"bias_{number}": layer.bias.detach()}
    return {
        name: value.half().contiguous() if "weight" in name else value.contiguous() for name, value in tensors.items()
    }


def shift(folder: Path) -> float:
    """Return what to add to the log-odds so that few right mels of the valid speakers, varied, fall below DOUBTFUL."""
    described = []
    for number, row in enumerate(tqdm(recordings(folder, "valid"))):
        waveform, rate = audio.read(folder / row["file"])
        for turn in range(CALIBRATED_TURNS):
            draw = np.random.default_rng([number, turn, 1])
            sound, at = varied(waveform.mean(0, keepdim=True), rate, draw), {}
            for name in draw.choice(sorted(CONVENTIONS), CALIBRATED, replace=False):
                spec = CONVENTIONS[name]
                if spec.sample_rate not in at:
                    at[spec.sample_rate] = audio.resample(sound, rate, spec.sample_rate)
                described.append(features(LogMel(spec)(at[spec.sample_rate][None])[0], spec))
    odds = detection._network(torch.stack(described))
    lowest = float(odds.quantile(DOUBTED))
    print(f"{len(odds)} right mels of valid speakers; {100 * DOUBTED} % have log-odds below {lowest:.2f}")
    return detection.DOUBTFUL - lowest


def judged(folder: Path, split: str) -> list[dict[str, object]]:
    """Judge the mels of recordings in every convention, each declared to be in every other with as many bands."""
    given = CONVENTIONS | {f"{name} in log10": dataclasses.replace(CONVENTIONS[name], log="log10") for name in IN_LOG10}
    cells = defaultdict(list)
    for row in tqdm(recordings(folder, split, 2)):
        waveform, rate = audio.read(folder / row["file"])
        at = {}
        for name, spec in given.items():
            if spec.sample_rate not in at:
                at[spec.sample_rate] = audio.resample(waveform[:1], rate, spec.sample_rate)
            ranked = detection.rank_conventions(LogMel(spec)(at[spec.sample_rate][None])[0])
            for candidate in ranked:
                verdict = detection.judge(ranked, candidate.spec)
                named = isinstance(verdict, detection.Candidate) and detection.equivalent(verdict.spec, spec)
                cells[name, candidate.name].append((verdict is not None, named))
    return [
        {
            "given": name,
            "declared": declared,
            "apart": f"{detection.distance(given[name], CONVENTIONS[declared]):.2f}",
            "recordings": len(verdicts),
            "doubted": sum(doubted for doubted, _ in verdicts),
            "named": sum(named for _, named in verdicts),
        }
        for (name, declared), verdicts in cells.items()
    ]


def tables(path: Path) -> str:
    """Lay out the sums of a stored table, for the page of results."""
    with open(path, encoding="utf-8", newline="") as file:
        return "\n".join(summary(list(csv.DictReader(file))))


def summary(rows: list[dict[str, object]]) -> list[str]:
    """Sum up the rows: right ones, and wrong ones by what differs."""
    kinds = {
        "the same values (right)": lambda apart: apart <= detection.NEAR,
        "other values": lambda apart: apart == float("inf"),
        "other rate, hop or edges alone, by 12 % or more": lambda apart: 0.12 <= apart < float("inf"),
        "other rate, hop or edges alone, by less": lambda apart: detection.NEAR < apart < 0.12,
    }
    lines = ["| declared convention has | pairs | doubted | named |", "|---|---|---|---|"]
    for kind, holds in kinds.items():
        chosen = [row for row in rows if holds(float(str(row["apart"])))]
        total, doubted, named = (
            sum(int(str(row[key])) for row in chosen) for key in ("recordings", "doubted", "named")
        )
        lines.append(f"| {kind} | {total} | {100 * doubted / total:.2f} % | {100 * named / total:.1f} % |")
    return lines


if __name__ == "__main__":
    main()
