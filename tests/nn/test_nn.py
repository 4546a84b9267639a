"""The network: what it sees, what it starts as, that it may be cut in pieces, and what it computes."""

import pytest
import torch
from support.drawn import draw
from torch import nn
from torch.nn import functional

from audiodiff.nn import HybridNetwork
from audiodiff.nn.attention import AttentionBlock, WindowedAttention
from audiodiff.nn.conv import ConvBlock, DepthwiseConv, Modulation
from audiodiff.nn.embedding import LogSNREmbedding
from audiodiff.nn.mel_encoder import MelEncoder
from audiodiff.nn.stft_frontend import LappedTransform

SMALL = dict(
    hop_length=8, n_fft=32, width=8, dilations=(1, 2), n_stages=2, kernel=3, n_heads=2, attention_window=3, embedding=8
)
SIZES = [(32, 8), (512, 128), (33, 8), (30, 7), (100, 50), (600, 147)]  # n_fft, hop: powers of two, odd, not dividing


def randomised(module, seed=0, std=0.3):
    """Gives every parameter a random value, those too that start at zero; float64."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, std=std, generator=generator)
    return module


def small(seed=0, **changes):
    return randomised(HybridNetwork(**{**SMALL, **changes}), seed)


@pytest.mark.parametrize(
    "changes", [{}, {"hop_length": 7}, {"n_fft": 64, "n_stages": 1}, {"kernel": 5, "attention_window": 1}]
)
def test_network_sees_its_receptive_field_and_nothing_beyond(changes):
    network = small(**changes)
    hop, field = network.transform.hop_length, network.receptive_field()
    n = hop * (2 * (field // hop + 2) + 1)
    middle = n // 2
    x = draw(1, 1, n).requires_grad_()
    out = network(x, draw(1))
    farthest = 0
    for position in range(middle, middle + hop):  # every place within a frame
        (gradient,) = torch.autograd.grad(out[0, 0, position], x, retain_graph=True)
        distance = (torch.arange(n) - position).abs()
        assert bool((gradient[0, 0][distance > field] == 0).all())
        farthest = max(farthest, int(distance[gradient[0, 0] != 0].max()))
    # The outermost samples of a window are (nearly) zero and a frame's ends move by one hop; the rest is reached.
    assert field - 2 * hop < farthest <= field


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
def test_network_starts_as_the_identity(n_fft, hop):
    network = HybridNetwork(**{**SMALL, "n_fft": n_fft, "hop_length": hop}).double()
    x = draw(2, 1, 12 * hop)
    assert torch.allclose(network(x, draw(2)), x, atol=1e-12)  # float64, from the first sample to the last


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_network_keeps_the_length(n_fft, hop, frames):
    network = small(n_fft=n_fft, hop_length=hop)
    assert network(draw(2, 1, frames * hop), draw(2)).shape == (2, 1, frames * hop)


def test_network_moves_with_its_input_by_whole_hops():
    network, hop = small(), SMALL["hop_length"]
    field = network.receptive_field()
    x = torch.nn.functional.pad(draw(1, 1, 40 * hop), (2 * field // hop * hop, 2 * field // hop * hop))
    shifted = torch.roll(x, 5 * hop, -1)
    inner = slice(field // hop * hop, -field // hop * hop)
    assert torch.allclose(network(shifted, draw(1))[..., inner], network(x, draw(1)).roll(5 * hop, -1)[..., inner])


def test_network_treats_each_clip_of_a_batch_alone():
    network, x, log_snr = small(n_mels=5, mel_hop_length=8), draw(3, 1, 160), draw(3, seed=1)
    condition = network.encode(draw(3, 5, 20, seed=2))
    together = network(x, log_snr, condition)
    for i in range(3):
        alone = network(x[i : i + 1], log_snr[i : i + 1], condition[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-12)


def test_network_output_is_a_complex_mask_and_a_residual():
    """With the trunk's last layer fixed by hand: multiply the spectrum by 1 + (2 + 3i), add a constant spectrum."""
    network = HybridNetwork(**SMALL).double()
    bins = SMALL["n_fft"] // 2 + 1
    network.norm.weight.data.zero_()
    network.norm.bias.data.copy_(torch.eye(SMALL["width"])[0])
    mask, residual = torch.tensor([2.0, 3.0]).repeat(bins), draw(2 * bins)  # real and imaginary parts take turns
    network.outward.weight.data[:, 0] = torch.cat([mask, residual])
    x = draw(1, 1, 160)
    wanted = network.transform.analyse(x) * (3 + 3j) + torch.view_as_complex(residual.view(-1, 2))
    assert torch.allclose(network(x, draw(1)), network.transform.synthesise(wanted), atol=1e-12)


