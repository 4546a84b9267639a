"""What this installation has: processor and threads, extras, audio formats, cards, places for what is kept."""

import dataclasses
import importlib.metadata
import os
import re
import shutil
import tomllib
from pathlib import Path

import torch

from audiodiff.evaluation import hardware
from audiodiff.griffin_lim.kernels import dispatch, objects
from audiodiff.models import registry
from audiodiff.utils import devices
from audiodiff.utils.config import shipped_path
from audiodiff.utils.extras import DISTRIBUTION, install_command

FORMATS = ("WAV", "FLAC", "OGG", "MP3")
LEAST_ROOM = 1e9  # bytes that a cache should be able to take
BUSY = 2.0  # load per core from which on times say little


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: Its name.
        is_good: Whether all is in order; None if it is only worth knowing.
        text: What is there, and the remedy if something is missing.
    """

    what: str
    is_good: bool | None
    text: str


def examine_installation() -> list[Finding]:
    """Look at all that makes sound, and at what may be added."""
    return [_processor(), _threads(), _loops(), _card(), _formats(), _models(), *_places(), *_extras()]


def verdict(findings: list[Finding]) -> str:
    """Say in a sentence whether sound can be made, and what is in the way.

    >>> verdict([Finding("models", True, "four"), Finding("extra eval", None, "not installed")])
    'Good: everything that makes sound is in order; not installed: extra eval.'
    """
    bad = [finding.what for finding in findings if finding.is_good is False]
    absent = [finding.what for finding in findings if finding.is_good is None and "not installed" in finding.text]
    also = f"; not installed: {', '.join(absent)}" if absent else ""
    if bad:
        return f"TROUBLE with {', '.join(bad)}: see the remedies above{also}."
    return f"Good: everything that makes sound is in order{also}."


def _processor() -> Finding:
    machine = hardware.describe()
    sets = torch.backends.cpu.get_cpu_capability()
    fast = devices.inference_precision(torch.device("cpu")) == "bfloat16"
    products = "multiplies bfloat16: --precision auto is faster" if fast else "no bfloat16 products"
    text = f"{machine['processor']}, {machine['cores']} cores, {sets}, {products}; torch {machine['torch']}"
    return Finding("processor", None if sets != "DEFAULT" else False, text)


def _threads() -> Finding:
    threads, cores, load = torch.get_num_threads(), os.cpu_count() or 1, hardware.load_average()
    busy = bool(load) and load[0] > BUSY * cores
    text = f"{threads} for the arithmetic" + (f", load {load[0]:g}" if load else "")
    if threads > cores:
        return Finding("threads", False, f"{text}: more than the {cores} cores; set OMP_NUM_THREADS={cores}")
    return Finding("threads", None, text + (": too busy for times to mean much" if busy else ""))


def _loops() -> Finding:
    loops = dispatch.loaded()
    if loops is None:
        remedy = "Numba cannot be imported, so that starts take several times as long: pip install numba"
        return Finding("compiled loops", False, remedy)
    places = [folder for folder in objects.folders() if any(folder.glob("*.o"))]
    return Finding("compiled loops", True, f"kept in {places[0]}" if places else "compiled by Numba in every process")


def _card() -> Finding:
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
        return Finding("card", None, f"CUDA {torch.version.cuda}: {names}")
    if torch.backends.mps.is_available():
        return Finding("card", None, "Apple MPS")
    return Finding("card", None, "none; everything runs on the CPU")


def _formats() -> Finding:
    import soundfile

    known = soundfile.available_formats()
    missing = [name for name in FORMATS if name not in known]
    text = f"libsndfile {soundfile.__libsndfile_version__}: {', '.join(name for name in FORMATS if name in known)}"
    remedy = f"; {', '.join(missing)} cannot be read: pip install -U soundfile" if missing else ""
    return Finding("audio formats", not missing, text + remedy)


def _models() -> Finding:
    names = registry.shipped()
    if not names:
        return Finding("models", False, f"none: reinstall, {install_command('eval').replace('[eval]', '')}")
    return Finding("models", True, ", ".join(names))


def _places() -> list[Finding]:
    """Look at the folders where compiled loops and fetched models are kept."""
    hub = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return [_place("cache of loops", list(objects.folders())), _place("cache of models", [Path(hub)])]


def _place(what: str, folders: list[Path]) -> Finding:
    for folder in folders:
        parent = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
        if os.access(parent, os.W_OK):
            free = shutil.disk_usage(parent).free
            text = f"{folder}, {free / 1e9:.0f} GB free"
            return Finding(what, free > LEAST_ROOM, text + ("" if free > LEAST_ROOM else ": make room"))
    return Finding(what, False, f"{folders[0]} cannot be written: set NUMBA_CACHE_DIR or HF_HOME to a folder that can")


def _extras() -> list[Finding]:
    """Tell which extras are installed, by the requirements that the distribution declares."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is only imported
        declared = tomllib.loads(shipped_path("pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = declared["optional-dependencies"].items()
        requirements = [f'{package}; extra == "{name}"' for name, packages in extras for package in packages]
    wanted: dict[str, list[str]] = {}
    for requirement in requirements:
        if extra := re.search(r"extra == [\"']([\w-]+)[\"']", requirement):
            wanted.setdefault(extra[1], []).append(re.match(r"[\w.-]+", requirement)[0])  # type: ignore[index]
    return [_extra(name, packages) for name, packages in sorted(wanted.items())]


def _extra(name: str, packages: list[str]) -> Finding:
    missing = [package for package in packages if package != DISTRIBUTION and not _is_installed(package)]
    text = f"not installed ({', '.join(missing)}): {install_command(name)}" if missing else "installed"
    return Finding(f"extra {name}", None, text)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
