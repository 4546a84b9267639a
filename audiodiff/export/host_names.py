"""The hosts by name."""

import difflib

from audiodiff.export.hosts import Host
from audiodiff.export.open_utau import OpenUtau
from audiodiff.export.sherpa_onnx import SherpaOnnx

__all__ = ["companions", "host_named"]


def host_named(name: str) -> Host:
    """Return the host of that name.

    Raises:
        ValueError: There is none; the nearest is suggested.
    """
    hosts = {kind.name: kind for kind in (SherpaOnnx, OpenUtau)}
    if name not in hosts:
        near = difflib.get_close_matches(name, hosts, n=1, cutoff=0.4)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"no such host: {name}{hint}; choose one of {', '.join(hosts)}")
    return hosts[name]()


def companions(name: str | None) -> tuple[str, ...]:
    """Return the names of the files that are written beside a host's model."""
    return () if name is None else host_named(name).companion_names
