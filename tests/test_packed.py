"""What is written: read by its own ecosystem, unpacked to the documents again, and refused when damaged."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset, load_from_disk

import seampack
from seampack.errors import ShardError
from seampack.packer import text_blocks
from seampack.packer.documents import Texts
from seampack.packer.packed import PackedFolder
from seampack.packer.tokenizing import TextTokenizer

END = "<|endoftext|>"
TOKENIZER = TextTokenizer()
END_ID = TOKENIZER.reference.token_to_id(END)


def sample(documents: int = 120) -> list[str]:
    """Documents of very different lengths: empty, of one token, short, longer than many rows."""
    chance = random.Random(7)
    words = ["seam", "pack", "Ä", " ", "\n", "12", "the", END]
    return [" ".join(chance.choices(words, k=chance.choice([0, 1, 1, 3, 9, 30, 90, 400]))) for _ in range(documents)]


def write_corpus(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text, "id": f"d{n:05d}"}) + "\n" for n, text in enumerate(texts)))
    return path


def token_lists(texts: Sequence[str]) -> list[list[int]]:
    return [TOKENIZER.reference.encode(text, add_special_tokens=False).ids for text in texts]


TEXTS = sample()
TOKENIZER.reference.encode_special_tokens = True
TOKENS = token_lists(TEXTS)
SMALL: dict[str, Any] = {"seq_len": 32, "window_tokens": 256, "shard_tokens": 1024}
STRATEGIES = pytest.mark.parametrize("strategy", ["seamless", "concat", "best_fit", "ffd", "pad"])
FORMATS = pytest.mark.parametrize("output_format", ["arrow", "parquet"])


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus read in many blocks, so that there are many windows."""
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 512)
    return write_corpus(tmp_path / "corpus.jsonl", TEXTS)


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
    assert len(manifest["shards"]) > 1
    assert manifest["accounting"]["dropped"] == 0
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    unpacked = folder.unpack()
    names = [f"d{n:05d}" if "id_column" in options else n for n in range(len(TEXTS))]
    expected = [(name, ids) for name, ids in zip(names, TOKENS, strict=True) if ids]
    assert list(zip(unpacked["doc_ids"].to_pylist(), unpacked["input_ids"].to_pylist(), strict=True)) == expected
    accounting = manifest["accounting"]
    assert accounting["documents"] == len(TEXTS)
    assert accounting["empty_documents"] == TEXTS.count("")
    assert accounting["tokens_in"] == sum(map(len, TOKENS))
    for table in folder.tables():
        for row, lengths in zip(table["input_ids"].to_pylist(), table["seq_lengths"].to_pylist(), strict=True):
            assert row[sum(lengths) :] == [END_ID] * (32 - sum(lengths) if "pad" in options else 0)


@STRATEGIES
def test_frames_are_part_of_the_documents(corpus: Path, tmp_path: Path, strategy: str) -> None:
    seampack.pack(corpus, out=tmp_path / "out", strategy=strategy, extra_tokens=0, bos=END, eos="a", **SMALL)
    after = TOKENIZER.reference.token_to_id("a")
    expected = [[END_ID, *ids, after] for ids in TOKENS]
    assert PackedFolder(tmp_path / "out").unpack()["input_ids"].to_pylist() == expected


@FORMATS
@pytest.mark.parametrize("options", [{}, {"pad": END}, {"labels": True, "id_column": "id"}])
def test_other_readers_see_the_same_rows(
    corpus: Path, tmp_path: Path, output_format: str, options: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    manifest = seampack.pack(corpus, out=out, output_format=output_format, **SMALL, **options)
    files = [str(out / shard["file"]) for shard in manifest["shards"]]
    if output_format == "parquet":
        tables = [pq.read_table(file) for file in files]
    else:
        tables = [pa.ipc.open_stream(Path(file).read_bytes()).read_all() for file in files]
    rows = pa.concat_tables(tables).to_pylist()
    assert len(rows) == manifest["accounting"]["rows"] == PackedFolder(out).rows
    assert PackedFolder(out).row(len(rows) - 1) == rows[-1]
    columns = ["input_ids", "seq_lengths", "doc_ids", "doc_starts", "repeated"]
    assert sorted(rows[0]) == sorted(columns + ["labels"] * ("labels" in options)) == sorted(manifest["columns"])
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
    assert (manifest["accounting"]["rows"], manifest["accounting"]["tokens_in"]) == (0, 0)
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
    seampack.pack(corpus, out=tmp_path / "out", strategy=strategy, extra_tokens=0, seq_len=16)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    assert folder.unpack()["input_ids"].to_pylist() == [TOKENIZER.encode(Texts([text])).ids.tolist()]


def pack_ids(path: Path, ids: Sequence[Sequence[int]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"input_ids": each}) + "\n" for each in ids))
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


def test_a_packed_folder_is_an_input(corpus: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "out", **SMALL)
    rows = [row for table in PackedFolder(tmp_path / "out").tables() for row in table["input_ids"].to_pylist()]
    seampack.pack(tmp_path / "out", out=tmp_path / "again", strategy="concat", seq_len=64)
    assert PackedFolder(tmp_path / "again").unpack()["input_ids"].to_pylist() == rows


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
    shard = out / seampack.pack(corpus, out=out, output_format=output_format, **SMALL)["shards"][1]["file"]
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
    edit_manifest(out, shards=[{**each, "rows": 3} for each in PackedFolder(out).shards])
    with pytest.raises(ShardError, match=r"expected 3 rows; got \d+"):
        list(PackedFolder(out).tables())
    shard.unlink()
    with pytest.raises(ShardError, match=rf"{shard.name}: the shard is missing; pack again"):
        PackedFolder(out)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ('{"format_version": 2}', "format version 2; this program reads version 1"),
        ("{", "not a manifest of packed shards"),
        ("[]", "not a manifest of packed shards"),
        ('{"format_version": 1}', "not a manifest of packed shards"),
        ('{"format_version": 1, "shards": [{}]}', "not a manifest of packed shards"),
        (None, r"no manifest\.json: no packed folder, or a run that did not finish"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, manifest: str | None, message: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ShardError, match=message):
        PackedFolder(tmp_path)


def test_the_accounting_is_verified(corpus: Path, tmp_path: Path) -> None:
    manifest = seampack.pack(corpus, out=tmp_path / "out", **SMALL)
    edit_manifest(tmp_path / "out", accounting={**manifest["accounting"], "repeated": 999_999})
    with pytest.raises(ShardError, match="repeated: the manifest says 999999, the shards hold"):
        PackedFolder(tmp_path / "out").verify()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nope: no such folder"):
        PackedFolder(tmp_path / "nope")
