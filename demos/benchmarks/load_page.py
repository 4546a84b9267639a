"""Many visitors at once: does the page stay up, give everybody his own sound, and keep its memory?

    audiodiff demo --port 7860 &
    python demos/benchmarks/load_page.py http://127.0.0.1:7860 --pid $! --clients 20 --seconds 120

Every client sends the example again and again, with another seed each time, and compares what it gets with what
`resynthesise` makes of that seed here. Prints right and wrong answers, failures, and, where `--pid` and /proc tell it,
the server's memory ten times.

Twenty clients on two virtual CPUs that were busy with other things: in nine minutes 365 right answers, none wrong, and
605 620 586 586 588 579 592 585 614 604 MiB; then, idle, 732 MiB, since the kernel filled what had been given back with
huge pages, which `devices.small_pages` now forbids. With that, in ten minutes 491 right answers and 572 573 570 573 570
611 601 621 619 562 MiB, then, idle, 570 and no more. One answer was a piece of a file that was being written for
another visitor, which `page/served.py` now prevents: 400 s beside two trainings gave 66 right answers, none wrong, and
617 648 707 676 671 673 733 698 680 690 MiB (the compiled loops of `passes` have come since).
"""

import argparse
import hashlib
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

from gradio_client import Client, handle_file

from audiodiff import audio
from audiodiff.models import registry
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines import resynthesis
from audiodiff.utils.config import shipped_path

EXAMPLE = shipped_path("demos/audio/speech.flac")
SEEDS = 8


class Visitors:
    """Run clients in threads and counts."""

    def __init__(self, address: str, wanted: list[str], seconds: float) -> None:
        self.address, self.wanted, self.end = address, wanted, time.monotonic() + seconds
        self.right = self.wrong = 0
        self.failures: list[str] = []

    def visit(self, number: int) -> None:
        """Ask until the time is over."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                client = Client(self.address, verbose=False, download_files=folder, analytics_enabled=False)
            except Exception as error:  # whatever it is, it counts
                self.failures.append(repr(error))
                return
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
    """Run the visitors and print what they saw; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--pid", type=int, help="the server's process, whose memory is watched")
    parser.add_argument("--model", default=registry.DEFAULT_MODEL)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    args = parser.parse_args()
    visitors = Visitors(args.address, _wanted(args.model), args.seconds)
    memory: list[int | None] = []
    threads = [threading.Thread(target=visitors.visit, args=(i,)) for i in range(args.clients)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        time.sleep(args.seconds / 10)
        memory.append(_resident_mib(args.pid))
    for thread in threads:
        thread.join()
    told = {"right": visitors.right, "wrong": visitors.wrong, "failed": len(visitors.failures), "rss_mib": memory}
    print(json.dumps(told), *visitors.failures[:3], sep="\n")
    return int(bool(visitors.wrong or visitors.failures))


def _wanted(model: str) -> list[str]:
    """Hash of the WAV files of each seed."""
    vocoder, hashes = Vocoder.load(model), []
    waveform, _ = audio.read(EXAMPLE, vocoder.sample_rate)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(SEEDS):
            sound = resynthesis.resynthesise(vocoder, waveform, steps=1, seed=seed)
            audio.write(Path(folder) / "out.wav", sound.waveform, vocoder.sample_rate)
            hashes.append(hashlib.sha256((Path(folder) / "out.wav").read_bytes()).hexdigest())
    return hashes


def _resident_mib(process: int | None) -> int | None:
    """Memory that a process holds; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 2**10


if __name__ == "__main__":
    sys.exit(main())
