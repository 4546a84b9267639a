"""Read and write a model's description, the JSON beside its tensors: configuration and facts. Knows no tensors.

The file of the tensors holds the description too, in its metadata: two files cannot be replaced at once, and whoever is
killed between them leaves one that is of other tensors. `pair` tells it; otherwise the file beside counts, which may be
edited.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiodiff.utils.files import write_text
from audiodiff.utils.validation import nearest

NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")
PAIR, INSIDE = "pair", "description"  # in a description, and in the metadata of the tensors
LARGEST = 10**8  # bytes, as in the format's own reader
log = logging.getLogger(__name__)


def read_header(path: Path) -> dict[str, Any]:
    """Read the description of NAME.safetensors, from NAME.json or, as the hub calls it, config.json.

    That within the tensors' file is taken if the other is missing, or was saved with other tensors.

    Returns:
        "config" and "info".

    Raises:
        ValueError: It is missing, damaged, or lacks a configuration.
    """
    sidecar = header_path(path)
    if not sidecar.is_file() and (path.parent / "config.json").is_file():
        sidecar = path.parent / "config.json"
    own = _inside(path)
    if not sidecar.is_file():
        if own is None:
            raise ValueError(f"{sidecar}: is missing; keep it beside {path.name}, it says how the model is built")
        return checked_header(path, own)
    try:
        header = json.loads(sidecar.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{sidecar}: is no JSON ({error}); give the one that audiodiff saved") from None
    if own is not None and isinstance(header, dict) and header.get(PAIR) not in (None, own.get(PAIR)):
        log.warning("%s: is of other weights than %s, whose own description is taken", sidecar, path.name)
        header = own
    return checked_header(path, header)


def paired(header: Mapping[str, Any], tensors: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Mark a description as that of tensors.

    Returns:
        What stands beside them, and the metadata of their file.
    """
    digest = hashlib.sha256(json.dumps(header).encode() + tensors).hexdigest()
    marked = {PAIR: digest[:16], **header}
    return marked, {INSIDE: json.dumps(marked)}


def _inside(path: Path) -> dict[str, Any] | None:
    """Read the description within NAME.safetensors; None if it has none, or is no such file, as its reader will say."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            metadata = json.loads(file.read(size) if size <= LARGEST else b"").get("__metadata__")
        header = json.loads(metadata[INSIDE])
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return None
    return header if isinstance(header, dict) else None


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
    text = NUMBERS.sub(lambda match: " ".join(match[0].split()), text)  # each list of numbers on one line
    write_text(header_path(path), text + "\n")


def header_path(path: Path) -> Path:
    """Return where the description of NAME.safetensors is: NAME.json."""
    return path.with_name(path.name.removesuffix(".safetensors") + ".json")
