"""Sources: open and decompress paths, globs, folders and standard input, and detect their formats.

    expand(inputs) -> paths -> open_source -> Source(name, format, stream)

All three parts read through this module, so they accept the same files and refuse others with the same message.
"""

import bz2
import glob
import lzma
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from seampack.errors import DataError
from seampack.io._gzip import GzipStream
from seampack.io.folders import files_of, is_file_or_dead
from seampack.io.formats import COLUMNAR, TABLES, Format, format_of_name
from seampack.io.json_values import JsonLines
from seampack.io.places import check_path, is_url, local_path, place_of, shown
from seampack.io.sniffing import SNIFF_BYTES, detect_codec, detect_format
from seampack.io.streams import Head, Range, Watch, Watched, reading

if TYPE_CHECKING:
    from seampack.io.remote import RemotePath

STDIN = "-"
_SHOWN = 60
"""Number of characters of a name that messages show."""
Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class Source:
    """An input stream, opened and decompressed. JSON of any layout becomes JSON lines, format ``jsonl``."""

    name: str
    """Printable path, or ``standard input``."""
    format: Format
    stream: Any
    """``read(size)`` returns fewer bytes only at the end; ``read1(size)`` returns the available bytes."""
    file: Any = None
    """Columnar formats: a path or a seekable file; None for an Arrow stream from a pipe."""
    unit: str = "line"
    """Unit that positions in messages count: ``line``, ``value`` of JSON, or ``row`` of a table."""
    guessed: bool = False
    """Whether the format is ``lines`` only because no other format was recognised."""
    divisible: bool = False
    """Whether parts of the file can be read by themselves."""
    part: tuple[int, int] = (0, 1)
    """Which part of the file, and of how many. Lines: ``stream`` has that part. Tables: see ``TableReader``."""


def expand(inputs: Inputs) -> list[str]:
    """Return the paths of the input files in reading order: globs and folders are expanded and sorted.

    ``-`` is standard input. Folders: see ``files_of``. Addresses such as ``s3://bucket/folder`` are expanded in the
    same way, to ``RemoteFile``.

    Raises DataError for a missing path, a link to nothing, a glob without a match, or a folder without files to read;
    ConfigError for an empty path; RemoteError for a server that does not answer.
    """
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    if [os.fspath(path) for path in inputs].count(STDIN) > 1:
        raise DataError("standard input can be read only once; give - once")
    paths: list[str] = []
    for item in [local_path(path) for path in inputs]:
        check_path(item, "input")
        if is_url(item):
            paths.extend(_remote_files(item))
        elif item == STDIN or os.path.isfile(item):
            paths.append(item)
        elif os.path.isdir(item):
            paths.extend(files_of(Path(item)))
        elif matches := _matches(item):
            paths.extend(matches)
        elif os.path.exists(item):  # a named pipe, a device
            paths.append(item)
        else:
            raise DataError(f"{item}: {'no file matches' if glob.has_magic(item) else 'no such file'}")
    if not paths:
        raise DataError("no input: give files, globs, folders, or - for standard input")
    for path in paths:
        if path != STDIN and not is_url(path) and not os.path.exists(path):
            raise DataError(f"{name_of(path)}: a link to a file that does not exist; correct or remove it")
    if len(set(paths)) < len(paths):
        twice = next(path for number, path in enumerate(paths) if path in paths[:number])
        warnings.warn(
            f"{name_of(twice)}: given twice, so that its documents are read twice",
            stacklevel=1,  # this line, so that a second look does not warn again
        )
    return paths


def _matches(pattern: str) -> list[str]:
    """Return the files that match a glob, sorted. Warn of folders that match, unless it searches folders itself."""
    matches = sorted(glob.glob(pattern, recursive=True))
    folders = [path for path in matches if os.path.isdir(path)]
    if folders and "**" not in pattern:
        named = ", ".join(folders[:3]) + (", ..." if len(folders) > 3 else "")
        warnings.warn(
            f"{pattern}: {len(folders):,} folder(s) are skipped: {named}; give their names to read them",
            stacklevel=1,  # this line, so that a second look does not warn again
        )
    return [path for path in matches if is_file_or_dead(path)]


