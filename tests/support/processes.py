"""Shared by the tests of processes."""

import os
import socket
import subprocess
import sys
import time

NO_TORCH = """
import builtins, runpy, sys
original = builtins.__import__
def refusing(name, *rest, **named):
    if name.split(".")[0] in ("torch", "audiodiff", "scipy", "librosa"):
        raise ImportError(name)
    return original(name, *rest, **named)
builtins.__import__ = refusing
sys.path.insert(0, sys.argv[1].rpartition("/")[0])
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def python(*words, **options):
    """Run this interpreter with some words, and return what it said."""
    how = {"env": environment(), "capture_output": True, "text": True, "timeout": 900} | options
    return subprocess.run([sys.executable, *map(str, words)], **how)


def started(*words, **options):
    """Start this interpreter with some words."""
    return subprocess.Popen([sys.executable, *map(str, words)], **{"env": environment(), "text": True} | options)


def without_torch(script, *arguments, **options):
    """Run a script in a process that can import neither torch nor audiodiff."""
    return python("-c", NO_TORCH, script, *arguments, **options)


def wait_until(happened, process, seconds=300):
    """Wait until something has happened, at most as long as a process works; fail if it has not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.002)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
