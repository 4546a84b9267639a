"""Files at URLs, by fsspec: s3://bucket/x.wav, gs://bucket/folder, memory://x.

A location is a `Path`, or a URL as a string. What is read is fetched into a temporary folder first, and what is written
is uploaded when it is whole: an object in a bucket appears complete or not at all.
"""

import contextlib
import tempfile
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from audiodiff.utils.extras import install_command

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Location = Path | str
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class UploadError(ValueError):
    """Raised when an output cannot be written to its URL: no later one could be."""


def location(name: str | Path) -> Location:
    """Return a URL as it is, without a slash at its end, and anything else, file:// included, as a path.

    >>> location("s3://bucket/folder/"), location("a/b.wav").name, location("file:///tmp/b.wav").as_posix()
    ('s3://bucket/folder', 'b.wav', '/tmp/b.wav')
    """
    text = str(name)
    if "://" not in text:
        return Path(name)
    if text.startswith(("file://", "local://")):
        from fsspec.implementations.local import LocalFileSystem

        return Path(LocalFileSystem._strip_protocol(text))
    return text.rstrip("/")


def name_of(place: Location) -> PurePosixPath | Path:
    """Return the path of a location, for its name, stem and suffix.

    >>> name_of("s3://bucket/folder/a.npy").stem
    'a'
    """
    return place if isinstance(place, Path) else PurePosixPath(place.partition("://")[2])


def join(folder: Location, name: str | Path | PurePosixPath) -> Location:
    """Return the location of a file in a folder."""
    return folder / name if isinstance(folder, Path) else f"{folder}/{PurePosixPath(name)}"


def is_folder(place: Location) -> bool:
    """Return whether a location is a folder, or a prefix that objects have."""
    if isinstance(place, Path):
        return place.is_dir()
    with _errors(place) as system:
        return system.isdir(place)


def exists(place: Location) -> bool:
    """Return whether there is a file."""
    if isinstance(place, Path):
        return place.is_file()
    with _errors(place) as system:
        return system.isfile(place)


def files_in(folder: str) -> list[str]:
    """Return the paths of all files below a URL, relative to it; empty if there is nothing."""
    with _errors(folder) as system:
        root = system._strip_protocol(folder).rstrip("/") + "/"
        return sorted(path.removeprefix(root) for path in system.find(root))


@contextlib.contextmanager
def local_copy(place: Location, beside: tuple[str, ...] = ()) -> Generator[Path]:
    """Yield a path at which a file can be read; one at a URL is fetched, and its errors name the URL.

    Args:
        place: Of the file.
        beside: Suffixes, appended to its name, of files that are fetched along with it where they exist.

    Raises:
        ValueError: The file system is unknown, refuses, or holds no such file.
    """
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="audiodiff-") as folder:
        path = Path(folder) / name_of(place).name
        with _errors(place) as system:
            system.get_file(place, str(path))
            for suffix in beside:
                if system.exists(f"{place}{suffix}"):
                    system.get_file(f"{place}{suffix}", f"{path}{suffix}")
        try:
            yield path
        except UploadError:
            raise
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), place)) from error


@contextlib.contextmanager
def local_output(place: Location, beside: tuple[str, ...] = ()) -> Generator[Path]:
    """Yield a path at which a file is to be written, and upload it and the files beside it when the block ends well.

    Args:
        place: Of the file; the folder of a path is created.
        beside: Suffixes, appended to the name, of files that are uploaded before it. So the file itself comes last: if
            it is there, all are. One that is replaced is removed first.

    Raises:
        UploadError: The file system refuses.
    """
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="audiodiff-") as folder:
        path = Path(folder) / name_of(place).name
        yield path
        try:
            with _errors(place) as system:
                if beside and system.exists(place):
                    system.rm_file(place)
                for suffix in (*beside, ""):
                    system.put_file(f"{path}{suffix}", f"{place}{suffix}")
        except ValueError as error:
            raise UploadError(str(error)) from None


@contextlib.contextmanager
def _errors(url: str) -> Generator["AbstractFileSystem"]:
    """Yield the file system of a URL; turn its errors, which are of any kind, into ValueError."""
    import fsspec

    protocol = urlsplit(url).scheme
    try:
        yield fsspec.core.url_to_fs(url)[0]
    except ImportError as error:
        remedy = install_command(EXTRAS[protocol]) if protocol in EXTRAS else str(error)
        raise ValueError(f"{url}: the library for {protocol}:// is missing; {remedy}") from None
    except FileNotFoundError:
        raise ValueError(f"{url}: there is no such file or bucket") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = "check the address and the credentials"
        raise ValueError(f"{url}: the storage refuses ({reason}); {remedy}") from None
