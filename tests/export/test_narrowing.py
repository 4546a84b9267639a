"""Constants of a graph in few bytes: what a runtime computes of them is what was there."""

import numpy as np
import pytest
import torch

from audiodiff.audio.stft import hann
from audiodiff.export.narrowing import factors_in, narrow
from audiodiff.export.transforms import Factors, RealTransform
from audiodiff.models.quantization import packed, unpacked

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

RANDOM = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
EIGHT_BITS = unpacked(packed({"w": RANDOM}))["w"]


def graph_of(name, value):
    """A graph that returns a constant."""
    held = onnx.numpy_helper.from_array(value.numpy(), name)
    output = onnx.helper.make_tensor_value_info("y", held.data_type, list(value.shape))
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", [name], ["y"])], "g", [], [output], [held])
    versions = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString()


def value_in(encoded, log=None):
    onnx.checker.check_model(encoded, full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(log or "")
    return torch.from_numpy(onnxruntime.InferenceSession(encoded, options).run(None, {})[0])


@pytest.mark.parametrize(
    ("value", "share"),
    [
        (EIGHT_BITS, 0.3),
        (EIGHT_BITS.T.contiguous(), 0.3),
        (EIGHT_BITS.reshape(64, 32, 3).permute(1, 2, 0).contiguous(), 0.3),
        (RANDOM.half().float(), 0.52),
        (RANDOM.flatten().half().float(), 0.52),
        (RANDOM, 1.0),
        (torch.zeros(64, 96), 0.3),
    ],
)
def test_weights_come_back_to_the_last_bit(value, share):
    encoded = graph_of("w", value)
    narrowed = narrow(encoded, {})
    assert torch.equal(value_in(narrowed), value)
    assert len(narrowed) < share * len(encoded) + 700  # nodes and names


@pytest.mark.parametrize("value", [EIGHT_BITS[:8].contiguous(), torch.arange(9000), RANDOM])
def test_constant_that_cannot_be_narrowed_stays(value):
    encoded = graph_of("w", value)
    assert len(onnx.load_from_string(narrow(encoded, {})).graph.node) == 1


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 128), (64, 16), (60, 16), (45, 15)])
@pytest.mark.parametrize("name", ["forward_matrix", "backward_matrix"])
def test_matrices_come_back_and_are_computed_once(name, n_fft, hop, tmp_path):
    window = hann(n_fft, n_fft, 1.0, torch.float32, torch.device("cpu"))
    module = torch.nn.Sequential(RealTransform(window, hop, (0, 0), "constant"))
    value = getattr(module[0], name)
    narrowed = narrow(graph_of(f"0.{name}", value), factors_in(module))
    back = value_in(narrowed, tmp_path / "loaded.onnx")
    torch.testing.assert_close(back, value, rtol=1e-7, atol=1e-12)
    assert {node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node} <= {"Identity"}
    assert len(narrowed) < 20 * n_fft * 8


def test_factors_make_the_windowed_transform_and_its_inverse():
    window = torch.rand(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    factors, frames = Factors(30, torch.arange(30), window, window), torch.eye(30, dtype=torch.float64)
    real, imaginary = frames @ factors.forward_matrix()
    torch.testing.assert_close(torch.complex(real, imaginary), torch.fft.rfft(frames * window), rtol=0, atol=1e-12)
    back = (torch.stack([real, imaginary]) @ factors.backward_matrix()).sum(0)
    torch.testing.assert_close(back, frames * window**2, rtol=0, atol=1e-12)


def test_prefix_of_another_matrix_is_not_taken():
    encoded = graph_of("0.forward_matrix", RANDOM)
    assert np.array_equal(value_in(narrow(encoded, {"1.": None})), RANDOM)
