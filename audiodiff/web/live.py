"""Sound that is played while it is made: chunks of an answer, served as one WAV file whose end is not known yet."""

import queue
import secrets
import struct
import threading
from collections.abc import Iterator

import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

PLACE = "audiodiff-live"
PATIENCE = 120.0  # seconds for which a listener waits for the next chunk
MOST = 64  # streams that are remembered; older ones were listened to, or never will be
UNKNOWN = 0xFFFFFFFF


class LiveStream:
    """Hold the chunks of a sound until they are fetched.

    Args:
        sample_rate: Hz.
        channels: Of each chunk.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.name = secrets.token_urlsafe(12)
        self._header = wav_header(sample_rate, channels)
        self._chunks: queue.Queue[bytes | None] = queue.Queue()

    def put(self, samples: np.ndarray) -> None:
        """Add samples, int16, [T, C]."""
        self._chunks.put(samples.astype("<i2").tobytes())

    def end(self) -> None:
        """Tell that no more come."""
        self._chunks.put(None)

    def player(self) -> str:
        """Write the element that plays the sound as it comes; its address is relative to the page's."""
        return f'<audio controls autoplay src="{PLACE}/{self.name}.wav"></audio>'

    def content(self) -> Iterator[bytes]:
        """Yield the file as it is made; end where it ends, or where nothing comes any more."""
        yield self._header
        while True:
            try:
                chunk = self._chunks.get(timeout=PATIENCE)
            except queue.Empty:
                return
            if chunk is None:
                return
            yield chunk


class LiveSounds:
    """Serve streams by their names, each to one listener."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[str, LiveStream] = {}

    def open(self, sample_rate: int, channels: int) -> LiveStream:
        """Begin a stream."""
        stream = LiveStream(sample_rate, channels)
        with self._lock:
            self._streams[stream.name] = stream
            while len(self._streams) > MOST:
                self._streams.pop(next(iter(self._streams))).end()
        return stream

    def route(self) -> Route:
        """Return the route under which a server finds the streams."""
        return Route(f"/{PLACE}/{{name}}.wav", self._serve)

    async def _serve(self, request: Request) -> Response:
        with self._lock:
            stream = self._streams.pop(request.path_params["name"], None)
        if stream is None:
            return Response("no such sound, or it was listened to already", 404)
        return StreamingResponse(stream.content(), media_type="audio/wav", headers={"Cache-Control": "no-store"})


def wav_header(sample_rate: int, channels: int) -> bytes:
    """Write the header of a 16-bit WAV file of unknown length.

    >>> len(wav_header(16000, 1))
    44
    """
    width = 2 * channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, sample_rate, sample_rate * width, width, 16)
    return struct.pack("<4sI4s", b"RIFF", UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", UNKNOWN)
