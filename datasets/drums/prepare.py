"""Collects drum one-shots that Debian packages carry, with a label each, split by kit.

    python datasets/drums/prepare.py OUT [--keep-packages DIR]

`apt-get download` -> `dpkg -x` into a temporary folder -> mono -> from the onset on -> FLAC. The manifests are written
last; running it again rebuilds everything.
"""

import argparse
import hashlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]
import soundfont
from kits import KITS, Kit, label_of
from manifests import table_of_labels, write_manifest
from packages import check_tools, fetch, unpack

from audiodiff.utils.files import write_text

LONGEST = 3.0  # seconds
FADE = 0.02  # seconds, where a sound is cut
PEAK = 10 ** (-1 / 20)
ONSET_DB, LEAD = -50.0, 0.002  # relative to the peak; seconds kept before
SHORTEST = 0.03  # seconds
PARTS = ("train", "valid", "test")


def one_shot(waveform: np.ndarray, rate: int) -> np.ndarray:
    """Cut a sound, [T] or [T, C], to one hit: mono, from just before its onset, faded where cut, peak at -1 dBFS.

    Raises: ValueError: it is silent, too short, or not finite.
    """
    mono = np.asarray(waveform, np.float32)
    mono = mono.mean(axis=1) if mono.ndim == 2 else mono
    if not np.isfinite(mono).all() or not mono.size or np.abs(mono).max() < 1e-3:
        raise ValueError("silent or damaged")
    mono = mono - mono.mean()
    loud = np.flatnonzero(np.abs(mono) > np.abs(mono).max() * 10 ** (ONSET_DB / 20))
    cut = mono[max(0, loud[0] - int(LEAD * rate)) : loud[-1] + 1][: int(LONGEST * rate)]
    if cut.size < SHORTEST * rate:
        raise ValueError("too short")
    fade = min(int(FADE * rate), cut.size)
    cut = cut * (PEAK / np.abs(cut).max())
    cut[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


def sounds(kit: Kit, root: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield name, waveform and rate of every sound in a kit.

    Raises: ValueError: the package does not hold what is expected.
    """
    place = root / kit.place
    if place.is_file():
        yield from soundfont.samples(place)
    elif place.is_dir():
        for file in sorted(p for p in place.iterdir() if p.suffix.lower() in (".wav", ".flac", ".aiff", ".aif")):
            try:
                waveform, rate = soundfile.read(file, dtype="float32")
            except soundfile.LibsndfileError:
                continue
            yield file.stem, waveform, rate
    else:
        raise ValueError(f"{kit.package} has no {kit.place}: it is another version than the one that was planned for")


def convert(kit: Kit, root: Path, out: Path, seen: set[str]) -> list[dict]:
    """Write the sounds of a kit that have a label and are no copies; returns their lines of the manifest."""
    lines = []
    for name, waveform, rate in sounds(kit, root):
        label = label_of(kit, name)
        if label is None:
            continue
        try:
            cut = one_shot(waveform, rate)
        except ValueError:
            continue
        pcm = np.round(cut * 32767).astype(np.int16)
        print_of_it = hashlib.sha256(pcm[: rate // 4].tobytes()).hexdigest()
        if print_of_it in seen:
            continue
        seen.add(print_of_it)
        safe = "".join(c if c.isalnum() else "-" for c in name).strip("-").lower()
        path = Path("audio") / label / f"{kit.name}-{safe}.flac"
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(out / path, pcm, rate, subtype="PCM_16")
        about = {"label": label, "kit": kit.name, "package": kit.package, "licence": kit.licence}
        lines.append({"path": str(path), "n_samples": len(pcm), "sample_rate": rate, **about})
    return lines


def prepare(out: Path, packages: Path | None = None) -> str:
    """Download, cuts and lists; returns a table of what there is."""
    check_tools()
    out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[dict]] = {part: [] for part in PARTS}
    seen: set[str] = set()
    table = ["| kit | package | version | author | licence | part | sounds |", "|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix=".work-", dir=out) as work:
        debs = packages.absolute() if packages else Path(work).absolute() / "debs"
        for kit in KITS:
            root = Path(work) / kit.package
            version = unpack(fetch(kit.package, debs), root)
            found = convert(kit, root, out, seen)
            parts[kit.part] += found
            row = (kit.name, kit.package, version, kit.author, kit.licence, kit.part, len(found))
            table.append("| " + " | ".join(map(str, row)) + " |")
            (out / "licences").mkdir(exist_ok=True)
            told = root / "usr/share/doc" / kit.package / "copyright"
            if told.is_file():
                shutil.copy(told, out / "licences" / f"{kit.package}.txt")
    changes = "Changes: mixed to mono, cut to one hit, offset removed, scaled to a peak of -1 dBFS, renamed."
    write_text(out / "LICENCES.md", f"# Where these sounds come from\n\n{changes}\n\n" + "\n".join(table) + "\n")
    for part, lines in parts.items():
        write_manifest(out / f"{part}.jsonl", lines)
    return "\n".join(table) + "\n\n" + table_of_labels(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; returns 0, or 2 after one line on stderr."""
    parser = argparse.ArgumentParser(prog="prepare.py", description="Collects drum one-shots from Debian packages.")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to fill")
    parser.add_argument("--keep-packages", type=Path, metavar="DIR", help="keep the downloads here, and use those here")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(prepare(options.out, options.keep_packages))
    except (ValueError, OSError, soundfile.LibsndfileError) as error:
        print(f"prepare.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
