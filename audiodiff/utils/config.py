"""Build objects from plain dictionaries: `_target_` names a class under `audiodiff.`, the rest are its arguments.

The same dictionary is a section of the YAML, the constructor's arguments and a section of the checkpoint. Only names
under `audiodiff.` are followed: a checkpoint that a stranger sends cannot call anything else.
"""

import contextlib
import functools
import importlib
import importlib.util
import inspect
import os
import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiodiff.utils.validation import fits, nearest, wanted

PLUGINS: set[str] = set()  # modules whose classes may be named too, by the user's word


def shipped_path(name: str) -> Path:
    """Find what lies beside the package in a checkout and inside it when installed, such as `conf` or `demos/audio`.

    Raises:
        FileNotFoundError: It is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package, package.parent):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{name} is neither in {package} nor beside it: reinstall audiodiff")


def conf_dir() -> Path:
    """Return the folder of the YAML files, as an absolute path.

    >>> (conf_dir() / "train.yaml").is_file()
    True
    """
    return shipped_path("conf")


def choices(group: str) -> list[str]:
    """List the names of a config group: its files.

    >>> "cosine" in choices("schedule")
    True
    """
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def check_choice(group: str, name: str) -> str:
    """Return a name if a file of a config group, or a class of an allowed plugin, is called so: my_parts.MySolver.

    Raises:
        ValueError: None is.

    >>> check_choice("solver", "ddim")
    'ddim'
    """
    known = choices(group)
    if name not in known and not _of_plugin(name):
        plugin = name.split(".")[0] if "." in name else ""
        own = f"; a class of your own wants --plugin {plugin}" if plugin.isidentifier() else ""
        raise ValueError(f"unknown {group} {name!r}{nearest(name, known)}: choose one of {', '.join(known)}{own}")
    return name


def _of_plugin(name: str) -> bool:
    return "." in name and name.split(".")[0] in PLUGINS


def choose(group: str, name: str, **references: Any) -> Any:
    """Build the object that a file of a config group describes.

    Args:
        group: Folder of conf.
        name: File in it, without the suffix, or a class of an allowed plugin.
        references: Values of `${...}` in the file, such as mel=.

    Raises:
        ValueError: The group has no such file.

    >>> choose("solver", "ancestral").eta
    1.0
    """
    return build(_resolved(_section(group, name), references))


def kind_of(group: str, name: str) -> type:
    """Return the class that a file of a config group names.

    Raises:
        ValueError: The group has no such file.
    """
    return _locate(_section(group, name)["_target_"])


def name_of(group: str, thing: Any, exact: bool = True) -> str | None:
    """Find the file of a config group that describes an object, or None.

    Args:
        group: Folder of conf.
        thing: The object.
        exact: Whether its arguments must agree too, or its class alone.

    >>> name_of("solver", choose("solver", "ddim"))
    'ddim'
    """
    for name in choices(group):
        if kind_of(group, name) is type(thing) and (not exact or describe(choose(group, name)) == describe(thing)):
            return name
    return None


def name_of_section(group: str, section: Mapping[str, Any], exact: bool = True) -> str | None:
    """Find the file of a config group that says the same as a section, or names the same class; None if none does.

    >>> name_of_section("solver", {"_target_": "audiodiff.diffusion.solvers.DDIM"})
    'ddim'
    """
    for name in choices(group):
        known = _section(group, name)
        if known == section or (not exact and known["_target_"] == section["_target_"]):
            return name
    return None


def describe(thing: Any, *left_out: str) -> dict[str, Any]:
    """Return the constructor's arguments of an object, read from the attributes of the same names.

    >>> describe(choose("start", "noise"))
    {}
    """
    names = (name for name in inspect.signature(type(thing)).parameters if name not in left_out)
    return {name: getattr(thing, name) for name in names}


def build(spec: Any) -> Any:
    """Turn nested dictionaries with a `_target_` into objects, innermost first.

    Raises:
        ValueError: A target is outside audiodiff, does not exist, or is given arguments that it does not take, or
            that are of other types than its constructor says.

    >>> build({"_target_": "audiodiff.diffusion.schedules.CosineVP", "log_snr_max": 20.0}).log_snr_max
    20.0
    """
    if isinstance(spec, list | tuple):
        return [build(item) for item in spec]
    if not isinstance(spec, Mapping):
        return spec
    arguments = {key: build(value) for key, value in spec.items() if key != "_target_"}
    if "_target_" not in spec:
        return arguments
    target = _locate(spec["_target_"])
    try:
        inspect.signature(target).bind(**arguments)
    except TypeError as error:
        takes = ", ".join(inspect.signature(target).parameters)
        raise ValueError(f"{spec['_target_']}: {error}; it takes {takes}") from None
    hints = _hints(target)
    for name, value in arguments.items():
        if not fits(value, hints.get(name, Any)):
            raise ValueError(f"{spec['_target_']}: {name}={_shown(value)} is given, {wanted(hints[name])} is wanted")
    return target(**arguments)


def _shown(value: Any) -> str:
    return " ".join(reprlib.repr(value).split())


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a constructor, without those that name what only a type checker imports."""
    hints = {}
    for name, annotation in getattr(kind.__init__, "__annotations__", {}).items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        with contextlib.suppress(NameError):
            hints |= typing.get_type_hints(one, vars(sys.modules[kind.__module__]))
    return hints


def _section(group: str, name: str) -> dict[str, Any]:
    """Read a file of a config group as plain containers; a class of a plugin has its own defaults and no file."""
    if _of_plugin(name):
        return {"_target_": name}
    return _read_yaml(conf_dir() / group / f"{check_choice(group, name)}.yaml")


@functools.cache
def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def _resolved(section: Any, references: Mapping[str, Any]) -> Any:
    """Replace `${name}` by the value of a reference."""
    if isinstance(section, Mapping):
        return {key: _resolved(value, references) for key, value in section.items()}
    if isinstance(section, str) and section.startswith("${"):
        return references.get(section[2:-1], section)
    return section


def allow_plugin(module: str) -> None:
    """Let configurations and models name the public classes of a module of the user's, whose code then runs.

    Args:
        module: Name of a module or package that can be imported, or lies in the working directory.

    Raises:
        ValueError: It cannot be imported.
    """
    try:
        if importlib.util.find_spec(module) is None:
            sys.path.append(os.getcwd())
        importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"plugin {module}: cannot be imported ({error}); install it, or change to its folder"
        ) from None
    PLUGINS.add(module)


def _locate(name: str) -> Any:
    module, _, attribute = str(name).rpartition(".")
    root = module.split(".")[0]
    if root != "audiodiff" and root not in PLUGINS:
        remedy = f"; if you trust its code, allow it: --plugin {root}, or plugins=[{root}] in training" if root else ""
        raise ValueError(f"_target_ {name!r} is refused: a config may only name public classes under audiodiff{remedy}")
    if (root == "audiodiff" and module == root) or attribute.startswith("_"):
        raise ValueError(f"_target_ {name!r} is refused: a config may only name public classes under audiodiff")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise ValueError(f"_target_ {name!r} does not exist in this version of audiodiff") from None
    # A module's own classes only: `audiodiff.x.os` would otherwise lead out of the package.
    if not (inspect.isclass(target) and target.__module__.split(".")[0] == root):
        raise ValueError(f"_target_ {name!r} is refused: it is no class of {root}")
    return target
