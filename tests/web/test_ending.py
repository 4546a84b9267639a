"""The end of the demo's server, while visitors wait for sounds."""

import contextlib
import threading

import pytest
from support.page import demo
from support.processes import wait_until

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
    asked = []
    with demo(tmp_path) as (address, server):
        for _ in range(VISITORS):
            threading.Thread(target=ask_again_and_again, args=(address, asked), daemon=True).start()
        wait_until(lambda: len(asked) >= 2 * VISITORS, server, 60)  # so that compiled code is at work
    assert "Traceback" not in (tmp_path / "log").read_text()
