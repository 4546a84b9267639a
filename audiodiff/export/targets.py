"""Export targets of a model: a module, example inputs, and the metadata of the file."""

import dataclasses
import json
import math
from typing import Any

import torch
from torch import Tensor, nn

from audiodiff.diffusion.noise import BLOCK, NoiseField
from audiodiff.export.generators import ClassSampler, ClassStep
from audiodiff.export.parts import Sampler, Step
from audiodiff.export.plans import Plan, plan_of
from audiodiff.export.streaming import StreamStep
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.named_starts import describe_start
from audiodiff.models.sampling import SamplingConfig
from audiodiff.models.starts import PureNoise
from audiodiff.models.streaming import stage_contexts
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.config import name_of

EXAMPLE = 2, 61  # clips and frames: the latter unlike any other size in a graph, so that no other is taken for it


@dataclasses.dataclass(frozen=True)
class Target:
    """Hold a module to export, example inputs, output names, metadata, and whether clips and lengths stay open."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    metadata: dict[str, str]
    is_open: bool = True


def target_of(
    model: Vocoder | Generator, part: str, sampling: SamplingConfig | None = None, guidance: float | None = None
) -> Target:
    """Build the target of an export; arguments as for `writing.export`.

    Raises:
        ValueError: The network, the start or the solver cannot be exported, or guidance is asked of a model without
            labels.
    """
    if isinstance(model, Generator):
        return _of_generator(model, part, sampling or _own(model), guidance)
    if guidance is not None:
        raise ValueError("guidance strengthens a generator's label, and this is a vocoder: leave it out")
    return _of_vocoder(model, part, sampling or model.sampling())


def _own(generator: Generator) -> SamplingConfig:
    return SamplingConfig(generator.start, generator.solver, generator.grid())


def _of_vocoder(vocoder: Vocoder, part: str, sampling: SamplingConfig) -> Target:
    plan = plan_of(sampling.solver, vocoder.denoiser.schedule, sampling.times)
    metadata = _described(vocoder, sampling, plan, part) | {
        "mel": dataclasses.asdict(vocoder.mel),
        "min_frames": fewest_frames(vocoder),
        "reach_frames": context_in_frames(vocoder, sampling),
    }
    mel, noise = _example(vocoder)
    if part == "stream":
        return _of_stream(vocoder, sampling, plan, metadata)
    if part == "sampler":
        return Target(Sampler(vocoder, sampling, plan), {"mel": mel, "noise": noise}, ("waveform",), _texts(metadata))
    inputs = _noisy(noise, plan) | {"mel": mel}
    return Target(Step(vocoder), inputs, ("x", "eps", "waveform"), _texts(metadata))


def _of_stream(vocoder: Vocoder, sampling: SamplingConfig, plan: Plan, metadata: dict[str, Any]) -> Target:
    """Build the target of one step of a stream: a frame and the state before it, to a hop and the state after it."""
    step = StreamStep(vocoder, sampling, plan)
    state = step.state()
    metadata |= {"delay_samples": step.delay, "state": list(state), "min_frames": 1}
    metadata.pop("reach_frames")
    mel, noise = (z[:1, ..., :n].contiguous() for z, n in zip(_example(vocoder), (1, vocoder.hop_length), strict=True))
    outputs = ("waveform", *(f"next_{name}" for name in state))
    return Target(step, {"mel": mel, "noise": noise} | state, outputs, _texts(metadata), is_open=False)


def _of_generator(generator: Generator, part: str, sampling: SamplingConfig, guidance: float | None) -> Target:
    if not isinstance(sampling.start, PureNoise):
        raise ValueError(f"a start of the kind {type(sampling.start).__name__} cannot be exported: choose noise")
    generator.denoise(1, generator.labels[0] if generator.labels else None, guidance)  # refuses what cannot be bound
    guidance = 1.0 if not generator.labels else generator.guidance if guidance is None else guidance
    plan = plan_of(sampling.solver, generator.denoiser.schedule, sampling.times)
    metadata = _described(generator, sampling, plan, part) | {
        "labels": generator.labels,
        "guidance": guidance,
        "n_samples": generator.n_samples,
        "min_frames": 2,
    }
    noise, numbers = _noise(generator.hop_length, 0), torch.arange(EXAMPLE[0])
    label = {"label": numbers} if generator.labels and guidance else {}
    if part == "sampler":
        sampler = ClassSampler(generator, plan, guidance, metadata["start_scales"][1])
        return Target(sampler, {"noise": noise} | label, ("waveform",), _texts(metadata))
    step = ClassStep(generator, guidance)
    return Target(step, _noisy(noise, plan) | label, ("x", "eps", "waveform"), _texts(metadata))


def _described(model: Model, sampling: SamplingConfig, plan: Plan, part: str) -> dict[str, Any]:
    """Return the metadata that all kinds of models share."""
    return {
        "format": "audiodiff-onnx-1",
        "kind": type(model).__name__.lower(),
        "part": part,
        "model": model.info.get("name", "unnamed"),
        "model_hash": model.fingerprint(),
        "licence": model.info.get("licence", "unknown"),
        "data": model.info.get("data", "unknown"),
        "attribution": model.info.get("attribution", []),
        "sample_rate": model.sample_rate,
        "hop_length": model.hop_length,
        "noise": f"philox-{BLOCK}",
        "solver": name_of("solver", sampling.solver) or type(sampling.solver).__name__,
        "steps": len(sampling.times) - 1,
        "times": sampling.times.tolist(),
        "start": describe_start(sampling.start),
        "start_time": sampling.start.time,
        "start_scales": [float(scale) for scale in model.denoiser.schedule(sampling.times[0])],
        "plan": dataclasses.asdict(plan),
    }


def _texts(metadata: dict[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}


def context_in_frames(vocoder: Vocoder, sampling: SamplingConfig) -> tuple[int, int] | None:
    """Return the context of the whole sampler in mel frames, past and future; None if it is the whole sound."""
    try:
        start, step, landing = stage_contexts(vocoder, sampling)
    except ValueError:  # the network has positions, or no context()
        return None
    total = [start, *[step] * (len(sampling.times) - 1), landing]
    return sum(r.past for r in total), sum(r.future for r in total)


def fewest_frames(vocoder: Vocoder) -> int:
    """Return the fewest frames of a mel for an exported graph, at least two."""
    return max(2, math.ceil(vocoder.mel.min_samples / vocoder.hop_length))


def _example(vocoder: Vocoder) -> tuple[Tensor, Tensor]:
    """Build example mels, of noise that swells and fades, and the noise of sampling."""
    noise, sound = (_noise(vocoder.hop_length, step) for step in (0, 1))
    swell = torch.linspace(0, math.pi, sound.shape[-1]).sin()
    return vocoder.spectrogram(0.1 * swell * sound)[..., : EXAMPLE[1]].contiguous(), noise


def _noise(hop_length: int, step: int) -> Tensor:
    clips, frames = EXAMPLE
    return NoiseField(range(clips), step=step).draw(torch.empty(clips, 1, frames * hop_length))


def _noisy(noise: Tensor, plan: Plan) -> dict[str, Tensor]:
    """Return the first inputs of one call: noise at the scale of the last, and its scales."""
    alpha, sigma = (torch.full((len(noise),), scale) for scale in (plan.calls[-1].alpha, plan.calls[-1].sigma))
    return {"x_t": sigma[:, None, None] * noise, "alpha": alpha, "sigma": sigma}
