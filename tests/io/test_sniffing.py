"""Detection: files are recognised by their first bytes, regardless of timing, or refused with a remedy."""

import pytest

from seampack.errors import DataError
from seampack.io.formats import Format, codec_of_name, format_of_name
from seampack.io.sniffing import detect_codec, detect_format, guess_holds

BOM = b"\xef\xbb\xbf"
DEEP = b'{"text": "x", "a": ' + b"[" * 3000 + b"]" * 3000 + b"}"
CASES = [
    (b"", None, Format.LINES),
    (b"", "a.csv", Format.CSV),
    (b"", "a.jsonl", Format.JSONL),
    (b"plain text\n", None, Format.LINES),
    (b"plain text", "a.txt", Format.LINES),
    (b"\n\n  plain\n", None, Format.LINES),
    (b"P", None, Format.LINES),
    (b'{"text": "a"}\n', None, Format.JSONL),
    (BOM + b'{"text": "a"}\n', None, Format.JSONL),
    (b' \n\t{"text": "a"}', None, Format.JSONL),
    (b'{"text": "a"}\n', "a.txt", Format.JSONL),
    (b'{"text": NaN}\n', None, Format.JSONL),
    (b'{"text": 1' + b"0" * 9999 + b"}\n", None, Format.JSONL),
    (b'{"text": "\\ud800"}\n', None, Format.JSONL),
    (b'{"text": "a"}{"text": "b"}\n', None, Format.JSONL),
    (b'{"text": "a\n', None, Format.JSONL),
    (b"{'text': 'a'}\n", None, Format.JSONL),
    (DEEP, None, Format.JSONL),
    (b"{curly} begins this text\n", None, Format.LINES),
    (b"{curly} begins this text\n", "a.jsonl", Format.JSONL),
    (b'{\n "text": "a"\n}\n', None, Format.JSON),
    (b'{"text":\n"a"}', None, Format.JSON),
    (b'{"text": "a",\n"b": 1}', None, Format.JSON),
    (b'[{"text": "a"}, {"text": "b"}]', None, Format.JSON),
    (b'[{"text": "a"},\n{"text": "b"}]', None, Format.JSON),
    (b'[\n{"text": "a"}]', "a.jsonl", Format.JSON),
    (b"[]", None, Format.LINES),
    (b"[]", "a.json", Format.JSON),
    (b'["a"]\n["b"]\n', None, Format.LINES),
    (b'["a"]\n["b"]\n', "a.jsonl", Format.JSONL),
    (b"[1]\nsome text\n", "a.txt", Format.LINES),
    (b"[\nsome text\n", "a.txt", Format.LINES),
    (b"{\nsome text\n", None, Format.LINES),
    (b'[\n{"text": "a"}]', "a.txt", Format.JSON),
    (b'{"ids": [' + b"1," * 40_000, None, Format.JSONL),
    (b"[1] a footnote\n", None, Format.LINES),
    (b"[1] a footnote\n", "a.json", Format.JSONL),
    (b'"a"\n"b"\n', "a.jsonl", Format.JSONL),
    (b"id,text\n1,a\n", "a.csv", Format.CSV),
    (b"{x},text\n1,a\n", "a.csv", Format.CSV),
    (b"id\ttext\n1\ta\n", "a.tsv", Format.TSV),
    (b"PAR1....", None, Format.PARQUET),
    (b"nonsense", "a.parquet", Format.PARQUET),
    (b"ARROW1\0\0", None, Format.ARROW),
    (b"\xff\xff\xff\xff\x10", None, Format.ARROW),
    (b"a \0 b\n", "a.txt", Format.LINES),
]


@pytest.mark.parametrize(("data", "name", "expected"), CASES)
def test_formats_of_first_bytes(data: bytes, name: str | None, expected: Format) -> None:
    named = format_of_name(name) if name else None
    assert detect_format(data, True, named) == expected


@pytest.mark.parametrize(("data", "name", "expected"), CASES)
def test_the_result_does_not_depend_on_timing(data: bytes, name: str | None, expected: Format) -> None:
    """Detection asks for more bytes as long as the result may change."""
    named = format_of_name(name) if name else None
    for size in [*range(min(len(data), 80)), len(data)]:
        assert detect_format(data[:size], False, named) in (None, expected)


@pytest.mark.parametrize("wanted", [Format.JSONL, Format.JSON, Format.LINES, Format.CSV, Format.PARAGRAPHS])
def test_a_named_format_overrides(wanted: Format) -> None:
    for data in (b'{"text": "a"}', b"PAR1", b"PK\x03\x04", b"a\0b"):
        assert detect_format(data, True, Format.JSONL, wanted) == wanted


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a".encode("utf-16"), "UTF-16 text; expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8"),
        (b"\xfe\xff\0a", "UTF-16 text"),
        ("a".encode("utf-32"), "UTF-32 text"),
        (b"PK\x03\x04rest", "a zip archive; expected text, JSON or a table; unpack it first"),
        (b"7z\xbc\xaf\x27\x1crest", "a 7z archive"),
        (b"name.txt" + b"\0" * 249 + b"ustar\x0000", "a tar archive"),
        (b"%PDF-1.7\n", "a PDF file; expected text, JSON or a table; extract its text first"),
        (
            b"some\0bytes\n",
            "binary data: line 1 has a NUL; expected text, JSON or a table; if it is text, name its format (--input-",
        ),
    ],
)
def test_unsupported_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as error:
        detect_format(data, True, None)
    assert str(error.value).startswith(message)


def test_json_lines_after_a_banner_are_not_a_text() -> None:
    with pytest.raises(DataError, match="line 1 is not a JSON object and line 2 is one"):
        guess_holds(b'Loading corpus...\n{"text": "hello"}\n')
    assert guess_holds(b"a\nb\n")
    assert guess_holds(b'a\n{"b" c\n')
    for text in (b"", b"one line", b"one line\n", b'a\n{"b": '):
        assert not guess_holds(text)


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        (b"\x1f\x8b", "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\x50\x2a\x4d\x18", "zstd"),
        (b"BZh9", "bz2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"text", None),
        (b"", None),
    ],
)
def test_codecs(head: bytes, codec: str | None) -> None:
    assert detect_codec(head, True) == (True, codec)
    for size in range(len(head)):
        assert detect_codec(head[:size], False) in [(False, None), (True, codec)]


def test_names() -> None:
    assert [format_of_name(name) for name in ("a.JSONL.GZ", "b.c/d", "x.pq", "x.json.xz", "x.gz")] == [
        Format.JSONL,
        None,
        Format.PARQUET,
        Format.JSON,
        None,
    ]
    assert [codec_of_name(name) for name in ("a.txt.GZ", "a.zst", "a.txt", "gz")] == ["gzip", "zstd", None, None]
