"""Open audio files piece by piece: repair the headers of streamed WAV files, keep the MP3 decoder quiet.

A program that writes WAV into a pipe cannot go back to fill in the length, and leaves 0 or a largest value there
(sox and espeak 0x7FFFF000, arecord 0x80000000, ffmpeg 0xFFFFFFFF). The samples of such a file end where the file ends.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import struct
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.utils.files import check_readable
from audiodiff.utils.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np
    import soundfile
    import torch
    from torch import Tensor
else:
    np = lazy_module("numpy")
    torch = lazy_module("torch")

log = logging.getLogger(__name__)
LARGEST = 0xFFFF0000  # a length field from here on, or near 2^31, stands for "unknown"
HALF = range(0x7FFF0000, 0x80001000)
OTHERS = {b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"riff"}  # first bytes of formats
LOWEST_RATE, HIGHEST_RATE = 1000, 10**7  # Hz; others make minutes of a moment, or a moment of minutes
BLOCK = 2**26  # numbers that are decoded at once, 256 MB
COMPLAINTS = (b"[src/libmpg123", b"Note:", b"Warning:", b"ERROR:", b"error:")
_damaged: set[str] = set()  # files whose damage was logged
_stderr = threading.RLock()  # held while the process's standard error is redirected


class Reader:
    """Read an open audio file from any sample on.

    Attributes:
        sample_rate: In Hz, from the file's header.
        n_samples: Samples of each channel, from the file's header.
        cut_short: Whether the file ends before the audio that its header announces.
    """

    def __init__(self, file: soundfile.SoundFile, name: str, cut_short: bool = False) -> None:
        self._file, self._name, self.cut_short = file, name, cut_short
        self.sample_rate: int = file.samplerate
        self.n_samples: int = file.frames

    def read(self, start: int = 0, frames: int = -1) -> Tensor:
        """Read what `array` does, as a tensor."""
        return torch.from_numpy(self.array(start, frames))

    def array(self, start: int = 0, frames: int = -1) -> np.ndarray:
        """Read `frames` samples from sample `start` on, fewer where the file ends; -1 reads to the end.

        Returns:
            [C, T], float32, full scale = 1.

        Raises:
            ValueError: The samples cannot be decoded, there are none, or some are not finite.
        """
        # After a seek libmpg123 misses the frames before, and complains of whole files.
        with _decoding(self._name, self._file.format == "MP3", report=not start):
            self._file.seek(min(start, self.n_samples))
            samples = self._samples(self.n_samples if frames < 0 else frames)
        if not len(samples):
            raise ValueError(f"{self._name}: holds no samples; the file is empty or cut short")
        if not np.isfinite(samples).all():
            raise ValueError(f"{self._name}: holds samples that are NaN or infinite; repair or re-export the recording")
        return np.ascontiguousarray(samples.T)

    def _samples(self, most: int) -> np.ndarray:
        """Read [T, C] block by block: a damaged header may announce more than memory holds."""
        blocks, block = [], max(1, BLOCK // self._file.channels)
        while most > 0:
            blocks.append(self._file.read(min(most, block), dtype="float32", always_2d=True))
            most = most - block if len(blocks[-1]) == block else 0
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros((0, 1), np.float32)])

    def pieces(self, seconds: float = 10.0) -> Iterator[Tensor]:
        """Read the whole file piece by piece, [C, T] each, in little memory; raise what `array` raises."""
        return map(torch.from_numpy, self.arrays(seconds))

    def arrays(self, seconds: float = 10.0) -> Iterator[np.ndarray]:
        """Read what `pieces` does, as arrays."""
        frames = max(1, int(seconds * self.sample_rate))
        yield self.array(0, frames)
        for start in range(frames, self.n_samples, frames):
            yield self.array(start, frames)


def check_is_there(path: str | Path, name: str | None = None) -> str | Path:
    """Return an audio file's path if there is such a file to read; errors call it by its name, if it has another.

    Raises:
        ValueError: There is none.
    """
    if not os.path.isfile(path):  # unlike Path's, also false of a name that is too long
        raise ValueError(f"{name or path}: no such file; give an audio file")
    check_readable(path, name)
    return path


@contextlib.contextmanager
def opened(source: str | Path | bytes, name: str = "") -> Generator[Reader]:
    """Open an audio file, or the bytes of one.

    Args:
        source: Any file that libsndfile reads (WAV, FLAC, Ogg, Opus, MP3, AIFF, …), or its content.
        name: Of bytes, in messages.

    Raises:
        ValueError: The file is missing or is not audio, or has an impossible sample rate.
    """
    import soundfile  # here, and not above, since it loads a shared library

    name = name or str(source)
    if not isinstance(source, bytes):
        check_is_there(source, name)
    with contextlib.ExitStack() as stack:
        with _decoding(name, _may_be_mp3(source)):
            file, cut_short = _readable(source)
            if isinstance(file, io.IOBase):
                stack.enter_context(file)
            decoder = stack.enter_context(soundfile.SoundFile(file))
        if not LOWEST_RATE <= decoder.samplerate <= HIGHEST_RATE:
            raise ValueError(f"{name}: its header says {decoder.samplerate} Hz, at which there is no sound; mend it")
        yield Reader(decoder, name, cut_short)


def _readable(source: str | Path | bytes) -> tuple[Any, bool]:
    """Return what soundfile opens, and whether the file ends before the audio that its header announces."""
    if isinstance(source, bytes):
        return io.BytesIO(source), False
    path = Path(source)
    (place, size), total = _data_chunk(path), path.stat().st_size
    unknown = size in HALF or size >= LARGEST or (size == 0 and place < total and not _are_chunks(path, place))
    if place and unknown and place + size < total:
        return _Patched(path, place - 4, struct.pack("<I", min(total - place, LARGEST - 1))), False
    return _openable(path), not unknown and place + size > total


def _data_chunk(path: Path) -> tuple[int, int]:
    """Find where the samples of a WAV file begin, and how many bytes its header announces; zeros for other files."""
    with open(path, "rb") as file:
        magic, _, form = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        while (magic, form) == (b"RIFF", b"WAVE") and len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                return file.tell(), size
            file.seek(size + size % 2, os.SEEK_CUR)
    return 0, 0


def _are_chunks(path: Path, place: int) -> bool:
    """Tell whether chunks fill the rest of a file: then its audio is empty, and they are notes."""
    total = path.stat().st_size
    with open(path, "rb") as file:
        while place + 8 <= total:
            file.seek(place)
            name, size = struct.unpack("<4sI", file.read(8))
            if not (name.isascii() and name.decode().isprintable()):
                return False
            place += 8 + size + size % 2
    return total - 8 < place <= total + 1


def _openable(path: Path) -> Path | bytes:
    """Return what soundfile opens: names that are no UTF-8, as old disks hold, are to be given as bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


