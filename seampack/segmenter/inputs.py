"""Where texts come from: lines, JSONL, Parquet and Arrow, read in blocks that keep what is needed to write them again.

A text line keeps everything but its newline, white space at its ends too, so that the input can be restored.
"""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from seampack.errors import DataError
from seampack.segmenter import tables
from seampack.segmenter.apply_config import FileFormat, OnBad

STDIN = "-"
BLOCK_BYTES = 1 << 18
_SNIFF_BYTES = 1 << 16
_COMPRESSION = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x50\x2a\x4d\x18": "zstd"}  # the last: pzstd
_BOM = b"\xef\xbb\xbf"


_ENDINGS = {
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".parquet": FileFormat.PARQUET,
    ".arrow": FileFormat.ARROW,
    ".txt": FileFormat.LINES,
}


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a text file. ``ended``: the last one has its newline."""

    texts: list[str]
    source: str
    first_line: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Records:
    """JSON objects with their lines; ``None`` stands for a blank line, or a text that is null."""

    texts: list[str | None]
    records: list[dict[str, msgspec.Raw] | None]
    source: str
    first_line: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a table."""

    texts: list[str | None]
    rows: pa.RecordBatch
    source: str


Block = Lines | Records | Rows


def format_of_name(path: str) -> FileFormat | None:
    """What the ending of a file's name says, looking through .gz and .zst."""
    stem = path.removesuffix(".gz").removesuffix(".zst")
    return _ENDINGS.get(os.path.splitext(stem)[1].lower())


def expand(inputs: Sequence[str]) -> list[str]:
    """Paths of the input files as given, globs expanded and sorted; ``-`` is standard input.

    Raises DataError for what does not exist or matches nothing.
    """
    paths: list[str] = []
    for item in inputs:
        if item == STDIN or (os.path.exists(item) and not os.path.isdir(item)):
            paths.append(item)
        elif matches := sorted(path for path in glob.glob(item, recursive=True) if os.path.isfile(path)):
            paths.extend(matches)
        else:
            what = "no file matches" if glob.has_magic(item) else "no such file"
            raise DataError(f"{item}: {'a folder; give its files' if os.path.isdir(item) else what}")
    if not paths:
        raise DataError("no input: give files, globs, or - for standard input")
    return paths


def blocks(
    inputs: Sequence[str],
    *,
    text_column: str = "text",
    input_format: str = FileFormat.AUTO,
    on_bad: str = OnBad.STOP,
) -> Iterator[Block]:
    """Blocks of all inputs in order. Memory holds one block: some 256 KB of whole lines, or one longer line.

    Where all inputs are empty there is one block without texts, of the kind of the first.

    Raises DataError, naming file and line, for what cannot be read or has no such text.
    """
    nothing: Block | None = None
    read = False
    for path in expand(inputs):
        with _open(path, FileFormat(input_format)) as (name, kind, stream):
            found: Iterator[Block]
            if kind == FileFormat.LINES:
                found = _lines(name, stream, on_bad)
            elif kind == FileFormat.JSONL:
                found = _records(name, stream, text_column, on_bad)
            else:
                found = _rows(name, stream, kind, text_column, on_bad)
            for block in found:
                read = True
                yield block
            if nothing is None:
                nothing = Records([], [], name, 1) if kind == FileFormat.JSONL else Lines([], name, 1, ended=False)
    if not read and nothing is not None:
        yield nothing


def texts(inputs: Sequence[str], **options: Any) -> Iterator[list[str]]:
    """Batches of the texts alone, for training and scoring; texts that are null count as empty. Options: ``blocks``."""
    for block in blocks(inputs, **options):
        found = [text or "" for text in block.texts]
        if found and isinstance(block, Lines) and block.first_line == 1:
            found[0] = found[0].removeprefix("\ufeff")
        if found:
            yield found


@contextmanager
def _open(path: str, wanted: FileFormat) -> Iterator[tuple[str, FileFormat, Any]]:
    name = "standard input" if path == STDIN else os.fsencode(path).decode(errors="backslashreplace")
    if path == STDIN and sys.stdin is None:
        raise DataError(f"{name}: cannot be opened: it is closed")
    try:  # standard input is duplicated, so that closing the stream leaves it open
        raw: Any = open(os.dup(sys.stdin.fileno()) if path == STDIN else path, "rb", buffering=_SNIFF_BYTES)  # noqa: SIM115
    except OSError as error:
        raise DataError(f"{name}: cannot be opened: {error.strerror}") from error
    with raw, _reading(name):
        head = raw.peek(4)
        codec = next((codec for magic, codec in _COMPRESSION.items() if head.startswith(magic)), None)
        stream = pa.CompressedInputStream(raw, codec) if codec else raw
        head = stream.read(_SNIFF_BYTES) if codec else head
        kind = _sniff(path, head, wanted)
        if kind in (FileFormat.PARQUET, FileFormat.ARROW) and codec:
            raise DataError(f"{name}: {kind} inside a compressed file cannot be read; decompress it first")
        if path == STDIN and head.startswith((b"PAR1", b"ARROW1")):
            raise DataError(f"{name}: {kind} files cannot be read from a pipe; give the file's path")
        yield name, kind, _Stream(head if codec else b"", stream)


