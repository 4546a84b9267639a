"""Lists audio files where they lie, for the data sets that are downloaded by hand."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import soundfile


class Problem(Exception):
    """Tells the user in one line what is wrong and what to do; ends the script with exit code 2."""


def write_parts(out: Path, parts: Mapping[str, Iterable[tuple[Path, dict]]]) -> str:
    """Writes OUT/PART.jsonl for each part: path relative to the manifest, length, rate and what else is known.

    Returns a table of labels by parts. A file that cannot be read is named on stderr and left out.

    Raises: Problem: a part is empty.
    """
    out.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for part, files in parts.items():
        lines = [line for path, about in files if (line := _line(out, path, about))]
        if not lines:
            raise Problem(f"nothing is listed as {part}: is this the whole corpus?")
        temporary = out / f"{part}.jsonl.tmp"
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        os.replace(temporary, out / f"{part}.jsonl")
        numbers[part] = Counter(line["label"] for line in lines)
    labels = sorted(set().union(*numbers.values()))
    rows = [f"| {label} | " + " | ".join(str(counts[label]) for counts in numbers.values()) + " |" for label in labels]
    return "\n".join([f"| label | {' | '.join(numbers)} |", "|---" * (len(numbers) + 1) + "|", *rows])


def _line(out: Path, path: Path, about: dict) -> dict | None:
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        print(f"{path}: left out, it cannot be read", file=sys.stderr)
        return None
    place = os.path.relpath(path, out)
    return {"path": place, "n_samples": info.frames, "sample_rate": info.samplerate, **about}
