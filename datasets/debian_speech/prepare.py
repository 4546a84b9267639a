"""Builds a speech corpus from recordings that Debian packages carry.

A `Source` says which files of one package are speech, who speaks and under which licence. Every source goes
the same way: `apt-get download` -> `dpkg -x` into a temporary folder (nothing is installed) -> decode -> mono ->
resample -> FLAC. What a source gave is noted in `OUT/state/KEY.json`, so a second run starts where the first ended.
The clips are then split (see `split`) and listed in JSONL manifests, one object a line, which are written last.

    python datasets/debian_speech/prepare.py OUT [--all] [--sample-rate 16000] [--keep-packages DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import logging
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import speech_plan as plan
from packages import check_tools, fetch, unpack
from speech_plan import SOURCES, SPLITS, Built, Clip, Source

from audiodiff.utils.files import write_text

NOT_USED = "no speech, damaged, or of another source"
SUFFIXES = {".g722", ".ogg", ".opus", ".wav"}

logger = logging.getLogger("debian_speech")


# ---- files


def decode(path: Path) -> tuple[np.ndarray, int]:
    """Read a recording as mono, [T] in [-1, 1], and its rate; PyAV reads G.722 and what soundfile cannot."""
    if path.suffix != ".g722":
        try:
            waveform, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
            return waveform.mean(axis=1), sample_rate
        except soundfile.LibsndfileError:
            pass
    import av

    with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as container:
        to_float = av.AudioResampler(format="fltp")
        frames = [f.to_ndarray() for frame in container.decode(audio=0) for f in to_float.resample(frame)]
        sample_rate = container.streams.audio[0].rate
    return np.concatenate(frames, axis=1).mean(axis=0) if frames else np.zeros(0, np.float32), sample_rate


def convert(path: Path, target: Path, sample_rate: int) -> tuple[int, int]:
    """Write one recording as 16-bit mono FLAC, unless that is done; returns its length and native rate.

    Raises: ValueError: the recording is of no use, with the reason.
    """
    try:
        waveform, native_rate = decode(path)
    except Exception as error:  # PyAV's and soundfile's errors have no common base
        raise ValueError("unreadable") from error
    reason = plan.fault(waveform, native_rate)
    if reason:
        raise ValueError(reason)
    if target.exists() and (done := soundfile.info(target)).samplerate == sample_rate:
        return done.frames, native_rate
    if native_rate != sample_rate:
        waveform = soxr.resample(waveform, native_rate, sample_rate, quality="VHQ")
    temporary = target.with_suffix(".tmp")
    try:
        soundfile.write(temporary, waveform, sample_rate, format="FLAC", subtype="PCM_16")
    except soundfile.LibsndfileError as error:
        temporary.unlink(missing_ok=True)
        raise ValueError(f"cannot write {target}: make room on the disk, then run the same command") from error
    os.replace(temporary, target)
    return waveform.size, native_rate


def progress(items: Sequence[str], label: str) -> Iterable[str]:
    """Show a bar on a terminal where tqdm is there, nothing in a pipe."""
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
        from tqdm import tqdm

        return tqdm(items, desc=label, unit="clip", leave=False)
    return items


# ---- packages


def read_built(source: Source, out: Path, sample_rate: int) -> Built | None:
    """Return what an earlier run noted of a source; None where that is missing, by other rules, or lacks files."""
    try:
        noted = json.loads((out / "state" / f"{source.key}.json").read_text(encoding="utf-8"))
        noted["source"] = Source(**noted["source"])
        noted["clips"] = [Clip(**clip) for clip in noted["clips"]]
        built = Built(**noted)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = (built.source, built.sample_rate, built.rules) == (source, sample_rate, plan.RULES)
    return built if same and all((out / clip.path).exists() for clip in built.clips) else None


def convert_source(source: Source, out: Path, sample_rate: int, root: Path) -> tuple[list[Clip], list[dict]]:
    """Convert the speech of an unpacked source; returns its clips and, with reasons, what was left out."""
    base = root / source.base
    paths = sorted(p.relative_to(base).as_posix() for p in base.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    names, clips, left_out, digests = plan.flat_names(paths), [], [], set()
    (out / "audio" / source.key).mkdir(parents=True, exist_ok=True)
    for position, path in enumerate(progress(paths, source.key), start=1):
        target = f"audio/{source.key}/{names[position - 1]}.flac"
        try:
            if (speaker := plan.speaker_of(source, path)) is None:
                raise ValueError(NOT_USED)
            digest = hashlib.sha256((base / path).read_bytes()).digest()
            if digest in digests:
                raise ValueError("same as an earlier file")
            digests.add(digest)
            n_samples, native_rate = convert(base / path, out / target, sample_rate)
        except ValueError as error:
            left_out.append({"source": source.key, "file": path, "why": str(error)})
            continue
        facts = (speaker, source.package, source.licence, native_rate, position)
        clips.append(Clip(target, n_samples, sample_rate, *facts))
    return clips, left_out


def build_source(source: Source, out: Path, sample_rate: int, debs: Path, work: Path) -> Built:
    """Bring one source from its package to FLAC files, or finds that done."""
    if (built := read_built(source, out, sample_rate)) is not None:
        logger.info("%s: done before, %d clips", source.key, len(built.clips))
        return built
    root = work / source.package
    version = unpack(fetch(source.package, debs), root)
    logger.info("%s: converting, version %s", source.key, version)
    clips, left_out = convert_source(source, out, sample_rate, root)
    if not clips:
        raise ValueError(f"{source.package} {version} has no speech in {source.base}: it is laid out in another way")
    terms = (root / "usr/share/doc" / source.package / "copyright").read_text(encoding="utf-8")
    for folder in ("licences", "state"):
        (out / folder).mkdir(exist_ok=True)
    write_text(out / "licences" / f"{source.package}.txt", terms)
    built = Built(source, sample_rate, version, clips, left_out, plan.RULES)
    write_text(out / "state" / f"{source.key}.json", json.dumps(asdict(built), ensure_ascii=False))
    return built


# ---- what the user sees


def licence_text(all_built: Sequence[Built]) -> str:
    """Write the attribution that the licences ask for: who recorded what, where it came from, what was changed."""
    rows = [
        f"| audio/{b.source.key} | {b.source.package} | {b.version} | {b.source.author} | {b.source.licence} |\n"
        for b in all_built
    ]
    return (
        "# Where these recordings come from\n\n"
        "Changes made to all of them: files without speech left out, decoded, "
        f"mixed to mono, resampled to {all_built[0].sample_rate} Hz, stored as 16-bit FLAC under other names.\n"
        "Full terms: `licences/PACKAGE.txt`, each the package's own copyright file.\n\n"
        "| folder | Debian package | version | author | licence |\n|---|---|---|---|---|\n" + "".join(rows)
    )


def write_manifests(out: Path, all_built: Sequence[Built]) -> dict[str, list[Clip]]:
    """Split all clips and write what describes them, the training manifest last: where it is, everything is."""
    parts = plan.split(clip for built in all_built for clip in built.clips)
    plan.check_splits(parts)
    write_text(out / "LICENCES.md", licence_text(all_built))
    left_out = [json.dumps(row, ensure_ascii=False) + "\n" for built in all_built for row in built.left_out]
    write_text(out / "left_out.jsonl", "".join(left_out))
    for name in reversed(SPLITS):
        write_text(out / f"{name}.jsonl", "".join(map(plan.manifest_line, parts[name])))
    return parts


def table_row(label: str, clips: Sequence[Clip], parts: dict[str, list[Clip]], licence: str) -> list[str]:
    """Count clips, minutes, speakers and clips per split."""
    minutes = sum(clip.n_samples / clip.sample_rate for clip in clips) / 60
    paths = {clip.path for clip in clips}
    per_split = [str(sum(clip.path in paths for clip in parts[name])) for name in SPLITS]
    return [label, str(len(clips)), f"{minutes:.1f}", str(len({c.speaker for c in clips})), *per_split, licence]


def table(all_built: Sequence[Built], parts: dict[str, list[Clip]]) -> str:
    """Lay out one row a source, and the sums."""
    rows = [["source", "clips", "minutes", "speakers", *SPLITS, "licence"]]
    rows += [table_row(built.source.key, built.clips, parts, built.source.licence) for built in all_built]
    rows.append(table_row("all", [clip for built in all_built for clip in built.clips], parts, ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def left_out_summary(all_built: Sequence[Built]) -> str:
    """Count what was left out by reason, naming the first few files of all but those that the rules name."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for row in (row for built in all_built for row in built.left_out):
        files[row["why"]].append(f"{row['source']}/{row['file']}")
    lines = []
    for why, names in sorted(files.items()):
        shown = "" if why == NOT_USED else ": " + ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
        lines.append(f"left out, {why}: {len(names)}{shown}")
    return "\n".join([*lines, "every name: left_out.jsonl"])


