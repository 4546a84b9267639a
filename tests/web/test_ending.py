"""The end of the demo's server, while visitors wait for sounds."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.page import free_port, wait_until_served

import audiodiff
from audiodiff.utils.config import shipped_path

VISITORS = 8


def ask_again_and_again(address, asked):
    """Send the example until nobody answers."""
    client = pytest.importorskip("gradio_client")
    with contextlib.suppress(Exception):  # whatever a client says when its server goes
        visitor = client.Client(address, verbose=False, analytics_enabled=False)
        while True:
            asked.append(address)
            example = client.handle_file(str(shipped_path("demos/audio/speech.flac")))
            visitor.predict(example, 4, "ddim", "own", 0, api_name="/resynthesise")


@pytest.mark.slow
def test_a_terminated_page_ends_with_status_0_while_sounds_are_being_made(tmp_path):
    pytest.importorskip("gradio")
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    source = {"PYTHONPATH": str(Path(audiodiff.__file__).parents[1])}
    with open(tmp_path / "log", "w") as log:
        call = [sys.executable, "-m", "audiodiff", "demo", "--port", str(port)]
        server = subprocess.Popen(call, cwd=tmp_path, env=os.environ | source, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_served(address, server)
        asked = []
        for _ in range(VISITORS):
            threading.Thread(target=ask_again_and_again, args=(address, asked), daemon=True).start()
        deadline = time.monotonic() + 60
        while len(asked) < 2 * VISITORS and time.monotonic() < deadline:  # so that compiled code is at work
            time.sleep(0.2)
        server.terminate()
        assert server.wait(20) == 0
    finally:
        server.kill()
    assert "Traceback" not in (tmp_path / "log").read_text()
