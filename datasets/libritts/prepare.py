"""Lists the sentences of LibriTTS by reader, by its own split: readers of train-, dev- and test- are others.

    python datasets/libritts/prepare.py LibriTTS data/libritts

LibriTTS holds some of train-clean-100, train-clean-360, train-other-500, and dev- and test- folders (Zen et al., 2019,
arXiv:1904.02882; CC-BY-4.0), downloaded and unpacked before. LibriTTS-R has the same layout. Nothing is copied.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from manifests import Part, prepare

PARTS = {"train": "train", "valid": "dev", "test": "test"}


def sentences(folders: Sequence[Path]) -> Iterator[tuple[Path, dict]]:
    """Yield the recordings of some folders; their reader's number is the label."""
    for folder in folders:
        for path in sorted(folder.glob("*/*/*.wav")):
            yield path, {"label": path.parts[-3], "part": folder.name, "licence": "CC-BY-4.0"}


def parts(corpus: Path) -> dict[str, Part]:
    """Find the folders of each part."""
    found = {part: sorted(p for p in corpus.glob(f"{name}-*") if p.is_dir()) for part, name in PARTS.items()}
    if missing := [PARTS[part] for part, folders in found.items() if not folders]:
        raise ValueError(f"{corpus} has no {missing[0]}-* folder: give the folder that holds train-*, dev-* and test-*")
    return {part: sentences(folders) for part, folders in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; returns 0, or 2 after one line on stderr."""
    return prepare("Lists the sentences of LibriTTS.", "folder of train-*, dev-* and test-*", parts, arguments)


if __name__ == "__main__":
    sys.exit(main())
