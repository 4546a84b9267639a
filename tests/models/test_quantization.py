"""Weights in eight bits: near enough, small, and the same when they are packed again."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiodiff.models.base import Model
from audiodiff.models.quantization import narrowest, packed, unpacked


def weights(rows, columns, scale=1.0, seed=0):
    return scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 40), st.floats(-30, 30), st.integers(0, 99))
def test_packed_weights_are_off_by_half_a_step_of_their_row_at_most(rows, exponent, seed):
    tensor = weights(rows, 4096, 10.0**exponent, seed)
    back = unpacked(packed({"w": tensor}))["w"]
    assert ((back - tensor).abs() <= 0.5001 * tensor.abs().amax(1, keepdim=True) / 127).all()


@given(st.integers(1, 40), st.floats(-30, 30), st.integers(0, 99))
def test_weights_packed_twice_are_those_packed_once(rows, exponent, seed):
    once = unpacked(packed({"w": weights(rows, 4096, 10.0**exponent, seed)}))
    again = packed(once)
    assert torch.equal(unpacked(again)["w"], once["w"])
    assert narrowest(once) == torch.int8


def test_row_of_zeros_and_a_convolution_come_back():
    tensor = weights(8, 16 * 64).view(8, 16, 64).index_fill(0, torch.tensor([3]), 0.0)
    back = unpacked(packed({"w": tensor}))["w"]
    assert back.shape == tensor.shape
    assert bool((back[3] == 0).all())
    assert torch.isfinite(back).all()


def test_small_tensors_and_counts_keep_more():
    tensors = {"bias": weights(1, 64)[0], "scale": torch.ones(3, 3) / 3, "count": torch.tensor(70000)}
    back = unpacked(packed(tensors))
    assert back["count"] == 70000
    assert torch.allclose(back["bias"].float(), tensors["bias"], rtol=2**-11)
    assert narrowest({"bias": tensors["bias"]}) == torch.float32
    assert narrowest({"w": weights(64, 64).half().float()}) == torch.float16


@pytest.mark.parametrize("raw", [False, True])
def test_model_in_eight_bits_is_a_quarter_as_large_and_is_used_in_full(shipped_vocoder, tmp_path, raw):
    state = shipped_vocoder.state_dict()
    last = {name: 1.01 * tensor for name, tensor in state.items()} if raw else None
    shipped_vocoder.save(tmp_path / "small", raw=last, dtype=torch.int8)
    size = (tmp_path / "small.safetensors").stat().st_size
    assert size < 1.1 * (1 + raw) * sum(tensor.numel() for tensor in state.values())
    for chosen, wanted in (("ema", state), *((("raw", last),) if raw else ())):
        back = Model.load(tmp_path / "small.safetensors", weights=chosen).state_dict()
        for name, tensor in back.items():
            assert tensor.dtype == torch.float32
            assert (tensor - wanted[name]).abs().max() <= 0.0041 * wanted[name].abs().max() + 1e-7


@pytest.fixture(scope="module")
def shipped_vocoder():
    return Model.load("speech-16k")
