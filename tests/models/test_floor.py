"""A mel of the same convention with a lower floor sounds as one with the model's own."""

import dataclasses

import torch
from conftest import tiny_vocoder

from audiodiff.mel import LogMel


def test_mel_with_a_lower_floor_sounds_as_with_the_models_own():
    vocoder = tiny_vocoder()
    quiet = 1e-6 * torch.randn(1, 1, 16000, generator=torch.Generator().manual_seed(0))
    own = vocoder.spectrogram(quiet)
    lower = LogMel(dataclasses.replace(vocoder.mel, floor=vocoder.mel.floor / 100))(quiet)
    assert float((own - lower).max()) > 1  # or it would show nothing
    whole = vocoder.generate(own, steps=1)
    torch.testing.assert_close(vocoder.generate(lower, steps=1), whole)
    pieces = torch.cat(list(vocoder.stream(iter(lower.split(20, -1)), steps=1)), -1)
    torch.testing.assert_close(pieces, torch.cat(list(vocoder.stream(iter(own.split(20, -1)), steps=1)), -1))
