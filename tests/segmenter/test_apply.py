"""``apply`` and ``restore``: no text is lost, output is atomic, options without effect are refused."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, ShardError
from seampack.segmenter import apply as applying
from seampack.segmenter.apply_config import ApplyConfig, DecodeConfig
from seampack.segmenter.dictionary import Dictionary
from seampack.segmenter.model import Segmenter
from tests.segmenter import tiny
from tests.segmenter.dummy import EachFew

ODD = "研究生命的起源。 สวัสดี 👩🏽‍🚀 e\u0301 mixed \x00\x1f\u3000end"


def test_lines(segmented: Callable[..., bytes]) -> None:
    assert segmented("研究生命\n\nab c\r\n".encode()).decode() == "研究 生命\n\nab   c \r\n"


@pytest.mark.parametrize(
    "data", ["", "\n", "\n\n", "a", "abc\n", "abc\n\nd", "\ufeffabc\n", ODD, f"{ODD}\r\n {ODD} \n"]
)
def test_the_input_is_restored_to_the_byte(data: str, segmented: Callable[..., bytes], tmp_path: Path) -> None:
    segmented(data.encode())
    applying.restore([str(tmp_path / "out")], tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data.encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_restored(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.txt").write_bytes(text.encode())
    applying.apply(EachFew(), folder / "any.txt", folder / "any.spaced", ApplyConfig(input_format="lines"))
    applying.restore([str(folder / "any.spaced")], folder / "any.again")
    assert (folder / "any.again").read_bytes() == text.encode()


@pytest.mark.parametrize("out", [".", "none/out", "/dev/full"])
def test_outputs_that_cannot_be_written_are_named(out: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc")
    with pytest.raises(ShardError, match="cannot be written: ") as caught:
        applying.apply(EachFew(), tmp_path / "in.txt", tmp_path / out)
    assert str(caught.value).startswith(str(tmp_path / out))
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.parametrize(
    ("name", "magic"), [("out.txt.gz", b"\x1f\x8b"), ("out.zst", b"\x28\xb5\x2f\xfd"), ("out.GZ", b"\x1f\x8b")]
)
def test_outputs_are_compressed_by_their_name(name: str, magic: bytes, tmp_path: Path) -> None:
    lines = "研究生命\n" * 50_000
    (tmp_path / "in.txt").write_text(lines, "utf-8")
    applying.apply(EachFew(), tmp_path / "in.txt", tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert data.startswith(magic)
    assert (
        pa.CompressedInputStream(pa.BufferReader(data), "gzip" if magic[0] == 0x1F else "zstd").read()
        == ("研究 生命\n" * 50_000).encode()
    )
    applying.restore([str(tmp_path / name)], tmp_path / "again.gz")
    assert gzip.decompress((tmp_path / "again.gz").read_bytes()) == lines.encode()


@pytest.mark.parametrize("exists", [True, False])
def test_the_target_of_a_link_is_written(exists: bool, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc\n")
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target.txt", tmp_path / "link.txt"
    if exists:
        target.write_bytes(b"before")
    link.symlink_to(target)
    applying.apply(EachFew(), tmp_path / "in.txt", link)
    assert link.is_symlink()
    assert target.read_bytes() == b"ab c\n"
    assert [path.name for path in target.parent.iterdir()] == ["target.txt"]


@pytest.mark.parametrize(
    ("output", "option", "value"),
    [
        ("posteriors", "decoder", "product"),
        ("posteriors", "threshold", 0.4),
        ("n-best", "decoder", "posterior"),
        ("n-best", "threshold", 0.4),
        ("n-best", "dictionary", Dictionary.of(["ab"])),
        ("n-best", "dictionary", ["ab"]),
    ],
)
def test_options_without_effect_are_refused(output: str, option: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc\n")
    options = {option: value} if option == "dictionary" else {"decode": DecodeConfig(**{option: value})}
    with pytest.raises(ConfigError, match=rf"^{option}: output {output} .*remove it, or write words"):
        applying.apply(EachFew(), tmp_path / "in.txt", tmp_path / "out", ApplyConfig(output=output), **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "name", "message"),
    [
        ("output_column", "w", "in.txt", "output_column: lines have no columns; got 'w'; remove it, or write"),
        ("output_column", "w", "in.jsonl", "output_column: lines have no columns"),
        (
            "text_column",
            "body",
            "in.txt",
            "text_column: .*in.txt is plain text, without columns; got 'body'; remove it",
        ),
    ],
)
def test_names_of_columns_that_lines_do_not_have(
    option: str, value: str, name: str, message: str, segmented: Callable[..., bytes], tmp_path: Path
) -> None:
    """They name the fields where the lines become records, and an empty input has either."""
    data = b'{"text": "abc"}\n' if name == "in.jsonl" else b"abc\n"
    with pytest.raises(ConfigError, match=f"^{message}"):
        segmented(data, name=name, output_format="lines", **{option: value})
    assert not (tmp_path / "out").exists()
    assert value.encode() in segmented(b"abc\n", output_format="jsonl", **{option: value})
    assert segmented(b"", **{option: value}) == b""


def test_a_lexicon_that_is_not_there_cannot_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc\n")
    segmenter = Segmenter.load(tiny.save(tmp_path / "m"))
    with pytest.raises(ConfigError, match="lexicon: the segmenter has no lexicon; remove --no-lexicon"):
        applying.apply(segmenter, tmp_path / "in.txt", tmp_path / "out", decode=DecodeConfig(lexicon=False))


def test_options_of_probabilities(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(b"abc\n")
    segmenter, words = EachFew(), Dictionary.of(["ab"])
    config, decode = ApplyConfig(output="posteriors"), DecodeConfig(decoder="boundary")
    applying.apply(segmenter, tmp_path / "in.txt", tmp_path / "out", config, decode=decode, dictionary=words)
    assert segmenter.asked == {"exact": True, "dictionary": words}
    applying.apply(segmenter, tmp_path / "in.txt", tmp_path / "out", config)
    assert segmenter.asked == {"exact": False, "dictionary": None}
    applying.apply(segmenter, tmp_path / "in.txt", tmp_path / "out", config, dictionary=["ab"])
    assert segmenter.asked == {"exact": False, "dictionary": words}


@pytest.mark.parametrize("name", ["in.txt", "link.txt"])
def test_an_output_that_is_an_input_is_refused(name: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / name
    source.write_bytes(b"abc\n")
    (tmp_path / "link.txt").symlink_to(source)
    message = rf"{name}: the output is also an input, which it would replace; name another file"
    with pytest.raises(ConfigError, match=message):
        applying.apply(EachFew(), tmp_path / "*.txt", out)
    with pytest.raises(ConfigError, match=message):
        applying.restore(source, out)
    assert source.read_bytes() == b"abc\n"
