"""The one module that names devices."""

from __future__ import annotations

import contextlib
import functools
import logging
import platform
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_module
from audiodiff.utils.validation import nearest

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_module("torch")

log = logging.getLogger(__name__)
CHOICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")


def check_name(name: str) -> tuple[str, str]:
    """Split a choice, such as "cuda:1", into kind and number; whether there is such a device is not asked.

    Raises:
        ValueError: There is no such kind.

    >>> check_name("cuda:1")
    ('cuda', '1')
    """
    kind, _, number = name.partition(":")
    if kind not in CHOICES or not (number or "0").isdecimal():
        raise ValueError(f"unknown device {name!r}{nearest(kind, CHOICES)}: choose one of {', '.join(CHOICES)}")
    return kind, number


def resolve(name: str | torch.device = "auto") -> torch.device:
    """Turn a choice, or a device such as "cuda:1", into a device that is there.

    "auto" takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        ValueError: The device is unknown or not present.

    >>> resolve("cpu").type
    'cpu'
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(device for device, there in present.items() if there) if name == "auto" else str(name)
    kind, number = check_name(name)
    if not present.get(kind) or (kind == "cuda" and number and int(number) >= torch.cuda.device_count()):
        raise ValueError(f"device {name} is not present on this machine: take auto or cpu")
    return torch.device(name)


def take_turn(rank: int) -> None:
    """Make the rank-th CUDA card, counted round, that which "cuda" means in this process; do nothing without one."""
    if cards := torch.cuda.device_count():
        torch.cuda.set_device(rank % cards)


def precision_for(device: torch.device) -> str:
    """Return the trainer's precision that serves a device best: bf16 where the hardware multiplies in it, else 32 bit.

    A CPU without such instructions takes five times longer in bf16 than in 32 bit.
    """
    return "bf16-mixed" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32-true"


def inference_precision(device: torch.device, name: str = "auto") -> str:
    """Turn a choice into the precision of a network that makes sound; "auto" is the fastest that is measured.

    A CPU that multiplies bfloat16 takes 0.6 of the time for a call of `speech-16k`, and the sound differs by -40 dB;
    windows and batches give the whole's sound to 6e-4, where it is 1e-6 in float32. Other CPUs emulate it, several
    times slower; on cards it has not been measured.

    Raises:
        ValueError: There is no such precision.

    >>> inference_precision(torch.device("cpu"), "float32")
    'float32'
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r}: choose one of {', '.join(PRECISIONS)}")
    multiplies = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    fast = "bfloat16" if device.type == "cpu" and multiplies() else "float32"
    if name == "bfloat16" and device.type == "cpu" and fast != name:
        log.warning(
            "this processor has no bfloat16 products: the network takes two to three times as long as in float32"
        )
    return fast if name == "auto" else name


def inference_precisions(device: torch.device, named: str | None = None) -> list[str]:
    """Read a list of precisions, by commas; by default float32, and what is faster here if anything is.

    Raises:
        ValueError: There is no such precision.

    >>> inference_precisions(torch.device("cpu"), "float32,bfloat16")
    ['float32', 'bfloat16']
    """
    names = named.split(",") if named else dict.fromkeys(("float32", inference_precision(device)))
    return [inference_precision(device, name) for name in names]


def arithmetic(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Let matrix products be in bfloat16 inside a `with` block; "float32" leaves them as they are outside."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def full_precision(device: torch.device) -> torch.autocast:
    """Switch autocast off inside a `with` block: mel filters need more than the eight bits of bfloat16."""
    return torch.autocast(device.type, enabled=False)


def convolutions_are_faster(x: torch.Tensor) -> bool:
    """Tell whether a product with the rows of x is faster as a convolution: in float32 on AMD's AVX-512.

    torch leaves products to MKL, which has no AVX-512 for processors of others than Intel, and convolutions to oneDNN.
    """
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and not torch.compiler.is_compiling() and _multiplies_by_halves()


@functools.cache
def _multiplies_by_halves() -> bool:
    """Tell whether MKL leaves half of this processor's vector unit idle, and oneDNN is there."""
    libraries = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return libraries and torch.backends.cpu.get_cpu_capability() == "AVX512" and "AMD" in processor()


def processor() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def peak_memory_mib(device: torch.device) -> float | None:
    """Return the most memory that was in use so far: the process's own, or the card's on CUDA; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a device; None on systems that do not report them."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":") for line in file)
        return 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None


@contextlib.contextmanager
def cpu_threads(n: int) -> Generator[None]:
    """Share the arithmetic among n CPU threads inside a `with` block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Generator[None]:
    """Let new tensors have a type unless told otherwise inside a `with` block, whatever the caller has set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def keep_memory() -> None:
    """Let the C library keep what is freed, up to 64 MiB, for what is allocated next; do nothing but on glibc.

    By default it gives back what exceeds twice the largest tensor, and a network fetches it again in each call: 5,100
    page faults for three seconds of sound, a tenth of the time.
    """
    import ctypes

    trim_threshold, mmap_threshold = -1, -3  # of mallopt(3); to set one stops the other from growing by itself
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(mmap_threshold, 32 << 20)
        library.mallopt(trim_threshold, 64 << 20)


def release_memory() -> None:
    """Give what is freed, and kept for later by the C library, back to the system; do nothing but on glibc.

    In a server whose work is done by changing threads, each leaves such remains: 640 MiB grew to 1,040 under twenty
    visitors, and stay at 600 with it.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def small_pages() -> None:
    """Ask the kernel for no huge pages in this process; do nothing but on Linux.

    NumPy asks for them, and the kernel then fills up, while nobody asks for anything, what `release_memory` gave back:
    a server that held 600 MiB under twenty visitors went up to 730 in the three minutes after they had left.
    """
    import ctypes

    disable_huge_pages = 41  # PR_SET_THP_DISABLE of prctl(2)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(disable_huge_pages, 1, 0, 0, 0)
