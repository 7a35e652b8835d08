"""Kernels: loops over arrays, compiled by numba once per machine. Later runs load their machine code without numba.

A kernel takes contiguous arrays, numbers and tuples of them. It fills arrays that its caller has made, and returns
nothing, an integer or a tuple of integers. It allocates nothing and raises nothing; so its machine code needs neither
numba nor Python, and loads in a millisecond, whereas numba takes 0.4 to 0.7 CPU-seconds to start.

The code is cached for each kernel, types of arguments, source and processor. A file of the cache begins with its
checksum; a damaged one is made again. Without a place for the cache, kernels are compiled in memory.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

Function = Callable[..., Any]
Types = tuple[Any, ...]  # of arguments: "i8", ("<i4", 1) for an array of one axis, or the types in a tuple

_IS_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
_CHECKSUM = hashlib.sha256().digest_size
_SCALARS = {"i8": ctypes.c_int64, "u8": ctypes.c_uint64, "f8": ctypes.c_double}

MOST_RESULTS = 8
"""The most integers that a kernel may return."""
SYMBOL = "kernel"
"""The name of a kernel in its machine code."""
callees: dict[Function, bool] = {}
"""The functions that kernels may call, each with whether it is inlined."""
_Results = ctypes.c_int64 * MOST_RESULTS


def kernel(function: Function) -> Function:
    """Compile a loop over arrays for each combination of types that it is called with. It runs without the GIL."""
    return function if _IS_OFF else _Kernel(function)


def allocating_kernel(function: Function) -> Function:
    """Compile a loop that makes arrays or returns numbers other than integers. Each process loads numba to run it."""
    if _IS_OFF:
        return function

    @functools.cache
    def loaded() -> Function:
        from seampack._compiler import dispatcher

        return dispatcher(function)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return loaded()(*arguments)

    return call


def inlined(function: Function) -> Function:
    """Let kernels call a short function, which is inlined."""
    callees[function] = True
    return function


def called(function: Function) -> Function:
    """Let kernels call a function."""
    callees[function] = False
    return function


class _Kernel:
    """A function that runs as machine code."""

    def __init__(self, function: Function) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._codes: dict[Types, Function] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        flat: list[Any] = []
        types = tuple(_flatten(argument, flat) for argument in arguments)
        if types not in self._codes:
            with self._lock:
                if types not in self._codes:
                    self._codes[types] = _code(self._function, types)
        results = _Results()
        count = self._codes[types](*flat, results)
        return None if count == 0 else results[0] if count < 0 else tuple(results[:count])


def _flatten(argument: Any, flat: list[Any]) -> Any:
    """Append the numbers that make an argument, for an array its address and shape. Return its type."""
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise TypeError(f"kernel: expected contiguous arrays; got strides {argument.strides}")
        flat += (argument.__array_interface__["data"][0], *argument.shape)
        return argument.dtype.str, argument.ndim
    if isinstance(argument, tuple):
        return tuple(_flatten(item, flat) for item in argument)
    flat.append(argument)
    if isinstance(argument, float):
        return "f8"
    return "u8" if isinstance(argument, np.uint64) else "i8"


def flat_types(types: Types) -> Iterator[str]:
    """Yield the types of the numbers that ``_flatten`` appends: ``p`` for an address, ``i8`` and so on for a number."""
    for kind in types:
        if isinstance(kind, str):
            yield kind
        elif is_array(kind):
            yield "p"
            yield from ["i8"] * kind[1]
        else:
            yield from flat_types(kind)


def is_array(kind: Any) -> bool:
    """Return whether a type is that of an array, and not of a tuple."""
    return len(kind) == 2 and isinstance(kind[1], int)


def _code(function: Function, types: Types) -> Function:
    """Return the machine code of a function, from the cache or compiled."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cache = _Cache(function, types)
    content = cache.read()
    if content is None:
        from seampack._compiler import compiled

        content = compiled(function, types)
        cache.write(content)
    target = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(content))
    engine.finalize_object()
    parameters: list[Any] = [ctypes.c_void_p if kind == "p" else _SCALARS[kind] for kind in flat_types(types)]
    code: Any = ctypes.CFUNCTYPE(ctypes.c_int64, *parameters, ctypes.c_void_p)(engine.get_function_address(SYMBOL))
    code.engine = engine  # owns the code
    return code  # type: ignore[no-any-return]


