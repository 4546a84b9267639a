"""Which device a choice means, on machines that have it and on machines that do not."""

import platform

import pytest
import torch
from support.processes import python

from audiodiff.models.vocoder import Vocoder
from audiodiff.utils import devices


def machine(monkeypatch, cuda=False, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_best_device_there_is(monkeypatch, cuda, mps, best):
    machine(monkeypatch, cuda, mps)
    assert devices.resolve().type == devices.resolve("auto").type == best
    assert devices.resolve("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:1", torch.device("cuda")])
def test_model_is_not_loaded_onto_what_is_not_there(monkeypatch, name):
    machine(monkeypatch)
    with pytest.raises(ValueError, match="is not present on this machine"):
        Vocoder.load("speech-16k", name)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_device_must_be_present(monkeypatch, name):
    machine(monkeypatch)
    with pytest.raises(ValueError, match=f"device {name} is not present on this machine: take auto or cpu"):
        devices.resolve(name)
    machine(monkeypatch, cuda=True, mps=True)
    assert devices.resolve(name).type == name


@pytest.mark.parametrize("name", ["tpu", "", "CPU", "cuda:x", "cpu:0:1"])
def test_device_must_be_known(name):
    with pytest.raises(ValueError, match="choose one of auto, cpu, cuda, mps"):
        devices.resolve(name)


def test_threads_are_set_inside_the_block_only():
    before = torch.get_num_threads()
    with devices.cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError), devices.cpu_threads(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_peak_memory_of_this_process_is_known():
    # Python and torch take some 200 MiB; the machine has less than a TiB.
    assert 50 < devices.peak_memory_mib(torch.device("cpu")) < 2**20


def test_training_precision_on_a_cpu_is_32_bit():
    assert devices.precision_for(torch.device("cpu")) == "32-true"


def test_memory_that_is_freed_goes_back_to_the_system(monkeypatch):
    devices.release_memory()

    def nothing(_name):
        raise OSError("no such library")

    monkeypatch.setattr("ctypes.CDLL", nothing)
    devices.release_memory()  # elsewhere than on glibc


FAULTS = """
import resource, sys, torch
from audiodiff.utils import devices

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(300_000) for _ in range(24)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    devices.keep_memory()
print([faults() for _ in range(4)][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_memory_that_is_kept_is_not_fetched_anew():
    fetched, kept = (min(int(python("-c", FAULTS, word).stdout) for _ in range(2)) for word in ("leave", "keep"))
    assert kept < 20  # pages
    assert kept <= fetched  # many where nothing lies above the tensors, which is chance


def test_emulated_bfloat16_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    assert devices.inference_precision(torch.device("cpu"), "bfloat16") == "bfloat16"
    assert "no bfloat16 products" in caplog.text
    caplog.clear()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    devices.inference_precision(torch.device("cpu"), "bfloat16")
    assert not caplog.text
