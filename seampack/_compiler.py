"""The only module that imports numba: it compiles kernels to machine code that needs neither numba nor Python."""

import functools
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import cgutils, types
from numba.core.caching import FunctionCache
from numba.extending import intrinsic, overload, register_jitable
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype

from seampack import _jit

_IN_C = {"memcpy", "memmove", "memset"}
"""What the machine code may call: LLVM makes these functions of the C library from loops that copy or fill."""
_SCALARS = {"i8": types.int64, "u8": types.uint64, "f8": types.float64}
_LOCK = threading.Lock()


def compiled(function: _jit.Function, kinds: _jit.Types) -> bytes:
    """Return the machine code of a function for arguments of some types: an object file with the symbol ``SYMBOL``.

    Raises TypeError if it needs more than its arguments: memory, exceptions or Python objects.
    """
    with _LOCK:
        _let_call(function, False)
        _let_call_all()
        names: list[str] = []
        arguments = ", ".join(_argument(kind, names) for kind in kinds)
        source = f"def entry({', '.join([*names, 'results'])}):\n    return store(results, function({arguments}))"
        namespace: dict[str, Any] = {"view": _view, "store": _store, "function": function}
        exec(source, namespace)  # noqa: S102  # made from the types alone
        signature = types.int64(*_parameters(kinds), types.CPointer(types.int64))
        options: dict[str, Any] = {"error_model": "numpy", "boundscheck": False, "_nrt": False}
        entry = numba.cfunc(signature, **options)(namespace["entry"])
        return _object_file(entry, function)


def dispatcher(function: _jit.Function) -> _jit.Function:
    """Return a function that numba compiles when it is called, and caches on disk where there is a place for it."""
    with _LOCK:
        _let_call_all()
    compiled: Any = numba.njit(nogil=True, boundscheck=False)(function)
    try:
        compiled._cache = _Cache(function)
    except RuntimeError:  # no folder can be written: not that of the module, and no home
        _jit.warn_once(_jit.NOT_CACHED)
    loaded: _jit.Function = compiled
    return loaded


class _Cache(FunctionCache):
    """Numba's cache of a kernel on disk. If anything is wrong with it, the kernel is compiled."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel, or None if it has to be compiled. Empty a cache that cannot be read."""
        try:
            return super().load_overload(sig, target_context)
        except OSError:  # the folder cannot be read; nor can it be written, of which save_overload warns
            return None
        except Exception:  # noqa: BLE001  # a damaged file of pickled objects raises anything
            with suppress(OSError):
                self.flush()
            _jit.warn_once(f"{self.cache_path}: the cache of compiled kernels is damaged; it is made again")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save a compiled kernel if the disk allows it."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # noqa: BLE001  # OSError, or a damaged index of a folder that cannot be written
            _jit.warn_once(f"{self.cache_path}: {_jit.NOT_CACHED} ({error})")


def _object_file(entry: Any, function: _jit.Function) -> bytes:
    """Return the object file of a compiled entry function, whose only symbol is ``SYMBOL``."""
    module = llvm.parse_assembly(entry.inspect_llvm())
    for each in module.functions:
        if each.name == entry.native_name:
            each.name = _jit.SYMBOL
        elif not each.is_declaration:
            each.linkage = "internal"
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
    )
    # Once more: now that they are internal, functions that raise nothing lose the code that would handle it.
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    outside = {each.name for each in module.functions if each.is_declaration and not each.name.startswith("llvm.")}
    outside |= {each.name for each in module.global_variables if each.is_declaration}
    if outside := outside - _IN_C:
        raise TypeError(f"kernel {function.__qualname__}: expected no calls outside; got {', '.join(sorted(outside))}")
    code: bytes = machine.emit_object(module)
    return code


def _let_call_all() -> None:
    for function, is_inlined in _jit.callees.items():
        _let_call(function, is_inlined)


@functools.cache
def _let_call(function: _jit.Function, is_inlined: bool) -> None:
    """Let numba call a function. Only LLVM inlines: numba would remove what the function stores in arrays as dead."""
    register_jitable(error_model="numpy", boundscheck=False, forceinline=is_inlined)(function)


def _argument(kind: Any, names: list[str]) -> str:
    """Return the expression that makes an argument from parameters, whose names are appended to ``names``."""

    def name() -> str:
        names.append(f"_{len(names)}")
        return names[-1]

    if isinstance(kind, str):
        return name()
    if _jit.is_array(kind):
        return f"view({name()}, ({', '.join(name() for _ in range(kind[1]))},))"
    return f"({' '.join(_argument(item, names) + ',' for item in kind)})"


def _parameters(kinds: _jit.Types) -> Iterator[Any]:
    """Yield numba's types of the parameters."""
    for kind in kinds:
        if isinstance(kind, str):
            yield _SCALARS[kind]
        elif _jit.is_array(kind):
            yield types.CPointer(from_dtype(np.dtype(kind[0])))
            yield from [types.int64] * kind[1]
        else:
            yield from _parameters(kind)


@intrinsic
def _view(typing_context, address, shape):
    """Return the array of a shape at an address."""
    kind = types.Array(address.dtype, len(shape), "C")

    def emit(context, builder, signature, arguments):
        data, sizes = arguments[0], cgutils.unpack_tuple(builder, arguments[1])
        item = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        strides = [item]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        array = make_array(kind)(context, builder)
        populate_array(array, data=data, shape=sizes, strides=strides, itemsize=item, meminfo=None)
        return array._getvalue()

    return kind(address, shape), emit


def _store(results: Any, value: Any) -> int:
    """Store the integers that a kernel returns. Return their number: 0 for none, -1 for one that is in no tuple."""
    raise NotImplementedError  # only kernels call it: numba compiles the overload below in its place


@overload(_store, jit_options={"forceinline": True})
def _store_overload(results, value):
    if isinstance(value, types.NoneType):
        return lambda results, value: 0

    if len(getattr(value, "types", ())) > _jit.MOST_RESULTS:
        return None

    def one(results, value):
        results[0] = value
        return -1

    def several(results, value):
        for k in range(len(value)):
            results[k] = value[k]
        return len(value)

    return several if isinstance(value, types.UniTuple) else one


@intrinsic
def _leading_zeros(typing_context, word):
    def emit(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], context.get_constant(types.boolean, 0))

    return types.uint64(types.uint64), emit


@intrinsic
def _trailing_zeros(typing_context, word):
    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 0))

    return types.uint64(types.uint64), emit


@overload(_jit.highest_bit, inline="always")
def _highest_bit(word):
    return lambda word: 63 - np.int64(_leading_zeros(np.uint64(word)))


@overload(_jit.lowest_bit, inline="always")
def _lowest_bit(word):
    return lambda word: np.int64(_trailing_zeros(np.uint64(word)))


@intrinsic
def _copy_memory(typing_context, target, source, count):
    def emit(context, builder, signature, arguments):
        to, from_, size = arguments
        pointer = cgutils.voidptr_t
        cgutils.raw_memcpy(builder, builder.inttoptr(to, pointer), builder.inttoptr(from_, pointer), size, 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@overload(_jit.copy_memory, inline="always")
def _copy_memory_overload(target, source, count):
    return lambda target, source, count: _copy_memory(target, source, count)
