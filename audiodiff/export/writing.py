"""Write a model as an ONNX file that says all that one must know to run it, and try it before it is kept.

    part → torch.onnx.export → loops and constants folded → embedded in a host → narrowed → tried → OUT.onnx

Lengths and batches stay open. The description lies in the file's metadata, each entry a text, JSON where it is more
than a word. `demos/examples/onnx_vocode.py` and `demos/examples/onnx_generate.py` need nothing else; a host finds what
its loader wants.
"""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiodiff.export import comparison
from audiodiff.export.host_names import host_named
from audiodiff.export.hosts import INNER, Host, embed
from audiodiff.export.loops import fold_loops
from audiodiff.export.narrowing import factors_in, narrow
from audiodiff.export.targets import Target, target_of
from audiodiff.export.translations import translations
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.extras import requires_extra
from audiodiff.utils.files import atomic_file

PARTS = ("sampler", "step", "stream")
OPSET = 18  # the oldest that torch.onnx writes, so that old runtimes read it
NEWEST_OPSET = 22  # that has been tried
IR_VERSION = 8  # of the file format; that of opset 18
MOST_DIFFERENCE = 2e-3  # of the loudest sample, between onnxruntime and torch: hundreds of iterations amplify rounding


def export(
    model: Model,
    path: str | Path,
    part: str = "sampler",
    sampling: SamplingConfig | None = None,
    guidance: float | None = None,
    host: str | None = None,
    opset: int = OPSET,
    seed: int = 0,
    progress: Callable[[str], None] = lambda stage: None,
) -> float:
    """Write a part of a model, complete or not at all.

    Args:
        model: A vocoder or a generator.
        path: The .onnx file; one that exists is replaced.
        part: "sampler" for the whole way to the waveform, from mel and noise or from noise and a class; "step" for one
            call of the denoiser; "stream" for one frame of a live vocoder, with its state.
        sampling: How to sample; the model's own way by default.
        guidance: Scale of a generator's guidance, which the file holds fast; the model's own by default.
        host: The program that is to run the file; by default any that gives mel and noise.
        opset: Version of ONNX' operators.
        seed: Of the noise, if the file holds it for a host.
        progress: Called with the name of each stage as it begins.

    Returns:
        By how much onnxruntime and torch differ on an example, as a share of the loudest sample.

    Raises:
        ValueError: The model, its network, the start or the solver cannot be exported or is not for the host, a
            library is missing, or what onnxruntime makes of the file differs.
    """
    contract = check(model, part, host, opset)
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    target = target_of(model, part, sampling, guidance)
    path = Path(path)
    with atomic_file(path) as file:  # a folder that is missing is noticed at once
        encoded = _converted(target, model.hop_length, opset, {} if contract is None else INNER, progress)
        factors = factors_in(target.module)
        if contract is not None:
            encoded = _embedded(encoded, contract, model, seed)
            factors |= contract.factors(model)
        encoded = narrow(encoded, factors)
        progress("compare with torch")
        if part == "stream":
            apart = comparison.difference_in_stream(target, encoded, model)
        elif contract is None:
            apart = comparison.difference(target, encoded)
        else:
            apart = comparison.difference_in_host(target, encoded, contract, model, seed)
        if not apart < MOST_DIFFERENCE:
            raise ValueError(f"what onnxruntime makes of the file differs from torch by {apart:.2g}: not written")
        file.write(encoded)
        for name, content in ({} if contract is None else contract.companions(model, path.name)).items():
            with atomic_file(path.with_name(name)) as companion:
                companion.write(content)
    return apart


def check(model: Model, part: str, host: str | None = None, opset: int = OPSET) -> Host | None:
    """Return the host's contract, if there is a host; refuse what cannot be exported before anything is computed.

    Raises:
        ValueError: A library of the extra `export` is missing, there is no such part, host or kind of model, the host
            cannot take the model, or the opset is out of range.
    """
    requires_extra("export", "onnx", "onnxscript", "onnxruntime", purpose="export")
    if not isinstance(model, Vocoder | Generator):
        raise ValueError(f"a {type(model).__name__} cannot be exported: give a vocoder or a generator")
    if part not in PARTS:
        raise ValueError(f"part {part!r}: choose one of {', '.join(PARTS)}")
    if part == "stream" and not isinstance(model, Vocoder):
        raise ValueError("--part stream is for live vocoders, and this is a generator: leave it out")
    if not OPSET <= opset <= NEWEST_OPSET:
        raise ValueError(f"opset {opset}: choose one from {OPSET} to {NEWEST_OPSET}")
    if host is None:
        return None
    contract = host_named(host)
    if not isinstance(model, Vocoder) or part != "sampler":
        raise ValueError(f"{host} runs vocoders as a whole: give a vocoder, and leave --part out")
    contract.check_opset(opset)
    contract.check(model)
    return contract


