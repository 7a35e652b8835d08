"""Numbers in numpy as Arrow arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def arrow_of(values: npt.NDArray[Any]) -> pa.Array:
    """Return numbers as an Arrow array that shares their memory. ``pa.array`` would import numpy.ma and pandas."""
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])
