"""Fetch models from the Hugging Face hub and upload them there.

    owner/name on the hub:  model.safetensors   weights        config.json   configuration and facts
                            README.md           card, with the licence and tags that the hub shows
                            LICENSE             of a shipped model, to which its card links

Only these files are read or written, and none of them is code. What was fetched once is found again offline, in
huggingface_hub's cache. Names of files and of shipped models never reach the network; a hub's name is written
hf://owner/name, or hf://owner/name@revision, wherever a model is asked for.
"""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiodiff.utils.extras import requires_extra

PREFIX = "hf://"
FILES = ("model.safetensors", "config.json")
LICENCES = {  # by the names that the hub knows; others are "other" there, with their name beside it
    *("apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail", "unknown", "other"),
}
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def fetch(name: str, revision: str | None = None) -> Path:
    """Fetch a model from the hub, or from the cache if the hub cannot be reached, and return its .safetensors.

    Args:
        name: owner/name, with or without hf:// before and @revision after it.
        revision: Branch, tag or commit.

    Raises:
        ValueError: The name is none, huggingface_hub is missing, or there is no such model here or there.
    """
    repository, at = check_name(name), name.partition("@")[2]
    hub = _library()
    try:
        folder = hub.snapshot_download(repository, revision=revision or at or None, allow_patterns=list(FILES))
    except Exception as error:  # the library raises its own, those of its transport, and OSError
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"{PREFIX}{repository}: cannot be fetched and is not in the cache ({type(error).__name__}: {reason}); "
            "check the name and the network, or give a file"
        ) from None
    missing = [file for file in FILES if not (Path(folder) / file).is_file()]
    if missing:
        raise ValueError(f"{PREFIX}{repository}: holds no {' and no '.join(missing)}; it is no model of audiodiff")
    return Path(folder) / FILES[0]


def upload(folder: str | Path, name: str, private: bool = False) -> str:
    """Upload the files of `write_layout`, with the login of huggingface_hub, and return the model's address.

    Args:
        folder: Holds the three files.
        name: owner/name; made if it does not exist.
        private: Whether a new one is hidden from others.

    Raises:
        ValueError: The name is none, huggingface_hub is missing, or the hub refuses.
    """
    repository = check_name(name)
    if "@" in name:
        raise ValueError(f"{name}: is uploaded as the newest revision; leave out @ and what follows")
    api = _library().HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by audiodiff")
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{PREFIX}{repository}: not uploaded ({reason}); log in with `hf auth login`") from None
    return f"{PREFIX}{repository}"


def card(name: str, kind: str, sample_rate: int, info: Mapping[str, Any], shipped: Path | None = None) -> str:
    """Write the card of a model: a header for the hub, then the shipped card if there is one, else its facts.

    Args:
        name: owner/name.
        kind: "Vocoder" or "Generator".
        sample_rate: Hz.
        info: Facts, as the model holds them.
        shipped: The card beside a shipped model's weights.
    """
    header = [
        "---",
        *licence_lines(str(info.get("licence", "other"))),
        "library_name: audiodiff",
        "pipeline_tag: audio-to-audio" if kind == "Vocoder" else "",
        "tags:",
        *(f"- {tag}" for tag in ("audio", "diffusion", kind.lower())),
        "---",
    ]
    if shipped is not None and shipped.is_file():
        body = shipped.read_text(encoding="utf-8").replace(f"{shipped.stem}.LICENSE", "LICENSE")
    else:
        facts = {key: info[key] for key in ("data", "licence", "steps", "hours", "command") if info.get(key)}
        lines = "".join(f"\n| {key} | {value} |" for key, value in facts.items())
        body = f"# {name}\n\nA {kind.lower()} of audiodiff at {sample_rate} Hz.\n\n| | |\n|---|---|{lines}\n"
    use = f'\n## Use\n\n```python\nimport audiodiff\n\nmodel = audiodiff.{kind}.from_pretrained("{name}")\n```\n'
    return "\n".join(filter(None, header)) + f"\n\n{body.rstrip()}\n{use}"


def licence_lines(licence: str) -> list[str]:
    """Return a licence as the header of a card says it.

    >>> licence_lines("GPL-3.0-only"), licence_lines("My own")
    (['license: gpl-3.0'], ['license: other', 'license_name: my-own'])
    """
    name = licence.lower().removesuffix("-only").removesuffix("-or-later")
    if name in LICENCES:
        return [f"license: {name}"]
    return ["license: other", f"license_name: {re.sub(r'[^a-z0-9.]+', '-', name).strip('-')}"]


def check_name(name: str) -> str:
    """Return owner/name of a model on the hub, without what may stand before and after it.

    Raises:
        ValueError: It is none.

    >>> check_name("hf://owner/name@main")
    'owner/name'
    """
    repository = name.removeprefix(PREFIX).partition("@")[0]
    if not NAME.fullmatch(repository):
        raise ValueError(f"{name}: is no name on the hub; owner/name is wanted")
    return repository


def _library() -> Any:
    requires_extra("hub", "huggingface_hub", purpose="the hub")
    return importlib.import_module("huggingface_hub")
