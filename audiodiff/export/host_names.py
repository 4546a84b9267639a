"""The hosts by name, which are known before torch is imported."""

import importlib
from typing import TYPE_CHECKING

from audiodiff.utils.validation import nearest

if TYPE_CHECKING:
    from audiodiff.export.hosts import Host

HOSTS = {"sherpa-onnx": ("sherpa_onnx", "SherpaOnnx"), "openutau": ("open_utau", "OpenUtau")}
COMPANIONS = {"openutau": ("vocoder.yaml",)}  # files that are written beside a host's model


def check_host(name: str) -> str:
    """Return a host's name if there is such a host.

    Raises:
        ValueError: There is none; the nearest is suggested.

    >>> check_host("openutau")
    'openutau'
    """
    if name not in HOSTS:
        near = nearest(name, HOSTS, cutoff=0.4)
        raise ValueError(f"no such host: {name}{near}; choose one of {', '.join(HOSTS)}")
    return name


def host_named(name: str) -> "Host":
    """Return the host of that name; raise what `check_host` raises."""
    module, kind = HOSTS[check_host(name)]
    return getattr(importlib.import_module(f"audiodiff.export.{module}"), kind)()


def companions(name: str | None) -> tuple[str, ...]:
    """Return the names of the files that are written beside a host's model."""
    return () if name is None else COMPANIONS.get(check_host(name), ())
