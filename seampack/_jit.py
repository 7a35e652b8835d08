"""The only module that imports numba: all kernels are compiled with the same options and cached on disk."""

import ctypes
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

Kernel = Callable[..., Any]


def kernel(function: Kernel) -> Kernel:
    """Compile a loop over arrays, once per machine. It uses no Python objects and releases the GIL."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, boundscheck=False)(function)
    return compiled


def inlined(function: Kernel) -> Kernel:
    """Compile like ``kernel``, and inline into every caller; for short functions in hot loops."""
    compiled: Kernel = numba.njit(cache=True, nogil=True, inline="always")(function)
    return compiled


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
