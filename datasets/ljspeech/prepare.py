"""Lists the sentences of LJSpeech, with the last of them held out, as ESPnet does.

    python datasets/ljspeech/prepare.py LJSpeech-1.1 data/ljspeech

LJSpeech-1.1 (Ito & Johnson, 2017; public domain) is downloaded and unpacked before. By name, the last 250 sentences
test and the 250 before them validate. Nothing is copied.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from manifests import Part, prepare

HELD_OUT = 250  # for each of two parts; of a smaller corpus a twentieth


def parts(corpus: Path) -> dict[str, Part]:
    """Split the recordings by name."""
    files = sorted((corpus / "wavs").glob("*.wav"))
    if not files:
        raise ValueError(f"{corpus} has no wavs: give the folder that holds wavs and metadata.csv")
    count = min(HELD_OUT, max(1, len(files) // 20))
    told = [(path, {"label": "linda", "licence": "public domain"}) for path in files]
    return {"train": told[: -2 * count], "valid": told[-2 * count : -count], "test": told[-count:]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; returns 0, or 2 after one line on stderr."""
    return prepare("Lists the sentences of LJSpeech.", "folder of wavs and metadata.csv", parts, arguments)


if __name__ == "__main__":
    sys.exit(main())
