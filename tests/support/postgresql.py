"""A PostgreSQL server of the test's own, on loopback, in a temporary folder."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest
from support.processes import free_port


def programs():
    """Return the folder of PostgreSQL's programs: from the path, else where Debian keeps them, else None."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@pytest.fixture
def postgresql(postgresql_server):
    """Create a database of the test's own and return its URL."""
    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(f"{postgresql_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgresql_server}/{name}"


@pytest.fixture(scope="session")
def postgresql_server():
    """Start a server and return its URL; skip where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg")
    if programs() is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    user = None
    if os.geteuid() == 0:  # initdb refuses to work as root
        user = pwd.getpwnam("postgres").pw_uid
    folder, port = Path(tempfile.mkdtemp(prefix="audiodiff-postgresql-")), free_port()

    def run(program, *arguments):
        call = [programs() / program, "-D", folder / "data", *arguments]
        subprocess.run(call, user=user, cwd=folder, check=True, timeout=60, stdout=subprocess.DEVNULL)

    try:
        if user is not None:
            os.chown(folder, user, -1)
        run("initdb", "--username=audiodiff", "--auth=trust", "--no-sync")
        server = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -F"
        run("pg_ctl", "start", "-w", "-t", "30", "-l", folder / "log", "-o", server)
        try:
            yield f"postgresql://audiodiff@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder)
