"""Word error rate of a sound against the transcript of its recording, by an offline recogniser.

The recogniser is PocketSphinx with the American English model of its package; no text is needed. It makes many errors
of its own: compare rows of one table, not papers.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from audiodiff.audio import resample

RATE = 16000


def word_error_rate(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return substituted, missing and additional words over the words of the reference; nan where it has none."""
    words, recognised = (_transcript(w, sample_rate) for w in (reference, test))
    return edit_distance(words, recognised) / len(words) if words else float("nan")


def edit_distance(a: list[str], b: list[str]) -> int:
    """Count the words to substitute, insert or delete to turn one list into the other (Levenshtein, 1966).

    >>> edit_distance("the cat sat".split(), "the bat sat down".split())
    2
    """
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def _transcript(waveform: Tensor, sample_rate: int) -> list[str]:
    resampled = resample(waveform[None].float(), sample_rate, RATE)[0]
    return _recognised((resampled.clamp(-1, 1) * 32767).round().to(torch.int16).numpy().tobytes())


@functools.lru_cache(maxsize=64)
def _recognised(samples: bytes) -> list[str]:
    import pocketsphinx

    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw(np.frombuffer(samples, np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr.split() if hypothesis else []