def _remote_files(url: str) -> list[str]:
    """Return the files at an address: of a file, a folder, or a glob."""
    from seampack.io.remote import has_magic, remote_matches

    if has_magic(url):
        files: list[str] = [os.fspath(path) for path in remote_matches(url)]
    else:
        place = place_of(url)
        files = [os.fspath(place)] if place.is_file() else files_of(place) if place.is_dir() else []
    if not files:
        raise DataError(f"{shown(url)}: {'no file matches' if has_magic(url) else 'no such file, folder or bucket'}")
    return files


def size_of(path: str) -> int | None:
    """Return the size of an input file as it is stored; None if it is not known before it is read, as of a pipe."""
    if is_url(path):
        return place_of(path).stat().st_size if (size := getattr(path, "size", None)) is None else size
    return os.path.getsize(path) if os.path.isfile(path) else None


def name_of(path: str) -> str:
    """Return the name of an input for messages: bytes of a path that are not UTF-8 appear as ``\\xNN``.

    Addresses appear without credentials.
    """
    return "standard input" if path == STDIN else os.fsencode(shown(path)).decode(errors="backslashreplace")


def place(name: str, position: int, unit: str = "line") -> str:
    """Return the place of a record for a message: ``a.jsonl:3``, or ``a.parquet, row 3``."""
    return f"{name}:{position}" if unit == "line" else f"{name}, {unit} {position:,}"


