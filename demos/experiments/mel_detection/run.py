"""Learn the detector of mel conventions from train speakers, and judge it on test speakers.

    python demos/experiments/mel_detection/run.py speech-24k gather --turn 0 --readings turn0.npz   # and 1 and 2
    python demos/experiments/mel_detection/run.py speech-24k learn --readings turn[012].npz         # writes the weights
    python demos/experiments/mel_detection/run.py speech-24k calibrate --readings turn[012].npz      # shifts them
    python demos/experiments/mel_detection/run.py speech-24k judge                                  # writes results.csv

The folder holds recordings and index.csv with their file, speaker_key and split (train, valid or test).
"""

import argparse
import csv
import dataclasses
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from tqdm import tqdm

from audiodiff import audio
from audiodiff.mel import LogMel, MelSpec, detection
from audiodiff.mel.features import LEVEL_AT, SPECTRUM_AT

sys.path.insert(0, str(Path(__file__).parent))
from material import CONVENTIONS, other_sound, readings, recordings, varied

RESULTS = Path(__file__).with_name("results.csv")
WEIGHTS = Path(detection.__file__).with_name("detection.safetensors")
HIDDEN, DROPOUT, EPOCHS, BATCH, RATE, DECAY, JITTER = (96, 48), 0.1, 40, 256, 3e-3, 2e-2, 0.05
DIP = -3.0, 1.5  # nepers, of the deepest dips and highest humps
OTHER_SOUNDS = 0.35  # for each recording
DOUBTED, FOLDS = 0.005, 2  # share of right mels of unheard speakers; parts of the train speakers
CALIBRATED = 3  # conventions for each of two recordings of a speaker, one whole and one varied
SQUARES = "square", "swapped"
SHIFTS = np.arange(0, 20, 0.25)
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
        safetensors.torch.save_file(learnt(*gathered(options.readings)[:2]), WEIGHTS)
    elif options.task == "calibrate":
        stored = safetensors.torch.load_file(WEIGHTS)
        stored["bias_2"] += shift(options.folder, *gathered(options.readings))
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
    described, right, speakers = [], [], []
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
        speakers += [row["speaker_key"]] * (len(right) - len(speakers))
    return {"x": torch.stack(described).numpy(), "y": np.array(right), "speaker": np.array(speakers)}


def gathered(paths: list[Path]) -> tuple[Tensor, Tensor, np.ndarray]:
    """Read what `gather` wrote: descriptions, [N, D], whether they are of right readings, and speakers, [N] each."""
    files = [np.load(path) for path in paths]
    x, right, speakers = (np.concatenate([file[name] for file in files]) for name in ("x", "y", "speaker"))
    return torch.from_numpy(x).float(), torch.from_numpy(right).float(), speakers


