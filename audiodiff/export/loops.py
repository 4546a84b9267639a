"""Loops of an exported graph: their body is traced once, between two marks, and becomes an ONNX Loop afterwards.

    traced:   … → Begin(state) → body → End(state) → …          one pass through the body, whatever the count
    folded:   … → Loop(count, state){ body } → …

`torch.export` knows loops too (`while_loop`), but traces their body ten times over; the marks make the export of a
vocoder several times faster. A body may use what was computed before it; a loop may hold another.
"""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from onnxscript import ir

DOMAIN = "audiodiff.loops"
numbers = itertools.count()


def repeat(body: Callable[..., tuple[Tensor, ...]], count: int, *state: Tensor) -> tuple[Tensor, ...]:
    """Apply a body to a state `count` times; while a graph is exported, apply it once between two marks.

    Args:
        body: Map a state to the next, of the same shapes and dtypes.
        count: Repetitions; one is no loop, and zero is the state itself.
        state: What the body begins with.
    """
    if count < 2 or not torch.compiler.is_exporting():
        for _ in range(count):
            state = body(*state)
        return tuple(state)
    attributes = {"loop": next(numbers), "count": count}
    return _mark("End", body(*_mark("Begin", state, attributes)), attributes)


def _mark(kind: str, state: tuple[Tensor, ...], attributes: dict[str, Any]) -> tuple[Tensor, ...]:
    dtypes, shapes = [z.dtype for z in state], [z.shape for z in state]
    marked = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{kind}", state, attributes, dtypes=dtypes, shapes=shapes, version=1
    )
    return tuple(marked)


def fold_loops(model: "ir.Model") -> None:
    """Turn all that lies between two marks into the body of an ONNX Loop, inner loops first."""
    begins = {node.attributes["loop"].as_int(): node for node in _marks(model, "Begin")}
    for end in _marks(model, "End"):  # in the order of the graph: an inner loop ends before its outer one
        _fold(model.graph, begins[end.attributes["loop"].as_int()], end)
    model.opset_imports.pop(DOMAIN, None)


def _marks(model: "ir.Model", kind: str) -> "list[ir.Node]":
    return [node for node in model.graph if node.domain == DOMAIN and node.op_type == kind]


def _fold(graph: "ir.Graph", begin: "ir.Node", end: "ir.Node") -> None:
    from onnxscript import ir

    inside = _between(graph, begin, end)
    inputs = [_like(output) for output in begin.outputs]
    ir.convenience.replace_all_uses_with(begin.outputs, inputs)
    number = ir.Value(name=f"{end.name}_number", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    going = ir.Value(name=f"{end.name}_going", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    passed = [ir.Node("", "Identity", [value]) for value in (going, *end.inputs)]  # what a body returns must be its own
    for node, value in zip(passed, (going, *end.outputs), strict=True):
        _describe(node.outputs[0], value)
        node.outputs[0].name = f"{value.name}_next"
    graph.remove(inside)
    body = ir.Graph(
        [number, going, *inputs],
        [node.outputs[0] for node in passed],
        nodes=[*inside, *passed],
        name=f"{end.name}_body",
    )
    count = ir.Value(name=f"{end.name}_count", const_value=ir.tensor(end.attributes["count"].as_int()))
    graph.register_initializer(count)
    loop = ir.Node("", "Loop", [count, None, *begin.inputs], [ir.AttrGraph("body", body)], num_outputs=len(end.outputs))
    for output, value in zip(loop.outputs, end.outputs, strict=True):
        _describe(output, value)
        output.name = value.name
    graph.insert_before(end, loop)
    ir.convenience.replace_all_uses_with(end.outputs, loop.outputs, replace_graph_outputs=True)
    graph.remove([end, begin], safe=True)


def _between(graph: "ir.Graph", begin: "ir.Node", end: "ir.Node") -> "list[ir.Node]":
    """Return the nodes that use what the begin gives, in the order of the graph; all of them lead to the end."""
    known, inside = set(begin.outputs), []
    for node in graph:
        if node is end:
            return inside
        if any(value in known for value in _used(node)):
            inside.append(node)
            known.update(node.outputs)
    raise ValueError("a loop does not end in the graph in which it begins")


def _used(node: "ir.Node") -> "list[ir.Value]":
    """Return the inputs of a node, and those of the nodes within its subgraphs."""
    bodies = [attribute.as_graph() for attribute in node.attributes.values() if attribute.type.name == "GRAPH"]
    return [*node.inputs, *(value for body in bodies for within in body for value in _used(within))]


def _like(value: "ir.Value") -> "ir.Value":
    from onnxscript import ir

    return ir.Value(name=value.name, type=value.type, shape=value.shape)


def _describe(value: "ir.Value", like: "ir.Value") -> None:
    value.type, value.shape = like.type, like.shape
