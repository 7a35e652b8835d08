"""Token stores at addresses: the same bytes as local ones, copied to the disk a partition at a time."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import seampack
from seampack.errors import DataError, RemoteError, ShardError
from seampack.io.places import place_of
from seampack.packer.against import verify_against
from seampack.packer.folder import PackedFolder
from seampack.packer.mixes import Mix
from seampack.packer.token_store import TokenStore
from tests.conftest import Run
from tests.faulty import contents, failed
from tests.io.remote import Faulty
from tests.packer.corpus import END, sample, write_corpus

pytestmark = pytest.mark.xdist_group("s3")  # one server

TEXTS = [text.replace(END, "end") for text in sample()]
PLAN: dict[str, Any] = {"seq_len": 64, "shard_tokens": 1 << 11}


def write_folder(folder: Path) -> Path:
    """Write a corpus of several partitions."""
    folder.mkdir()
    for number in range(3):
        write_corpus(folder / f"{number}.jsonl", TEXTS)
    return folder


def remote_contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place_of(folder).iterdir()}


def replace(file: Any, data: bytes) -> None:
    with file.files.open_output_stream(file.path) as sink:
        sink.write(data)


def rows(folder: PackedFolder) -> pa.Table:
    return pa.concat_tables(folder.tables()).combine_chunks()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_store_at_an_address_is_that_of_the_disk(bucket: str, tmp_path: Path, temporary: Path) -> None:
    corpus = write_folder(tmp_path / "corpus")
    local, remote = tmp_path / "store", f"{bucket}/store"
    for place in (local, remote):
        assert len(seampack.tokenize(corpus, out=place, partition_bytes=1 << 16).partitions) == 3
    assert contents(local) == remote_contents(remote)
    assert list(temporary.iterdir()) == []

    for name, store in (("full", local), ("of remote", remote)):
        seampack.pack(store, out=tmp_path / name, **PLAN)
        seampack.pack(store, out=tmp_path / f"index {name}", output_format="index", **PLAN)
    without = {"manifest.json": b""}  # which has the place of the store
    for kind in ("", "index "):
        expected = contents(tmp_path / f"{kind}full") | without
        assert contents(tmp_path / f"{kind}of remote") | without == expected
    packed, indexed = PackedFolder(tmp_path / "full"), PackedFolder(tmp_path / "index of remote")
    indexed.verify()
    assert rows(indexed).equals(rows(packed))
    assert indexed.manifest.notes["token_store"]["folder"] == remote
    assert verify_against(packed, remote).differences == ()
    assert list(temporary.iterdir()) == []


def test_only_open_partitions_are_on_the_disk(bucket: str, tmp_path: Path) -> None:
    seampack.tokenize(write_folder(tmp_path / "corpus"), out=f"{bucket}/store", partition_bytes=1 << 16)
    store = TokenStore(f"{bucket}/store")
    for batch in store.batches():
        assert list(store._opened) == [batch.origin.partition]
    assert store._opened == {}
    assert TokenStore(f"{bucket}/store").lengths().size == store.manifest.documents


def test_inspect_fetches_no_documents_of_a_store_at_an_address(bucket: str, tmp_path: Path, call: Run) -> None:
    write_corpus(tmp_path / "a.jsonl", TEXTS)
    seampack.tokenize(tmp_path / "a.jsonl", out=f"{bucket}/store")
    partition = place_of(f"{bucket}/store/tokens-00000.arrow")
    replace(partition, partition.read_bytes()[::-1])
    shown = call("inspect", f"{bucket}/store").stdout.decode()
    assert "documents                120   lengths with --verify, which fetches them" in shown
    assert json.loads(call("inspect", f"{bucket}/store", "--json").stdout)["lengths"] is None
    assert "the checksum differs" in failed(call("inspect", f"{bucket}/store", "--verify"))


def test_a_blend_of_stores_at_addresses(bucket: str, tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        write_corpus(tmp_path / f"{name}.jsonl", TEXTS[number::2])
        seampack.tokenize(tmp_path / f"{name}.jsonl", out=f"{bucket}/{name}")
        seampack.tokenize(tmp_path / f"{name}.jsonl", out=tmp_path / name)
    weights = {"a": 2, "b": 1}
    stores = {place: {name: f"{place}/{name}" for name in weights} for place in (bucket, str(tmp_path))}
    for place, out in ((bucket, "of remote"), (str(tmp_path), "of local")):
        seampack.pack(Mix(stores=stores[place], weights=weights), out=tmp_path / out, output_format="index", **PLAN)
    remote, local = (PackedFolder(tmp_path / out) for out in ("of remote", "of local"))
    remote.verify()
    assert rows(remote).equals(rows(local))
    assert verify_against(local, stores[bucket]).differences == ()


def test_a_damaged_copy_is_one_line(bucket: str, tmp_path: Path, call: Run) -> None:
    write_corpus(tmp_path / "a.jsonl", TEXTS)
    seampack.tokenize(tmp_path / "a.jsonl", out=f"{bucket}/store")
    file = place_of(f"{bucket}/store/tokens-00000.arrow")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    replace(file, bytes(content))
    for options in ([], ["--index-only"]):
        message = failed(call("pack", f"{bucket}/store", "-o", "out", *options))
        assert message == f"{bucket}/store/tokens-00000.arrow: the checksum differs: it is damaged; tokenise again"
    with pytest.raises(DataError, match=f"^{bucket}/store: a token store; pack it alone, by the name of its folder"):
        seampack.tokenize(file, out=tmp_path / "again")
    replace(file, b"short")
    message = failed(call("pack", f"{bucket}/store", "-o", "out"))
    assert message.startswith(f"{bucket}/store/tokens-00000.arrow: expected a file of {len(content):,} bytes")


def test_an_upload_that_fails_leaves_no_store(tmp_path: Path, temporary: Path) -> None:
    Faulty.reset()
    write_corpus(tmp_path / "a.jsonl", TEXTS)
    Faulty.refused = "tokens-00000"
    with pytest.raises(ShardError, match=r"^faulty://store/tokens-00000.arrow: cannot be written"):
        seampack.tokenize(tmp_path / "a.jsonl", out="faulty://store")
    Faulty.reset()
    seampack.tokenize(tmp_path / "a.jsonl", out="faulty://store")
    with pytest.raises(ShardError, match=r"faulty://store: the folder holds a token store \(tokens-00000.arrow\); use"):
        seampack.tokenize(tmp_path / "a.jsonl", out="faulty://store")
    Faulty.fails_at = 3000
    with pytest.raises(RemoteError, match=r"^faulty://store/tokens-00000.arrow: connection reset by peer"):
        seampack.pack("faulty://store", out=tmp_path / "out", **PLAN)
    assert not (tmp_path / "out").exists()
    Faulty.reset()


def test_an_index_fetches_each_partition_once(tmp_path: Path) -> None:
    Faulty.reset()
    seampack.tokenize(write_folder(tmp_path / "corpus"), out="faulty://store", partition_bytes=1 << 16)
    seampack.pack("faulty://store", out=tmp_path / "index", output_format="index", **PLAN)
    folder = PackedFolder(tmp_path / "index")
    before = Faulty.read_bytes
    assert rows(folder).equals(rows(folder))
    partitions = TokenStore("faulty://store").manifest.partitions
    assert Faulty.read_bytes - before <= sum(each.bytes for each in partitions) + (1 << 12)  # the manifest again
    Faulty.reset()
