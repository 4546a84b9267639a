"""Import what is heavy when it is first used, so that a command that needs none of it answers at once.

Importing torch takes longer than all else that a command does before it can say that a name is misspelt.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

__all__ = ["lazy_module", "lazy_names"]


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


def lazy_names(
    package: str, homes: Mapping[str, Sequence[str]], public: Sequence[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package that imports each public name when it is first asked for.

    Args:
        package: Its full name.
        homes: Names by the module of the package that defines them.
        public: What `dir` lists.

    >>> find, names = lazy_names("audiodiff.utils", {"files": ["write_json"]}, ["write_json"])
    >>> find("files").__name__, names()
    ('audiodiff.utils.files', ['write_json'])
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        """Import a public name, or a module of the package."""
        if name.startswith("_"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(f"{package}.{home_of.get(name, name)}")
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        return getattr(module, name) if name in home_of else module

    return find, lambda: list(public)
