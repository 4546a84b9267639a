"""Where a study is kept: a journal file in its folder, or a database for many machines, both by Optuna."""

import contextlib
import time
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from audiodiff.utils.extras import install_command

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

CREATION_ATTEMPTS = 5  # two processes that create the tables at once: one of them fails, and finds them on its next try
CONNECT_SECONDS = 10


def open_storage(url: str | None, folder: Path, stale_seconds: float, on_stale_trial: Any) -> "BaseStorage":
    """Open the storage of a study, and create it if it is missing.

    Args:
        url: Of a database, as SQLAlchemy writes it, such as postgresql://user@host/name; None for `journal.log` in the
            folder.
        folder: Of the study.
        stale_seconds: Without a heartbeat after which a database takes a trial for dead.
        on_stale_trial: Called with the study and such a trial.

    Raises:
        ValueError: The URL is malformed, its driver is missing, the database refuses or cannot be reached, or its
            tables belong to another version of Optuna.
    """
    if url is None:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        return JournalStorage(JournalFileBackend(str(folder / "journal.log"), _JournalLock(folder / "journal.lock")))
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
    except ArgumentError:
        raise ValueError(f"study.storage={url}: give a URL such as postgresql://user@host/name") from None
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    shown = address.set(drivername=address.get_backend_name()).render_as_string(hide_password=True)
    postgres = address.get_backend_name() == "postgresql"
    options = {
        "engine_kwargs": {"pool_pre_ping": True}
        | ({"connect_args": {"connect_timeout": CONNECT_SECONDS}} if postgres else {}),
        "heartbeat_interval": max(1, round(stale_seconds / 4)),
        "grace_period": max(1, round(stale_seconds)),
        "heartbeat_stale_trial_callback": on_stale_trial,
    }
    return _open_database(address.render_as_string(hide_password=False), shown, options)


class _JournalLock:
    """Lock a journal for as long as the process lives at most: Optuna's own lock outlives a killed one by 30 s."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()


def _open_database(url: str, shown: str, options: dict[str, Any]) -> "BaseStorage":
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    for attempt in range(1, CREATION_ATTEMPTS + 1):
        try:
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                return RDBStorage(url, **options)
        except ImportError:
            raise ValueError(f"{shown}: its driver is missing; {install_command('postgres')} for PostgreSQL") from None
        except SQLAlchemyError as error:
            if attempt == CREATION_ATTEMPTS or "already exists" not in str(error):
                raise ValueError(
                    f"{shown}: {first_line(error)}; check the address, and that the database runs"
                ) from None
            time.sleep(0.5 * attempt)
        except RuntimeError as error:  # Optuna's check of the tables' version
            raise ValueError(f"{shown}: {first_line(error)}") from None
    raise AssertionError("unreachable")


@contextlib.contextmanager
def database_errors(in_database: bool) -> Generator[None]:
    """Turn the errors of a study's database into ValueError; a journal raises none of them."""
    if not in_database:
        yield
        return
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = first_line(error.__cause__ or error)
        raise ValueError(
            f"the database of the study fails ({reason}); its trials are kept: run the same command again to go on"
        ) from None


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line without the SQL behind it."""
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(" .;")
