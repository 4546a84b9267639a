"""Names with dots in the package's docstrings and comments lead to what there is."""

import importlib
import re

import torch
from support.tree import ROOT

ROOMS = "|".join(path.parent.name for path in (ROOT / "audiodiff").glob("*/__init__.py"))
NAME = re.compile(rf"`((?:{ROOMS})(?:\.[A-Za-z_]\w*)+)(?:\(.*?\))?`")


def is_there(name: str) -> bool:
    """Whether a name below `audiodiff`, or torch's `nn`, can be imported or looked up."""
    parts = name.split(".")
    if parts[0] == "nn" and hasattr(torch.nn, parts[1]):
        return True
    for n in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(["audiodiff", *parts[:n]]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            if not hasattr(thing, part):
                return part in getattr(thing, "__annotations__", {})
            thing = getattr(thing, part)
        return True
    return False


def test_names_in_docstrings_and_comments_are_there():
    named = {
        (name, str(path.relative_to(ROOT)))
        for path in (ROOT / "audiodiff").rglob("*.py")
        for name in NAME.findall(path.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert not {where for where in named if not is_there(where[0])}
