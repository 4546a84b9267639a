"""What the tests of the demo page share."""

import contextlib
import re
import socket
import time
import urllib.request

from audiodiff.cli import main

NUMBERS = re.compile(r"[\d.]+ s of audio in [\d.]+ s · [\d.]+ × real time · (\d+) network calls?( per channel)?")
CHOICES = {"steps": 3, "solver": "dpmpp-2m", "start": "noise", "seed": 7}


def resynth(recording, out, model):
    """Writes what `audiodiff resynth` makes with CHOICES; returns the bytes of the file."""
    options = [word for name, value in CHOICES.items() for word in (f"--{name}", str(value))]
    assert main(["resynth", str(recording), str(out), "--model", str(model), "--device", "cpu", *options]) == 0
    return out.read_bytes()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_served(address, server, seconds=120):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), direct.open(address, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"the page was not served within {seconds} s")
