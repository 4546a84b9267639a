"""Compiled code on disk is made by one process at a time."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numba
import pytest
from filelock import FileLock
from support.processes import started

from audiodiff.utils import numba_cache

ASKS = "from audiodiff.utils.numba_cache import librosa; print('asks', flush=True); librosa(); print(open({!r}).read())"


def test_librosa_is_not_imported_while_another_process_holds_the_lock(tmp_path):
    released = tmp_path / "released"
    with numba_cache.one_process_at_a_time():
        asking = started("-c", ASKS.format(str(released)), stdout=subprocess.PIPE)
        assert asking.stdout.readline() == "asks\n"
        time.sleep(2)  # longer than the import takes
        released.write_text("released")
    assert asking.communicate(timeout=120)[0] == "released\n"  # an earlier one would not have found the file
    assert asking.returncode == 0


def test_who_waits_is_told_what_for(monkeypatch, caplog):
    monkeypatch.setattr(numba_cache, "PATIENCE", 0.05)
    lock = FileLock(Path(tempfile.gettempdir()) / f"audiodiff-{os.getuid()}.lock", thread_local=False)
    lock.acquire()
    threading.Timer(0.3, lock.release).start()
    with numba_cache.one_process_at_a_time():
        pass
    assert caplog.messages == ["waiting for another process, which compiles"]


def test_compiling_is_announced_once_and_only_if_numba_does(monkeypatch, caplog):
    monkeypatch.setattr(numba_cache, "PATIENCE", 0.05)
    numba_cache.announce_compiling.cache_clear()
    with numba_cache.one_process_at_a_time():
        time.sleep(0.3)  # a slow import is no compilation
    assert not caplog.messages
    for _ in range(2):
        with numba_cache.one_process_at_a_time():
            assert numba.njit(lambda x: x + 1)(1) == 2
    assert caplog.messages == ["compiling for this machine, once: it takes up to a minute"]


def test_without_a_place_for_the_lock_nobody_waits_and_nothing_fails(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    with numba_cache.one_process_at_a_time():
        pass


def test_error_inside_is_not_swallowed_and_lets_the_lock_go():
    with pytest.raises(OSError, match="mine"), numba_cache.one_process_at_a_time():
        raise OSError("mine")
    with numba_cache.one_process_at_a_time():
        pass


def test_all_of_librosa_that_compiles_when_imported_is_imported_under_the_lock():
    package = Path(numba_cache.librosa().__file__).parent
    found = {
        ".".join(path.relative_to(package).with_suffix("").parts)
        for path in package.rglob("*.py")
        if re.search(r"^@(numba\.(gu)?|gu)vectorize\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == {*numba_cache.COMPILED, "beat"}  # which nothing here asks for
    assert all(f"librosa.{name}" in sys.modules for name in numba_cache.COMPILED)