def listed(names: Sequence[str]) -> str:
    """Return names as text for a message, at most the first eight, each of at most 60 characters."""
    shown = [name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..." for name in names[:8]]
    return ", ".join(map(repr, shown)) + (", ..." if len(names) > 8 else "") if names else "none"


@contextmanager
def open_source(
    path: str,
    wanted: Format = Format.AUTO,
    watch: Watch | None = None,
    part: tuple[int, int] = (0, 1),
    size: int | None = None,
) -> Iterator[Source]:
    """Open a path or standard input, decompress it and detect its format.

    ``part`` is a number and the number of equal parts of a ``divisible`` file: a part has the lines that start in it,
    or a share of the row groups or batches. The file must have the ``size`` with which it was divided.

    Compression: gzip, zstd, bzip2, xz, lz4. Parquet and Arrow files that are compressed or piped are first copied
    into a temporary file, because their readers need random access. ``watch`` receives the stored bytes in order; of a
    table that is mapped into memory, most of them at the end. Of remote Parquet and Arrow files, only what the reader
    asks for is read, and ``watch`` receives only the beginning.

    Raises DataError, naming the input, if it cannot be opened, is damaged, or has an unsupported format.
    """
    name = name_of(path)
    if path == STDIN and sys.stdin is None:
        raise DataError(f"{name}: cannot be opened: it is closed")
    with ExitStack() as opened:
        try:
            # standard input is duplicated, so that closing the stream leaves it open
            descriptor: Any = os.dup(sys.stdin.fileno()) if path == STDIN else path
            remote = _remote(path)
            file = remote.open() if remote else open(descriptor, "rb", buffering=SNIFF_BYTES)  # noqa: SIM115
            raw = opened.enter_context(file)
        except OSError as error:
            raise DataError(f"{name}: cannot be opened: {error.strerror}") from error
        stored: Any = raw if watch is None or part != (0, 1) else Watched(raw, watch)
        stream = Head(stored, name)
        codec = stream.detect(detect_codec)
        if codec is not None:
            stream = Head(opened.enter_context(_decompressed(stream, codec)), name)
        named = format_of_name(shown(path)) if path != STDIN else None

        def decide(head: bytes, ended: bool) -> tuple[bool, Format | None]:
            with named_errors(name):
                kind = detect_format(head, ended, named, wanted)
            return kind is not None, kind

        kind: Format = stream.detect(decide)
        if kind == Format.JSON:
            yield Source(name, Format.JSONL, JsonLines(stream, name), unit="value")
            return
        guessed = kind == Format.LINES and Format.LINES not in (named, wanted)
        table: Any = None
        is_file = codec is None and (remote is not None or os.path.isfile(path))
        divisible = is_file and (kind in (Format.JSONL, Format.LINES) or _has_index(kind, stream.head))
        if part != (0, 1):
            if not divisible or (remote.stat().st_size if remote else os.fstat(raw.fileno()).st_size) != size:
                raise DataError(f"{name}: has changed since the run began; pack a file that nothing writes to")
            chosen = opened.enter_context(_opened_part(raw, remote, kind, *part))
            stored = chosen if watch is None else Watched(chosen, watch)
            if kind not in COLUMNAR:
                where = f" from byte {chosen.start:,}" if chosen.start else ""
                yield Source(f"{name}{where}", kind, Head(stored, name), None, "line", guessed, divisible, part)
                return
        if kind in COLUMNAR and is_file and remote is None:
            table = path
        elif _has_index(kind, stream.head) and is_file and remote is not None:
            table = opened.enter_context(remote.random_access())
        elif _has_index(kind, stream.head):
            table = opened.enter_context(_spooled(stream, name))
        yield Source(name, kind, stream, table, "row" if kind in TABLES else "line", guessed, divisible, part)
        if watch is not None and table == path:
            with reading(name):
                while stored.read(1 << 20):
                    pass


def _has_index(kind: Format, head: bytes) -> bool:
    """Return whether a table has an index of its groups of rows."""
    return kind == Format.PARQUET or (kind == Format.ARROW and head.startswith(b"ARROW1"))


@contextmanager
def _opened_part(raw: Any, remote: "RemotePath | None", kind: Format, part: int, parts: int) -> Iterator["Range"]:
    """Yield the bytes of a part of a file: of lines, those of the lines that start in it."""
    with ExitStack() as opened:
        file = raw if remote is None else opened.enter_context(remote.random_access())
        size = os.fstat(raw.fileno()).st_size if remote is None else file.size()
        start, stop = (size * number // parts for number in (part, part + 1))
        if kind not in COLUMNAR:
            start, stop = (_line_start(file, offset) for offset in (start, stop))
        if remote is None:
            file.seek(start)
        else:
            file = opened.enter_context(remote.open(first=start, end=stop))
        yield Range(file, start, stop)


def _line_start(file: Any, offset: int) -> int:
    """Return the offset of the first line that starts at an offset or after it, or the size of the file."""
    if not offset:
        return 0
    file.seek(offset - 1)
    while chunk := file.read(SNIFF_BYTES):
        newline: int = chunk.find(b"\n")
        if newline >= 0:
            return offset + newline
        offset += len(chunk)
    return offset - 1


def _remote(path: str) -> "RemotePath | None":
    """Return the remote file that an address names; None for a local path."""
    if not is_url(path):
        return None
    from seampack.io.remote import remote_path

    return remote_path(path)


@contextmanager
def _decompressed(stream: Any, codec: str) -> Iterator[Any]:
    if codec == "gzip":
        yield GzipStream(stream)
    elif codec == "bz2":
        with bz2.BZ2File(stream) as decompressed:
            yield decompressed
    elif codec == "xz":
        with lzma.LZMAFile(stream) as decompressed:
            yield decompressed
    else:
        with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec) as decompressed:
            yield decompressed


@contextmanager
def _spooled(stream: Any, name: str) -> Iterator[Any]:
    """Copy a stream into a temporary file, for formats that need random access."""
    with tempfile.TemporaryFile() as file:
        while True:
            with reading(name):
                part = stream.read(1 << 20)
            if not part:
                break
            file.write(part)
        file.seek(0)
        yield file


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Add the name of the input to the beginning of a DataError's message."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
