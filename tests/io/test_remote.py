"""Remote files: what an address names, streams that never end early, and stores whose files appear whole."""

import json
import os
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import DataError, MissingExtraError, RemoteError, ShardError
from seampack.io import remote
from seampack.io.file_systems import reason_of
from seampack.io.formats import Format
from seampack.io.places import is_url, place_of, shown
from seampack.io.remote import RemoteFile
from seampack.io.sources import expand, open_source, size_of
from seampack.io.store import Store, store_of
from seampack.io.tables import TableReader
from tests.io.remote import Faulty, put
from tests.io.test_sources import CODECS

TREE = ("b/2.jsonl", "b/1.txt.gz", "a.csv", "c.TXT", "b.jsonl", ".hidden/x.txt", "b/.x.txt", "d/e/f.jsonl", "d/e.txt")


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    Faulty.reset()
    yield
    Faulty.reset()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_PART", 100)
    monkeypatch.setattr(remote, "_PART", 1000)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("s3://bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("s3://KEY:SECRET@bucket/a@b.jsonl?endpoint_override=http://localhost:1", "s3://bucket/a@b.jsonl"),
        ("gs://anonymous@bucket/a", "gs://bucket/a"),
        ("abfs://container:SECRET@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("https://host:80/a.jsonl?signature=SECRET", "https://host:80/a.jsonl"),
        ("hf://datasets/user/name@main/a.jsonl", "hf://datasets/user/name@main/a.jsonl"),
        ("a?b.jsonl", "a?b.jsonl"),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, name: str) -> None:
    assert shown(address) == name
    assert is_url(address) == ("://" in address)


@pytest.mark.parametrize("pattern", ["", "*", "*.jsonl", "b/*", "**", "**/*.jsonl", "*/*", "[ab]*", "d/**/f.*", ".*/*"])
def test_remote_folders_and_globs_give_the_same_files_as_local_ones(tmp_path: Path, pattern: str) -> None:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"text\n")
        put(f"corpus/{name}", b"text\n")
    with warnings.catch_warnings(action="ignore"):  # local globs name the folders that they match
        local = [os.path.relpath(path, tmp_path) for path in expand(f"{tmp_path}/{pattern}".rstrip("/"))]
        found = expand(f"faulty://corpus/{pattern}".rstrip("/"))
    assert [path.removeprefix("faulty://corpus/") for path in found] == local
    assert [size_of(path) for path in found] == [5] * len(local)


