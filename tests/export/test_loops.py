"""Loops of exported graphs: bodies that are traced once do what the loop does."""

import numpy as np
import pytest
import torch

from audiodiff.export.loops import fold_loops, repeat

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


class Nested(torch.nn.Module):
    """Loops of two, of one within another, and of a value that passes unchanged."""

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        slope = 0.1 * signal.mean(-1, keepdim=True)  # computed before, used within

        def inner(x: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + slope + count, count + 1

        def outer(x: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return repeat(inner, 3, 0.5 * x, torch.zeros(1))[0] + 0 * kept, kept

        x, kept = repeat(outer, 4, signal, signal)
        return repeat(lambda x: (x.cos(),), 5, x)[0] + kept


@pytest.fixture(scope="module")
def folded():
    axes = ({1: torch.export.Dim("length", min=2)},)
    program = torch.onnx.export(
        Nested(), (torch.randn(1, 7),), dynamo=True, dynamic_shapes=axes, optimize=False, verbose=False
    )
    fold_loops(program.model)
    return program.model_proto


def operators(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from operators(attribute.g)


@pytest.mark.parametrize("length", [2, 7, 40])
def test_folded_loops_do_what_eager_loops_do(length, folded):
    signal = torch.randn(1, length, generator=torch.Generator().manual_seed(length))
    session = onnxruntime.InferenceSession(folded.SerializeToString())
    made = session.run(None, {session.get_inputs()[0].name: signal.numpy()})[0]
    np.testing.assert_allclose(made, Nested()(signal).numpy(), atol=1e-5, rtol=0)


def test_each_body_is_in_the_graph_once(folded):
    names = [node.op_type for node in operators(folded.graph)]
    assert (names.count("Loop"), names.count("Cos")) == (3, 1)
    assert {node.domain for node in operators(folded.graph)} == {""}


def test_loop_repeats_as_often_as_is_said():
    x, count = repeat(lambda x, n: (2 * x, n + 1), 3, torch.ones(2), torch.zeros(1, dtype=torch.int64))
    assert (x.tolist(), count.tolist()) == ([8.0, 8.0], [3])
