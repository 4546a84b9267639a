"""Pack recordings into shards: pieces in mono, shuffled, as 16-bit FLAC at the recording's rate.

Pieces are written by litdata's writer (its `optimize` leaves forked processes running when it is interrupted). Threads
decode and encode, which libsndfile does without Python's lock.
"""

import io
import itertools
import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from litdata.streaming.cache import Cache

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.folders import BadFiles
from audiodiff.data.manifest import Recording

SHRINKS = 0.55  # size of FLAC over 16-bit PCM, for speech
AT_ONCE = 64  # pieces decoded ahead
HELD_OUT, HELD_OUT_SECONDS = 64, 10.0  # recordings for validation, and seconds of each, at most


class Piece(NamedTuple):
    """Describe a part of a recording, in samples."""

    recording: Recording
    start: int
    n_samples: int

    @property
    def label(self) -> str | None:
        """The class of a recording's first piece; later pieces have no onset and none."""
        return None if self.start else self.recording.label


def pieces_of(recordings: Iterable[Recording], seconds: float) -> list[Piece]:
    """Cut recordings into pieces of equal length, none longer than `seconds`.

    >>> [p.n_samples for p in pieces_of([Recording(Path("a.wav"), 25, 1)], 10)]
    [8, 8, 9]
    """
    pieces = []
    for recording in recordings:
        count = max(1, -int(-recording.n_samples // (seconds * recording.sample_rate)))
        bounds = [i * recording.n_samples // count for i in range(count + 1)]
        pieces += [Piece(recording, a, b - a) for a, b in itertools.pairwise(bounds)]
    return pieces


def spread(pieces: Sequence[Piece], n_chunks: int, seed: int = 0) -> list[Piece]:
    """Shuffle pieces with each class spread evenly; repeat rare classes, so that every chunk has some."""
    rng, by_class, places = random.Random(seed), dict[str | None, list[Piece]](), []
    for piece in pieces:
        by_class.setdefault(piece.label, []).append(piece)
    for label, own in by_class.items():
        rng.shuffle(own)
        times = 1 if label is None else math.ceil(2 * n_chunks / len(own)) if n_chunks > 1 else 1
        for place in range(count := times * len(own)):
            places.append(((place + rng.random()) / count, len(places), own[place % len(own)]))
    return [piece for _, _, piece in sorted(places, key=lambda entry: entry[:2])]


def pack(
    training: Sequence[Recording],
    validation: Sequence[Recording],
    out: Path,
    seconds: float = 10.0,
    chunk_mb: float = 64.0,
    max_bad: float = 0.05,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda pieces, count: pieces,
) -> dict[str, Any]:
    """Write a packed corpus, complete or not at all, and return the facts about it.

    Args:
        training: Recordings for training.
        validation: Recordings for validation, of which some are packed.
        out: Folder, which must not exist.
        seconds: Longest piece.
        chunk_mb: Approximate size of a chunk, 10⁶ bytes.
        max_bad: Largest share of unreadable recordings, which are logged and left out.
        progress: Wraps the iteration over pieces and gets their number.

    Raises:
        ValueError: The folder exists or cannot be written, or too many recordings are unreadable.
    """
    if not 0 < seconds <= 600 or not 0 < chunk_mb <= 2000:
        raise ValueError(f"pieces of {seconds:g} s in chunks of {chunk_mb:g} MB: 600 s and 2000 MB are the most")
    if out.exists():
        raise ValueError(f"{out}: exists; give the name of a new folder")
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror}); choose another place") from None
    bad = BadFiles(len(training), max_bad)
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            facts = _write_train(folder, pool, training, seconds, chunk_mb * 1e6, bad, progress)
            facts["valid_labels"] = _write_valid(folder, pool, validation)
        numbers = facts.pop("numbers")
        write_items(folder / "about", [json.dumps(facts).encode(), json.dumps(numbers).encode()], 2)
        folder.chmod(0o755)
        os.replace(folder, out)
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    chunks = list((out / "train").glob("*.bin"))
    return {**facts, "chunks": len(chunks), "bytes": sum(chunk.stat().st_size for chunk in chunks)}


def write_items(folder: Path, items: Iterable[bytes], chunk_size: int) -> None:
    """Write a data set of litdata whose items are bytes."""
    cache = Cache(str(folder), chunk_size=chunk_size)
    for number, item in enumerate(items):
        cache[number] = item
    cache.done()
    cache.merge()


def _write_train(
    folder: Path,
    pool: ThreadPoolExecutor,
    training: Sequence[Recording],
    seconds: float,
    chunk_bytes: float,
    bad: BadFiles,
    progress: Callable[[Iterable[Any], int], Iterable[Any]],
) -> dict[str, Any]:
    """Write the pieces, and return the facts about them."""
    listed = [r for _, r in _good(_mapped(pool, _measured, training), bad) if r.n_samples]
    pieces = pieces_of(listed, seconds)
    raw = 2 * sum(piece.n_samples for piece in pieces)
    n_chunks = max(1, round(SHRINKS * raw / chunk_bytes))
    order, names = spread(pieces, n_chunks), sorted({r.label for r in listed if r.label is not None})
    numbers: list[int] = []

    def items() -> Iterator[bytes]:
        for piece, data in _good(progress(_mapped(pool, _flac, order), len(order)), bad):
            numbers.append(-1 if piece.label is None else names.index(piece.label))
            yield data

    packed = items()
    first = next(packed, None)
    if first is None:  # litdata would write a data set without items, whose readers wait for ever
        raise ValueError("none of the recordings for training can be packed: look at them with `audiodiff scan`")
    write_items(folder / "train", itertools.chain([first], packed), -(-len(order) // n_chunks))
    kept = [r for r in listed if r.path not in bad.paths]
    return {
        "pieces": len(numbers),
        "recordings": len(kept),
        "hours": sum(r.n_samples / r.sample_rate for r in kept) / 3600,
        "seconds": seconds,
        "cut": len(pieces) > len(listed),
        "labels": names,
        "numbers": numbers,
    }


def _write_valid(folder: Path, pool: ThreadPoolExecutor, validation: Sequence[Recording]) -> list[str | None]:
    """Write the beginnings of some recordings, and return their classes."""
    chosen = validation[:: max(1, len(validation) // HELD_OUT)][:HELD_OUT]
    pieces = [Piece(r, 0, min(r.n_samples, int(HELD_OUT_SECONDS * r.sample_rate))) for r in chosen]
    encoded = list(_good(_mapped(pool, _flac, pieces), BadFiles(len(pieces))))
    if not encoded:
        raise ValueError("none of the recordings held out can be read: look at them with `audiodiff scan`")
    write_items(folder / "valid", [data for _, data in encoded], len(encoded))
    return [piece.label for piece, _ in encoded]


def _mapped(pool: ThreadPoolExecutor, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each item with its result, in order, a few computed ahead."""
    for start in range(0, len(items), AT_ONCE):
        batch = items[start : start + AT_ONCE]
        yield from zip(batch, pool.map(work, batch), strict=True)


def _good(results: Iterable[tuple[Any, Any]], bad: BadFiles) -> Iterator[tuple[Any, Any]]:
    """Skip unreadable items, and count them."""
    for item, result in results:
        if isinstance(result, ValueError):
            bad.add(item.recording.path if isinstance(item, Piece) else item.path, str(result))
        else:
            yield item, result


def _measured(recording: Recording) -> Recording | ValueError:
    """Take length and rate from the file, since a manifest may be stale."""
    try:
        with audio.opened(recording.path) as file:
            return recording._replace(n_samples=file.n_samples, sample_rate=file.sample_rate)
    except ValueError as error:
        return error


def _flac(piece: Piece) -> bytes | ValueError:
    """Encode a piece, mixed to mono; 16-bit samples are kept exactly."""
    import soundfile

    try:
        waveform, rate = audio.read(piece.recording.path, start=piece.start, frames=piece.n_samples)
        waveform = audio_io.mono(waveform, piece.recording.path)
    except ValueError as error:
        return error
    mono = waveform[0]
    mono = mono / max(1.0, float(mono.abs().max()))
    samples = (mono * 32768).round().clamp(max=32767).numpy().astype(np.int16)
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate, format="FLAC", subtype="PCM_16")
    return encoded.getvalue()