def _converted(
    target: Target, hop: int, opset: int, names: Mapping[str, str], progress: Callable[[str], None]
) -> bytes:
    """Turn a target into a serialised ONNX model, its inputs and outputs renamed.

    torch.onnx's own optimiser takes longer than all the rest and gains nothing over folding constants.
    """
    import onnxscript.optimizer
    from onnxscript import ir

    shapes = _shapes(target, hop)
    progress("trace the network")
    with torch.no_grad(), _quiet():
        target.module(*target.inputs.values())  # fills the caches of windows and filters, which tracing must not fill
        program = _traced(
            target.module,
            tuple(target.inputs.values()),
            shapes if target.is_open else None,
            input_names=list(target.inputs),
            output_names=target.outputs,
            opset_version=opset,
            optimize=False,
            verbose=False,
        )
    _check_open(program, {name: tuple(axes) for name, axes in zip(target.inputs, shapes, strict=True)})
    progress("simplify the graph")
    onnxscript.optimizer.fold_constants(program.model)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    passes = ir.passes.common  # ty: ignore[possibly-missing-submodule]
    passes.DeduplicateInitializersPass(size_limit=2**31)(program.model)
    fold_loops(program.model)
    passes.ClearMetadataAndDocStringPass()(program.model)  # paths of this machine's files
    program.model.metadata_props.update(target.metadata)
    program.model.producer_name, program.model.producer_version = "audiodiff", ""
    program.model.ir_version = IR_VERSION
    for value in (*program.model.graph.inputs, *program.model.graph.outputs):
        value.name = names.get(value.name, value.name)
    return ir.to_proto(program.model).SerializeToString()


def _shapes(target: Target, hop: int) -> tuple[dict[int, Any], ...]:
    """Return the axes of each input that stay open."""
    if not target.is_open:
        return ({},) * len(target.inputs)
    clips = torch.export.Dim("batch")
    frames = torch.export.Dim("frames", min=json.loads(target.metadata["min_frames"]))
    last = {"mel": {2: frames}, "noise": {2: hop * frames}, "x_t": {2: hop * frames}}
    return tuple({0: clips} | last.get(name, {}) for name in target.inputs)


def _embedded(sampler: bytes, host: Host, vocoder: Vocoder, seed: int) -> bytes:
    import onnx

    return embed(onnx.load_from_string(sampler), host, vocoder, seed).SerializeToString()


def _check_open(program: "torch.onnx.ONNXProgram", axes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError if an axis that must be open was fixed, which torch.onnx does where a model asks its size."""
    for value in program.model.graph.inputs:
        if fixed := [axis for axis in axes[value.name] if isinstance(value.shape[axis], int)]:
            raise ValueError(
                f"torch cannot make a graph of this model (axis {fixed[0]} of {value.name} would be fixed)"
            )


def _traced(
    module: nn.Module, inputs: tuple[Tensor, ...], shapes: tuple | None, **options: Any
) -> "torch.onnx.ONNXProgram":
    """Trace a module and write it in ONNX' operators.

    torch.onnx traces what it has traced once more, to break up operators that it does not know, and takes twice as
    long. Where `translations` suffice it is spared that; any other module goes the long way.
    """
    try:
        try:
            from torch.fx.experimental import _config

            with _config.patch(backed_size_oblivious=True):  # as torch.onnx does
                program = torch.export.export(
                    module,
                    inputs,
                    dynamic_shapes=shapes,
                    strict=False,
                    prefer_deferred_runtime_asserts_over_guards=True,  # where sizes cannot be proved to agree
                )
            program.run_decompositions = lambda table: program
            return torch.onnx.export(program, dynamo=True, custom_translation_table=translations(), **options)
        except Exception:  # whatever the short way lacks, the long one has or tells
            return torch.onnx.export(module, inputs, dynamo=True, dynamic_shapes=shapes, **options)
    except Exception as error:  # whatever stops the tracer, there is no graph of this model
        cause = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"torch cannot make a graph of this model ({cause[:200]})") from error


@contextmanager  # ty: ignore[deprecated]  (`Generator` is a model here)
def _quiet() -> Iterator[None]:
    """Keep what libraries remark on their own insides to themselves."""
    remarks = logging.getLogger("torch.onnx")
    level = remarks.level
    remarks.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        remarks.setLevel(level)
