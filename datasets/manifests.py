"""Lists audio files where they lie, for the data sets that are downloaded by hand."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import soundfile

from audiodiff.utils.files import write_text

Part = Iterable[tuple[Path, dict]]
"""Files, and what is known of each besides its length and rate."""


def prepare(
    what: str, wanted: str, parts: Callable[[Path], Mapping[str, Part]], arguments: Sequence[str] | None
) -> int:
    """Run a script whose arguments are CORPUS and OUT; returns 0, or 2 after one line on stderr."""
    parser = argparse.ArgumentParser(prog="prepare.py", description=what)
    parser.add_argument("corpus", type=Path, help=wanted)
    parser.add_argument("out", type=Path, help="folder for the manifests")
    options = parser.parse_args(arguments)
    try:
        print(write_parts(options.out, parts(options.corpus)))
    except (ValueError, OSError) as error:
        print(f"prepare.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def write_parts(out: Path, parts: Mapping[str, Part]) -> str:
    """Write OUT/PART.jsonl for each part: path relative to the manifest, length, rate and what else is known.

    Returns a table of labels by parts. A file that cannot be read is named on stderr and left out.

    Raises: ValueError: a part is empty.
    """
    out.mkdir(parents=True, exist_ok=True)
    listed = {}
    for part, files in parts.items():
        lines = [line for path, about in files if (line := _line(out, path, about))]
        if not lines:
            raise ValueError(f"nothing is listed as {part}: is this the whole corpus?")
        write_manifest(out / f"{part}.jsonl", lines)
        listed[part] = lines
    return table_of_labels(listed)


def _line(out: Path, path: Path, about: dict) -> dict | None:
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        print(f"{path}: left out, it cannot be read", file=sys.stderr)
        return None
    place = os.path.relpath(path, out)
    return {"path": place, "n_samples": info.frames, "sample_rate": info.samplerate, **about}


def write_manifest(path: Path, lines: Iterable[dict]) -> None:
    """Write a manifest, complete or not at all."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def table_of_labels(parts: Mapping[str, Iterable[dict]]) -> str:
    """Count the labels of each part's lines, as a table."""
    numbers = {part: Counter(line["label"] for line in lines) for part, lines in parts.items()}
    labels = sorted(set().union(*numbers.values()))
    rows = [f"| {label} | " + " | ".join(str(counts[label]) for counts in numbers.values()) + " |" for label in labels]
    return "\n".join([f"| label | {' | '.join(numbers)} |", "|---" * (len(numbers) + 1) + "|", *rows])
