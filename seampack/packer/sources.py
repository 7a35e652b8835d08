"""Where input comes from: paths, globs, standard input, dataset folders; what kind of file each is; decompression."""

import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from seampack.errors import DataError
from seampack.packer.config import InputFormat

STDIN = "-"
_SNIFF_BYTES = 1 << 16
_UNREADABLE = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"PK\x03\x04": "a zip archive", b"\x04\x22\x4d\x18": "lz4"}
_COMPRESSION = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x50\x2a\x4d\x18": "zstd"}  # the last: pzstd
_ENDINGS = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".json": InputFormat.JSONL,
    ".parquet": InputFormat.PARQUET,
    ".arrow": InputFormat.ARROW,
    ".txt": InputFormat.LINES,
}


@dataclass(frozen=True, slots=True)
class Source:
    """One input stream, opened and, where it was compressed, being decompressed."""

    name: str
    path: str | None  # None for standard input
    format: InputFormat
    stream: Any  # anything with read(size); a raw file is twice as fast as one wrapped for Arrow


def expand(inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """Paths of the input files in reading order: as given, globs and dataset folders expanded and sorted.

    ``-`` is standard input. A folder must be a saved Hugging Face dataset.

    Raises DataError for what does not exist or matches nothing.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    paths: list[str] = []
    for item in [os.fspath(path) for path in inputs]:
        if item == STDIN or os.path.isfile(item):
            paths.append(item)
        elif os.path.isdir(item):
            paths.extend(_dataset_files(Path(item)))
        elif matches := sorted(path for path in glob.glob(item, recursive=True) if os.path.isfile(path)):
            paths.extend(matches)
        elif os.path.exists(item):  # a named pipe, a device
            paths.append(item)
        else:
            what = "no file matches" if glob.has_magic(item) else "no such file"
            raise DataError(f"{item}: {what}")
    if not paths:
        raise DataError("no input: give files, globs, dataset folders, or - for standard input")
    return paths


def _dataset_files(folder: Path) -> list[str]:
    """The Arrow files of a folder that ``Dataset.save_to_disk`` wrote."""
    splits, state = folder / "dataset_dict.json", folder / "state.json"
    if not splits.is_file() and not state.is_file():
        raise DataError(f"{folder}: a folder that is no saved dataset; give its files, for example '{folder}/*.jsonl'")
    try:
        first = json.loads(splits.read_text())["splits"][0] if splits.is_file() else None
        names = [] if first else [entry["filename"] for entry in json.loads(state.read_text())["_data_files"]]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{folder}: the dataset is damaged: its description cannot be read: {error!r}") from error
    if first:
        raise DataError(f"{folder}: a dataset of several splits; name one, for example {folder / first}")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder}: the dataset is incomplete: no file {missing[0]}")
    return [str(folder / name) for name in names]


@contextmanager
def open_source(path: str, wanted: InputFormat) -> Iterator[Source]:
    """Open a path or standard input, see through gzip and zstd, and tell its format.

    Raises DataError when it cannot be opened or its format cannot be read as a stream.
    """
    # a name that is not UTF-8 must be fit for messages and for the quarantine file
    name = "standard input" if path == STDIN else os.fsencode(path).decode(errors="backslashreplace")
    if path == STDIN and sys.stdin is None:
        raise DataError(f"{name}: cannot be opened: it is closed")
    try:
        # standard input is duplicated, so that closing the stream leaves it open
        raw: Any = open(os.dup(sys.stdin.fileno()) if path == STDIN else path, "rb", buffering=_SNIFF_BYTES)  # noqa: SIM115
    except OSError as error:
        raise DataError(f"{name}: cannot be opened: {error.strerror}") from error
    with raw:
        stream = _Sniffed(raw, name)
        if other := next((kind for magic, kind in _UNREADABLE.items() if stream.head.startswith(magic)), None):
            raise DataError(f"{name}: {other} cannot be read; expected plain, gzip or zstd; decompress it first")
        codec = next((codec for magic, codec in _COMPRESSION.items() if stream.head.startswith(magic)), None)
        if codec:
            stream = _Sniffed(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec), name)
        kind = _format(name, path, stream.head, wanted)
        if codec and kind in (InputFormat.PARQUET, InputFormat.ARROW):
            raise DataError(f"{name}: {kind} inside a compressed file cannot be read; decompress it first")
        yield Source(name, None if path == STDIN else path, kind, stream)


class _Sniffed:
    """A stream whose head was read to see what it is; reading begins with the head all the same.

    The head is full unless the stream ends before: what a pipe holds at the first moment tells nothing.
    """

    closed = False

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        parts = []
        room = _SNIFF_BYTES
        with reading(name):
            while room > 0 and (part := stream.read(room)):
                parts.append(part)
                room -= len(part)
        self.head = self._left = b"".join(parts)

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        left, self._left = self._left[:size], self._left[size:]
        return left + self._stream.read(size - len(left)) if len(left) < size else left

    def close(self) -> None:
        """Arrow asks for it; who opened the stream closes it."""


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn the errors of a broken or truncated input stream into a DataError that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{name}: cannot be read: {' '.join(str(error).split())}") from error


def _format(name: str, path: str, head: bytes, wanted: InputFormat) -> InputFormat:
    if head.startswith((b"PAR1", b"ARROW1")) and path == STDIN:
        kind = "Parquet" if head.startswith(b"PAR1") else "the Arrow file format (unlike Arrow streams)"
        raise DataError(f"{name}: {kind} cannot be read from a pipe; give the file's path")
    if wanted != InputFormat.AUTO:
        return wanted
    if head.startswith(b"PAR1"):
        return InputFormat.PARQUET
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return InputFormat.ARROW
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"[") and (_ending(path) == InputFormat.JSONL or text[1:].lstrip().startswith(b"{")):
        raise DataError(f"{name}: a JSON array, expected one JSON object a line: convert it with jq -c '.[]'")
    if text.startswith(b"{"):
        return InputFormat.JSONL
    return _ending(path) or InputFormat.LINES


def _ending(path: str) -> InputFormat | None:
    stem = path.removesuffix(".gz").removesuffix(".zst")
    return _ENDINGS.get(os.path.splitext(stem)[1].lower())
