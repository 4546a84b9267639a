"""Prints how often the detector of mel conventions is right, for a model of each convention.

    python demos/experiments/mel_confusion/run.py data/debian_speech/train.jsonl data/debian_speech/valid.jsonl

Statistics are measured on the first list; every mel of the second is shown to every model with as many bands. With
--save the statistics go into a file, which the tests read.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from audiodiff import audio
from audiodiff.data.manifest import Recording, read_manifest
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.detection import MelStatistics, alike, doubt, presets

CONVENTIONS = {name: MelSpec.preset(name) for name in (*presets(), "16k-hop256")}


def main() -> None:
    """Measures, judges, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", help="manifest of the recordings whose statistics are taken")
    parser.add_argument("test", help="manifest of the recordings that are judged")
    parser.add_argument("--clips", type=int, default=100, help="recordings that are judged (default: 100)")
    parser.add_argument("--save", type=Path, help="where to put the statistics")
    options = parser.parse_args()
    training, recordings = read_manifest(options.train), read_manifest(options.test)
    chosen = [r for r in recordings if r.n_samples >= r.sample_rate][:: max(1, len(recordings) // options.clips)]
    statistics = {name: MelStatistics.measure(training, spec) for name, spec in CONVENTIONS.items()}
    if options.save:
        options.save.write_text(json.dumps({name: s.to_dict() for name, s in statistics.items()}) + "\n")
    print("\n".join(matrix(chosen[: options.clips], statistics)))


def matrix(recordings: Sequence[Recording], statistics: dict[str, MelStatistics]) -> list[str]:
    """Judges every recording in every convention; returns the lines of a Markdown table and two sums."""
    mels = {name: [_mel(name, recording) for recording in recordings] for name in CONVENTIONS}
    lines = [f"| model \\ given | {' | '.join(CONVENTIONS)} |", "|---" * (len(CONVENTIONS) + 1) + "|"]
    named, passed = [], []
    for model, spec in CONVENTIONS.items():
        cells = []
        for given, other in CONVENTIONS.items():
            if other.n_mels != spec.n_mels:
                cells.append("")
                continue
            verdicts = [doubt(mel, spec, statistics[model], spec) for mel in mels[given]]
            if alike(spec, other):
                right = [verdict is None for verdict in verdicts]
                passed += right
            else:
                right = [alike(_named(verdict) or spec, other) for verdict in verdicts]
                named += right
            cells.append(f"{100 * sum(right) / len(right):.0f}")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    lines += ["", f"wrong conventions named: {sum(named)} of {len(named)} ({100 * sum(named) / len(named):.1f} %)"]
    return [*lines, f"right ones passed: {sum(passed)} of {len(passed)} ({100 * sum(passed) / len(passed):.1f} %)"]


def _mel(name: str, recording: Recording) -> Tensor:
    spec = CONVENTIONS[name]
    return LogMel(spec)(audio.read(recording.path, spec.sample_rate)[0][None, :1])[0]


def _named(verdict: str | None) -> MelSpec | None:
    """The convention that a verdict names."""
    return CONVENTIONS.get((verdict or "").partition("--mel-preset ")[2])


if __name__ == "__main__":
    main()
