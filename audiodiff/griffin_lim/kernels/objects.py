"""Machine code of the entry kernels on disk, loaded by llvmlite alone.

Importing Numba, only to find what it compiled before, takes a third of the time to a process's first sound. What it
compiled is therefore kept as an object file with the types of its arguments: LLVM links it, ctypes calls it, and Numba
is imported where there is none yet. Bits are those of Numba's own call.

    status = f(result*, exception**, arguments…)    an array is seven numbers or more: its owners, which are none here,
                                                    size, size of an item, address, shape, strides

That is Numba's calling convention (numba.core.callconv.CPUCallConv) and its model of an array.
"""

import ctypes
import functools
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiodiff.utils.files import atomic_file
from audiodiff.utils.numba_cache import one_process_at_a_time

Kernel = Callable[..., Any]
PLATFORM = ("Linux", "x86_64")  # on which it has passed
TRIED = ("0.68",)  # minor versions of Numba with which test_object_gives_the_bits_of_numbas_own_call has passed
SCALARS = {"int64": ctypes.c_int64, "float32": ctypes.c_float, "bool": ctypes.c_bool}
OWNERS = "NRT_MemInfo_call_dtor"  # frees an array; named by the code, and never called: no array has an owner
GOOD = (0, -2)  # numba.core.callconv: a result, or None
ENDS = ("memset", "memcpy", "memmove", OWNERS)  # what the code may call


def kernel(module: str, name: str) -> Kernel:
    """Load a kernel of this package, and compile it if that has not been done on this machine.

    Raises:
        ImportError: Numba is wanted and cannot be imported.
    """
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0" or not _is_tried():
        with one_process_at_a_time():
            return _dispatcher(module, name)
    places = [folder / f"{module}.{name}-{_key()}.o" for folder in folders()]
    if (stored := _first(places)) is not None:
        return stored
    with one_process_at_a_time():
        if (stored := _first(places)) is not None:  # another process made it meanwhile
            return stored
        dispatcher = _dispatcher(module, name)
        content = _compiled(dispatcher)
        return dispatcher if content is None or not _write(places, content) else _first(places) or dispatcher


def _is_tried() -> bool:
    """Tell whether the calling convention of the Numba that is installed is known; its own call serves otherwise."""
    if (platform.system(), platform.machine()) != PLATFORM:
        return False
    try:
        return importlib.metadata.version("numba").rpartition(".")[0] in TRIED
    except importlib.metadata.PackageNotFoundError:
        return False


def _dispatcher(module: str, name: str) -> Kernel:
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)


def folders() -> Iterator[Path]:
    """List where objects may be: where Numba is told to keep its own, beside the sources, or in the user's cache."""
    if "NUMBA_CACHE_DIR" in os.environ:
        yield Path(os.environ["NUMBA_CACHE_DIR"])
    yield Path(__file__).parent / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "audiodiff"


@functools.cache
def _key() -> str:
    """Hash all that decides the code: sources, versions, the processor, Numba's settings."""
    from llvmlite import binding

    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite", "numpy")]
    processor = [binding.get_process_triple(), binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()]
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("NUMBA_"))
    text = "\n".join([*versions, *processor, *settings]).encode()
    return hashlib.sha256(b"\0".join([*sources, text])).hexdigest()[:16]


