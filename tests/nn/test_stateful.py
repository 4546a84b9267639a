"""Networks that keep state per layer give what they give of the whole signal, however it arrives."""

import pytest
import torch

from audiodiff.mel import MelSpec
from audiodiff.nn import HybridNetwork
from audiodiff.nn.stateful import ConditionStream, HybridStream, can_stream

SPEC = MelSpec(8000, n_fft=64, win_length=64, hop_length=16, n_mels=8, f_max=4000.0)
FRAMES = 40
KINDS = {
    "two-sided": {},
    "causal": {"causal": True},
    "causal but for its encoder": {"causal": True, "encoder_causal": False},
    "told the magnitudes": {"magnitudes": "both", "mel": SPEC},
    "unconditioned": {"n_mels": 0},
}


def network_of(**options):
    small = {"width": 8, "dilations": (1, 2), "n_stages": 2, "kernel": 3, "n_heads": 2, "attention_window": 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = HybridNetwork(8, 32, embedding=8, **small, **{"n_mels": 8, "mel_hop_length": 16} | options).double()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(2, 1, FRAMES * 16), draw(2, 8, FRAMES) - 5


def streamed(network, x, mel, chunk):
    """Pushes chunks of so many mel frames and their samples."""
    stream = HybridStream(network, torch.full((2,), 1.5, dtype=torch.float64))
    encoder = ConditionStream(network) if network.mel_encoder else None
    out = []
    pieces = list(zip(x.split(chunk * 16, -1), mel.split(chunk, -1), strict=True))
    for i, (samples, frames) in enumerate(pieces):
        last = i == len(pieces) - 1
        condition = encoder.push(frames, last) if encoder else None
        out.append(stream.push(samples, condition, last))
    return out


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 3, 7, FRAMES])
@pytest.mark.parametrize("kind", KINDS)
def test_stream_of_any_chunks_is_the_whole(kind, chunk, inputs):
    network, (x, mel) = network_of(**KINDS[kind]), inputs
    condition = network.encode(mel) if network.mel_encoder else None
    whole = network(x, torch.full((2,), 1.5, dtype=torch.float64), condition)
    found = torch.cat(streamed(network, x, mel, chunk), -1)
    assert found.shape == whole.shape
    assert float((found - whole).abs().max()) < 1e-9 * float(whole.abs().max())  # float64


@torch.no_grad()
def test_causal_stream_lags_by_one_window_at_most(inputs):
    network, (x, mel) = network_of(causal=True), inputs
    arrived = heard = 0
    for piece, samples in zip(streamed(network, x, mel, 1)[:-1], x.split(16, -1), strict=False):
        arrived, heard = arrived + samples.shape[-1], heard + piece.shape[-1]
        assert arrived - heard <= 32  # n_fft


def test_networks_that_know_positions_or_labels_cannot_stream():
    assert can_stream(network_of())
    assert not can_stream(network_of(n_positions=4))
    assert not can_stream(network_of(n_mels=0, n_labels=3))
