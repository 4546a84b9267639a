"""What the options of a command ask for: a model, a recipe, a convention of mels."""

import argparse
import json
from typing import TYPE_CHECKING, TypeVar

from audiodiff.cli import checks
from audiodiff.models import registry

if TYPE_CHECKING:
    from audiodiff.mel import MelSpec
    from audiodiff.models.base import Model
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.pipelines.vocoding import VocodeRecipe

M = TypeVar("M", bound="Model")

LARGEST_SPEC = 1_000_000  # characters


def load_vocoder(options: argparse.Namespace) -> "Vocoder":
    """Load the vocoder of --model, once all that is known without torch is checked."""
    name = checks.known_model(options.model or registry.DEFAULT_MODEL, "Vocoder")
    if "times" in options:
        checks.steps_and_times(options.steps, options.times)
    from audiodiff.griffin_lim.kernels import dispatch
    from audiodiff.models.vocoder import Vocoder

    vocoder = load_model(Vocoder, name, options)
    if vocoder.device.type == "cpu":
        dispatch.prepare()
    return vocoder


def load_model(kind: type[M], model: str, options: argparse.Namespace) -> M:
    """Load a model with --weights onto --device, which multiplies in --precision."""
    from audiodiff.utils import devices

    device = devices.resolve(options.device)
    precision = devices.inference_precision(device, options.precision)
    built = kind.load(model, device, options.weights)
    built.precision = precision
    return built


def recipe_of(command: str, vocoder: "Vocoder", options: argparse.Namespace) -> "VocodeRecipe":
    """Turn the sampling options into a recipe."""
    from audiodiff.pipelines.vocoding import VocodeRecipe

    seconds, frames = options.chunk_seconds, None
    if seconds is not None:
        frames = max(1, round(seconds * vocoder.sample_rate / vocoder.hop_length))
    return VocodeRecipe.from_options(
        command,
        vocoder,
        options.model or registry.DEFAULT_MODEL,
        weights=options.weights,
        seed=options.seed,
        solver=options.solver,
        steps=options.steps,
        times=options.times,
        start=options.start,
        chunk_frames=frames,
        mel=convention_of(options) if command == "vocode" else None,
    )


def convention_of(options: argparse.Namespace) -> "MelSpec | None":
    """Read --mel-preset or --mel-spec; None without them.

    Raises:
        ValueError: Both are given, the name is unknown, or the file describes no mel.
    """
    from audiodiff.mel import MelSpec

    if options.mel_preset and options.mel_spec:
        raise ValueError("--mel-preset and --mel-spec say the same: give one of them")
    if options.mel_preset:
        return MelSpec.preset(options.mel_preset)
    if not options.mel_spec:
        return None
    try:
        with open(options.mel_spec, encoding="utf-8") as file:
            fields = json.loads(file.read(LARGEST_SPEC))
    except (ValueError, RecursionError):
        raise ValueError(f"{options.mel_spec}: is no JSON; give the fields of a mel spec") from None
    inner = fields.get("mel") if isinstance(fields, dict) else None  # as `audiodiff info --json` prints it
    try:
        return MelSpec.from_dict(inner if isinstance(inner, dict) else fields)
    except ValueError as error:
        raise ValueError(f"{options.mel_spec}: {error}") from None