def test_a_saved_dataset_is_read_by_its_own_list() -> None:
    put("data/state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}).encode())
    put("data/data-00000-of-00001.arrow", b"")
    put("data/cache.arrow", b"")
    assert expand("faulty://data") == ["faulty://data/data-00000-of-00001.arrow"]
    put("data/state.json", json.dumps({"_data_files": [{"filename": "data-00001-of-00002.arrow"}]}).encode())
    with pytest.raises(DataError, match=r"^faulty://data: the dataset is incomplete"):
        expand("faulty://data")


def test_local_addresses_are_paths(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text\n")
    assert expand(f"file://{tmp_path}/*.txt") == [str(tmp_path / "a.txt")]
    assert place_of(f"file://{tmp_path}") == tmp_path


@pytest.mark.parametrize("codec", CODECS)
def test_streams_are_decompressed(small_parts: None, codec: str) -> None:
    data = bytes(np.random.default_rng(1).integers(97, 122, 30_000, np.uint8)) + b"\n"
    (path,) = expand(put("a.txt", CODECS[codec](data)))
    stored: list[bytes] = []
    with open_source(path, watch=stored.append) as source:
        assert source.format == Format.LINES
        assert source.stream.read() == data
    assert b"".join(stored) == CODECS[codec](data)


@given(st.integers(0, 5000), st.lists(st.integers(1, 3000), max_size=20))
def test_parts_that_are_fetched_ahead_give_the_file(size: int, reads: list[int]) -> None:
    data = bytes(np.arange(size, dtype=np.uint32).view(np.uint8)[:size])
    put("a", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_FIRST_PART", 100)
        patch.setattr(remote, "_PART", 700)
        with place_of("faulty://a").open("rb") as file:
            read = b"".join(file.read(count) for count in reads)
            assert read + file.read() == data
            assert file.read(1) == b""


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("at", [0, 50, 5000])
@pytest.mark.parametrize("fault", ["fails_at", "ends_at"])
def test_a_connection_that_breaks_is_an_error(small_parts: None, codec: str, at: int, fault: str) -> None:
    data = CODECS[codec](bytes(np.random.default_rng(1).integers(97, 122, 30_000, np.uint8)) + b"\n")
    (path,) = expand(put("corpus/a.txt", data))
    setattr(Faulty, fault, at)
    with (
        pytest.raises(RemoteError, match=r"^faulty://corpus/a.txt: .*connection"),
        open_source(path, Format.LINES) as source,
    ):
        source.stream.read()


def test_a_file_that_has_changed_is_an_error() -> None:
    (path,) = expand(put("a.txt", b"some text\n"))
    put("a.txt", b"other text\n")
    with pytest.raises(RemoteError, match=r"a.txt: expected 10 bytes; got 11: the file has changed"), open_source(path):
        pass
    Faulty().rm_file("/a.txt")
    with pytest.raises(DataError, match=r"a.txt: cannot be opened: No such file"), open_source(path):
        pass


def test_parquet_is_read_by_column() -> None:
    chance = np.random.default_rng(1)
    table = pa.table({"text": ["a", "b"] * 500, "image": [chance.bytes(1000) for _ in range(1000)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    (path,) = expand(put("a.parquet", data))
    with open_source(path) as source:
        texts = [text for batch in TableReader(source).batches(["text"]) for text in batch["text"].to_pylist()]
    assert texts == table["text"].to_pylist()
    assert len(data) > 1_000_000
    assert Faulty.read_bytes < 2 * remote._FIRST_PART


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_is_read(kind: str) -> None:
    table = pa.table({"text": ["a", "b é", "c"]})
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    (path,) = expand(put("a.arrow", sink.getvalue().to_pybytes()))
    with open_source(path) as source:
        assert pa.Table.from_batches(TableReader(source).batches()) == table


ERRORS = {
    "nothing there": ("faulty://none/a.txt", DataError, "^faulty://none/a.txt: no such file, folder or bucket$"),
    "no match": ("faulty://none/*.txt", DataError, "^faulty://none/\\*.txt: no file matches$"),
    "no bucket": ("s3://*/a.txt", DataError, "expected a bucket before the first"),
    "unknown scheme": ("nosuch://a/b", RemoteError, "^nosuch://a/b: Protocol not known: nosuch; expected s3, gs, "),
    "missing package": ("sftp://a/b", RemoteError, "^sftp://a/b: sftp:// needs another package: .*paramiko"),
    "option": ("s3://bucket/a?nosuch=1", DataError, "^s3://bucket: nosuch: expected an option of endpoint_override"),
    "slash in a secret": ("s3://key:a/b@bucket/c", DataError, r"^s3://\.\.\.: .* write / in a secret as %2F$"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_addresses_that_cannot_be_read(case: str) -> None:
    address, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        expand(address)


def test_a_server_that_refuses() -> None:
    (path,) = expand(put("a.txt", b"text\n"))
    Faulty.refused = "a.txt"
    with pytest.raises(RemoteError, match=r"^faulty://a.txt: access is denied: give credentials"), open_source(path):
        pass


REASONS = {
    "AWS Error ACCESS_DENIED during HeadObject operation": "access is denied: give credentials",
    "google::cloud::Status(UNAVAILABLE: Could not create a OAuth2 access token": "access is denied: give credentials",
    "AWS Error NO_SUCH_BUCKET during CreateMultipartUpload": r"no such bucket \(AWS Error NO_SUCH_BUCKET",
    "AWS Error NETWORK_CONNECTION during HeadObject": "the server does not answer",
    "404 for https://host/a?signature=SECRET": "404 for https://host/a$",
    "cannot open s3://KEY:SECRET@bucket/a": "cannot open s3://bucket/a$",
    "x" * 300: "x{200}[.]{3}$",
}


@pytest.mark.parametrize("message", REASONS)
def test_errors_of_servers_are_short_and_have_no_secrets(message: str) -> None:
    assert re.match(REASONS[message], reason_of(OSError(message)))


def test_a_missing_fsspec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"hf:// needs fsspec, .*pip install 'seampack\[remote\]'"):
        place_of("hf://datasets/a/b")


def test_sizes_travel_to_other_processes() -> None:
    (path,) = expand(put("a.txt", b"text\n"))
    copy = pickle.loads(pickle.dumps(path))
    assert isinstance(copy, RemoteFile)
    assert (copy, copy.size) == (path, 5)


@pytest.fixture(params=["local", "remote", pytest.param("s3", marks=pytest.mark.xdist_group("s3"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    bucket = request.getfixturevalue("bucket") if request.param == "s3" else ""
    out = {"local": str(tmp_path / "new/store"), "remote": "faulty://new/store", "s3": f"{bucket}/new/store"}
    return pickle.loads(pickle.dumps(store_of(out[request.param])))  # type: ignore[no-any-return]


def test_a_store_gives_back_what_it_was_given(store: Store, tmp_path: Path) -> None:
    local = tmp_path / "local.zst"
    assert store.names() == []
    for name, data in {"b.arrow": b"b" * 100, "part/a.json.gz": b"{}", "b.json": b"", "part/c": b"old"}.items():
        local.write_bytes(data)
        store.upload(local, name)
    local.write_bytes(b"new")
    store.upload(local, "part/c")
    assert store.names() == ["b.arrow", "b.json", "part/a.json.gz", "part/c"]
    assert store.names("part/") == ["part/a.json.gz", "part/c"]
    assert store.names("b") == ["b.arrow", "b.json"]
    assert (store.read("part/a.json.gz"), store.read("part/c"), store.read("b.json")) == (b"{}", b"new", b"")
    store.download("b.arrow", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"b" * 100
    assert store.exists("b.arrow")
    store.delete("b.arrow")
    store.delete("b.arrow")
    assert not store.exists("b.arrow")
    with pytest.raises(FileNotFoundError):
        store.read("b.arrow")
    with pytest.raises(FileNotFoundError):
        store.download("b.arrow", tmp_path / "none")
    assert sorted(os.listdir(tmp_path)) == ["copy", "local.zst", *["new"] * (tmp_path / "new").exists()]


def test_an_upload_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(b"old")
    store = store_of("faulty://store")
    store.upload(local, "a")
    local.write_bytes(b"new")
    Faulty.ends_at = 0  # what is read back differs
    with pytest.raises(RemoteError, match=r"^faulty://store/.a.partial-.*: expected 3 bytes; got 0"):
        store.upload(local, "a")
    Faulty.ends_at = None
    Faulty.refused = "/store/"
    with pytest.raises(ShardError, match=r"^faulty://store/a: cannot be written: access is denied"):
        store.upload(local, "a")
    Faulty.refused = None
    assert (store.names(), store.read("a")) == (["a"], b"old")
    assert [name for name in Faulty.store if ".partial" in name] == []
