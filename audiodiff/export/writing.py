"""Writes a model as an ONNX file that says all that one must know to run it, and tries it before it is kept.

    part → torch.onnx.export → constants folded → described → tried by onnxruntime beside torch → OUT.onnx

Lengths and batches stay open. The description lies in the file's metadata, each entry a text, JSON where it is more
than a word. `demos/examples/onnx_vocode.py` and `demos/examples/onnx_generate.py` need nothing else.
"""

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audiodiff.export.targets import EXAMPLE, target_of
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.streaming import SamplingConfig
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.extras import requires_extra
from audiodiff.utils.files import atomic_file

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["PARTS", "check", "export", "session_of"]

PARTS = ("sampler", "step")
OPSET = 20
MOST_DIFFERENCE = 1e-3  # of the loudest sample, between onnxruntime and torch: more is no rounding


def export(
    model: Model,
    path: str | Path,
    part: str = "sampler",
    sampling: SamplingConfig | None = None,
    guidance: float | None = None,
) -> float:
    """Writes a part of a model, complete or not at all.

    Args:
        model: A vocoder or a generator.
        path: The .onnx file; one that exists is replaced.
        part: "sampler" for the whole way to the waveform, from mel and noise or from noise and a class; "step" for one
            call of the denoiser.
        sampling: How to sample; the model's own way by default.
        guidance: Scale of a generator's guidance, which the file holds fast; the model's own by default.

    Returns:
        By how much onnxruntime and torch differ on an example, as a share of the loudest sample.

    Raises:
        ValueError: The model, its network, the start or the solver cannot be exported, a library is missing, or what
            onnxruntime makes of the file differs.
    """
    check(model, part)
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    target = target_of(model, part, sampling, guidance)
    with atomic_file(path) as file:  # a folder that is missing is told at once
        encoded = _converted(target.module, target.inputs, target.outputs, model.hop_length, target.told)
        difference = _difference(target.module, target.inputs, encoded)
        if not difference < MOST_DIFFERENCE:
            raise ValueError(f"what onnxruntime makes of the file differs from torch by {difference:.2g}: not written")
        file.write(encoded)
    return difference


def check(model: Model, part: str) -> None:
    """Refuses what cannot be exported, before anything is computed.

    Raises:
        ValueError: A library of the extra `export` is missing, or there is no such part or kind of model.
    """
    requires_extra("export", "onnx", "onnxscript", "onnxruntime", purpose="export")
    if not isinstance(model, Vocoder | Generator):
        raise ValueError(f"a {type(model).__name__} cannot be exported: give a vocoder or a generator")
    if part not in PARTS:
        raise ValueError(f"part {part!r}: choose one of {', '.join(PARTS)}")


def _converted(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: tuple[str, ...], hop: int, told: Mapping[str, str]
) -> bytes:
    """Turns a module into a serialised ONNX model with open lengths.

    torch.onnx's own optimiser takes longer than all the rest and gains nothing over folding constants.
    """
    import onnxscript.optimizer
    from onnxscript import ir

    clips = torch.export.Dim("batch")
    frames = torch.export.Dim("frames", min=json.loads(told["min_frames"]))
    last = {"mel": {2: frames}, "noise": {2: hop * frames}, "x_t": {2: hop * frames}}
    shapes = tuple({0: clips} | last.get(name, {}) for name in inputs)
    with torch.no_grad(), _quiet():
        module(*inputs.values())  # fills the caches of windows and filters, which must not be filled while tracing
        program = _traced(
            module,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
    _check_open(program, {name: tuple(axes) for name, axes in zip(inputs, shapes, strict=True)})
    onnxscript.optimizer.fold_constants(program.model)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    ir.passes.common.DeduplicateInitializersPass(size_limit=2**31)(program.model)
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)  # paths of this machine's files
    program.model.metadata_props.update(told)
    program.model.producer_name, program.model.producer_version = "audiodiff", ""
    return ir.to_proto(program.model).SerializeToString()


def _check_open(program: "torch.onnx.ONNXProgram", axes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError if an axis that must be open was fixed, which torch.onnx does where a model asks its size."""
    for value in program.model.graph.inputs:
        if fixed := [axis for axis in axes[value.name] if isinstance(value.shape[axis], int)]:
            raise ValueError(
                f"torch cannot make a graph of this model (axis {fixed[0]} of {value.name} would be fixed)"
            )


def _traced(module: nn.Module, inputs: tuple[Tensor, ...], **how: Any) -> "torch.onnx.ONNXProgram":
    try:
        return torch.onnx.export(module, inputs, dynamo=True, **how)
    except Exception as error:  # whatever stops the tracer, there is no graph of this model
        cause = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"torch cannot make a graph of this model ({cause[:200]})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what libraries remark on their own insides to themselves."""
    remarks = logging.getLogger("torch.onnx")
    level = remarks.level
    remarks.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        remarks.setLevel(level)


def session_of(model: bytes | str | Path, threads: int = 1) -> "onnxruntime.InferenceSession":
    """Opens an ONNX model for the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _difference(module: nn.Module, inputs: Mapping[str, Tensor], encoded: bytes) -> float:
    """Returns the largest difference of what onnxruntime and torch make, on the example and on less of it."""
    session, found, frames = session_of(encoded), 0.0, EXAMPLE[1]
    for part in (frames, frames // 3):
        cut = {name: z[:1, ..., : z.shape[-1] * part // frames] if z.ndim == 3 else z[:1] for name, z in inputs.items()}
        with torch.no_grad():
            made = module(*cut.values())
        given: dict[str, Any] = {name: z.numpy() for name, z in cut.items()}
        for ours, theirs in zip([made] if isinstance(made, Tensor) else made, session.run(None, given), strict=True):
            found = max(found, float((ours - torch.from_numpy(theirs)).abs().max() / ours.abs().max()))
    return found
