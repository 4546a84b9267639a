"""What the files of a shipped model tell of it, read without torch: facts, size, hash, mel, how it samples."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audiodiff.mel.spec import MelSpec, preset_of, systems
from audiodiff.models import registry
from audiodiff.models.header import read_header
from audiodiff.utils.config import name_of_section

RAW, STEP = "raw.", ".step"  # as in `checkpoint` and `quantization`
OWN = {"solver": {"_target_": "audiodiff.diffusion.solvers.DDIM"}, "start": {"_target_": "audiodiff.models.PureNoise"}}


def summarise(name: str) -> dict[str, Any]:
    """Summarise a shipped model, whose files are known to be whole, as `cli.info.summary_of` does any other."""
    path = registry.locate(name)
    header = read_header(path)
    config, mel = header["config"], None
    if "mel" in config:
        mel = MelSpec.from_dict(config["mel"])
    digest, count = hashlib.sha256(json.dumps(config, sort_keys=True).encode()), 0
    for tensor, values in _tensors(path):
        digest.update(tensor.encode() + values.tobytes())
        count += values.size
    solver, start, quick = (config.get(part) or OWN.get(part) for part in ("solver", "start", "one_step_start"))
    return {
        "kind": config["_target_"].rpartition(".")[2],
        "info": header["info"],
        "file": str(path),
        "hash": digest.hexdigest()[:16],
        "parameters": count,
        "sample_rate": mel.sample_rate if mel else config["sample_rate"],
        "mel": None if mel is None else dataclasses.asdict(mel),
        "mel_fingerprint": None if mel is None else mel.fingerprint,
        "labels": config.get("labels", []),
        "sampling": {
            "steps": config["steps"],
            "solver": name_of_section("solver", solver),
            "start": _described_start(start),
            "one_step_start": None if quick is None else _described_start(quick),
            "projection_iters": config.get("projection_iters", 0),
            "final_iters": config.get("final_iters", 0),
            "times": [[round(float(t), 4) for t in times] for times in config.get("times") or []],
        },
        "config": config,
    }


def purpose(kind: str, sample_rate: int, mel: Mapping[str, Any] | None, labels: list[str]) -> str:
    """Say in a sentence what a model is for.

    >>> purpose("Generator", 32000, None, ["kick", "snare"])
    'A generator: makes new sounds at 32 kHz out of noise: kick, snare.'
    """
    rate = f"{sample_rate / 1000:g} kHz"
    if mel is None:
        classes = f": {', '.join(labels)}" if labels else ""
        return f"A generator: makes new sounds at {rate} out of noise{classes}."
    preset = preset_of(MelSpec.from_dict(mel))
    speakers = [name for name, spoken in systems().items() if spoken == preset]
    whose = f" of the convention {preset}" if preset else ""
    spoken = f", as {', '.join(speakers)} make them" if speakers else ""
    return f"A vocoder: makes sound at {rate} of log-mels of {mel['n_mels']} bands{whose}{spoken}."


def _described_start(section: Mapping[str, Any]) -> dict[str, Any]:
    name = name_of_section("start", {"_target_": section["_target_"]}, exact=False)
    return {"name": name} | {key: value for key, value in section.items() if key not in ("_target_", "mel")}


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the averaged weights by name, in float32, sorted."""
    import numpy as np
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        names = [name for name in file.keys() if not name.startswith(RAW)]  # noqa: SIM118, it is no dictionary
        for name in sorted(names):
            if name.endswith(STEP) and name.removesuffix(STEP) in names:
                continue
            values = file.get_tensor(name).astype(np.float32)
            if name + STEP in names:
                step = file.get_tensor(name + STEP)
                values = values * step.reshape(-1, *[1] * (values.ndim - 1))
            yield name, values
