"""Show what a model is: licence, data, training, level, mel, size.

Without MODEL, lists the models that ship with audiodiff and shows the default one.
"""

import argparse
import json
from typing import TYPE_CHECKING, Any

from audiodiff.cli import checks, common

if TYPE_CHECKING:
    from audiodiff.models.base import Model

EXAMPLE = "audiodiff info speech-24k --json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model and --json."""
    parser.add_argument(
        "model", nargs="?", type=checks.model, metavar="MODEL", help="shipped name, file, run folder or .ckpt"
    )
    common.add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Load the model and print its facts."""
    from audiodiff.models import registry
    from audiodiff.models.base import Model

    name = options.model or registry.DEFAULT_MODEL
    shown = facts(Model.load(name), name)
    if not options.model:
        shown = {"shipped": registry.shipped(), "default": registry.DEFAULT_MODEL} | shown
    print(json.dumps(shown, indent=2, default=str) if options.json else "\n".join(_lines(shown)))
    return 0


def facts(model: "Model", name: str) -> dict[str, Any]:
    """Collect what is known of a model: what its file tells, and what can be read off it."""
    import dataclasses

    from audiodiff.models import registry
    from audiodiff.models.named_starts import describe_start
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.utils.config import name_of

    network = model.denoiser.network
    field = getattr(network, "receptive_field", None)
    told = {"licence": "unknown", "data": "unknown"} | model.info
    told.pop("mel_statistics", None)  # hundreds of numbers
    return (
        {"name": name}
        | told
        | {
            "kind": type(model).__name__,
            "file": str(registry.locate(name)),
            "hash": model.fingerprint(),
            "parameters": sum(p.numel() for p in model.parameters()),
            "receptive_field_samples": None if field is None else field(),
            "sample_rate": model.sample_rate,
            "mel": dataclasses.asdict(model.mel) if isinstance(model, Vocoder) else None,
            "mel_fingerprint": model.mel.fingerprint if isinstance(model, Vocoder) else None,
            "labels": getattr(model, "labels", []),
            "sampling": {
                "steps": model.steps,
                "solver": name_of("solver", model.solver) or type(model.solver).__name__,
                "start": describe_start(model.start),
                "one_step_start": describe_start(quick) if (quick := getattr(model, "one_step_start", None)) else None,
                "projection_iters": getattr(model, "projection_iters", 0),
                "final_iters": getattr(model, "final_iters", 0),
                "times": [[round(float(t), 4) for t in times] for times in model.times],
            },
            "schedule": _described(model.config["denoiser"]["schedule"]),
            "prediction": _described(model.config["denoiser"]["prediction"]),
        }
    )


def _described(section: dict[str, Any]) -> dict[str, Any]:
    """Name a part of the configuration by its class."""
    arguments = {key: value for key, value in section.items() if key != "_target_"}
    return {"name": section["_target_"].rpartition(".")[2]} | arguments


def _lines(shown: dict[str, Any]) -> list[str]:
    return [f"{name.replace('_', ' '):<24}{_text(value)}" for name, value in shown.items()]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        if "name" in value:
            rest = _text({name: item for name, item in value.items() if name != "name"})
            return f"{value['name']} ({rest})" if rest else str(value["name"])
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "none"
    return "none" if value is None else str(value)
