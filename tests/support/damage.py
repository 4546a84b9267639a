"""Strategies that damage files: bytes flipped, cut and repeated, and values of JSON in which anything may stand."""

import copy
import json
from pathlib import Path

from hypothesis import strategies as st

BYTES = st.one_of(st.binary(max_size=12), st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 8]))
LENGTHS = st.one_of(st.integers(0, 16), st.integers(0, 5000))
NUMBERS = [-1, 0, 1, 2, 3, 7, 80, 255, 1e-3, 0.5, 1.5, -0.0, 1e30, 2**31, 2**63, 10**30, float("nan"), float("inf")]
TEXTS = ["", "x", "ln", "../x", "cuda", "\0", "ü\u2028", "-1", "1e5", "os.system", "audiodiff.mel.MelSpec", "x" * 3000]
TARGETS = ["audiodiff.mel.MelSpec", "audiodiff.models.Vocoder", "audiodiff.nn.HybridNetwork", "os.system", 3, ""]
VALUES = st.one_of(
    st.sampled_from([None, True, False, *NUMBERS, *TEXTS]),
    st.lists(st.one_of(st.sampled_from([None, "x", *NUMBERS]), st.lists(st.integers(-2, 9), max_size=2)), max_size=4),
    st.dictionaries(
        st.sampled_from(["name", "time", "_target_", "x"]), st.sampled_from([None, 1, *TARGETS]), max_size=2
    ),
    st.integers(-10, 300),
    st.floats(width=32),
)


class Payload:
    """Creates a file when a careless reader unpickles it."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@st.composite
def damaged(draw, content, header=200):
    """Draw a copy of some bytes with one to four faults, most of them in the first bytes."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.one_of(st.integers(0, min(header, len(content))), st.integers(0, len(content))))
        kind = draw(st.sampled_from(["write", "write", "insert", "delete", "repeat", "cut"]))
        length = draw(LENGTHS) if kind in ("delete", "repeat") else 0
        if kind == "cut":
            del content[place:]
        elif kind == "write":
            written = draw(BYTES)
            content[place : place + len(written)] = written
        elif kind == "insert":
            content[place:place] = draw(BYTES)
        elif kind == "delete":
            del content[place : place + length]
        else:
            content[place:place] = content[place : place + length]
    return bytes(content)


def nodes(value, path=()):
    """List the paths to everything inside a value of JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(node for key, item in inside for node in nodes(item, (*path, key)))]


@st.composite
def edited(draw, value):
    """Draw a copy of a value of JSON in which one or two values are replaced, left out, or renamed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(nodes(value)))
        if not path:
            continue
        owner = value
        for key in path[:-1]:
            owner = owner[key]
        kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "wrap", "rename"]))
        if kind == "replace":
            owner[path[-1]] = draw(VALUES)
        elif kind == "wrap":
            owner[path[-1]] = [owner[path[-1]]]
        else:
            taken = owner.pop(path[-1])
            if kind == "rename" and isinstance(owner, dict):
                owner[draw(st.sampled_from(["", "x", "_target_", "mel", "__class__"]))] = taken
    return value


def texts(value):
    """Draw the text of a damaged JSON file: another value inside, or damage to the text itself."""
    text = json.dumps(value)
    return st.one_of(edited(value).map(lambda v: json.dumps(v).encode()), damaged(text.encode(), len(text)))
