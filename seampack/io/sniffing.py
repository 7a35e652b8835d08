"""Detection of the compression and format of a stream from its first bytes; unsupported formats are refused.

Detection reads as few bytes as it needs, so that the data of a slow pipe is processed as it arrives. The result depends
on the bytes alone, never on their timing.
"""

from collections.abc import Iterable
from typing import Any

from seampack.errors import DataError
from seampack.io.formats import RECORDS, TABLES, Format
from seampack.io.json_values import DECODER

SNIFF_BYTES = 1 << 16
"""Largest number of bytes that detection reads."""
BOM = b"\xef\xbb\xbf"

COMPRESSION = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x50\x2a\x4d\x18": "zstd",  # the skippable frame that pzstd begins with
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
}
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a rar archive"}
_BINARIES = {b"%PDF-": "a PDF file", b"SQLite format 3\0": "an SQLite database", b"\x89HDF": "an HDF5 file"}
_UNICODE = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_MAGICS = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", BOM, *_ARCHIVES, *_BINARIES, *_UNICODE)
_TAR_MAGIC = slice(257, 262)


def detect_codec(head: bytes, ended: bool) -> tuple[bool, str | None]:
    """Return whether the head is long enough to decide, and the codec of the stream, or None."""
    for magic, codec in COMPRESSION.items():
        if head.startswith(magic):
            return True, codec
    return ended or not _begins_one(head, COMPRESSION), None


def detect_format(head: bytes, ended: bool, named: Format | None, wanted: Format = Format.AUTO) -> Format | None:
    """Return the format of a stream, or None if more bytes are needed.

    Args:
        head: First bytes of the decompressed stream.
        ended: Whether there are no more bytes, or the head has the largest size.
        named: Format of the file name's ending, or None.
        wanted: Format set by the user, which overrides detection.

    Raises:
        DataError: For archives, binary files and encodings that cannot be read, with the remedy.
    """
    if not ended and _begins_one(head, _MAGICS):
        return None
    if wanted not in TABLES:
        _refuse_other_encodings(head)
    if wanted != Format.AUTO:
        return wanted
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return Format.ARROW
    if named in TABLES:
        return named
    text = head.removeprefix(BOM).lstrip()
    line, newline, _ = text.partition(b"\n")
    _refuse_archives(head)
    if named is None and b"\0" in line:
        raise DataError(
            "binary data: line 1 has a NUL; expected text, JSON or a table; if it is text, name its format "
            r"(--input-format lines), or remove the NULs: tr -d '\000'"
        )
    if not newline and not ended:
        return None
    if text[:1] not in (b"{", b"["):
        return Format.JSONL if named in RECORDS else named or Format.LINES
    return _json_layout(line, text, ended, named)


def _begins_one(head: bytes, magics: Iterable[bytes]) -> bool:
    """Return whether the head may be the beginning of a longer magic number."""
    return any(magic.startswith(head) and len(magic) > len(head) for magic in magics)


def _json_layout(line: bytes, text: bytes, ended: bool, named: Format | None) -> Format | None:
    """Return the format of a text that begins with a bracket, or None if more bytes are needed.

    ``line`` is the first line of ``text``. Plain text may begin with a bracket too: only a name that means JSON, or the
    beginning of an object, makes it JSON.
    """
    otherwise = Format.JSONL if named in RECORDS else named or Format.LINES
    value = _decoded(line)
    if isinstance(value, dict):
        return Format.JSONL
    if isinstance(value, list):
        is_records = all(isinstance(item, dict) for item in value) and (value or named in RECORDS)
        return Format.JSON if is_records else otherwise
    inside = text[1:].lstrip()
    if not inside and not ended:
        return None
    if line.startswith(b"["):
        return Format.JSON if inside.startswith(b"{") else otherwise
    if b"\n" in text and line.rstrip() == b"{" and inside.startswith(b'"'):
        return Format.JSON
    if not ended:
        return None
    if _spans_lines(text) or (b"\n" in text and inside.startswith(b'"') and line.rstrip().endswith((b"{", b"[", b","))):
        return Format.JSON
    return Format.JSONL if inside[:1] in (b'"', b"'", b"}") else otherwise


def _decoded(line: bytes) -> Any:
    """Return the JSON value of a line, or None if the line is not exactly one value."""
    try:
        return DECODER.decode(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _spans_lines(text: bytes) -> bool:
    """Return whether the first JSON value of a text continues after its first line."""
    decoded = text.decode(errors="replace")
    try:
        _, end = DECODER.raw_decode(decoded)
    except (ValueError, RecursionError):
        return False
    return "\n" in decoded[:end]


def _refuse_other_encodings(head: bytes) -> None:
    for mark, encoding in _UNICODE.items():
        if head.startswith(mark):
            raise DataError(f"{encoding} text; expected UTF-8; convert it: iconv -f {encoding} -t UTF-8")


def _refuse_archives(head: bytes) -> None:
    for magic, kind in (_ARCHIVES | _BINARIES).items():
        if head.startswith(magic):
            remedy = "unpack it first" if magic in _ARCHIVES else "extract its text first"
            raise DataError(f"{kind}; expected text, JSON or a table; {remedy}")
    if head[_TAR_MAGIC] == b"ustar":
        raise DataError("a tar archive; expected text, JSON or a table; unpack it first")


def guess_holds(begin: bytes) -> bool:
    """Return whether a text is lines, which no other format was recognised as; False if more bytes are needed.

    Raises DataError if its second line is a JSON object: the input is then JSON lines after a banner.
    """
    lines = begin.removeprefix(BOM).split(b"\n", 2)
    if isinstance(_decoded(lines[1]) if len(lines) > 1 else None, dict):
        raise DataError(
            "line 1 is not a JSON object and line 2 is one; expected JSON lines or text; remove line 1, or name the "
            "format: --input-format lines keeps both as text, jsonl makes line 1 a bad record"
        )
    return len(lines) > 2 or len(begin) >= SNIFF_BYTES
