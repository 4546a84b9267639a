"""Gets Debian packages and what is in them, without installing anything; shared by the data sets."""

import logging
import os
import shutil
import subprocess
from pathlib import Path

logger = logging.getLogger("datasets")


def check_tools() -> None:
    """Raise ValueError where Debian's tools are missing."""
    missing = [tool for tool in ("apt-get", "dpkg", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise ValueError(f"{missing[0]} not found: this needs Debian or a system like it (a container will do)")


def fetch(package: str, folder: Path) -> Path:
    """Download a package into a folder, unless one lies there; returns the .deb file."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (there := sorted(folder.glob(f"{package}_*.deb"))):
        logger.info("%s: downloading", package)
        command = ["apt-get", "download", "-q", package]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        if "Unable to locate" in result.stderr or "no installation candidate" in result.stderr:
            raise ValueError(f"package {package} not found: run `apt-get update` as root, then try again")
        there = sorted(folder.glob(f"{package}_*.deb"))
        if result.returncode or not there:
            errors = [line for line in result.stderr.splitlines() if line.startswith("E:")] or ["no reason given"]
            raise ValueError(f"cannot download {package} ({errors[0]}): run `apt-get update` as root, then try again")
    return there[-1]


def unpack(deb: Path, folder: Path) -> str:
    """Unpack a package's files into a folder, unless that is done; returns the package's version."""
    try:
        if not folder.exists():
            subprocess.run(["dpkg", "-x", deb, folder], check=True, capture_output=True)
        query = ["dpkg-deb", "-f", deb, "Version"]
        return subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    except subprocess.CalledProcessError as error:
        raise ValueError(f"cannot unpack {deb}: delete it and try again") from error
