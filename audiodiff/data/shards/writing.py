"""Packs recordings into shards: cut into pieces, mixed to mono, shuffled; FLAC of 16 bits at the recording's rate."""

import io
import itertools
import json
import logging
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.manifest import BadFiles, Recording
from audiodiff.data.shards.crops import LANES
from audiodiff.data.shards.index import FACTS, INDEX, LABELS, VALID, chunk_of

__all__ = ["Piece", "pack", "pieces_of"]

log = logging.getLogger(__name__)
SHRINKS = 0.55  # FLAC to 16-bit PCM, of speech; sizes of chunks follow from it
HELD_OUT, HELD_OUT_SECONDS = 64, 10.0  # recordings for validation at most, and how much of each


class Piece(NamedTuple):
    """Names a part of a recording, in samples."""

    recording: Recording
    start: int
    n_samples: int

    @property
    def label(self) -> str | None:
        """The class, of what a recording begins with: what follows has no onset."""
        return None if self.start else self.recording.label


def pieces_of(recordings: Iterable[Recording], seconds: float) -> list[Piece]:
    """Cuts recordings into pieces of equal length, none longer than `seconds`.

    >>> [p.n_samples for p in pieces_of([Recording(Path("a.wav"), 25, 1)], 10)]
    [8, 8, 9]
    """
    found = []
    for recording in recordings:
        count = max(1, -int(-recording.n_samples // (seconds * recording.sample_rate)))
        bounds = [i * recording.n_samples // count for i in range(count + 1)]
        found += [Piece(recording, a, b - a) for a, b in itertools.pairwise(bounds)]
    return found


def pack(
    training: Sequence[Recording],
    validation: Sequence[Recording],
    out: Path,
    seconds: float = 10.0,
    chunk_mb: float = 64.0,
    max_bad: float = 0.05,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[str, Any]:
    """Writes a packed corpus, complete or not at all, and returns the facts about it.

    Args:
        training: What goes into chunks.
        validation: Of which some are held out as files.
        out: Folder, which must not exist.
        seconds: Longest piece.
        chunk_mb: About how many 10⁶ bytes a chunk has; there are at least as many chunks as lanes.
        max_bad: Share of the recordings that may be unreadable; they are named and left out.
        progress: Wraps the iteration over chunks, as `tqdm` does.

    Raises:
        ValueError: The folder exists or cannot be written, or too many recordings are unreadable.
    """
    if not 0 < seconds <= 600 or not 0 < chunk_mb <= 4000:
        raise ValueError(f"pieces of {seconds:g} s in chunks of {chunk_mb:g} MB: 600 s and 4000 MB are the most")
    if out.exists():
        raise ValueError(f"{out}: exists; give the name of a new folder")
    pieces = pieces_of([r for r in training if r.n_samples > 0], seconds)
    random.Random(0).shuffle(pieces)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror}); choose another place") from None
    try:
        bad = BadFiles(len(training), max_bad)
        facts = _write(folder, pieces, chunk_mb * 1e6, bad, progress, {"seconds": seconds})
        _write_validation(folder, validation)
        folder.chmod(0o755)
        os.replace(folder, out)
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror}); choose another place") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return facts


def _write(
    folder: Path,
    pieces: list[Piece],
    chunk_bytes: float,
    bad: BadFiles,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
    known: dict[str, Any],
) -> dict[str, Any]:
    raw = 2 * sum(piece.n_samples for piece in pieces)
    n_chunks = min(len(pieces), LANES * max(1, round(SHRINKS * raw / chunk_bytes / LANES)))
    chunks, classes, facts = [], [], {"pieces": 0, "hours": 0.0, "recordings": 0, **known}
    bounds = [i * len(pieces) // n_chunks for i in range(n_chunks + 1)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first, last in progress(list(itertools.pairwise(bounds))):
            packed = list(_encoded(pieces[first:last], pool, bad, facts))
            if not packed:
                continue
            data, name = chunk_of([made for _, made in packed]), f"chunk-0-{len(chunks)}.bin"
            classes.append([piece.label for piece, _ in packed])
            (folder / name).write_bytes(data)
            chunks.append({"filename": name, "chunk_size": len(packed), "chunk_bytes": len(data), "dim": None})
    facts["recordings"] = len({piece.recording.path for piece in pieces} - bad.paths)
    if found := sorted({label for of_chunk in classes for label in of_chunk if label is not None}):
        number = {None: None} | {label: n for n, label in enumerate(found)}
        numbers = [[number[label] for label in of_chunk] for of_chunk in classes]
        (folder / LABELS).write_text(json.dumps(numbers), encoding="utf-8")
        facts["labels"] = found
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    (folder / INDEX).write_text(json.dumps({"chunks": chunks, "config": _config(chunk_bytes)}), encoding="utf-8")
    return {**facts, "chunks": len(chunks), "bytes": sum(chunk["chunk_bytes"] for chunk in chunks)}


def _encoded(
    pieces: list[Piece], pool: ThreadPoolExecutor, bad: BadFiles, facts: dict[str, Any]
) -> Iterator[tuple[Piece, bytes]]:
    for piece, made in zip(pieces, pool.map(_flac_or_error, pieces), strict=True):
        if isinstance(made, ValueError):
            bad.add(piece.recording.path, str(made))
            continue
        facts["pieces"] += 1
        facts["hours"] += piece.n_samples / piece.recording.sample_rate / 3600
        yield piece, made


def _flac_or_error(piece: Piece) -> bytes | ValueError:
    try:
        waveform, rate = audio.read(piece.recording.path, start=piece.start, frames=piece.n_samples)
        waveform = audio_io.mono(waveform, piece.recording.path)
    except ValueError as error:
        return error
    return _flac(waveform, rate)


def _flac(mono: Tensor, rate: int) -> bytes:
    import soundfile

    mono = mono / max(1.0, float(mono.abs().max()))
    samples = (
        (mono.T * 32768).round().clamp(max=32767).numpy().astype(np.int16)
    )  # what was 16 bits comes back as it was
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate, format="FLAC", subtype="PCM_16")
    return encoded.getvalue()


def _write_validation(folder: Path, validation: Sequence[Recording]) -> None:
    """Writes the beginnings of some recordings, evenly taken, as files with their manifest."""
    (folder / "valid").mkdir()
    lines = []
    for recording in validation[:: max(1, len(validation) // HELD_OUT)][:HELD_OUT]:
        n_samples = min(recording.n_samples, int(HELD_OUT_SECONDS * recording.sample_rate))
        made = _flac_or_error(Piece(recording, 0, n_samples))
        if isinstance(made, ValueError):
            log.warning("left out of validation: %s", made)
            continue
        name = f"valid/{len(lines):04d}.flac"
        (folder / name).write_bytes(made)
        line = {"path": name, "n_samples": n_samples, "sample_rate": recording.sample_rate}
        lines.append(json.dumps(line | ({} if recording.label is None else {"label": recording.label})) + "\n")
    if not lines:
        raise ValueError("none of the recordings held out can be read: look at them with `audiodiff scan`")
    (folder / VALID).write_text("".join(lines), encoding="utf-8")


def _config(chunk_bytes: float) -> dict[str, Any]:
    """Returns what litdata wants to know of chunks of bare bytes."""
    nothing = ("chunk_size", "compression", "compression_level", "compression_batch_size", "encryption")
    return {
        **dict.fromkeys((*nothing, "ipc_compression")),
        "chunk_bytes": int(chunk_bytes),
        "data_format": ["bytes"],
        "data_spec": '[1, {"type": null, "context": null, "children_spec": []}]',
        "item_loader": "PyTreeLoader",
        "types": "bytes",
    }