def check_machine(out: Path) -> None:
    """Raise ValueError where the tools or the output folder are missing."""
    check_tools()
    if importlib.util.find_spec("av") is None:
        raise ValueError("PyAV is missing, which decodes G.722: pip install 'audiodiff-torch[datasets]'")
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise ValueError(f"cannot write to {out} ({error.strerror}): choose another folder") from error


def prepare(out: Path, everything: bool, sample_rate: int, packages: Path | None = None) -> str:
    """Download, converts, splits and lists the recordings; returns the table of what was built."""
    check_machine(out)
    sources = [source for source in SOURCES if everything or source.default]
    with tempfile.TemporaryDirectory(prefix=".work-", dir=out) as work:
        debs = packages.absolute() if packages else Path(work).absolute() / "debs"
        all_built = [build_source(source, out, sample_rate, debs, Path(work)) for source in sources]
    parts = write_manifests(out, all_built)
    return f"{table(all_built, parts)}\n{left_out_summary(all_built)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; returns 0, or 2 after one line on stderr."""
    parser = argparse.ArgumentParser(prog="prepare.py", description="Builds a speech corpus from Debian packages.")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to fill; what is there already is kept")
    parser.add_argument("--all", action="store_true", help="add the sets under the GPL (see README.md before mixing)")
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="of the FLAC files (16000)")
    parser.add_argument("--keep-packages", type=Path, metavar="DIR", help="keep the downloads here, and use those here")
    args = parser.parse_args(arguments)
    if args.sample_rate < 1000:
        parser.error(f"--sample-rate is in Hz, got {args.sample_rate}")
    try:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        print(prepare(args.out, args.all, args.sample_rate, args.keep_packages))
    except (ValueError, OSError, soundfile.LibsndfileError) as error:
        print(f"prepare.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("prepare.py: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
