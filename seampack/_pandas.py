"""Keep pandas out of processes that do not use it."""

import sys
from types import SimpleNamespace
from typing import Any


def leave_out_pandas() -> None:
    """Let pyarrow find no pandas, which it imports with the first array wherever it is installed (0.15 CPU-s).

    It looks only once, and imports pandas all the same where a table is converted to it. This affects the whole
    process, so only programs call it, never the library.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    finder: Any = SimpleNamespace(find_spec=_not_pandas)
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)


def _not_pandas(name: str, *_: object) -> None:
    """Find no module; raise ImportError for pandas."""
    if name == "pandas":
        raise ModuleNotFoundError(name)
