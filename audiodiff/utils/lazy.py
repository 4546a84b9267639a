"""Import what is heavy when it is first used, so that a command that needs none of it answers at once.

Importing torch takes longer than all else that a command does before it can say that a name is misspelt.
"""

import ast
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _LazyModule(ModuleType):
    """Stand for a module, which is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def lazy_module(name: str) -> Any:
    """Return a stand-in for a module that is imported at its first use; annotations of it are to be strings.

    >>> lazy_module("math").floor(1.5)
    1
    """
    return _LazyModule(name)


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the `__getattr__`, `__dir__` and `__all__` of a package that imports each name when it is first asked for.

    The names are those that the package's source imports under `if TYPE_CHECKING:`.

    >>> find, names, _ = lazy_names("audiodiff.mel")
    >>> find("MelSpec").__name__, find("spec").__name__, names()
    ('MelSpec', 'audiodiff.mel.spec', ['LogMel', 'MelSpec'])
    """
    source = sys.modules[package].__spec__.loader.get_source(package)
    blocks = [node.body for node in ast.parse(source).body if isinstance(node, ast.If)]
    home_of = {name.name: line.module for block in blocks for line in block for name in line.names}

    def find(name: str) -> Any:
        """Import a public name, or a module of the package."""
        if name.startswith("_"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = home_of.get(name, f"{package}.{name}")
        try:
            module = importlib.import_module(home)
        except ModuleNotFoundError as error:
            if name in home_of or error.name != home:
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        return getattr(module, name) if name in home_of else module

    return find, lambda: sorted(home_of), sorted(home_of)