def learnt(x: Tensor, right: Tensor) -> dict[str, Tensor]:
    """Fit the network to descriptions, [N, D], and whether they are of right readings, [N]."""
    torch.manual_seed(0)
    x = x.nan_to_num(0.0, 1e3, -1e3)
    mean, std = x.mean(0), x.std(0).clamp(min=1e-3)
    sizes = (x.shape[1], *HIDDEN)
    layers = [nn.Linear(a, b) for a, b in zip(sizes, (*HIDDEN, 1), strict=True)]
    network = nn.Sequential(
        *(part for layer in layers[:-1] for part in (layer, nn.SiLU(), nn.Dropout(DROPOUT))), layers[-1]
    )
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * (len(x) // BATCH))
    for _ in tqdm(range(EPOCHS)):
        for chosen in torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH):
            described = ((filtered(x[chosen]) - mean) / std).clamp(-5, 5)
            odds = network(described + JITTER * torch.randn(BATCH, x.shape[1]))[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(odds, right[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
    level = x[right > 0, LEVEL_AT].mean()
    tensors = {"mean": mean, "std": std, "level": level}
    for number, layer in enumerate(layers):
        tensors |= {f"weight_{number}": layer.weight.detach(), f"bias_{number}": layer.bias.detach()}
    return {
        name: value.half().contiguous() if "weight" in name else value.contiguous() for name, value in tensors.items()
    }


def filtered(x: Tensor) -> Tensor:
    """Do to half of the descriptions, [N, D], what a filter does to a sound: a dip or a hump in the mean spectrum."""
    size, bands = (len(x), 1), torch.arange(SPECTRUM_AT.stop - SPECTRUM_AT.start)
    middle, width = torch.rand(size) * len(bands), 0.7 * (1.6 * torch.rand(size)).exp()
    depth = torch.empty(size).uniform_(*DIP) * (torch.rand(size) < 0.5)
    curve = depth * (-0.5 * ((bands - middle) / width).square()).exp()
    x = x.clone()
    x[:, SPECTRUM_AT] += curve - curve.mean(1, keepdim=True)
    x[:, LEVEL_AT] += curve.mean(1)
    return x


def shift(folder: Path, x: Tensor, right: Tensor, speakers: np.ndarray) -> float:
    """Return what to add to the log-odds so that few right mels of speakers are doubted that were not learnt from.

    Networks are learnt from a part of the train speakers each, and rank mels of the others.
    """
    keys = sorted({row["speaker_key"] for row in recordings(folder, "train")})
    part_of = {key: number % FOLDS for number, key in enumerate(keys)}
    part = np.array([part_of[key] for key in speakers])
    rankings = []
    for fold in range(FOLDS):
        learning = torch.from_numpy(part != fold)
        weights = {name: value.float() for name, value in learnt(x[learning], right[learning]).items()}
        with mock.patch.object(detection, "_weights", lambda weights=weights: weights):
            rankings += list(rankings_of(folder, {key for key in keys if part_of[key] == fold}))
    for value in SHIFTS:
        doubted, noticed = shares(rankings, value)
        print(f"shifted by {value:.2f}: {100 * doubted:.2f} % of right ones doubted, {100 * noticed:.2f} % noticed")
        if doubted <= DOUBTED:
            return float(value)
    raise SystemExit("no shift leaves so few in doubt")


def rankings_of(folder: Path, speakers: set[str]) -> Iterator[tuple[list[detection.Candidate], MelSpec]]:
    """Rank mels of a whole and of a varied recording of each speaker, in a few conventions; yield those with them."""
    seen = defaultdict(int)
    for number, row in enumerate(tqdm(recordings(folder, "train", 2))):
        if row["speaker_key"] not in speakers:
            continue
        draw, at = np.random.default_rng([number, 0, 1]), {}
        sound, rate = audio.read(folder / row["file"])
        sound = sound.mean(0, keepdim=True)
        sound = varied(sound, rate, draw) if seen[row["speaker_key"]] else sound
        seen[row["speaker_key"]] += 1
        for name in draw.choice(sorted(CONVENTIONS), CALIBRATED, replace=False):
            spec = CONVENTIONS[name]
            if spec.sample_rate not in at:
                at[spec.sample_rate] = audio.resample(sound, rate, spec.sample_rate)
            yield detection.rank_conventions(LogMel(spec)(at[spec.sample_rate][None])[0]), spec


def shares(rankings: list[tuple[list[detection.Candidate], MelSpec]], shifted: float) -> tuple[float, float]:
    """Return which share of right conventions is doubted, and of those with other values, if log-odds are shifted."""
    verdicts = defaultdict(list)
    for ranked, spec in rankings:
        ranked = [candidate._replace(odds=candidate.odds + shifted) for candidate in ranked]
        for candidate in ranked:
            apart = detection.distance(spec, candidate.spec)
            verdicts[apart <= detection.NEAR, apart == float("inf")].append(
                detection.judge(ranked, candidate.spec) is not None
            )
    return float(np.mean(verdicts[True, False])), float(np.mean(verdicts[False, True]))


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
            mel = LogMel(spec)(at[spec.sample_rate][None])[0]
            ranked = detection.rank_conventions(mel)
            for candidate in ranked:
                verdict = detection.judge(ranked, candidate.spec)
                named = isinstance(verdict, detection.Candidate) and detection.equivalent(verdict.spec, spec)
                apart = f"{detection.distance(spec, candidate.spec):.2f}"
                cells[name, candidate.name, apart].append((verdict is not None, named))
            if name in CONVENTIONS and mel.shape[1] > 2 * len(mel):
                first = (mel.shape[1] - len(mel)) // 2
                square = mel[:, first : first + len(mel)]
                for apart, cut in (("square", square), ("swapped", square.mT)):
                    remark = detection.diagnose_mel(cut, spec, spec)
                    cells[name, name, apart].append((remark is not None, "swapped" in (remark or "")))
    return [
        {
            "given": name,
            "declared": declared,
            "apart": apart,
            "recordings": len(verdicts),
            "doubted": sum(doubted for doubted, _ in verdicts),
            "named": sum(named for _, named in verdicts),
        }
        for (name, declared, apart), verdicts in cells.items()
    ]


def tables(path: Path) -> str:
    """Lay out the sums of a stored table, for the page of results."""
    with open(path, encoding="utf-8", newline="") as file:
        return "\n".join(summary(list(csv.DictReader(file))))


def summary(rows: list[dict[str, object]]) -> list[str]:
    """Sum up the rows: right ones, and wrong ones by what differs."""
    apart = detection.NEAR
    kinds = {
        "the same values (right)": lambda d: d not in SQUARES and float(d) <= apart,
        "other values": lambda d: d == "inf",
        "other rate, hop or edges alone, by 12 % or more": lambda d: d not in SQUARES and 0.12 <= float(d) < math.inf,
        "other rate, hop or edges alone, by less": lambda d: d not in SQUARES and apart < float(d) < 0.12,
        "the same values, and the mel is square (right)": lambda d: d == "square",
        "the same values, and the axes of the square mel are swapped": lambda d: d == "swapped",
    }
    lines = ["| declared convention has | pairs | doubted | named |", "|---|---|---|---|"]
    for kind, holds in kinds.items():
        chosen = [row for row in rows if holds(str(row["apart"]))]
        total, doubted, named = (
            sum(int(str(row[key])) for row in chosen) for key in ("recordings", "doubted", "named")
        )
        lines.append(f"| {kind} | {total} | {100 * doubted / total:.2f} % | {100 * named / total:.1f} % |")
    return lines


if __name__ == "__main__":
    main()
