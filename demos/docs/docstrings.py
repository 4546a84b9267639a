"""Prepare docstrings for the reference: a griffe extension.

Two habits of the sources are read as they are meant: `low, high: Bounds` documents two parameters in one line, and a
block of `>>>` is an example without a heading.
"""

import re
from typing import Any

import griffe

COMBINED = re.compile(r"^( +)(\w+(?:, \w+)+):[ \n]")
HEADINGS = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Examples?|Shape|Note|Source):$")


def split_parameters(text: str) -> str:
    """Document each of several parameters that share a line by itself.

    >>> print(split_parameters("Args:\\n    low, high: Bounds,\\n        in Hz."))
    Args:
        low: Bounds,
            in Hz.
        high: Bounds,
            in Hz.
    """
    lines, out = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        match = COMBINED.match(line + "\n")
        if not match:
            out.append(line)
            continue
        indent, names, rest = match[1], match[2].split(", "), line[match.end() - 1 :]
        more = []
        while lines and lines[0].startswith(indent + " "):
            more.append(lines.pop(0))
        for name in names:
            out += [f"{indent}{name}:{rest if rest.startswith(' ') else ' ' + rest}".rstrip(), *more]
    return "\n".join(out)


def head_examples(text: str) -> str:
    """Put a heading before a block of doctests that has none.

    >>> head_examples("Add.\\n\\n>>> 1 + 1\\n2")
    'Add.\\n\\nExamples:\\n    >>> 1 + 1\\n    2'
    """
    blocks = re.split(r"\n\n+", text)
    for i, block in enumerate(blocks):
        if block.startswith(">>> "):
            blocks[i] = "Examples:\n" + "\n".join(f"    {line}" for line in block.split("\n"))
    return "\n\n".join(blocks)


class Docstrings(griffe.Extension):
    """Rewrite each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class or function; the fields of a tuple or dataclass are attributes."""
        if not obj.docstring:
            return
        text = head_examples(split_parameters(obj.docstring.value))
        if obj.is_class and any(str(base).endswith("NamedTuple") for base in obj.bases):
            text = text.replace("Args:\n", "Attributes:\n", 1)
        obj.docstring.value = text
