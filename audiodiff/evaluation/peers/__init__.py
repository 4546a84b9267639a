"""Other vocoders as systems of `evaluation.benchmark`, one adapter a file.

An adapter states `REQUIRES` (what pip installs) and `MODULES` (what must be importable), and `systems()` builds what is
measured. Most peers keep their weights on a hub; these get random ones, and only their speed counts.
"""

import contextlib
import importlib
import importlib.util
import pkgutil
import sys
from importlib import metadata
from types import ModuleType

from audiodiff.evaluation.benchmark import System


def available() -> tuple[list[System], list[dict[str, str]]]:
    """Build every peer that is installed; for each of the others return its name and the reason (`why`)."""
    systems: list[System] = []
    absent = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        built, why = build(importlib.import_module(f"{__name__}.{module.name}"))
        systems += built
        if why:
            absent.append({"name": module.name.replace("_", "-"), "why": why})
    return systems, absent


def build(adapter: ModuleType) -> tuple[list[System], str | None]:
    """Build the systems of an adapter, or none and the reason why not."""
    if not all(importlib.util.find_spec(name) for name in adapter.MODULES):
        return [], f"not installed: pip install {adapter.REQUIRES}"
    try:
        with contextlib.redirect_stdout(sys.stderr):  # packages print
            systems = adapter.systems()
        name = adapter.REQUIRES.partition("==")[0]
        return [system._replace(package=f"{name}=={metadata.version(name)}") for system in systems], None
    except Exception as error:  # whatever a package of others does when it is imported or built
        return [], f"does not start: {' '.join((str(error) or repr(error)).split())[:120]}"
