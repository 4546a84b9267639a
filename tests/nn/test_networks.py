"""Every network that a config offers keeps the same contract: identity at first, finite reach, told level and mel."""

import pytest
import torch
from support.drawn import draw
from torch import nn

from audiodiff.mel import MelSpec
from audiodiff.models.streaming import live_config
from audiodiff.nn import HybridNetwork, ParallelNetwork, SampleNetwork, SubBandNetwork
from audiodiff.training.hydra_config import composed, plain
from audiodiff.utils.config import build

MEL = MelSpec(16000, n_fft=64, win_length=64, hop_length=16, n_mels=5)
TRUNK = dict(width=8, dilations=(1, 2), n_stages=1, kernel=3, n_heads=2, attention_window=3, embedding=8)
HEARS = dict(n_mels=5, mel_hop_length=16)


def branch(hop):
    return HybridNetwork(hop_length=hop, n_fft=4 * hop, **TRUNK, **HEARS)


NETWORKS = {
    "hybrid": lambda: branch(8),
    "magnitudes in": lambda: HybridNetwork(8, 32, **TRUNK, **HEARS, magnitudes="input", mel=MEL),
    "magnitudes scale": lambda: HybridNetwork(8, 32, **TRUNK, **HEARS, magnitudes="residual", mel=MEL),
    "magnitudes both": lambda: HybridNetwork(8, 32, **TRUNK, **HEARS, magnitudes="both", mel=MEL),
    "sub-bands": lambda: SubBandNetwork(
        8, 32, 5, 8, (1, 2), 2, 3, n_heads=2, embedding=8, n_mels=5, mel_hop_length=16, encoder_width=8
    ),
    "resolutions": lambda: ParallelNetwork([branch(8), branch(16)]),
    "samples": lambda: SampleNetwork(16, 5, width=8, n_layers=4, cycle=3, embedding=8, encoder_width=8),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def randomised(name):
    """A network whose parameters are all drawn at random; float64."""
    network, generator = NETWORKS[name]().double(), torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return network


@every_network
def test_network_starts_as_the_identity_and_keeps_the_length(name):
    network, x = NETWORKS[name]().double(), draw(2, 1, 16 * 11)
    out = network(x, draw(2), network.encode(draw(2, 5, 11)))
    assert torch.allclose(out, x, atol=1e-12)


@every_network
def test_network_trains_all_of_its_parameters(name):
    network = randomised(name)
    network(draw(1, 1, 160), draw(1), network.encode(draw(1, 5, 10))).square().sum().backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]


@every_network
def test_network_hears_level_and_mel(name):
    network, x = randomised(name), draw(1, 1, 160)
    mels = draw(1, 5, 10), draw(1, 5, 10, seed=1)
    base, noisier, other = (
        network(x, torch.full((1,), level).double(), network.encode(mels[i])) for level, i in ((0, 0), (1, 0), (0, 1))
    )
    assert not torch.allclose(noisier, base, atol=1e-3)
    assert not torch.allclose(other, base, atol=1e-3)


@every_network
def test_network_may_be_cut_in_pieces(name):
    """What lies further away than the receptive field changes nothing: the middle of the whole is that of a piece."""
    network = randomised(name)
    hop = network.hop_length
    context = -(-network.receptive_field() // hop)
    frames = 2 * (2 * context + 6)  # even: mel frames may be two hops long
    x, condition = draw(1, 1, frames * hop), network.encode(draw(1, 5, frames * hop // 16))
    whole = network(x, draw(1), condition)
    begin = context + 3
    low, high = begin - context, begin + 5 + context
    piece = network(x[..., low * hop : high * hop], draw(1), condition[:, low:high])
    middle = piece[..., context * hop : (context + 5) * hop]
    assert torch.allclose(middle, whole[..., begin * hop : (begin + 5) * hop], atol=1e-9)


def test_expected_magnitudes_are_those_that_the_mel_announces():
    """A mel of steady white noise announces the same magnitude everywhere, at each of the network's frames and bins."""
    network = NETWORKS["magnitudes both"]().double()
    mel = torch.full((1, 5, 3), 0.0, dtype=torch.float64) + MEL.compress(
        0.7 * torch.ones(33, dtype=torch.float64) @ _filters()
    ).view(1, 5, 1)
    assert torch.allclose(network.expected(mel), torch.tensor(0.7, dtype=torch.float64).log().expand(1, 6, 17))


def _filters():
    from audiodiff.mel.filterbank import mel_filters

    return mel_filters(MEL, torch.zeros((), dtype=torch.float64))


def test_magnitudes_ask_for_one_of_four_words_and_for_the_mel():
    with pytest.raises(ValueError, match="choose none, input, residual or both"):
        HybridNetwork(8, 32, **TRUNK, magnitudes="all", mel=MEL)
    with pytest.raises(ValueError, match="need the mel's parameters"):
        HybridNetwork(8, 32, **TRUNK, **HEARS, magnitudes="both")


def test_parallel_hops_must_divide_the_largest():
    with pytest.raises(ValueError, match="hop_length=12 must divide the largest, 16"):
        ParallelNetwork([HybridNetwork(12, 48, **TRUNK), HybridNetwork(16, 64, **TRUNK)])


@pytest.mark.parametrize("model", ["vocoder", "live", "band-split", "multi-resolution", "diffwave"])
def test_each_contestant_of_the_tournament_is_a_config(model):
    vocoder = build(plain(composed([f"model={model}", "data.path=recordings"]))["model"])
    mel = torch.full((1, 80, 4), -5.0)
    assert vocoder.generate(mel, steps=1).shape == (1, 1, 4 * 256)


def test_live_config_lags_less_than_a_tenth_of_a_second_in_the_mel_of_vocos():
    vocoder = build(plain(composed(["model=live", "mel=vocos-24k-100", "data.path=x"]))["model"])
    assert vocoder.live_delay() == pytest.approx(0.096)
    assert len(live_config(vocoder).times) == 2  # its network included


def test_default_config_sees_more_than_a_second_ahead():
    vocoder = build(plain(composed(["model=vocoder", "start=mel", "data.path=x"]))["model"])
    assert vocoder.look_ahead(steps=1) * 256 / 16000 > 1
