"""Many visitors at once: does the page stay up, give everybody his own sound, and keep its memory?

    audiodiff demo --port 7860 &
    python demos/load_page.py http://127.0.0.1:7860 --clients 20 --seconds 120

Every client sends the example again and again, with another seed each time, and compares what it gets with what
`resynthesise` makes of that seed here. Prints right and wrong answers, failures, and the server's memory ten times.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from gradio_client import Client, handle_file

from audiodiff import audio, resynthesis
from audiodiff.model import Vocoder

EXAMPLE = Path(__file__).parent / "speech.flac"
SEEDS = 8


class Visitors:
    """Runs clients in threads and counts."""

    def __init__(self, address: str, wanted: list[str], seconds: float) -> None:
        self.address, self.wanted, self.end = address, wanted, time.monotonic() + seconds
        self.right = self.wrong = 0
        self.failures: list[str] = []

    def visit(self, number: int) -> None:
        """Asks until the time is over."""
        with tempfile.TemporaryDirectory() as folder:
            client = Client(self.address, verbose=False, download_files=folder, analytics_enabled=False)
            turn = number
            while time.monotonic() < self.end:
                seed, turn = turn % SEEDS, turn + 1
                try:
                    answer = client.predict(handle_file(str(EXAMPLE)), 1, "ddim", "own", seed, api_name="/resynthesise")
                except Exception as error:  # whatever it is, it counts
                    self.failures.append(repr(error))
                    continue
                if hashlib.sha256(Path(answer[2]).read_bytes()).hexdigest() == self.wanted[seed]:
                    self.right += 1
                else:
                    self.wrong += 1


def main() -> int:
    """Runs the visitors and prints what they saw; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--model", default="speech-16k")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    args = parser.parse_args()
    visitors = Visitors(args.address, _wanted(args.model), args.seconds)
    server, memory = _server(args.address), []
    threads = [threading.Thread(target=visitors.visit, args=(i,)) for i in range(args.clients)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        time.sleep(args.seconds / 10)
        memory.append(round(server.memory_info().rss / 2**20))
    for thread in threads:
        thread.join()
    told = {"right": visitors.right, "wrong": visitors.wrong, "failed": len(visitors.failures), "rss_mib": memory}
    print(json.dumps(told), *visitors.failures[:3], sep="\n")
    return int(bool(visitors.wrong or visitors.failures))


def _wanted(model: str) -> list[str]:
    """Hashes of the WAV files of each seed."""
    vocoder, hashes = Vocoder.load(model), []
    waveform, _ = audio.read(EXAMPLE, vocoder.sample_rate)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(SEEDS):
            sound = resynthesis.resynthesise(vocoder, waveform, steps=1, seed=seed)
            audio.write(Path(folder) / "out.wav", sound.waveform, vocoder.sample_rate)
            hashes.append(hashlib.sha256((Path(folder) / "out.wav").read_bytes()).hexdigest())
    return hashes


def _server(address: str) -> psutil.Process:
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    for connection in psutil.net_connections("tcp"):
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
            return psutil.Process(connection.pid)
    raise SystemExit(f"nothing listens at {address}")


if __name__ == "__main__":
    sys.exit(main())
