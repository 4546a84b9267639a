"""What the tests of the demo page share."""

import contextlib
import re
import urllib.request

from support.processes import environment, free_port, started, wait_until

from audiodiff.cli import main

NUMBERS = re.compile(r"[\d.]+ s of audio in [\d.]+ s · [\d.]+ × real time · (\d+) network calls?( per channel)?")
CHOICES = {"steps": 3, "solver": "dpmpp-2m", "start": "noise", "seed": 7}


def resynth(recording, out, model):
    """Writes what `audiodiff resynth` makes with CHOICES; returns the bytes of the file."""
    options = [word for name, value in CHOICES.items() for word in (f"--{name}", str(value))]
    assert main(["resynth", str(recording), str(out), "--model", str(model), "--device", "cpu", *options]) == 0
    return out.read_bytes()


@contextlib.contextmanager
def demo(folder, *options, **variables):
    """Serve the page by `audiodiff demo`, which logs into FOLDER/log; yield its address and the process."""
    port = free_port()
    with open(folder / "log", "w") as log:
        call, how = ["-m", "audiodiff", "demo", "--port", port, *options], {"stdout": log, "stderr": log}
        server = started(*call, cwd=folder, env=environment() | variables, **how)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/"), server)
        yield f"http://127.0.0.1:{port}/", server
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()


def answers(address):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError), direct.open(address, timeout=5):
        return True
    return False
