"""Name the optional dependencies of a feature, and how to install them.

The distribution is called `audiodiff-torch`, since `audiodiff` on the package index belongs to another project. Every
message that says how to install an extra comes from here, so the name stands in one place.
"""

import importlib.util

DISTRIBUTION = "audiodiff-torch"


class MissingExtra(ImportError, ValueError):
    """Tell that an optional dependency is missing, and how to install it."""


def install_command(extra: str) -> str:
    """Return the command that installs an extra.

    >>> install_command("demo")
    "pip install 'audiodiff-torch[demo]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def requires_extra(extra: str, *modules: str, purpose: str) -> None:
    """Check that the modules of an extra can be imported, without importing them.

    Args:
        extra: Name of the extra in `pyproject.toml`.
        *modules: Top-level modules that the extra installs.
        purpose: What needs them, as the subject of the message: "the page".

    Raises:
        MissingExtra: A module is missing; the message names the command that installs it.

    >>> requires_extra("demo", "no_such_module", purpose="the page")
    Traceback (most recent call last):
        ...
    audiodiff.utils.extras.MissingExtra: the page needs no_such_module: pip install 'audiodiff-torch[demo]'
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtra(f"{purpose} needs {' and '.join(missing)}: {install_command(extra)}")