def test_network_runs_under_bfloat16_autocast():
    network, x = small().float(), draw(1, 1, 160, dtype=torch.float32)
    exact = network(x, torch.zeros(1))
    with torch.autocast("cpu", torch.bfloat16):
        out = network(x, torch.zeros(1))
    assert out.dtype == torch.float32
    assert float((out - exact).norm() / exact.norm()) < 0.05  # bfloat16 has 8 bits; six layers


def test_network_without_mel_refuses_to_encode_one():
    with pytest.raises(ValueError, match="n_mels=0"):
        small().encode(draw(1, 5, 10))


def test_network_hop_must_divide_that_of_the_mel():
    with pytest.raises(ValueError, match=r"hop_length=8 must divide the mel's hop_length=441.*for instance 21"):
        HybridNetwork(**{**SMALL, "n_mels": 5, "mel_hop_length": 441})


def naive_attention(attention, h):
    """Dense softmax over all frames with -inf beyond the reach, one head at a time, from the same weights."""
    q, k, v = attention.qkv(h).chunk(3, dim=-1)
    frames, size = h.shape[1], h.shape[2] // attention.n_heads
    distance = torch.arange(frames)[None] - torch.arange(frames)[:, None]  # key minus query
    heads = []
    for n in range(attention.n_heads):
        part = slice(n * size, (n + 1) * size)
        bias = attention.bias[n][(distance + attention.context).clamp(0, 2 * attention.context)]
        scores = q[..., part] @ k[..., part].transpose(1, 2) / size**0.5 + bias
        scores = scores.masked_fill(distance.abs() > attention.context, -torch.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    return attention.out(torch.cat(heads, -1))


@pytest.mark.parametrize("reach", [1, 3, 4])
@pytest.mark.parametrize("frames", [1, 2, 3, 8, 13])
def test_attention_equals_a_dense_masked_softmax(reach, frames):
    attention, h = randomised(WindowedAttention(6, 2, reach), std=1.0), draw(2, frames, 6)
    # The scores pass through float32, as they must in a bf16 network.
    assert torch.allclose(attention(h), naive_attention(attention, h), atol=1e-5)


def test_attention_goes_back_as_a_dense_masked_softmax_does():
    attention, h = randomised(WindowedAttention(6, 2, 3), std=1.0), draw(2, 13, 6).requires_grad_()
    found, wanted = (
        torch.autograd.grad(made.square().sum(), (h, *attention.parameters()))
        for made in (attention(h), naive_attention(attention, h))
    )
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


def test_attention_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="n_heads=4 must divide width=6"):
        WindowedAttention(6, 4, 2)


@pytest.mark.parametrize("block", [ConvBlock(8, 3, 2, 2.0, 4), AttentionBlock(WindowedAttention(8, 2, 3), 8, 2.0, 4)])
def test_network_blocks_start_closed(block):
    h = draw(2, 10, 8)
    assert torch.equal(block.double()(h, draw(2, 4)), h)


def test_network_blocks_add_what_their_gates_let_through():
    h, embedding = draw(2, 10, 8), draw(2, 4)
    block = randomised(ConvBlock(8, 3, 2, 2.0, 4))
    mixed, gate = block.modulation(block.conv(h), embedding)
    assert torch.allclose(block(h, embedding), h + gate * block.mlp(mixed), atol=1e-12)
    block = randomised(AttentionBlock(WindowedAttention(8, 2, 3), 8, 2.0, 4))
    mixed, gate = block.before_attention(h, embedding)
    halfway = h + gate * block.attention(mixed)
    mixed, gate = block.before_mlp(halfway, embedding)
    assert torch.allclose(block(h, embedding), halfway + gate * block.mlp(mixed), atol=1e-12)


def test_network_stores_its_parameters_and_nothing_else():
    network = small(n_mels=5, mel_hop_length=16)
    assert network.state_dict().keys() == dict(network.named_parameters()).keys()
    assert all(b.bias.shape == (2, 2 * 3 + 1) for b in network.modules() if isinstance(b, WindowedAttention))


