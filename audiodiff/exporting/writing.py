"""Writes a vocoder as an ONNX file that says all that one must know to run it, and tries it before it is kept.

    part → torch.onnx.export → constants folded → described → tried by onnxruntime beside torch → OUT.onnx

Lengths and batches stay open. The description lies in the file's metadata, each entry a text, JSON where it is more
than a word. `demos/onnx_vocode.py` needs nothing else.
"""

import copy
import dataclasses
import importlib.util
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from audiodiff.audio import atomic_file
from audiodiff.exporting.parts import Sampler, Step
from audiodiff.exporting.plans import Plan, plan_of
from audiodiff.files import model_hash
from audiodiff.model import Model, Vocoder
from audiodiff.noise import BLOCK, NoiseField
from audiodiff.recipes import describe_start
from audiodiff.solvers import name_of
from audiodiff.streaming import Sampling, stages

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["PARTS", "REMEDY", "check", "export", "session_of"]

PARTS = ("sampler", "step")
REMEDY = "pip install 'audiodiff[export]'"
OPSET = 20
EXAMPLE = 2, 61  # clips and frames: the latter unlike any other size in a graph, so that no other is taken for it
MOST_DIFFERENCE = 1e-3  # of the loudest sample, between onnxruntime and torch: more is no rounding


def export(model: Model, path: str | Path, part: str = "sampler", sampling: Sampling | None = None) -> float:
    """Writes a part of a vocoder, complete or not at all.

    Args:
        model: A vocoder.
        path: The .onnx file; one that exists is replaced.
        part: "sampler" for the whole way from mel and noise to the waveform, "step" for one call of the denoiser.
        sampling: How to sample; the model's own way by default.

    Returns:
        By how much onnxruntime and torch differ on an example, as a share of the loudest sample.

    Raises:
        ValueError: The model, its network, the start or the solver cannot be exported, a library is missing, or what
            onnxruntime makes of the file differs.
    """
    check(model, part)
    model, sampling = copy.deepcopy(model).cpu().eval().requires_grad_(False), sampling or model.sampling()
    plan = plan_of(sampling.solver, model.denoiser.schedule, sampling.times)
    module, inputs, outputs = _sampler(model, sampling, plan) if part == "sampler" else _step(model, plan)
    with atomic_file(path) as file:  # a folder that is missing is told at once
        encoded = _converted(module, inputs, outputs, model.hop_length, describe(model, sampling, plan, part))
        difference = _difference(module, inputs, encoded)
        if not difference < MOST_DIFFERENCE:
            raise ValueError(f"what onnxruntime makes of the file differs from torch by {difference:.2g}: not written")
        file.write(encoded)
    return difference


def check(model: Model, part: str) -> None:
    """Refuses what cannot be exported, before anything is computed.

    Raises:
        ValueError: A library of the extra `export` is missing, the model is no vocoder, or there is no such part.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"to export, {' and '.join(missing)} must be installed: {REMEDY}")
    if not isinstance(model, Vocoder):
        raise ValueError(f"a {type(model).__name__} cannot be exported: give a vocoder, which makes sound of a mel")
    if part not in PARTS:
        raise ValueError(f"part {part!r}: choose one of {', '.join(PARTS)}")


def describe(vocoder: Vocoder, sampling: Sampling, plan: Plan, part: str) -> dict[str, str]:
    """Says in texts what the file is, what it wants, and what it does."""
    first = [float(scale) for scale in vocoder.denoiser.schedule(sampling.times[0])]
    told = {
        "format": "audiodiff-onnx-1",
        "part": part,
        "model": vocoder.info.get("name", "unnamed"),
        "model_hash": model_hash(vocoder),
        "licence": vocoder.info.get("licence", "unknown"),
        "data": vocoder.info.get("data", "unknown"),
        "attribution": vocoder.info.get("attribution", []),
        "sample_rate": vocoder.sample_rate,
        "hop_length": vocoder.hop_length,
        "mel": dataclasses.asdict(vocoder.mel),
        "min_frames": fewest_frames(vocoder),
        "reach_frames": reach_of(vocoder, sampling),
        "noise": f"philox-{BLOCK}",
        "solver": name_of(sampling.solver) or type(sampling.solver).__name__,
        "steps": len(sampling.times) - 1,
        "times": sampling.times.tolist(),
        "start": describe_start(sampling.start),
        "start_time": sampling.start.time,
        "start_scales": first,
        "plan": dataclasses.asdict(plan),
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}


def reach_of(vocoder: Vocoder, sampling: Sampling) -> tuple[int, int] | None:
    """Returns how far the whole way looks, in mel frames, back and ahead; None for all of the sound."""
    try:
        start, step, landing = stages(vocoder, sampling)
    except ValueError:  # the network knows positions, or does not tell its reach
        return None
    total = [start, *[step] * (len(sampling.times) - 1), landing]
    return sum(r.past for r in total), sum(r.future for r in total)


def fewest_frames(vocoder: Vocoder) -> int:
    """Returns the length of the shortest mel that an exported graph takes; a graph of open length wants two frames."""
    return max(2, math.ceil(vocoder.mel.min_samples / vocoder.hop_length))


Target = tuple[nn.Module, dict[str, Tensor], tuple[str, ...]]


def _sampler(vocoder: Vocoder, sampling: Sampling, plan: Plan) -> Target:
    mel, noise = _example(vocoder)
    return Sampler(vocoder, sampling, plan), {"mel": mel, "noise": noise}, ("waveform",)


def _step(vocoder: Vocoder, plan: Plan) -> Target:
    mel, noise = _example(vocoder)
    alpha, sigma = (torch.full((len(mel),), scale) for scale in (plan.calls[-1].alpha, plan.calls[-1].sigma))
    inputs = {"x_t": sigma[:, None, None] * noise, "alpha": alpha, "sigma": sigma, "mel": mel}
    return Step(vocoder), inputs, ("x", "eps", "waveform")


def _example(vocoder: Vocoder) -> tuple[Tensor, Tensor]:
    """Makes mels, of noise that swells and fades, and the noise of sampling."""
    clips, frames = EXAMPLE
    seeds = range(clips)
    noise, sound = (
        NoiseField(seeds, step=step).draw(torch.empty(clips, 1, frames * vocoder.hop_length)) for step in (0, 1)
    )
    swell = torch.linspace(0, math.pi, sound.shape[-1]).sin()
    return vocoder.spectrogram(0.1 * swell * sound)[..., :frames].contiguous(), noise


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
