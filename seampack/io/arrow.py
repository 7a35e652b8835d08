"""Numbers in numpy as Arrow arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def arrow_of(values: npt.NDArray[Any]) -> pa.Array:
    """Return numbers as an Arrow array that shares their memory, or booleans, which Arrow has as bits, as a copy.

    ``pa.array`` would import numpy.ma and pandas.
    """
    values = np.ascontiguousarray(values)
    if values.dtype == np.bool_:
        bits = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), values.size, [None, bits])
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])