def test_network_modulation_scales_shifts_and_gates_the_normalised_frames():
    modulation, h, embedding = randomised(Modulation(8, 4)), draw(2, 10, 8), draw(2, 4)
    mixed, gate = modulation(h, embedding)
    scale, shift, wanted_gate = (embedding @ modulation.linear.weight.T + modulation.linear.bias).chunk(3, -1)
    normalised = (h - h.mean(-1, keepdim=True)) / (h.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(mixed, normalised * (1 + scale[:, None]) + shift[:, None], atol=1e-12)
    assert torch.allclose(gate, wanted_gate[:, None], atol=1e-12)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (3, 4), (7, 2)])
def test_network_convolutions_reach_as_far_as_they_say(kernel, dilation):
    block = randomised(ConvBlock(4, kernel, dilation, 2.0, 4))
    h = draw(1, 61, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(block(h, draw(1, 4))[0, 30].sum(), h)
    seen = gradient[0].abs().sum(-1).nonzero().flatten() - 30
    assert (int(seen.min()), int(seen.max())) == (-block.context, block.context)
    assert block.context == dilation * (kernel - 1) // 2


def test_network_embedding_tells_all_log_snrs_apart():
    embedding = LogSNREmbedding(16).double()
    out = embedding(torch.linspace(-15, 20, 351).double())
    assert out.shape == (351, 16)
    # Neighbours 0.1 apart differ, and no two of 351 levels share an embedding.
    distances = torch.cdist(out, out) + torch.eye(351).double()
    assert float(distances.min()) > 1e-3
    assert float(embedding.frequencies.min()) == pytest.approx(1 / 8)
    assert float(embedding.frequencies.max()) == pytest.approx(4)
    embedding.mlp = nn.Identity()
    angles = embedding.frequencies * 1.7
    assert torch.allclose(
        embedding(torch.tensor([1.7], dtype=torch.float64))[0], torch.cat([angles.sin(), angles.cos()])
    )


def test_mel_encoder_gives_each_mel_frame_its_own_network_frames():
    encoder, mel = randomised(MelEncoder(5, 32, 8, 6, 12, 7)), draw(1, 5, 30)
    base = encoder(mel)
    assert base.shape == (1, 30 * 4, 12)
    changed = mel.clone()
    changed[..., 12] += 1
    moved = (encoder(changed) - base).abs().sum((0, 2)).nonzero().flatten()
    # kernels of 7, 3 and 1 taps: four frames to each side, four network frames for each
    assert (int(moved.min()), int(moved.max())) == (4 * (12 - 4), 4 * (12 + 4 + 1) - 1)


def test_mel_encoder_orders_network_frames_then_features():
    encoder, mel = randomised(MelEncoder(5, 24, 8, 6, 12, 3)), draw(1, 5, 7)
    first, act, second, _ = encoder.layers
    h = functional.conv1d((mel + 5) / 3, first.weight, first.bias, padding=1)
    h = functional.conv1d(act(h), second.weight, second.bias, padding=1)
    flat = encoder.outward(act(h))[0]  # [upsampling · features, frames]
    out = encoder(mel)[0]
    for frame, part, feature in ((0, 0, 0), (3, 2, 10), (6, 1, 5)):
        assert torch.isclose(out[3 * frame + part, feature], flat[part * 12 + feature, frame])


def test_depthwise_convolution_is_a_grouped_one():
    conv, h = randomised(DepthwiseConv(6, 5, 3)), draw(2, 20, 6)
    same = nn.functional.conv1d(h.transpose(1, 2), conv.weight, conv.bias, padding=6, dilation=3, groups=6)
    assert torch.allclose(conv(h), same.transpose(1, 2), atol=1e-12)


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
def test_lapped_transform_is_inverted_everywhere(n_fft, hop):
    transform, x = LappedTransform(n_fft, hop), draw(2, 1, 11 * hop)
    frames = transform.analyse(x)
    assert frames.shape == (2, 11, transform.n_bins)
    assert torch.allclose(transform.synthesise(frames), x, atol=1e-12)  # float64


def test_lapped_transform_of_unit_white_noise_has_unit_variance():
    frames = LappedTransform(512, 128).analyse(draw(1, 1, 128 * 2000))
    inner = torch.view_as_real(frames[0, 4:-4]).square().mean(0)[1:-1]  # bins 0 and n_fft / 2 are real
    assert float(inner.mean()) == pytest.approx(1, abs=0.01)  # standard error about 0.002
    assert float(inner.std()) < 0.06  # 2000 overlapping frames: about 0.04
