"""Where files of a packed corpus lie: in a folder, or at an address from which litdata (extra `shards`) fetches them.

Of what is fetched, so much is kept as was allowed; what was not used for longest goes first. A file is fetched under
another name and then renamed, so that processes that share the folder never see half of it.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path

from audiodiff.utils.extras import install_command

__all__ = ["Place"]

log = logging.getLogger(__name__)
ATTEMPTS = 4  # to fetch a file, with pauses of 1, 2, 4 s


class Place:
    """Finds files by name in a folder or at an address.

    Args:
        address: Folder, or what litdata fetches from (s3://…, gs://…, azure://…, hf://…, local:FOLDER).
        key: Text that tells one state of the address from the next, such as its index: its hash names the folder of
            what is kept, so that files of another state are never taken for this one's.
        cache: Folder for what is fetched.
        cache_gb: How much of it is kept, 10⁹ bytes.
    """

    def __init__(self, address: str, key: str, cache: str | Path, cache_gb: float) -> None:
        self.address, self.cache_bytes = address.rstrip("/"), cache_gb * 1e9
        self.remote = is_remote(address)
        digest = hashlib.sha256(f"{self.address}\n{key}".encode()).hexdigest()[:16]
        self.folder = Path(cache) / digest if self.remote else Path(address)

    def path(self, name: str, n_bytes: int = 0) -> Path:
        """Returns where a file lies, after fetching it from an address and making room for its bytes.

        Raises:
            ValueError: It is not there.
        """
        path = self.folder / name
        if self.remote and path.is_file():
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)  # it was used
        elif self.remote:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(n_bytes)
            fetch(f"{self.address}/{name}", path)
        elif not path.is_file():
            raise ValueError(f"{path}: no such file; pack the corpus again, or copy all of it")
        return path

    def _make_room(self, n_bytes: int) -> None:
        kept = []
        for path in self.folder.glob("*.bin"):
            with contextlib.suppress(FileNotFoundError):
                kept.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total + n_bytes <= self.cache_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size


def is_remote(address: str) -> bool:
    """Tells an address from a folder.

    >>> is_remote("s3://bucket/corpus"), is_remote("data/corpus")
    (True, False)
    """
    return "://" in address or address.startswith("local:")


def text_of(address: str, name: str) -> str:
    """Reads a small file of a folder or an address, always anew.

    Raises:
        ValueError: It is not there, or no text.
    """
    path = Path(address) / name
    if is_remote(address):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            fetch(f"{address.rstrip('/')}/{name}", path)
            return path.read_text(encoding="utf-8")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; make it by `audiodiff shard RECORDINGS {address}`")
    return path.read_text(encoding="utf-8")


def fetch(address: str, path: Path) -> None:
    """Fetches one file, several times if need be.

    Raises:
        ValueError: It does not come, or litdata is missing.
    """
    try:
        from litdata.streaming.downloader import get_downloader
    except ImportError:
        raise ValueError(f"{address}: to fetch it, {install_command('shards')}") from None
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as folder:
        downloader, problem = get_downloader(address.rpartition("/")[0], folder, []), Exception()
        for attempt in range(ATTEMPTS):
            if attempt:
                log.warning("%s: not fetched (%s), trying again", address, problem)
                time.sleep(2 ** (attempt - 1))
            try:
                downloader.download_file(address, f"{folder}/{path.name}")
                os.replace(f"{folder}/{path.name}", path)
                return
            except Exception as error:  # the clouds' libraries have no common base
                problem = error
    raise ValueError(f"{address}: cannot be fetched ({problem}); see whether it is there and may be read")