class _Stream:
    """A stream of which the beginning may have been read; gives what is there, and does not wait for a slow pipe."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._head = head
        self.stream = stream

    def read(self) -> bytes:
        head, self._head = self._head, b""
        if head:
            return head
        data: bytes = getattr(self.stream, "read1", self.stream.read)(BLOCK_BYTES)
        return data


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn the errors of a broken or truncated input into a DataError that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{name}: cannot be read: {' '.join(str(error).split())}") from error


def _sniff(path: str, head: bytes, wanted: FileFormat) -> FileFormat:
    if wanted != FileFormat.AUTO:
        return wanted
    if head.startswith(b"PAR1"):
        return FileFormat.PARQUET
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return FileFormat.ARROW
    named = format_of_name(path)
    if named in (FileFormat.JSONL, FileFormat.LINES):
        return named
    first, newline, _ = head.removeprefix(_BOM).partition(b"\n")
    if not newline:
        return FileFormat.JSONL if first.startswith(b'{"') else FileFormat.LINES
    try:  # text may begin with a brace, but is hardly an object of JSON
        return FileFormat.JSONL if isinstance(msgspec.json.decode(first), dict) else FileFormat.LINES
    except (msgspec.DecodeError, UnicodeDecodeError):
        return FileFormat.LINES


def _whole_lines(stream: _Stream) -> Iterator[bytes]:
    begun: list[bytes] = []
    while True:
        data = stream.read()
        if not data:
            break
        end = data.rfind(b"\n") + 1
        if end:
            yield b"".join([*begun, data[:end]])
            begun = []
        begun.append(data[end:])
    if any(begun):
        yield b"".join(begun)


def _decoded(name: str, data: bytes, first_line: int, on_bad: str) -> str:
    try:
        return data.decode(errors="replace" if on_bad == OnBad.REPLACE else "strict")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise DataError(
            f"{name}:{line}: invalid UTF-8 at byte {column} ({error.reason}: 0x{data[error.start]:02x}); "
            "convert the file to UTF-8, or use --on-bad replace"
        ) from error


def _lines(name: str, stream: _Stream, on_bad: str) -> Iterator[Lines]:
    line = 1
    for data in _whole_lines(stream):
        found = _decoded(name, data, line, on_bad).split("\n")
        ended = not found[-1]
        if ended:
            found.pop()
        yield Lines(found, name, line, ended)
        line += len(found)


def _records(name: str, stream: _Stream, column: str, on_bad: str) -> Iterator[Records]:
    line = 1
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    for data in _whole_lines(stream):
        if line == 1:
            data = data.removeprefix(_BOM)
        found = _decoded(name, data, line, on_bad).removesuffix("\n").split("\n")
        read = [_record(name, number, text, column, decoder) for number, text in enumerate(found, line)]
        yield Records([text for text, _ in read], [record for _, record in read], name, line)
        line += len(found)


def _record(
    name: str, line: int, text: str, column: str, decoder: "msgspec.json.Decoder[dict[str, msgspec.Raw]]"
) -> tuple[str | None, dict[str, msgspec.Raw] | None]:
    if not text or text.isspace():
        return None, None
    try:
        record = decoder.decode(text)
        if column not in record:
            fields = ", ".join(map(repr, list(record)[:8])) or "none"
            raise DataError(f"{name}:{line}: no field {column!r}; the record has {fields}; name it with --text-column")
        return msgspec.json.decode(record[column], type=str | None), record
    except msgspec.ValidationError as error:
        raise DataError(f"{name}:{line}: expected a JSON object whose field {column!r} is a text: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{name}:{line}: broken JSON: {error}") from error


def _rows(name: str, stream: _Stream, kind: FileFormat, column: str, on_bad: str) -> Iterator[Rows]:
    first_row = 1
    for batch in tables.batches(stream.stream, kind):
        found, batch = tables.texts_of(batch, column, name, first_row, on_bad)
        first_row += len(found)
        at = 0
        while at < len(found):  # long texts: fewer rows at once
            end, size = at + 1, len(found[at] or "")
            while end < len(found) and (size := size + len(found[end] or "")) <= BLOCK_BYTES:
                end += 1
            yield Rows(found[at:end], batch.slice(at, end - at), name)
            at = end
        if not found:
            yield Rows([], batch, name)
