"""The file that output goes to: compressed where its name says so, and under its own name when it is whole."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from seampack.errors import DataError
from seampack.io.sources import STDIN

_CODECS = {".gz": "gzip", ".zst": "zstd"}


def codec_of(out: str | os.PathLike[str]) -> str | None:
    """How a file of this name is compressed, or None."""
    return _CODECS.get(Path(out).suffix.lower())


@contextmanager
def output_file(out: str | os.PathLike[str]) -> Iterator[Any]:
    """A file to write bytes to; it gets its name when the block ends without an error. ``-`` is standard output.

    Where the name is a link, what it points to is written. Raises OSError, naming ``out``, for what cannot be written.
    """
    if os.fspath(out) == STDIN:
        if sys.stdout is None:
            raise DataError("standard output: cannot be written: it is closed")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(out)
    plain = path.is_file() or not path.exists()  # not a device or a named pipe
    if plain:
        path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial") if plain else path
    try:
        with partial.open("wb") as file:
            codec = codec_of(out)
            if codec is None:
                yield file
            else:  # a second descriptor, since the compressed stream closes its file
                with pa.CompressedOutputStream(os.fdopen(os.dup(file.fileno()), "wb"), codec) as compressed:
                    yield compressed
            file.flush()
            if plain:
                os.fsync(file.fileno())
        if plain:
            partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror or error}", os.fspath(out)) from error
    finally:
        if plain:
            partial.unlink(missing_ok=True)
