"""Recordings packed into a few large files, for corpora of very many files, or larger than the disk.

Recordings are cut into pieces, shuffled, and written as FLAC into chunks, so that each chunk is a random sample of the
corpus. A chunk is laid out as litdata's (4-byte integers, little-endian), and so is `index.json`:

    number of pieces n · n + 1 places, where pieces begin and the last one ends · for each piece its size, its bytes

Where recordings have classes, `facts.json` names them and `labels.json` holds, chunk by chunk, each piece's number.
Any piece is read by its number, and nothing is unpickled.
"""

import contextlib
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from audiodiff import audio
from audiodiff.data.manifest import Recording, read_manifest
from audiodiff.data.shards.storage import Place, text_of

if TYPE_CHECKING:
    import soundfile

__all__ = ["Chunk", "Shards", "chunk_of", "opened"]

INDEX, FACTS, LABELS, VALID = "index.json", "facts.json", "labels.json", "valid.jsonl"
SAMPLE = 200  # pieces that are measured


class Chunk(NamedTuple):
    """Names a file of pieces, and says how many they are and how many bytes it has."""

    name: str
    n_pieces: int
    n_bytes: int


class Shards:
    """Reads the pieces of a packed corpus by chunk and number.

    Args:
        address: Folder, or where litdata fetches from (s3://…, gs://…, azure://…, hf://…, local:FOLDER).
        cache: Folder for what is fetched.
        cache_gb: How much of it is kept, 10⁹ bytes.

    Raises:
        ValueError: There is no index, it describes something else, or it cannot be fetched.
    """

    def __init__(self, address: str, cache: str | Path = "data/cache", cache_gb: float = 20.0) -> None:
        text = text_of(address, INDEX)
        self.chunks = _chunks(text, f"{address}/{INDEX}")
        self.facts: dict[str, Any] = json.loads(text_of(address, FACTS))
        self.place = Place(address, text, cache, cache_gb)

    def __len__(self) -> int:
        """Returns the number of pieces."""
        return sum(chunk.n_pieces for chunk in self.chunks)

    def path(self, chunk: int) -> Path:
        """Returns where a chunk lies, after fetching it if it is elsewhere.

        Raises:
            ValueError: It is missing.
        """
        return self.place.path(self.chunks[chunk].name, self.chunks[chunk].n_bytes)

    def read(self, chunk: int, piece: int) -> bytes:
        """Reads a piece: a FLAC file.

        Raises:
            ValueError: The chunk is missing, or damaged there.
        """
        while True:
            path = self.path(chunk)
            try:
                with open(path, "rb") as file:
                    return _piece(file, piece)
            except FileNotFoundError:  # another process has just made room
                continue
            except (struct.error, EOFError):
                raise ValueError(f"{path}: damaged at piece {piece}; copy the file again") from None

    def classes(self) -> list[list[str | None]]:
        """Tells the class of every piece, chunk by chunk; None for one that has none.

        Raises:
            ValueError: The corpus was packed without classes, or they are not those of its index.
        """
        address, names = self.place.address, self.facts.get("labels")
        if not names:
            raise ValueError(f"{address}: packed without classes; pack sub-folders, or a manifest with labels")
        try:
            numbers = json.loads(text_of(address, LABELS))
            if [len(of_chunk) for of_chunk in numbers] != [chunk.n_pieces for chunk in self.chunks]:
                raise ValueError("it is of another index")
            return [[None if n is None else str(names[n]) for n in of_chunk] for of_chunk in numbers]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{address}/{LABELS}: {error}; pack the corpus again, or copy all of it") from None

    def validation(self) -> list[Recording]:
        """Lists the recordings that were held out, as files."""
        recordings = read_manifest(self.place.path(VALID))
        for recording in recordings:
            self.place.path(f"valid/{recording.path.name}")
        return recordings

    def unpacked(self, folder: Path) -> list[Recording]:
        """Writes some pieces as files, to be measured: of the first chunk, which is a random sample."""
        found = []
        for piece in range(min(SAMPLE, self.chunks[0].n_pieces)):
            path = folder / f"{piece}.flac"
            with contextlib.suppress(ValueError):  # whoever trains on it says so
                path.write_bytes(self.read(0, piece))
                waveform, rate = audio.read(path)
                found.append(Recording(path, waveform.shape[-1], rate))
        return found


@contextlib.contextmanager
def opened(data: bytes) -> Iterator["soundfile.SoundFile"]:
    """Opens a piece.

    Raises:
        ValueError: It is no audio, there or where it is read.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            yield file
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ValueError(f"cannot be read as audio ({error})") from None


def chunk_of(pieces: list[bytes]) -> bytes:
    """Lays pieces out as a chunk.

    >>> chunk_of([b"ab", b"c"]).hex(" ", -4)
    '02000000 10000000 16000000 1b000000 02000000 61620100 000063'
    """
    ends = [4 * (len(pieces) + 2)]
    for piece in pieces:
        ends.append(ends[-1] + 4 + len(piece))
    head = struct.pack(f"<{len(ends) + 1}I", len(pieces), *ends)
    return head + b"".join(struct.pack("<I", len(piece)) + piece for piece in pieces)


def _piece(file: Any, piece: int) -> bytes:
    file.seek(4 + 4 * piece)
    begin, end = struct.unpack("<2I", file.read(8))
    file.seek(begin)
    (size,) = struct.unpack("<I", file.read(4))
    data = file.read(size) if begin + 4 + size == end else b""
    if len(data) != size:
        raise EOFError
    return data


def _chunks(text: str, path: str) -> list[Chunk]:
    try:
        told = json.loads(text)
        if told["config"]["data_format"] != ["bytes"] or told["config"]["compression"]:
            raise ValueError("it holds no FLAC pieces")
        chunks = [Chunk(str(c["filename"]), int(c["chunk_size"]), int(c["chunk_bytes"])) for c in told["chunks"]]
        if not chunks or any(Path(c.name).name != c.name or c.n_pieces < 1 for c in chunks):
            raise ValueError("it lists no chunks, or strange ones")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error!r}; an index as `audiodiff shard` writes it is wanted") from None
    return chunks
