"""Memory before the first step does not grow with the length of the recordings."""

import json
import os
import struct

from support.processes import python

CHILD = """
import json, resource, sys
from audiodiff.mel import MelSpec
from audiodiff.mel.statistics import MelStatistics
from audiodiff.data.folders import scan_folder
from audiodiff.data.recordings import held_out, measure_level, readable

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

before = peak()
training, validation = held_out(scan_folder(sys.argv[1]))
level, _ = measure_level(training), MelStatistics.measure(readable(training, 16000, seconds=10.0), MelSpec(16000))
print(json.dumps({"level": level, "grown": peak() - before, "files": len(training) + len(validation)}))
"""


def ten_minutes(path, rate=16000, content=b"\x00\x40"):
    """Write ten minutes of silence as a sparse file, with one sample at half of full scale at the end."""
    size = 2 * rate * 600
    form = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size)
    with open(path, "wb") as file:
        file.write(struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form)
        file.seek(size - 2, os.SEEK_CUR)
        file.write(content)


def test_memory_before_training_does_not_grow_with_length(tmp_path):
    """Four files of ten minutes: 154 MB of samples, which once were held at a time, and twice over."""
    for n in range(4):
        ten_minutes(tmp_path / f"{n}.wav")
    child = python("-c", CHILD, tmp_path)
    assert child.returncode == 0, child.stderr
    measured = json.loads(child.stdout)
    assert measured["files"] == 4
    assert measured["level"]["peak"] == 0.5  # the last sample counts
    assert measured["grown"] < 60
