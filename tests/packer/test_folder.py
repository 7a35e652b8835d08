"""Packed folders that are damaged, contradict their manifest, or share ids: refused with the reason."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import seampack
from seampack.errors import ShardError
from seampack.packer.folder import PackedFolder
from seampack.packer.shards import checksum
from tests.packer.corpus import END, FORMATS, SMALL, STRATEGIES


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@FORMATS
def test_damage_is_found_and_the_shard_named(corpus: Path, tmp_path: Path, output_format: str) -> None:
    out = tmp_path / "out"
    shard = out / seampack.pack(corpus, out=out, output_format=output_format, **SMALL).shards[1].file
    whole = shard.read_bytes()
    flip(shard)
    with pytest.raises(ShardError, match=rf"{shard.name}: the checksum differs: it is damaged; pack again"):
        PackedFolder(out).verify()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShardError, match=rf"{shard.name}: expected {len(whole)} bytes; got {len(whole) // 2}"):
        PackedFolder(out).verify()
    with pytest.raises(ShardError, match=rf"{shard.name}: the shard cannot be read"):
        list(PackedFolder(out).tables())
    shard.write_bytes((out / f"shard-00000.{output_format}").read_bytes())
    edit_manifest(out, shards=[{**shard, "rows": 3} for shard in PackedFolder(out).manifest["shards"]])
    with pytest.raises(ShardError, match=r"expected 3 rows; got \d+"):
        list(PackedFolder(out).tables())
    shard.unlink()
    with pytest.raises(ShardError, match=rf"{shard.name}: the shard is missing; pack again"):
        PackedFolder(out)


@contextmanager
def changed(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest, for a test to change and write; restored at the end."""
    path = folder / "manifest.json"
    whole = path.read_text()
    manifest = json.loads(whole)
    try:
        yield manifest
    finally:
        path.write_text(whole)


def test_the_accounting_is_verified(packed: Path) -> None:
    whole = json.loads((packed / "manifest.json").read_text())["accounting"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"documents": 3, "empty_documents": 0}, "documents: the manifest says 3 documents, 0 empty; the shards hold"),
        ({"segments": 1}, "segments: the manifest says 1, the shards hold"),
        (
            {name: whole[name] + 1 for name in ("tokens_in", "dropped")} | {"segments": whole["segments"] + 1},
            "segments: the manifest says",
        ),
        ({name: whole[name] + 1 for name in ("repeated", "dropped")}, "repeated: the manifest says"),
    ]
    for changes, message in cases:
        with changed(packed) as manifest:
            manifest["accounting"].update(changes)
            (packed / "manifest.json").write_text(json.dumps(manifest))
            with pytest.raises(ShardError, match=message):
                PackedFolder(packed).verify()
    PackedFolder(packed).verify()


@pytest.mark.parametrize("pad", [None, END])
def test_rows_that_differ_from_their_segments(tmp_path: Path, pad: str | None) -> None:
    """Checksums and sums are right, but the row borders are wrong, as a faulty writer might leave them."""
    (tmp_path / "a.jsonl").write_text('{"text": "seam pack seam"}\n{"text": "pack"}\n')
    out = tmp_path / "out"
    manifest = seampack.pack(tmp_path / "a.jsonl", out=out, seq_len=16, strategy="pad", pad=pad)
    file = out / "shard-00000.arrow"
    table = pa.ipc.open_stream(file.read_bytes()).read_all()
    column = table.column_names.index("seq_lengths")
    lengths = table["seq_lengths"].to_pylist()
    lengths[0][0], lengths[1][0] = lengths[0][0] + 16, lengths[1][0] - 16
    for name, values, message in (
        ("seq_lengths", lengths, "row 0: expected .*16.* in its segments; got"),
        ("doc_ids", [[0, 1], []], "doc_ids: expected as many values per row as seq_lengths has"),
        ("other", lengths, "expected a column seq_lengths; got input_ids, other"),
    ):
        place = column if name == "other" else table.column_names.index(name)
        kind = table.schema.field(place).type
        wrong = table.set_column(place, name, pa.array(values, kind))
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, wrong.schema) as writer:
            writer.write_table(wrong)
        shard = {**manifest["shards"][0], "bytes": file.stat().st_size, "checksum": checksum(file)}
        edit_manifest(out, shards=[shard])
        with pytest.raises(ShardError, match=message):
            PackedFolder(out).verify()


def test_a_row_opens_its_shard_alone(packed: Path) -> None:
    folder = PackedFolder(packed)
    rows = [row for table in folder.tables() for row in table.to_pylist()]
    assert [folder.row(n) for n in range(len(rows))] == rows
    shard = packed / "shard-00001.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(b"")
    try:
        assert folder.row(0) == rows[0]
        assert folder.row(len(rows) - 1) == rows[-1]
        with pytest.raises(ShardError, match=r"shard-00001\.arrow: the shard cannot be read"):
            folder.row(folder.shards[0].rows)
    finally:
        shard.write_bytes(whole)


@STRATEGIES
@pytest.mark.parametrize("texts", [["a", "a"], ["seam " * 99, "pack", "seam " * 9]], ids=["short", "long"])
def test_documents_of_one_id_cannot_be_unpacked(tmp_path: Path, strategy: str, texts: list[str]) -> None:
    corpus = tmp_path / "a.jsonl"
    corpus.write_text("".join(json.dumps({"text": text, "id": "same"}) + "\n" for text in texts))
    seampack.pack(corpus, out=tmp_path / "out", id_column="id", strategy=strategy, **SMALL)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    with pytest.raises(ShardError, match=r"document 'same': expected a segment from .* several documents share this"):
        folder.unpack()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nope: no such folder"):
        PackedFolder(tmp_path / "nope")
