"""Show what a model is: licence, data, training, level, mel, size.

Without MODEL, lists the models that ship with audiodiff and shows the default one.
"""

import argparse
import json
from typing import Any

from audiodiff.cli import checks, parsing

EXAMPLE = "audiodiff info speech-24k --json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model and --json."""
    parser.add_argument(
        "model", nargs="?", type=checks.model, metavar="MODEL", help="shipped name, file, run folder or .ckpt"
    )
    parsing.add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Print what is known of a model: of one that ships by its files, of another by loading it."""
    from audiodiff.models import registry
    from audiodiff.models.summary import purpose, summarise

    name = options.model or registry.DEFAULT_MODEL
    summary = summarise(name) if name in registry.shipped() else summary_of(name)
    shown = {"name": name} | _facts(summary)
    if not options.model:
        shown = {"shipped": registry.shipped(), "default": registry.DEFAULT_MODEL} | shown
    sentence = purpose(summary["kind"], summary["sample_rate"], summary["mel"], summary["labels"])
    if options.json:
        print(json.dumps({"purpose": sentence} | shown, indent=2, default=str))
    else:
        print("\n".join([sentence, "", *_lines(shown)]))
    return 0


def summary_of(name: str) -> dict[str, Any]:
    """Load a model, which tells what is wrong with its files, and summarise it as `models.summary.summarise` does."""
    import dataclasses

    from audiodiff.models import registry
    from audiodiff.models.base import Model
    from audiodiff.models.named_starts import describe_start
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.utils.config import name_of

    model = Model.load(name)
    quick = getattr(model, "one_step_start", None)
    return {
        "kind": type(model).__name__,
        "info": model.info,
        "file": str(registry.locate(name)),
        "hash": model.fingerprint(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "sample_rate": model.sample_rate,
        "mel": dataclasses.asdict(model.mel) if isinstance(model, Vocoder) else None,
        "mel_fingerprint": model.mel.fingerprint if isinstance(model, Vocoder) else None,
        "labels": getattr(model, "labels", []),
        "sampling": {
            "steps": model.steps,
            "solver": name_of("solver", model.solver) or type(model.solver).__name__,
            "start": describe_start(model.start),
            "one_step_start": describe_start(quick) if quick else None,
            "projection_iters": getattr(model, "projection_iters", 0),
            "final_iters": getattr(model, "final_iters", 0),
            "times": [[round(float(t), 4) for t in times] for times in model.times],
        },
        "config": model.config,
    }


def _facts(summary: dict[str, Any]) -> dict[str, Any]:
    """Order what is shown: what the model's file says of itself first."""
    info = {"licence": "unknown", "data": "unknown"} | summary["info"]
    info.pop("mel_statistics", None)  # hundreds of numbers
    read = {name: value for name, value in summary.items() if name not in ("info", "config")}
    parts = summary["config"]["denoiser"]
    return info | read | {part: _described(parts[part]) for part in ("schedule", "prediction")}


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
