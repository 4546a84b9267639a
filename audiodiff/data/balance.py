"""Weights by which recordings are drawn, so that no speaker, kit or maker fills most of a training set."""

from collections import defaultdict
from collections.abc import Sequence

from audiodiff.data.manifest import Recording


def sampling_weights(
    recordings: Sequence[Recording], sizes: Sequence[float], balance: str | None = None, power: float = 0.0
) -> list[float]:
    """Weight recordings by size within their group, and the groups by their total size to a power.

    Args:
        recordings: Recordings to weight.
        sizes: Size of each: its seconds where clips are cut from it, 1 where it is used whole.
        balance: Field of the manifest that names the group, such as "speaker" or "kit"; None weights by size alone.
        power: 0 draws every group equally often, 1 in proportion to its total size.

    Raises:
        ValueError: A recording lacks the field, or the power is not in [0, 1].

    >>> from pathlib import Path
    >>> a, b, c = (Recording(Path(f"{n}.flac"), n, 1, about={"kit": k}) for n, k in ((3, "x"), (1, "x"), (2, "y")))
    >>> sampling_weights([a, b, c], [3, 1, 2], "kit")
    [0.75, 0.25, 1.0]
    """
    if not 0 <= power <= 1:
        raise ValueError(f"balance_power={power}: give a number from 0 (groups are equal) to 1 (in proportion)")
    if balance is None:
        return list(sizes)
    groups = [field_of(recording, balance) for recording in recordings]
    totals: dict[str, float] = defaultdict(float)
    for group, size in zip(groups, sizes, strict=True):
        totals[group] += size
    return [size / totals[group] ** (1 - power) for group, size in zip(groups, sizes, strict=True)]


def field_of(recording: Recording, name: str) -> str:
    """Return a field of the manifest's line.

    Raises:
        ValueError: The line lacks it.
    """
    value = (recording.about or {}).get(name)
    if value is None:
        raise ValueError(f"{recording.path}: its manifest does not name its {name}; add the field, or balance=null")
    return str(value)
