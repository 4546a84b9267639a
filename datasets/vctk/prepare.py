"""Lists the sentences of VCTK by speaker, some speakers held out.

    python datasets/vctk/prepare.py VCTK-Corpus-0.92 data/vctk

The corpus (Yamagishi et al., 2019; CC-BY-4.0) is downloaded and unpacked before: version 0.92 with
wav48_silence_trimmed, of which the first microphone is used, or 0.80 with wav48. In the order of their names every
twelfth speaker tests and, six further on, every twelfth validates. Nothing is copied.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from manifests import Part, prepare

LAYOUTS = {"wav48_silence_trimmed": "*_mic1.flac", "wav48": "*.wav"}
EVERY = 12


def sentences(speakers: Sequence[Path], pattern: str) -> Iterator[tuple[Path, dict]]:
    """Yield the recordings of some speakers."""
    for speaker in speakers:
        for path in sorted(speaker.glob(pattern)):
            yield path, {"label": speaker.name, "licence": "CC-BY-4.0"}


def parts(corpus: Path) -> dict[str, Part]:
    """Split the speakers by their names."""
    folder = next((corpus / name for name in LAYOUTS if (corpus / name).is_dir()), None)
    if folder is None:
        raise ValueError(f"{corpus} has no {' and no '.join(LAYOUTS)}: give the folder that holds one of them")
    pattern = LAYOUTS[folder.name]
    speakers = [p for p in sorted(folder.iterdir()) if p.is_dir() and any(p.glob(pattern))]
    if len(speakers) < 3:
        raise ValueError(
            f"{folder} holds {len(speakers)} speakers, and 3 are needed: give the folder of the whole corpus"
        )
    half = min(EVERY // 2, len(speakers) // 2)
    test, valid = speakers[::EVERY], speakers[half::EVERY]
    train = [speaker for speaker in speakers if speaker not in test and speaker not in valid]
    return {name: sentences(of, pattern) for name, of in {"train": train, "valid": valid, "test": test}.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; returns 0, or 2 after one line on stderr."""
    return prepare("Lists the sentences of VCTK.", "folder of wav48_silence_trimmed or wav48", parts, arguments)


if __name__ == "__main__":
    sys.exit(main())