def _first(places: list[Path]) -> Kernel | None:
    """Load the first object that is whole; one that is damaged is not used."""
    for place in places:
        try:
            head, _, code = place.read_bytes().partition(b"\n")
            head = json.loads(head)
            if hashlib.sha256(code).hexdigest() == head["sha256"]:
                return _linked(code, head["symbol"], head["arguments"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _write(places: list[Path], content: bytes) -> bool:
    """Keep an object in the first place that can be written; tell whether there is one."""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(place) as file:
                file.write(content)
            return True
        except (OSError, ValueError):
            continue
    return False


def _compiled(dispatcher: Any) -> bytes | None:
    """Compile a kernel without the wrappers for Python; None if there is no code, or it calls more than is linked."""
    from llvmlite import binding
    from numba import njit

    (types,) = dispatcher.signatures
    options = {name: value for name, value in dispatcher.targetoptions.items() if name not in ("cache", "nopython")}
    bare = njit(types, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(dispatcher.py_func)
    compiled = bare.overloads[types]
    compiled.library.get_pointer_to_function(
        compiled.fndesc.llvm_func_name
    )  # machine code is made when it is asked for
    try:
        code, bitcode = compiled.library.serialize_using_object_code()[2]
    except RuntimeError:  # this version keeps none
        return None
    called = {f.name for f in binding.parse_bitcode(bitcode).functions if f.is_declaration}
    if not all(name.startswith("llvm.") or name in ENDS for name in called):
        return None
    head = {
        "symbol": compiled.fndesc.llvm_func_name,
        "sha256": hashlib.sha256(code).hexdigest(),
        "arguments": [_described(kind) for kind in types],
    }
    return json.dumps(head).encode() + b"\n" + code


def _described(kind: Any) -> Any:
    """Describe a type of Numba's as JSON: a scalar's name, an array's [dtype, dimensions], a tuple's {"of": …}."""
    if hasattr(kind, "types"):
        return {"of": [_described(inner) for inner in kind.types]}
    return [str(kind.dtype), kind.ndim] if hasattr(kind, "ndim") else str(kind)


@functools.cache
def _engine() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    if binding.address_of_symbol(OWNERS) is None:  # else Numba is there and has its own
        binding.add_symbol(OWNERS, ctypes.cast(ctypes.pythonapi.Py_FatalError, ctypes.c_void_p).value)
    machine = binding.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    return binding.create_mcjit_compiler(binding.parse_assembly(""), machine)


def _linked(code: bytes, symbol: str, kinds: list[Any]) -> Kernel:
    """Link an object and make a Python function of it, which releases the interpreter while it runs."""
    from llvmlite import binding

    _engine().add_object_file(binding.ObjectFileRef.from_data(code))
    _engine().finalize_object()
    takes = [kind for described in kinds for kind in _c_types(described)]
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *takes)(
        _engine().get_function_address(symbol)
    )

    def call(*arguments: Any) -> None:
        if len(arguments) != len(kinds):
            raise TypeError(f"{symbol}: {len(arguments)} arguments are given, and {len(kinds)} are wanted")
        values = [value for kind, argument in zip(kinds, arguments, strict=True) for value in _values(kind, argument)]
        result, exception = ctypes.c_void_p(), ctypes.c_void_p()
        status = function(ctypes.addressof(result), ctypes.addressof(exception), *values)
        if status not in GOOD:
            raise RuntimeError(f"{symbol}: ended with status {status}")

    return call


def _c_types(kind: Any) -> list[Any]:
    if isinstance(kind, dict):
        return [each for inner in kind["of"] for each in _c_types(inner)]
    if isinstance(kind, str):
        return [SCALARS[kind]]
    number, address = ctypes.c_int64, ctypes.c_void_p
    return [address, address, number, number, address, *[number] * (2 * kind[1])]


def _values(kind: Any, argument: Any) -> list[Any]:
    """Flatten an argument as the code takes it.

    Raises:
        TypeError: It is an array of another type, or not contiguous.
    """
    if isinstance(kind, dict):
        return [each for inner, part in zip(kind["of"], argument, strict=True) for each in _values(inner, part)]
    if isinstance(kind, str):
        return [argument]
    if not (
        isinstance(argument, np.ndarray) and argument.flags.carray and [argument.dtype.name, argument.ndim] == kind
    ):
        raise TypeError(f"a contiguous array of {kind[1]} dimensions of {kind[0]} is wanted")
    address = argument.__array_interface__["data"][0]
    return [None, None, argument.size, argument.itemsize, address, *argument.shape, *argument.strides]
