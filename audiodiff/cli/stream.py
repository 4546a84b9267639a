"""Raw mel frames in, raw samples out: what is behind `audiodiff vocode --raw - -`."""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from audiodiff.cli import loading, messages

if TYPE_CHECKING:
    from torch import Tensor

    from audiodiff.models import Vocoder
    from audiodiff.pipelines.vocoding import VocodeRecipe

AT_ONCE = 2**16  # bytes
FILES = (b"\x93NUMPY", b"PK\x03\x04", b"RIFF")  # how .npy, .pt and .wav begin


def run(options: argparse.Namespace) -> int:
    """Stream standard input to standard output.

    Raises:
        ValueError: The stream ends within a frame, or holds what is no mel; what came before is written.
    """
    from audiodiff import audio
    from audiodiff.models import registry
    from audiodiff.pipelines import resynthesis

    if options.json or loading.convention_of(options) is not None:
        raise ValueError("--raw: a stream has no report, and its mel is the model's own: leave out --json and --mel-…")
    if _is_live(options):
        options.model = options.model or registry.LIVE_MODEL
    vocoder = loading.load_vocoder(options)
    recipe = loading.recipe_of("vocode", vocoder, options)
    sampler = _sampler(vocoder, recipe, options)
    begun, first, samples, clipped = time.monotonic(), None, 0, 0
    frames = Frames(sys.stdin.buffer, vocoder.mel.n_mels)
    arriving = resynthesis.watched(vocoder, frames)
    with recipe.arithmetic(vocoder):
        for piece in resynthesis.vocode_stream(vocoder, arriving, **sampler):
            pcm, over = audio.to_pcm(piece)
            sys.stdout.buffer.write(pcm.astype("<i2").tobytes())
            sys.stdout.buffer.flush()
            first = time.monotonic() - begun if first is None else first
            samples, clipped = samples + piece.shape[-1], clipped + over
    seconds, wall = samples / vocoder.sample_rate, time.monotonic() - begun
    messages.say(f"{seconds:.2f} s of sound in {wall:.2f} s, the first after {first:.2f} s")
    if clipped:
        messages.say(f"{clipped} samples were clipped: a stream cannot be lowered as a whole")
    frames.check()
    return 0


def _chosen(options: argparse.Namespace) -> list[str]:
    """Name the options given that say how to sample."""
    names = ("steps", "solver", "times", "start", "chunk_seconds")
    return [name for name in names if getattr(options, name) is not None]


def _is_live(options: argparse.Namespace) -> bool:
    """Tell whether the least delay is wanted: by --live, or because nothing else is."""
    return options.live or (options.live is None and not _chosen(options))


def _sampler(vocoder: "Vocoder", recipe: "VocodeRecipe", options: argparse.Namespace) -> dict[str, Any]:
    """Choose between the least delay and the recipe's sampler, and say what the delay is."""
    from audiodiff.models import named_starts

    if options.live and (chosen := _chosen(options)):
        raise ValueError(f"--live decides how to sample: leave out --{chosen[0].replace('_', '-')}")
    rate = vocoder.sample_rate / vocoder.hop_length
    if _is_live(options):
        messages.say(f"live: the sound comes {1000 * vocoder.live_delay():.0f} ms after the mel")
        return {"live": True, "seed": recipe.seed}
    start = named_starts.build_start(recipe.start, vocoder.mel)
    sampler = recipe.sampler() | {"start": start}
    ahead = vocoder.look_ahead(**{name: sampler[name] for name in ("start", "solver", "times")})
    chunk = recipe.chunk_frames or max(1, ahead)
    messages.say(
        f"the sound comes {ahead / rate:.2f} s of look-ahead and {chunk / rate:.2f} s of a chunk after the mel"
    )
    return sampler | {"chunk_frames": chunk}


class Frames:
    """Turn a stream of bytes into frames as they arrive.

    Args:
        stream: What is read, until it ends.
        n_mels: Bands.

    Attributes:
        left: Bytes after the last whole frame.
    """

    def __init__(self, stream: IO[bytes], n_mels: int) -> None:
        self.stream = stream
        self.n_mels = n_mels
        self.left = b""

    def __iter__(self) -> "Iterator[Tensor]":
        """Yield what arrives, [1, n_mels, any], as soon as whole frames have.

        Raises:
            ValueError: It begins as a file does.
        """
        import numpy as np
        import torch

        size, begun = 4 * self.n_mels, False
        while arrived := self.stream.read1(AT_ONCE):  # type: ignore[attr-defined]
            pending = self.left + arrived
            if not begun and pending.startswith(FILES):
                raise ValueError("standard input is a file with a header, and raw frames are wanted: give it by name")
            begun = True
            whole = len(pending) // size * size
            self.left = pending[whole:]
            if whole:
                frames = np.frombuffer(pending[:whole], "<f4").astype(np.float32).reshape(-1, self.n_mels)
                yield torch.from_numpy(frames.T.copy())[None]

    def check(self) -> None:
        """Raise ValueError if the stream has ended within a frame."""
        if self.left:
            raise ValueError(
                f"the stream ends {len(self.left)} bytes into a frame of {4 * self.n_mels} ({self.n_mels} floats of 32 "
                "bits): the sound of what came before is written; has the mel as many bands?"
            )
