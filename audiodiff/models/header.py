"""Read and write a model's description, the JSON beside its tensors: configuration and facts. Knows no tensors."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiodiff.utils.files import atomic_file
from audiodiff.utils.validation import nearest

__all__ = ["checked_header", "header_path", "number_of", "read_header", "with_suffix", "write_header"]

NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")


def read_header(path: Path) -> dict[str, Any]:
    """Read the description of NAME.safetensors, from NAME.json or, as the hub calls it, config.json.

    Returns:
        "config" and "info".

    Raises:
        ValueError: It is missing, damaged, or lacks a configuration.
    """
    sidecar = header_path(path)
    if not sidecar.is_file() and (path.parent / "config.json").is_file():
        sidecar = path.parent / "config.json"
    if not sidecar.is_file():
        raise ValueError(f"{sidecar}: is missing; keep it beside {path.name}, it says how the model is built")
    try:
        header = json.loads(sidecar.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{sidecar}: is no JSON ({error}); give the one that audiodiff saved") from None
    return checked_header(path, header)


def checked_header(path: Path, header: Any) -> dict[str, Any]:
    """Check that a description has a configuration; without facts it has none of them.

    Raises:
        ValueError: It has none.
    """
    if not isinstance(header, dict) or "config" not in header:
        raise ValueError(f"{path}: its description lacks a configuration; give a model that audiodiff saved")
    info = header.get("info")
    return header | {"info": info if isinstance(info, dict) else {}}


def number_of(label: str, labels: Sequence[str]) -> int:
    """Look up the number of a class among those of a generator.

    Raises:
        ValueError: There is no such class; the nearest is suggested.

    >>> number_of("snare", ["kick", "snare"])
    1
    """
    if not labels:
        raise ValueError("this model knows no labels: leave out the label")
    if label not in labels:
        near = nearest(label, labels, cutoff=0.5)
        raise ValueError(f"unknown label {label!r}{near}: choose one of {', '.join(labels)}")
    return labels.index(label)


def with_suffix(path: str | Path, suffix: str) -> Path:
    """Append a suffix unless the name ends in it; unlike `Path.with_suffix`, keep what follows a dot in the name.

    >>> with_suffix("voice-v1.5", ".json").name, with_suffix("voice.json", ".json").name
    ('voice-v1.5.json', 'voice.json')
    """
    path = Path(path)
    return path if path.suffix == suffix else path.with_name(path.name + suffix)


def write_header(path: Path, header: dict[str, Any]) -> None:
    """Write the description of NAME.safetensors, complete or not at all."""
    text = json.dumps(header, indent=2, ensure_ascii=False)
    text = NUMBERS.sub(lambda found: " ".join(found[0].split()), text)  # each list of numbers on one line
    with atomic_file(header_path(path)) as file:
        file.write((text + "\n").encode())


def header_path(path: Path) -> Path:
    """Return where the description of NAME.safetensors is: NAME.json."""
    return path.with_name(path.name.removesuffix(".safetensors") + ".json")