class _Patched(io.FileIO):
    """Read a file with some of its bytes replaced."""

    def __init__(self, path: Path, place: int, content: bytes) -> None:
        super().__init__(path)
        self._place, self._content = place, content

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer with what stands at the current place, as the file should hold it."""
        begin = self.tell()
        count = super().readinto(buffer) or 0
        for i in range(len(self._content)):
            if 0 <= (at := self._place + i - begin) < count:
                buffer[at : at + 1] = self._content[i : i + 1]
        return count


@contextlib.contextmanager
def _decoding(name: str, noisy: bool, report: bool = True) -> Generator[None]:
    """Turn what libsndfile raises into one line, and what libmpg123 prints into another."""
    import soundfile

    try:
        with _quiet(name, report) if noisy else contextlib.nullcontext():
            yield
    except (soundfile.SoundFileError, RuntimeError, OSError, TypeError) as error:  # TypeError: headerless .raw
        reason = str(error).rpartition(": ")[2].rstrip(". ")
        raise ValueError(f"{name}: cannot be read as audio ({reason}); give a WAV, FLAC, Ogg or MP3 file") from None


def _may_be_mp3(source: str | Path | bytes) -> bool:
    """Tell whether libsndfile may take a file for an MP3, as it does where the first bytes are of no other format."""
    if not isinstance(source, bytes):
        with open(source, "rb") as file:
            source = file.read(4)
    return source[:4] not in OTHERS


@contextlib.contextmanager
def _quiet(name: str, report: bool) -> Generator[None]:
    """Keep libmpg123's lines, which name no file, off the terminal; log once that the file is damaged, on `report`.

    They come from C, past `sys.stderr`: the process's standard error is redirected meanwhile, and what others wrote
    there is handed on.
    """
    with _stderr, tempfile.TemporaryFile() as caught:
        try:
            terminal = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            lines = [line for line in caught.read().splitlines(keepends=True) if line.strip()]
            complaints = [line for line in lines if line.startswith(COMPLAINTS)]
            os.write(2, b"".join(line for line in lines if line not in complaints))
            if report and complaints and name not in _damaged:
                _damaged.add(name)
                first = complaints[0].decode(errors="replace").strip()
                log.warning("%s: damaged, and read as far as it can be decoded (%s)", name, first)
