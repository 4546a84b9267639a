"""Store what a graph holds in as few bytes as keep it: a shipped model's file is a quarter as large, sounds alike.

    weights of eight bits       int8 [rows, …] · step [rows]                    as `models.quantization` stores them
    weights of sixteen bits     float16
    matrices of transforms      wave[(sample · bin) mod n_fft] · window         as `transforms.Factors` computes them

The nodes that compute the float32 values depend on constants alone: a runtime computes them once, when it loads the
file. Weights that would not come back to the last bit stay as they are.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audiodiff.export.transforms import Factors, RealTransform
from audiodiff.models.quantization import FEWEST, STEP, packed, unpacked

if TYPE_CHECKING:
    import onnx

W = "weight"


def factors_in(module: nn.Module) -> dict[str, Factors]:
    """Map the prefixes of matrices in a module's graph to what they are made of."""
    parts = module.named_modules()
    return {f"{name}.": part.factors for name, part in parts if isinstance(part, RealTransform)}


def narrow(encoded: bytes, factors: Mapping[str, Factors]) -> bytes:
    """Replace the large constants of a serialised graph by nodes that compute them.

    Args:
        encoded: The ONNX model.
        factors: Of the matrices PREFIXforward_matrix and PREFIXbackward_matrix, by their prefix.
    """
    import onnx

    model = onnx.load_from_string(encoded)
    constants, later = list(model.graph.initializer), list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    for constant in constants:
        sources = _sources(constant, factors)
        model.graph.initializer.extend(sources.constants if sources.nodes else [constant])
        model.graph.node.extend(sources.nodes)
    model.graph.node.extend(later)
    return model.SerializeToString()


class _Sources:
    """Collect the constants and the nodes from which one value is computed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.constants: list[Any] = []
        self.nodes: list[Any] = []

    def constant(self, value: Tensor) -> str:
        """Add a constant, and return its name."""
        import onnx

        self.constants.append(onnx.numpy_helper.from_array(value.numpy(), f"{self.name}_{len(self.constants)}"))
        return self.constants[-1].name

    def apply(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        import onnx

        output = f"{self.name}_{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def floats(self, value: str) -> str:
        """Cast to float32."""
        return self.apply("Cast", value, to=1)

    def done(self) -> None:
        """Give the last output the name of the value."""
        self.nodes[-1].output[0] = self.name


def _sources(constant: "onnx.TensorProto", factors: Mapping[str, Factors]) -> _Sources:
    """Return what computes a constant; nothing if it must stay as it is."""
    import onnx

    sources = _Sources(constant.name)
    if constant.data_type != onnx.TensorProto.FLOAT:
        return sources
    for suffix in ("forward_matrix", "backward_matrix"):
        if (parts := factors.get(constant.name.removesuffix(suffix))) and constant.name.endswith(suffix):
            _matrix(sources, parts, suffix == "backward_matrix")
            return sources
    value = torch.from_numpy(onnx.numpy_helper.to_array(constant).copy())
    if value.numel() >= FEWEST:
        _weights(sources, value)
    return sources


def _matrix(sources: _Sources, factors: Factors, is_inverse: bool) -> None:
    """Compute [2, N, K], or [2, K, N], in float64, and round it."""
    numbers = sources.constant(factors.samples[:, None]), sources.constant(factors.bins)
    product = sources.apply("Mul", *numbers)
    index = sources.apply("Mod", product, sources.constant(torch.tensor(factors.n_fft)))
    value = sources.apply("Gather", sources.constant(factors.wave), index, axis=1)
    windows = [factors.forward[:, None]]
    if is_inverse:
        value = sources.apply("Transpose", value, perm=[0, 2, 1])
        windows = [factors.shares[:, None], factors.backward]
    for window in windows:
        value = sources.apply("Mul", value, sources.constant(window.contiguous()))
    sources.floats(value)
    sources.done()


def _weights(sources: _Sources, value: Tensor) -> None:
    """Find the narrowest of int8 rows along any axis and float16 that keeps weights exactly."""
    for axis in range(value.ndim if value.ndim > 1 else 0):
        stored = packed({W: value.movedim(axis, 0)})
        if torch.equal(unpacked(stored)[W].movedim(0, axis), value):
            steps = stored[W + STEP].reshape([-1 if n == axis else 1 for n in range(value.ndim)])
            whole = sources.floats(sources.constant(stored[W].movedim(0, axis).contiguous()))
            sources.apply("Mul", whole, sources.constant(steps))
            sources.done()
            return
    if torch.equal(value.half().float(), value):
        sources.floats(sources.constant(value.half()))
        sources.done()
