"""Inheritance of configuration and facts from the model of `init_from`, where the user sets nothing else."""

from collections.abc import Mapping
from typing import Any

from audiodiff.models.base import Model


def differences(section: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a section that differ from its default, nested like the section.

    A nested section with another `_target_` is taken whole.

    >>> differences({"steps": 4, "start": {"time": 0.3, "mel": 1}}, {"steps": 4, "start": {"time": 0.5, "mel": 1}})
    {'start': {'time': 0.3}}
    """
    changed: dict[str, Any] = {}
    for name, value in section.items():
        before = default.get(name)
        if value == before and name in default:
            continue
        nested = isinstance(value, Mapping) and isinstance(before, Mapping)
        same_kind = nested and value.get("_target_") == before.get("_target_")
        changed[name] = differences(value, before) if same_kind else value
    return changed


def inherit_model(first: Mapping[str, Any], section: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Override the configuration of a trained model by the user's settings; all its parts have one mel.

    Args:
        first: Configuration of the trained model.
        section: The composed section `model`.
        default: The same section, composed without the user's settings.
    """
    merged = _merged(first, differences(section, default))
    for mel in (first.get("mel"), section.get("mel")):  # what the user sets beside the default mel names that one
        merged = _replaced(merged, mel, merged.get("mel"))
    return merged


def replace_model(first: Mapping[str, Any], section: Mapping[str, Any]) -> dict[str, Any]:
    """Replace arguments of a trained model; if the mel is one of them, the parts that stay follow it."""
    merged = {**first, **section}
    return _replaced(merged, first.get("mel"), merged.get("mel"))


def inherit_facts(info: dict[str, Any], first: Model, source: str) -> dict[str, Any]:
    """Fill in licence, attribution and data of the trained model where the run names none."""
    inherited = {name: first.info[name] for name in ("licence", "attribution") if first.info.get(name)}
    if str(info.get("licence", "unspecified")) != "unspecified":
        inherited.pop("licence", None)
    if first.info.get("data"):
        inherited["data"] = f"{info.get('data', 'unknown')}; before that {first.info['data']}"
    return {**info, **inherited, "initialised_from": source}


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        nested = isinstance(value, Mapping) and isinstance(old.get(name), Mapping) and "_target_" not in value
        merged[name] = _merged(old[name], value) if nested else value
    return merged


def _replaced(section: Any, old: Any, new: Any) -> Any:
    """Replace a value by another wherever it occurs in a section."""
    if old is not None and section == old:
        return new
    if isinstance(section, Mapping):
        return {name: _replaced(value, old, new) for name, value in section.items()}
    return section
