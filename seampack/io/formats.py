"""File formats and codecs, and the endings of their file names. No heavy imports: options are made from these."""

import os
from enum import StrEnum


class Format(StrEnum):
    """Format of an input file."""

    AUTO = "auto"
    """Detect from the first bytes, then the name."""
    JSONL = "jsonl"
    """One JSON object per line."""
    JSON = "json"
    """A JSON array of objects, or objects one after another, over any number of lines."""
    PARQUET = "parquet"
    """Apache Parquet."""
    ARROW = "arrow"
    """Arrow IPC, file or stream format."""
    CSV = "csv"
    """Comma-separated values with a header line."""
    TSV = "tsv"
    """Tab-separated values with a header line."""
    LINES = "lines"
    """Plain text, one document per line."""
    PARAGRAPHS = "paragraphs"
    """Plain text, documents separated by blank lines."""
    FILE = "file"
    """Plain text, one document per file."""


COLUMNAR = (Format.PARQUET, Format.ARROW)
TABLES = (*COLUMNAR, Format.CSV, Format.TSV)
RECORDS = (Format.JSONL, Format.JSON)
PLAIN_TEXT = (Format.LINES, Format.PARAGRAPHS, Format.FILE)

_ENDINGS = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".arrow": Format.ARROW,
    ".feather": Format.ARROW,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".txt": Format.LINES,
}
CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz", ".lz4": "lz4"}
"""Endings of compressed files, with the name of the codec."""


def codec_of_name(path: str | os.PathLike[str]) -> str | None:
    """Return the codec of a file name's ending, or None."""
    return CODECS.get(os.path.splitext(os.fspath(path))[1].lower())


def stem_of(path: str | os.PathLike[str]) -> str:
    """Return the name of a file or folder without the endings of a format and of a codec.

    >>> stem_of("corpora/web.v2.jsonl.zst"), stem_of("tokens/books/")
    ('web.v2', 'books')
    """
    name = os.path.basename(os.fspath(path).rstrip("/"))
    for endings in (CODECS, _ENDINGS):
        stem, ending = os.path.splitext(name)
        name = stem if ending.lower() in endings else name
    return name


def format_of_name(path: str | os.PathLike[str]) -> Format | None:
    """Return the format of a file name's ending, ignoring the ending of a codec, or None."""
    stem, ending = os.path.splitext(os.fspath(path))
    if ending.lower() in CODECS:
        ending = os.path.splitext(stem)[1]
    return _ENDINGS.get(ending.lower())
