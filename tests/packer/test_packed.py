"""What is written: read by its own ecosystem, unpacked to the documents again, and refused when damaged."""

import functools
import json
import operator
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from seampack.packer.shards import checksum
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
        ('{"format": "seampack packed shards", "format_version": 2}', "format version 2; this program reads version 1"),
        ("{", "not a manifest of packed shards"),
        ("[]", "not a manifest of packed shards"),
        ("[" * 99_999, "not a manifest of packed shards"),
        ('{"format_version": 1}', "not a manifest of packed shards"),
        (None, r"no manifest\.json: no packed folder, or a run that did not finish"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, manifest: str | None, message: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ShardError, match=message):
        PackedFolder(tmp_path)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of several shards, for tests that change its manifest alone."""
    folder = tmp_path_factory.mktemp("packed")
    seampack.pack(write_corpus(folder / "corpus.jsonl", TEXTS), out=folder / "out", **SMALL)
    return folder / "out"


@contextmanager
def changed(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest, to be changed and written; put back in the end."""
    path = folder / "manifest.json"
    whole = path.read_text()
    manifest = json.loads(whole)
    try:
        yield manifest
    finally:
        path.write_text(whole)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a manifest that is read from it."""
    unread = {("columns",), ("quarantined",), ("tokenizer", "pad_id")}
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, below in items:
        here = (*path, key)
        if here not in unread and (path != ("config",) or key in ("strategy", "output_format", "seq_len")):
            yield here
            yield from places(below, here)


def test_every_key_of_the_manifest_is_checked(packed: Path) -> None:
    whole = json.loads((packed / "manifest.json").read_text())
    for path in places(whole):
        for wrong in (None, [], {"a": 1}, True, -1, "?" if path[-1] != "strategy" else 0):
            with changed(packed) as manifest:
                *above, key = path
                holder = functools.reduce(operator.getitem, above, manifest)
                if wrong is None and isinstance(holder, dict):
                    del holder[key]
                else:
                    holder[key] = wrong
                if isinstance(wrong, str) and isinstance(functools.reduce(operator.getitem, path, whole), str):
                    continue  # any text will do, but for the names of shards
                (packed / "manifest.json").write_text(json.dumps(manifest))
                with pytest.raises(ShardError, match=r"manifest\.json: "):
                    PackedFolder(packed)


@pytest.mark.parametrize("file", ["../x", "/etc/passwd", "x.arrow", "shard-00001.arrow", "shard-00000.parquet", ""])
def test_a_shard_by_another_name_is_refused(packed: Path, file: str) -> None:
    with changed(packed) as manifest:
        manifest["shards"][0]["file"] = file
        (packed / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ShardError, match=r"manifest is damaged: expected shard shard-00000\.arrow; got "):
            PackedFolder(packed)


def test_the_accounting_is_verified(packed: Path) -> None:
    whole = json.loads((packed / "manifest.json").read_text())["accounting"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"repeated": 999_999}, r"manifest\.json: the accounting does not balance"),
        ({"padding": whole["padding"] + 1}, r"accounting: padding: expected \d+; got"),
        ({"fill": 0.5}, r"accounting: fill: expected 0\.\d+; got 0\.5"),
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
def test_rows_that_their_segments_do_not_make_up(tmp_path: Path, pad: str | None) -> None:
    """As a program might write them: checksums and sums are right, the borders of the rows are not."""
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
        ("doc_ids", [[0, 1], []], "doc_ids: expected as many values in each row as seq_lengths has"),
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
            folder.row(folder.shards[0]["rows"])
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


@STRATEGIES
@pytest.mark.parametrize(
    "options", [{}, {"extra_room": "always", "leftover": "pad"}, {"drop_last": True}, {"max_overlap": 0.9}], ids=str
)
def test_what_was_dropped_is_missing_at_the_ends(
    corpus: Path, tmp_path: Path, strategy: str, options: dict[str, Any]
) -> None:
    seampack.pack(corpus, out=tmp_path / "out", strategy=strategy, **SMALL, **options)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    unpacked = folder.unpack()
    for number, ids in zip(unpacked["doc_ids"].to_pylist(), unpacked["input_ids"].to_pylist(), strict=True):
        assert TOKENS[number][: len(ids)] == ids


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nope: no such folder"):
        PackedFolder(tmp_path / "nope")
