"""The root of the checkout, and the scripts of demos/, which are no packages."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import audiodiff

ROOT = Path(audiodiff.__file__).resolve().parents[1]


def load_script(path: str) -> ModuleType:
    """Load a script by its path below the root, as a fresh module that finds the scripts beside it."""
    file = ROOT / path
    spec = importlib.util.spec_from_file_location("_".join(file.relative_to(ROOT).with_suffix("").parts), file)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module
