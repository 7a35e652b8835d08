"""The file of records that could not be read."""

import json
import os
import warnings
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from seampack.errors import ConfigError
from seampack.io.bad_records import BadRecord
from seampack.io.output import staged_path
from seampack.io.sources import STDIN


class Quarantine:
    """The file ``OUT.quarantine.jsonl``, which appears next to the output ``out`` if a run adds bad records to it.

    A file of an earlier run is replaced, or removed if there are no bad records.

    Raises ConfigError if ``out`` is not a file.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        name = os.fspath(out)
        if name == STDIN or (os.path.exists(name) and not os.path.isfile(name)):
            raise ConfigError(
                "--on-bad quarantine writes a file next to the output; expected an output file; got "
                f"{'standard output' if name == STDIN else name}; name one with --out"
            )
        self.path = Path(f"{name}.quarantine.jsonl")
        self.count = 0
        self._stack = ExitStack()
        self._file: Any = None

    def __enter__(self) -> Self:
        return self

    def add(self, record: BadRecord) -> None:
        """Write a record with its place and the reason."""
        if self._file is None:
            partial = self._stack.enter_context(staged_path(self.path))
            self._file = self._stack.enter_context(partial.open("w", encoding="utf-8"))
        self._file.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None and self.count:
            records = "1 record" if self.count == 1 else f"{self.count:,} records"
            warnings.warn(f"{self.path}: {records} could not be read; see the reasons there", stacklevel=2)
        elif kind is None:
            self.path.unlink(missing_ok=True)
