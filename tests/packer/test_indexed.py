"""Indexed rows: an index and its token store give the rows of a packed folder, and no other store does."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, ShardError
from seampack.packer.against import verify_against
from seampack.packer.folder import PackedFolder
from seampack.packer.indexed import index_of
from seampack.packer.plan_config import Strategy
from seampack.packer.planning import plan
from seampack.packer.unpacking import unpack
from seampack.packer.windows import Parts
from seampack.training.dataset import PackedDataset
from seampack.training.iterable import PackedIterableDataset
from tests.conftest import Run
from tests.faulty import failed
from tests.packer.chats import chat_tokenizer
from tests.packer.corpus import END, UNFRAMED, sample, write_corpus
from tests.packer.tampering import edit_manifest, flip

TEXTS = [text.replace(END, "end") for text in sample()]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with names and a kept column."""
    folder = tmp_path_factory.mktemp("stores")
    source = write_corpus(folder / "corpus.jsonl", TEXTS)
    source.write_text(source.read_text().replace('"id"', '"source": "s", "id"'))
    seampack.tokenize(source, out=folder / "store", id_column="id", keep=("source",))
    return folder / "store"


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose documents are numbered, in several partitions."""
    folder = tmp_path_factory.mktemp("numbered")
    (folder / "corpus").mkdir()
    for number in range(3):
        write_corpus(folder / f"corpus/{number}.jsonl", TEXTS * 2)
    assert len(seampack.tokenize(folder / "corpus", out=folder / "store", partition_bytes=1 << 16).partitions) > 2
    return folder / "store"


def rows(folder: PackedFolder) -> pa.Table:
    return pa.concat_tables(folder.tables()).combine_chunks()


@given(
    st.booleans(),
    st.fixed_dictionaries(
        {
            "strategy": st.sampled_from(list(Strategy)),
            "long": st.sampled_from(["auto", "split", "truncate", "drop"]),
            "leftover": st.sampled_from(["auto", "concat"]),
            "extra_tokens": st.sampled_from([0, 3]),
            "drop_last": st.booleans(),
            "seq_len": st.sampled_from([32, 200]),
            "window_tokens": st.sampled_from([2000, 1 << 24]),
            "shard_tokens": st.sampled_from([3000, 1 << 26]),
            "pad": st.sampled_from([None, END]),
            "labels": st.booleans(),
        }
    ),
)
@settings(max_examples=8)
@pytest.mark.filterwarnings("ignore:.*of the tokens are dropped")
def test_an_index_has_the_rows_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, store: Path, numbered: Path, named: bool, options: dict[str, Any]
) -> None:
    base = tmp_path_factory.getbasetemp()
    source = store if named else numbered
    full = seampack.pack(source, out=base / "full", overwrite=True, **options)
    index = seampack.pack(source, out=base / "index", overwrite=True, output_format="index", **options)
    assert (index.columns, index.accounting, index.partitions) == (full.columns, full.accounting, full.partitions)
    assert [shard.rows for shard in index.shards] == [shard.rows for shard in full.shards]
    packed, indexed = PackedFolder(base / "full"), PackedFolder(base / "index")
    assert rows(indexed).equals(rows(packed))
    indexed.verify()
    if packed.rows:
        assert indexed.row(packed.rows - 1) == packed.row(packed.rows - 1)


@given(st.lists(st.integers(0, 90), max_size=30), st.integers(0, 3), st.integers(0, 9), st.booleans())
def test_segments_are_those_of_the_plan_in_the_order_of_writing(
    lengths: list[int], extra: int, seed: int, keep_ends: bool
) -> None:
    planned = plan(lengths, seq_len=20, extra_tokens=extra, seed=seed, keep_ends=keep_ends)
    numbers, bases = np.arange(len(lengths)) + (7 << 32), np.arange(len(lengths)) * 11
    table = index_of(planned, Parts(numbers, bases, planned.lengths.astype(np.int64), numbers)).to_pydict()
    kept = planned.kept_ends()
    for written, row in enumerate(planned.row_order.tolist()):
        segments = range(planned.row_offsets[row], planned.row_offsets[row + 1])
        document = [planned.doc[segment] for segment in segments]
        assert table["documents"][written] == [numbers[each] for each in document]
        assert table["starts"][written] == [
            bases[each] + planned.start[segment] for each, segment in zip(document, segments, strict=True)
        ]
        for name, column in (("lengths", planned.length), ("repeated", planned.repeated), ("keeps_end", kept)):
            assert table[name][written] == [column[segment] for segment in segments]


def test_documents_and_training(store: Path, tmp_path: Path) -> None:
    for name, output_format in (("full", "arrow"), ("index", "index")):
        seampack.pack(store, out=tmp_path / name, seq_len=64, shard_tokens=2000, output_format=output_format)
    full, index = (PackedFolder(tmp_path / name) for name in ("full", "index"))
    assert index.unpack().equals(full.unpack())
    both = [PackedDataset(tmp_path / name) for name in ("full", "index")]
    for number in (0, len(both[0]) - 1):
        a, b = (each[number] for each in both)
        assert a.keys() == b.keys()
        assert all(list(a[name]) == list(b[name]) for name in a)


def test_conversations_and_carried_columns(tmp_path: Path) -> None:
    table = pa.table({"input_ids": [[1, 2, 3], [4, 5], [6]], "loss_mask": [[0, 1, 1], [1, 0], [1]]})
    seampack.tokenize(table, out=tmp_path / "store", carry=("loss_mask",))
    for name, output_format in (("full", "arrow"), ("index", "index")):
        seampack.pack(tmp_path / "store", out=tmp_path / name, seq_len=4, pad=END, output_format=output_format)
    assert rows(PackedFolder(tmp_path / "index")).equals(rows(PackedFolder(tmp_path / "full")))


def test_a_store_that_was_moved_is_named(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    seampack.pack(tmp_path / "store", out=tmp_path / "index", output_format="index")
    (tmp_path / "store").rename(tmp_path / "moved")
    with pytest.raises(ShardError, match=r"index: an index, whose tokens are in a token store: .*/store: no tokens"):
        PackedFolder(tmp_path / "index")
    PackedFolder(tmp_path / "index", store=tmp_path / "moved").verify()
    dataset = PackedDataset(tmp_path / "index", store=tmp_path / "moved")
    stream = PackedIterableDataset(tmp_path / "index", store=tmp_path / "moved", shuffle=False)
    assert all((row["input_ids"] == other["input_ids"]).all() for row, other in zip(dataset, stream, strict=True))
    with pytest.raises(ConfigError, match=r"store: .*index is an index of one token store; expected its place; got 2"):
        PackedFolder(tmp_path / "index", store={"a": "moved", "b": "moved"})
    with pytest.raises(ConfigError, match="store: expected the place of a token store, or places by name; got 5"):
        PackedFolder(tmp_path / "index", store=5)  # type: ignore[arg-type]
    seampack.pack(tmp_path / "moved", out=tmp_path / "rows")
    with pytest.raises(ConfigError, match=r"store: .*rows is no index: it has its rows, and needs no token store;"):
        PackedFolder(tmp_path / "rows", store=tmp_path / "moved")


def test_a_copy_for_another_process_has_no_tokens(store: Path, tmp_path: Path) -> None:
    seampack.pack(store, out=tmp_path / "index", output_format="index")
    dataset = PackedDataset(tmp_path / "index")
    before = len(pickle.dumps(dataset))
    first = dataset[0]
    copy = pickle.dumps(dataset)
    assert len(copy) == before
    assert (pickle.loads(copy)[0]["input_ids"] == first["input_ids"]).all()


def test_another_store_is_refused(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    seampack.pack(tmp_path / "store", out=tmp_path / "index", output_format="index")
    write_corpus(tmp_path / "a.jsonl", TEXTS[::-1])
    seampack.tokenize(tmp_path / "a.jsonl", out=tmp_path / "store", overwrite=True, id_column="id")
    with pytest.raises(ShardError, match=r"index: an index of another token store: expected xxh3_128:.*; pack again"):
        PackedFolder(tmp_path / "index")


def test_a_store_that_changed_is_not_unpacked(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "store")
    seampack.pack(tmp_path / "store", out=tmp_path / "index", output_format="index")
    flip(tmp_path / "store/tokens-00000.arrow")
    with pytest.raises(ShardError, match=r"tokens-00000\.arrow: the checksum differs: it is damaged; tokenise again"):
        unpack(tmp_path / "index", tmp_path / "documents.jsonl")
    assert not (tmp_path / "documents.jsonl").exists()


def test_comparing_with_another_store(store: Path, numbered: Path, tmp_path: Path) -> None:
    seampack.pack(numbered, out=tmp_path / "packed", seq_len=64)
    packed = PackedFolder(tmp_path / "packed")
    outcome = verify_against(packed, numbered)
    assert (outcome.differences, outcome.tokens) == ((), packed.manifest.accounting.tokens_in)
    write_corpus(tmp_path / "a.jsonl", TEXTS[::-1] * 6)
    seampack.tokenize(tmp_path / "a.jsonl", out=tmp_path / "other")
    assert {each.kind for each in verify_against(packed, tmp_path / "other").differences} >= {"tokens", "input"}
    with pytest.raises(ConfigError, match=r"store: id_column: expected that of the folder, None; got a token"):
        verify_against(packed, store)
    ids = pa.table({"input_ids": [[1, 2, 3]]})
    seampack.tokenize(ids, out=tmp_path / "ids", tokenizer=chat_tokenizer(), eos="none")
    with pytest.raises(ConfigError, match=r"ids: tokenizer: expected that of the folder, sha256:"):
        verify_against(packed, tmp_path / "ids")


def test_an_index_needs_a_store(tmp_path: Path) -> None:
    write_corpus(tmp_path / "a.jsonl", TEXTS)
    with pytest.raises(ConfigError, match="an index refers to a token store; make one with: seampack tokenize"):
        seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", output_format="index", **UNFRAMED)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("documents", 1 << 40, "no document 1099511627776 in the store"),
        ("documents", -1, "no document -1 in the store"),
        ("starts", 1 << 20, "segment 0: expected tokens of document"),
        ("starts", -3, "segment 0: expected tokens of document"),
        ("lengths", 0, "segment 0: expected tokens of document"),
        ("repeated", 1 << 20, "segment 0: expected tokens of document"),
        ("repeated", None, "expected the columns documents, starts, lengths, repeated, keeps_end of an index"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(
    store: Path, tmp_path: Path, column: str, value: int | None, message: str
) -> None:
    out = tmp_path / "index"
    seampack.pack(store, out=out, seq_len=64, output_format="index")
    (shard,) = PackedFolder(out).shards
    path = out / shard.file
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    lists = table[column].to_pylist()
    lists[0][0] = value if value is not None else 1
    kind = table.schema.field(column).type if value is not None else pa.list_(pa.int64())
    place = table.column_names.index(column)
    table = table.set_column(place, column, pa.array(lists, kind))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ShardError, match=message):
        list(PackedFolder(out).tables())
    with pytest.raises(ShardError, match=r"it is damaged|checksum"):
        PackedFolder(out).verify()


def test_a_manifest_without_its_store(store: Path, tmp_path: Path) -> None:
    seampack.pack(store, out=tmp_path / "index", output_format="index")
    edit_manifest(tmp_path / "index", token_store="there")
    with pytest.raises(ShardError, match="the manifest is damaged: token_store: expected a folder and a fingerprint"):
        PackedFolder(tmp_path / "index")


def test_commands(call: Run, store: Path, tmp_path: Path) -> None:
    assert call("pack", store, "-o", "index", "--seq-len", 64, "--index-only").returncode == 0
    assert call("verify", "index").returncode == 0
    shown = call("inspect", "index", "--row", 0)
    assert b"document d" in shown.stdout
    shutil.copytree(store, tmp_path / "moved")
    noted = PackedFolder(tmp_path / "index").manifest.notes["token_store"]
    edit_manifest(tmp_path / "index", token_store={**noted, "folder": "gone"})
    assert failed(call("verify", "index")).endswith(
        "; if it was moved, put it back, or name its place: --store STORE, or store= in Python"
    )
    assert call("inspect", "index", "--row", 0, "--store", "moved").stdout == shown.stdout
    assert call("unpack", "index", "-o", "documents.jsonl", "--store", "moved").returncode == 0
    assert call("verify", "index", "--store", "moved", "--against", "moved").returncode == 0
    message = failed(call("verify", "index", "--store", "moved", "--store", "a=moved"))
    assert message == "store: index is an index of one token store; expected its place; got 2"
    flip(tmp_path / "index" / "shard-00000-00000.index.arrow")
    assert "the checksum differs" in failed(call("verify", "index", "--store", "moved"))
