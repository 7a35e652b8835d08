"""Packed folders: read by other libraries, and unpacked to the original documents."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset, load_from_disk

import seampack
from seampack.errors import ShardError
from seampack.packer.documents import Texts
from seampack.packer.folder import PackedFolder
from tests.packer.corpus import (
    END,
    FORMATS,
    SMALL,
    STRATEGIES,
    TEXTS,
    TOKENIZER,
    TOKENS,
    UNFRAMED,
    write_corpus,
)


@STRATEGIES
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pad": END, "output_format": "parquet"},
        {"id_column": "id", "output_format": "parquet"},
        {"pad": END, "leftover": "pad"},
    ],
    ids=str,
)
def test_unpack_gives_the_documents_back(corpus: Path, tmp_path: Path, strategy: str, options: dict[str, Any]) -> None:
    manifest = seampack.pack(corpus, out=tmp_path / "out", strategy=strategy, extra_tokens=0, **SMALL, **options)
    assert len(manifest.shards) > 1
    assert manifest.accounting.dropped == 0
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    unpacked = folder.unpack()
    names = [f"d{n:05d}" if "id_column" in options else n for n in range(len(TEXTS))]
    expected = [(name, ids) for name, ids in zip(names, TOKENS, strict=True) if ids]
    assert list(zip(unpacked["doc_ids"].to_pylist(), unpacked["input_ids"].to_pylist(), strict=True)) == expected
    accounting = manifest.accounting
    assert accounting.documents == len(TEXTS)
    assert accounting.empty_documents == TEXTS.count("")
    assert accounting.tokens_in == sum(map(len, TOKENS))
    for table in folder.tables():
        for row, lengths in zip(table["input_ids"].to_pylist(), table["seq_lengths"].to_pylist(), strict=True):
            assert sum(lengths) == len(row)  # the padding is the last length
            assert len(row) == 32 or "pad" not in options


@STRATEGIES
def test_frames_are_part_of_the_documents(corpus: Path, tmp_path: Path, strategy: str) -> None:
    options = {**SMALL, "bos": "Z", "eos": "a"}
    seampack.pack(corpus, out=tmp_path / "out", strategy=strategy, extra_tokens=0, **options)
    before, after = map(TOKENIZER.reference.token_to_id, "Za")
    expected = [[before, *ids, after] for ids in TOKENS if ids]
    assert PackedFolder(tmp_path / "out").unpack()["input_ids"].to_pylist() == expected


@FORMATS
@pytest.mark.parametrize("options", [{}, {"pad": END}, {"labels": True, "id_column": "id"}])
def test_other_readers_see_the_same_rows(
    corpus: Path, tmp_path: Path, output_format: str, options: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    manifest = seampack.pack(corpus, out=out, output_format=output_format, **SMALL, **options)
    files = [str(out / shard.file) for shard in manifest.shards]
    if output_format == "parquet":
        tables = [pq.read_table(file) for file in files]
    else:
        tables = [pa.ipc.open_stream(Path(file).read_bytes()).read_all() for file in files]
    rows = pa.concat_tables(tables).to_pylist()
    assert len(rows) == manifest.accounting.rows == PackedFolder(out).rows
    assert PackedFolder(out).row(len(rows) - 1) == rows[-1]
    columns = ["input_ids", "seq_lengths", "doc_ids", "doc_starts", "repeated"]
    assert sorted(rows[0]) == sorted(columns + ["labels"] * ("labels" in options)) == sorted(manifest.columns)
    loaded = load_dataset(output_format, data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == rows
    if output_format == "arrow":
        saved = load_from_disk(out)
        assert saved.to_list() == rows
        assert saved.features == loaded.features


@FORMATS
@pytest.mark.parametrize("content", ["", '{"text": ""}\n', "\n \n"])
def test_no_document_makes_no_row_and_a_readable_folder(tmp_path: Path, output_format: str, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    manifest = seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", output_format=output_format)
    assert (manifest.accounting.rows, manifest.accounting.tokens_in) == (0, 0)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    assert (folder.rows, folder.unpack().num_rows) == (0, 0)
    with pytest.raises(ShardError, match="got 0"):
        folder.row(0)
    if output_format == "arrow":
        assert len(load_from_disk(tmp_path / "out")) == 0


@STRATEGIES
@pytest.mark.parametrize("text", ["a", "seam " * 5000], ids=["one token", "long"])
def test_a_single_document(tmp_path: Path, strategy: str, text: str) -> None:
    corpus = write_corpus(tmp_path / "one.jsonl", [text])
    seampack.pack(corpus, out=tmp_path / "out", strategy=strategy, extra_tokens=0, seq_len=16, **UNFRAMED)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    assert folder.unpack()["input_ids"].to_pylist() == [TOKENIZER.encode(Texts([text])).ids.tolist()]


def pack_ids(path: Path, ids: Sequence[Sequence[int]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"input_ids": document}) + "\n" for document in ids))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"input_ids": ids}), path)
    else:
        table = pa.table({"input_ids": pa.array(ids, pa.list_(pa.int32()))})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "arrow"])
def test_tokenised_documents_are_packed_as_they_are(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"ids.{ending}"
    pack_ids(path, TOKENS)
    seampack.pack(path, out=tmp_path / "out", extra_tokens=0, **SMALL)
    assert PackedFolder(tmp_path / "out").unpack()["input_ids"].to_pylist() == [ids for ids in TOKENS if ids]


@STRATEGIES
@pytest.mark.parametrize(
    "options", [{}, {"extra_room": "always", "leftover": "pad"}, {"drop_last": True}, {"max_overlap": 0.9}], ids=str
)
def test_dropped_tokens_are_missing_at_the_ends(
    corpus: Path, tmp_path: Path, strategy: str, options: dict[str, Any]
) -> None:
    seampack.pack(corpus, out=tmp_path / "out", strategy=strategy, **SMALL, **options)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    unpacked = folder.unpack()
    for number, ids in zip(unpacked["doc_ids"].to_pylist(), unpacked["input_ids"].to_pylist(), strict=True):
        assert TOKENS[number][: len(ids)] == ids


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": "2"}, "threads: expected an integer of at least 1; got '2'"),
        ({"threads": True}, "threads: expected an integer of at least 1; got True"),
        ({"threads": -1}, "threads: expected an integer of at least 1; got -1"),
        ({"overwrite": "no"}, "overwrite: expected true or false; got 'no'"),
        ({"config": {"seq_len": 8}}, "expected a PackConfig or options by name; got a dict"),
        ({"config": seampack.PlanConfig()}, "expected a PackConfig or options by name; got a PlanConfig"),
        ({"seq_length": 8}, "seq_length: no such option; did you mean seq_len?"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    (tmp_path / "a.txt").write_text("a")
    calls: list[Any] = [seampack.pack] if "overwrite" in arguments else [seampack.pack, seampack.compare]
    for function in calls:
        out = {"out": tmp_path / "out"} if function is seampack.pack else {}
        with pytest.raises(seampack.ConfigError) as error:
            function(tmp_path / "a.txt", **out, **arguments)
        assert str(error.value) == message
    assert not (tmp_path / "out").exists()
