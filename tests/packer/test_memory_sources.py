"""Documents and tokenizers in memory give the rows that the same documents give from a file."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tokenizers
import transformers

import seampack
from seampack.errors import ConfigError, DataError
from seampack.packer import memory_sources
from seampack.packer.against import verify_against
from seampack.packer.folder import PackedFolder
from seampack.packer.unpacking import unpack
from tests.conftest import DATA
from tests.packer.corpus import END, SMALL, TEXTS, TOKENS
from tests.packer.test_unpacking import EXPECTED_WARNINGS

TEXT_RECORDS = [{"text": text, "source": f"s{n % 3}", "n": n} for n, text in enumerate(TEXTS)]
ID_RECORDS = [{"input_ids": ids, "loss_mask": [n % 2] * len(ids), "n": n} for n, ids in enumerate(TOKENS)]


class OldFrame:
    """A data frame whose iteration gives the names of its columns."""

    columns = ("text",)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


def as_array(value: Any) -> Any:
    return np.array(value) if isinstance(value, list) else value


# Functions that hold records in another way.
HOLDERS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "dicts": list,
    "a generator": lambda records: (record for record in records),
    "arrays": lambda records: [
        {name: np.array(value) if isinstance(value, list) else value for name, value in each.items()}
        for each in records
    ],
    "a table": pa.Table.from_pylist,
    "a data frame": pd.DataFrame,
    "a reader": lambda records: pa.Table.from_pylist(records).to_reader(max_chunksize=7),
    "a dataset": datasets.Dataset.from_list,
    "a shuffled dataset": lambda records: datasets.Dataset.from_list(records[::-1]).select(
        range(len(records) - 1, -1, -1)
    ),
    "a stream": lambda records: datasets.Dataset.from_list(records).to_iterable_dataset(num_shards=3),
    "a generated stream": lambda records: datasets.IterableDataset.from_generator(lambda: iter(records)),
}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for table in PackedFolder(folder).tables() for row in table.to_pylist()]


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize(
    ("records", "options"),
    [(TEXT_RECORDS, {"keep": ["source", "n:int64"]}), (ID_RECORDS, {"carry": ["loss_mask"], "id_column": "n"})],
    ids=["texts", "ids"],
)
def test_the_same_rows_as_from_a_file(
    tmp_path: Path, name: str, records: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    options = {**SMALL, **options, "window_tokens": 1 << 20}
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "file", **options)
    manifest = seampack.pack(HOLDERS[name](records), out=tmp_path / "memory", **options)
    assert rows(tmp_path / "memory") == rows(tmp_path / "file")
    packed = PackedFolder(tmp_path / "memory")
    packed.verify()
    assert [each.path for each in manifest.inputs] == ["documents in memory"]
    assert verify_against(packed, HOLDERS[name](records)).differences == ()
    assert verify_against(packed, HOLDERS[name](records[:-1])).differences != ()


def test_texts_and_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_sources, "BLOCK_BYTES", 300)
    manifest = seampack.pack(iter(TEXTS), out=tmp_path / "out", **{**SMALL, "partition_bytes": 1 << 16})
    assert manifest.config["partition_bytes"] == 1 << 16
    assert PackedFolder(tmp_path / "out").unpack()["input_ids"].to_pylist() == [ids for ids in TOKENS if ids]
    assert seampack.compare(iter(TEXTS), strategies=["seamless"], **SMALL)[0].accounting == manifest.accounting
    texts = [{"text": "a"}] * 200 + [{"text": 5}]
    with pytest.raises(DataError, match="documents in memory, document 201: field 'text': expected str, got int"):
        seampack.pack(texts, out=tmp_path / "bad", **SMALL)


def test_a_tokenizer_is_trained_on_texts_in_memory(tmp_path: Path) -> None:
    size = seampack.train_tokenizer(iter(["seam pack"] * 50), out=tmp_path / "t.json", vocab_size=270)
    assert 256 < size <= 270


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (5, r"expected paths, a datasets\.Dataset or IterableDataset, .*, or an iterable of dicts or texts; got int"),
        (b"text", "or an iterable of dicts or texts; got bytes"),
        (datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["a"]})), "got DatasetDict; choose a split"),
        ([], "no input: give files, globs, folders, or - for standard input"),
        (["missing.jsonl"], r"missing\.jsonl: no such file"),
        (["a text", "b"], r"^a text: no such file; a list of texts is a list of paths: for texts, give iter\(texts\)$"),
        (("a text", "b"), r"^a text: no such file$"),
        ([None], "documents in memory, document 1: expected a dict or a text; got NoneType"),
        (iter(["a", 5]), "documents in memory, document 2: expected a dict or a text; got int"),
        ([{"text": b"a"}], "documents in memory, document 1: expected a dict or a text; got bytes"),
        ([{"text": object()}], "documents in memory, document 1: field 'text': expected str, got null"),
        ([{"text": "a"}, {"body": "b"}], "documents in memory, document 2: no field 'text'; the record has 'body'"),
        (
            [{5: {1}, (1, 2): 3}],
            "documents in memory, document 1: expected texts and numbers; got a record that JSON cannot",
        ),
        (pa.table({"body": ["a"]}), "documents in memory: no column 'text' or 'input_ids'; the table has 'body'"),
        (
            pd.DataFrame({"body": ["a"]}),
            "documents in memory: no column 'text' or 'input_ids'; the table has 'body'",
        ),
        (pd.DataFrame({"text": ["a", 5]}), "expected columns of texts and numbers; got a pandas DataFrame"),
        (OldFrame(), "dicts or texts; got a tests OldFrame that Arrow cannot read; convert it to a pyarrow.Table"),
        (pa.table({"text": ["a", None]}), "documents in memory, row 2: null instead of a document"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "source",
)
def test_other_objects_are_refused(tmp_path: Path, source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        seampack.pack(source, out=tmp_path / "out", seq_len=8)
    assert not (tmp_path / "out").exists()


def test_documents_in_memory_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resume: expected files or standard input; got documents in memory"):
        seampack.pack([{"text": "a"}], out=tmp_path / "out", resume=True)


@pytest.mark.parametrize(
    "empty", [iter([]), pa.table({"text": pa.array([], pa.string())}), pd.DataFrame({"text": []}, dtype="str")]
)
def test_no_documents(tmp_path: Path, empty: Any) -> None:
    assert seampack.pack(empty, out=tmp_path / "out", seq_len=8).accounting.documents == 0


@EXPECTED_WARNINGS
def test_tokenizers_in_memory(tmp_path: Path) -> None:
    """The same ids and end token as from the file, which also proves what it packed; the object is not changed."""
    file = DATA / "tokenizer.json"
    plain = tokenizers.Tokenizer.from_file(str(file))
    plain.enable_truncation(3)
    plain.enable_padding(length=9)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token=END)
    seampack.pack(iter(TEXTS), out=tmp_path / "file", tokenizer=file, seq_len=32)
    for name, tokenizer in (("plain", plain), ("fast", fast)):
        manifest = seampack.pack(iter(TEXTS), out=tmp_path / name, tokenizer=tokenizer, seq_len=32)
        assert rows(tmp_path / name) == rows(tmp_path / "file")
        assert manifest.tokenizer.eos == END
        for again in (tokenizer, *([file] if name == "plain" else [])):  # transformers may change what it has loaded
            assert verify_against(PackedFolder(tmp_path / name), iter(TEXTS), tokenizer=again).differences == ()
        with pytest.raises(ConfigError, match="packed with a tokenizer in memory; name its"):
            unpack(tmp_path / name, tmp_path / "back.jsonl")
        assert unpack(tmp_path / name, tmp_path / f"{name}.jsonl", tokenizer=tokenizer).documents > 0
    assert (plain.truncation["max_length"], plain.padding["length"]) == (3, 9)
    with pytest.raises(ConfigError, match=r"tokenizer: expected a tokenizer\.json, .*; got int"):
        seampack.pack(iter(TEXTS), out=tmp_path / "other", tokenizer=5)
