"""Lists the notes of NSynth by instrument family, by its own split.

    python datasets/nsynth/prepare.py CORPUS data/nsynth

CORPUS holds nsynth-train, nsynth-valid and nsynth-test (Engel et al., 2017, arXiv:1704.01279; CC-BY-4.0), downloaded
and unpacked before. Nothing is copied.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from manifests import write_parts

PARTS = ("train", "valid", "test")


def notes(folder: Path, sources: Sequence[str]) -> Iterator[tuple[Path, dict]]:
    """Yield the notes of one part, with their family as label."""
    try:
        examples = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(
            f"{folder} has no examples.json: give the folder that holds nsynth-train, -valid, -test"
        ) from None
    for name, about in sorted(examples.items()):
        if not sources or about["instrument_source_str"] in sources:
            told = {"label": about["instrument_family_str"], "pitch": about["pitch"], "velocity": about["velocity"]}
            yield folder / "audio" / f"{name}.wav", {**told, "licence": "CC-BY-4.0"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; returns 0, or 2 after one line on stderr."""
    parser = argparse.ArgumentParser(prog="prepare.py", description="Lists the notes of NSynth by instrument family.")
    parser.add_argument("corpus", type=Path, help="folder of nsynth-train, nsynth-valid and nsynth-test")
    parser.add_argument("out", type=Path, help="folder for the manifests")
    parser.add_argument("--source", action="append", choices=("acoustic", "electronic", "synthetic"), default=[])
    options = parser.parse_args(arguments)
    try:
        parts = {part: notes(options.corpus / f"nsynth-{part}", options.source) for part in PARTS}
        print(write_parts(options.out, parts))
    except (ValueError, OSError) as error:
        print(f"prepare.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
