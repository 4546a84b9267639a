"""Reads the samples of a SoundFont 2 file: names and waveforms, nothing of its instruments.

Reference: SoundFont Technical Specification 2.01, sections 6 and 7 (chunks `smpl` and `shdr`).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HEADER = struct.Struct("<20s5IBbHH")  # name, start, end, loop start, loop end, rate, pitch, correction, link, type
RIGHT, FROM_ROM = 2, 0x8000


def samples(path: Path) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield name, waveform [T] in [-1, 1] and rate of each sample; of stereo pairs the left one alone.

    Raises:
        ValueError: The file is no SoundFont.
    """
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise ValueError(f"{path}: is no SoundFont 2 file")
    found = {}
    for kind, begin, size in _chunks(data, 12, len(data)):
        if kind == b"LIST":
            found |= {inner: (start, length) for inner, start, length in _chunks(data, begin + 4, begin + size)}
    if not {b"smpl", b"shdr"} <= found.keys():
        raise ValueError(f"{path}: holds no samples")
    begin, size = found[b"smpl"]
    pcm = np.frombuffer(data, "<i2", size // 2, begin)
    begin, size = found[b"shdr"]
    for at in range(begin, begin + size - 2 * HEADER.size + 1, HEADER.size):  # the last one marks the end
        name, start, end, _, _, rate, _, _, _, kind = HEADER.unpack_from(data, at)
        if kind not in (RIGHT, RIGHT | FROM_ROM) and start < end <= len(pcm) and rate:
            yield name.partition(b"\0")[0].decode("latin-1").strip(), pcm[start:end] / np.float32(32768), rate


def _chunks(data: bytes, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place and size of the chunks of a RIFF file."""
    while begin + 8 <= end:
        kind, size = data[begin : begin + 4], int.from_bytes(data[begin + 4 : begin + 8], "little")
        yield kind, begin + 8, size
        begin += 8 + size + size % 2