class _Cache:
    """The file with the machine code of a function for some types of arguments."""

    def __init__(self, function: Function, types: Types) -> None:
        try:
            self._folders = cache_folders(Path(function.__code__.co_filename))
            source = _hash(*(Path(file).read_bytes() for file in sorted(_sources(function))))
        except OSError:  # not from a file
            self._folders, source = [], ""
        self._stem = f"{function.__module__}.{function.__qualname__}-{_hash(_processor(), repr(types).encode())}"
        self._name = f"{self._stem}-{source}.o"

    def read(self) -> bytes | None:
        """Return the machine code, or None if it has to be compiled."""
        for folder in self._folders:
            path = folder / self._name
            try:
                content = path.read_bytes()
            except OSError:
                continue
            code = content[_CHECKSUM:]
            if code and hashlib.sha256(code).digest() == content[:_CHECKSUM]:
                return code
            warn_once(f"{path}: the compiled kernel is damaged; it is made again")
        return None

    def write(self, code: bytes) -> None:
        """Save machine code in the first folder that allows it, and remove that of earlier sources."""
        reason = "no folder"
        for folder in self._folders:
            temporary = folder / f"{self._name}.{os.getpid()}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(hashlib.sha256(code).digest() + code)
                temporary.replace(folder / self._name)
            except OSError as error:
                reason = str(error)
                with suppress(OSError):
                    temporary.unlink()
                continue
            for path in folder.glob(f"{self._stem}-*.o"):
                if path.name != self._name:
                    path.unlink(missing_ok=True)
            return
        warn_once(f"{NOT_CACHED} ({reason})")


NOT_CACHED = (
    "compiled kernels cannot be cached, so that each start compiles them for about ten seconds; set NUMBA_CACHE_DIR to "
    "a folder that can be written"
)


def cache_folders(source: Path) -> list[Path]:
    """Return the folders that may have the cache of a source file, in the order of trial."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(given)]
    home = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    # A user without a home has a relative one: code from the current folder would be run.
    return [source.parent / "__pycache__", *([home / "seampack"] if home.is_absolute() else [])]


def _sources(function: Function) -> set[str]:
    """Return the files that decide the machine code of a function: its own, those that it calls, and the compiler's."""
    files = {__file__, str(Path(__file__).with_name("_compiler.py"))}
    functions = [function]
    while functions:
        each = functions.pop()
        if each.__code__.co_filename not in files:
            files.add(each.__code__.co_filename)
            functions += (value for value in each.__globals__.values() if _is_callee(value))
    return files


def _is_callee(value: Any) -> bool:
    return isinstance(value, FunctionType) and value in callees


@functools.cache
def _processor() -> bytes:
    """Return what decides the machine code besides the source: the processor, and the versions of the compiler."""
    import llvmlite.binding as llvm

    versions = " ".join(importlib.metadata.version(name) for name in ("numba", "llvmlite"))
    features = llvm.get_host_cpu_features().flatten()
    return f"{versions} {llvm.get_process_triple()} {llvm.get_host_cpu_name()} {features}".encode()


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@functools.cache
def warn_once(message: str) -> None:
    """Warn, but only once in a process."""
    warnings.warn(message, stacklevel=2)


def highest_bit(word: int) -> int:
    """Return the index of the highest set bit of a 64-bit word that is not zero."""
    return int(word).bit_length() - 1


def lowest_bit(word: int) -> int:
    """Return the index of the lowest set bit of a 64-bit word that is not zero."""
    word = int(word)
    return (word & -word).bit_length() - 1


def copy_memory(target: int, source: int, count: int) -> None:
    """Copy ``count`` bytes from the address ``source`` to ``target``; the two must not overlap."""
    ctypes.memmove(int(target), int(source), int(count))
