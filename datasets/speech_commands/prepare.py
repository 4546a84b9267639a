"""Lists the spoken digits of Speech Commands (SC09), by its own split.

    python datasets/speech_commands/prepare.py speech_commands_v0.02 data/digits

The corpus (Warden, 2018, arXiv:1804.03209; CC-BY-4.0) is to be downloaded and unpacked before. Nothing is copied.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from manifests import write_parts

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}


def prepare(corpus: Path, out: Path) -> str:
    """Write train.jsonl, valid.jsonl and test.jsonl; returns a table of what is in them."""
    part_of = {}
    for part, name in LISTS.items():
        if not (corpus / name).is_file():
            raise ValueError(f"{corpus} has no {name}: give the folder into which speech_commands_v0.02 was unpacked")
        part_of |= dict.fromkeys((corpus / name).read_text(encoding="utf-8").split(), part)
    parts = {"train": [], "valid": [], "test": []}
    for digit in DIGITS:
        for path in sorted((corpus / digit).glob("*.wav")):
            about = {"label": digit, "speaker": path.name.partition("_")[0], "licence": "CC-BY-4.0"}
            parts[part_of.get(f"{digit}/{path.name}", "train")].append((path, about))
    return write_parts(out, parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; returns 0, or 2 after one line on stderr."""
    parser = argparse.ArgumentParser(prog="prepare.py", description="Lists the spoken digits of Speech Commands.")
    parser.add_argument("corpus", type=Path, help="folder of speech_commands_v0.02")
    parser.add_argument("out", type=Path, help="folder for the manifests")
    options = parser.parse_args(arguments)
    try:
        print(prepare(options.corpus, options.out))
    except (ValueError, OSError) as error:
        print(f"prepare.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
