"""Shared by the tests of batches: recordings, commands and what they leave."""

import subprocess
import sys

import pytest
import torch
from conftest import voiced
from support.processes import environment, wait_until

from audiodiff import audio


def write_recordings(folder, count=6):
    """Write recordings into two sub-folders, and return the folder."""
    for i in range(count):
        path = folder / str(i % 2) / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, 0.3 * voiced(0.3 + 0.05 * i, 16000, pitch=100 + 20 * i, seed=i), 16000)
    return folder


def command(model, source, out, *options):
    call = [sys.executable, "-m", "audiodiff", "resynth", source, out, "--model", model, "--device", "cpu", *options]
    return [str(word) for word in call]


def start(model, source, out, *options):
    call = command(model, source, out, *options)
    return subprocess.Popen(call, env=environment(), stderr=subprocess.PIPE, text=True)


def wait_for_outputs(out, process, count=1):
    """Wait until a process has written some sounds with their sidecars."""
    wait_until(lambda: len(list(out.rglob("*.wav.json"))) >= count, process)


def sounds(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.wav"))}


def is_complete(folder):
    """Return whether each sound has its sidecar, and nothing else is there."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    wavs = {name for name in names if name.endswith(".wav")}
    return names == wavs | {f"{name}.json" for name in wavs}


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
