"""The only module that imports numba: all kernels are compiled with the same options and cached on disk.

Without a place for the cache, kernels are compiled in memory. A damaged cache is deleted and made again.
"""

import ctypes
import functools
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba
import numpy as np
from numba.core import cgutils, types
from numba.core.caching import FunctionCache
from numba.extending import intrinsic, overload

Kernel = Callable[..., Any]


class _Cache(FunctionCache):
    """Numba's cache of a kernel on disk. If anything is wrong with it, the kernel is compiled."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel, or None if it has to be compiled. Empty a cache that cannot be read."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except OSError:  # the folder cannot be read; nor can it be written, of which save_overload warns
            return None
        except Exception:  # noqa: BLE001  # a damaged file of pickled objects raises anything
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            _warn_once(f"{self.cache_path}: the cache of compiled kernels is damaged; it is made again")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save a compiled kernel if the disk allows it."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001  # OSError, or a damaged index of a folder that cannot be written
            _warn_once(f"{self.cache_path}: {_NOT_CACHED} ({error})")


_NOT_CACHED = (
    "compiled kernels cannot be cached, so that each start compiles them for about ten seconds; set NUMBA_CACHE_DIR to "
    "a folder that can be written"
)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def _compiled(function: Kernel, **options: Any) -> Kernel:
    compiled: Any = numba.njit(nogil=True, **options)(function)
    if hasattr(compiled, "enable_caching"):  # not with NUMBA_DISABLE_JIT
        try:
            compiled._cache = _Cache(function)  # type: ignore[no-untyped-call]
        except RuntimeError:  # no folder can be written: not that of the module, and no home
            _warn_once(_NOT_CACHED)
    kernel: Kernel = compiled
    return kernel


def kernel(function: Kernel) -> Kernel:
    """Compile a loop over arrays, once per machine. It uses no Python objects and releases the GIL."""
    return _compiled(function, boundscheck=False)


def inlined(function: Kernel) -> Kernel:
    """Compile like ``kernel``, and inline into every caller; for short functions in hot loops."""
    return _compiled(function, inline="always")


def highest_bit(word: int) -> int:
    """Return the index of the highest set bit of a 64-bit word that is not zero."""
    return int(word).bit_length() - 1


def lowest_bit(word: int) -> int:
    """Return the index of the lowest set bit of a 64-bit word that is not zero."""
    word = int(word)
    return (word & -word).bit_length() - 1


@intrinsic
def _leading_zeros(typing_context, word):  # type: ignore[no-untyped-def]  # numba reads the bare signature
    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctlz(arguments[0], context.get_constant(types.boolean, 0))

    return types.uint64(types.uint64), emit


@intrinsic
def _trailing_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 0))

    return types.uint64(types.uint64), emit


@overload(highest_bit, inline="always")
def _highest_bit(word):  # type: ignore[no-untyped-def]
    return lambda word: 63 - np.int64(_leading_zeros(np.uint64(word)))  # type: ignore[call-arg]  # numba passes the context


@overload(lowest_bit, inline="always")
def _lowest_bit(word):  # type: ignore[no-untyped-def]
    return lambda word: np.int64(_trailing_zeros(np.uint64(word)))  # type: ignore[call-arg]


def copy_memory(target: int, source: int, count: int) -> None:
    """Copy ``count`` bytes from the address ``source`` to ``target``; the two must not overlap."""
    ctypes.memmove(int(target), int(source), int(count))


@intrinsic
def _copy_memory(typing_context, target, source, count):  # type: ignore[no-untyped-def]
    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        to, from_, size = arguments
        pointer = cgutils.voidptr_t
        cgutils.raw_memcpy(  # type: ignore[no-untyped-call]
            builder, builder.inttoptr(to, pointer), builder.inttoptr(from_, pointer), size, 1
        )
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@overload(copy_memory, inline="always")
def _copy_memory_overload(target, source, count):  # type: ignore[no-untyped-def]
    return lambda target, source, count: _copy_memory(target, source, count)  # type: ignore[call-arg]
