"""Packing from and to remote places: the same bytes as local, and no output that looks complete but is not."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from seampack.errors import ConfigError, DataError, RemoteError, ShardError
from seampack.io import file_systems
from seampack.io.places import place_of
from seampack.packer.against import verify_against
from seampack.packer.unpacking import unpack
from tests.conftest import Run
from tests.faulty import UNFRAMED, contents, failed
from tests.io.remote import Faulty
from tests.packer.corpus import FORMATS, SMALL, TEXTS, write_corpus
from tests.s3 import put

pytestmark = pytest.mark.xdist_group("s3")  # one server


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    Faulty.reset()
    yield
    Faulty.reset()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def remote_contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place_of(folder).iterdir()}


@FORMATS
def test_packing_from_s3_to_s3_gives_the_local_bytes(
    s3: str, bucket: str, corpus: Path, tmp_path: Path, output_format: str
) -> None:
    put(f"{s3}/{bucket.removeprefix('s3://')}/in/corpus.jsonl", corpus.read_bytes())
    options = {**SMALL, "shard_tokens": 4096, "output_format": output_format}
    manifest = seampack.pack(f"{bucket}/in", out=f"{bucket}/out/packed", **options)
    seampack.pack(corpus, out=tmp_path / "local", **options)
    expected, got = contents(tmp_path / "local"), remote_contents(f"{bucket}/out/packed")
    assert len(manifest.shards) > 1
    assert {**expected, "manifest.json": b""} == {**got, "manifest.json": b""}
    assert [(each.path, each.bytes) for each in manifest.inputs] == [
        (f"{bucket}/in/corpus.jsonl", corpus.stat().st_size)
    ]
    packed = seampack.PackedFolder(f"{bucket}/out/packed")
    assert packed.manifest.to_dict() == manifest.to_dict()
    packed.verify()
    assert verify_against(packed, f"{bucket}/in/*.jsonl").differences == ()
    assert packed.row(1) == seampack.PackedFolder(tmp_path / "local").row(1)
    unpack(f"{bucket}/out/packed", tmp_path / "back.jsonl")
    unpack(tmp_path / "local", tmp_path / "back_of_local.jsonl")
    assert (tmp_path / "back.jsonl").read_bytes() == (tmp_path / "back_of_local.jsonl").read_bytes()


def test_the_commands_take_addresses_and_show_no_secrets(s3: str, bucket: str, call: Run, tmp_path: Path) -> None:
    name = bucket.removeprefix("s3://")
    put(f"{s3}/{name}/in/a.jsonl", write_corpus(tmp_path / "a.jsonl", TEXTS[:20]).read_bytes())
    inside = f"s3://KEY:SECRET@{name}"
    query = f"?endpoint_override={s3}"
    source, out = f"{inside}/in/a.jsonl{query}", f"{inside}/packed{query}"
    results = [
        call("pack", source, "-o", out, *UNFRAMED),
        call("pack", source, "-o", out, *UNFRAMED),
        call("inspect", out, "--row", 0, "--tokenizer", "bundled"),
        call("verify", out, "--against", source),
        call("unpack", out, "-o", "-"),
        call("pack", out, "-o", f"{inside}/again{query}", *UNFRAMED),
        call("unpack", out, "-o", out + "/a.jsonl"),
    ]
    assert [result.returncode for result in results] == [0, 1, 0, 0, 0, 1, 1]
    assert len(results[4].stdout.splitlines()) == sum(map(bool, TEXTS[:20]))
    text = b"".join(result.stdout + result.stderr for result in results)
    text += b"".join(remote_contents(f"{bucket}/packed").values())
    assert f"{bucket}/packed".encode() in text
    assert [line for line in text.splitlines() if b"SECRET" in line or b"KEY" in line] == []


def test_a_server_that_is_gone_is_named(call: Run, monkeypatch: pytest.MonkeyPatch, corpus: Path) -> None:
    monkeypatch.setattr(file_systems, "_ATTEMPTS", 1)
    gone = "s3://bucket/a.jsonl?endpoint_override=http://127.0.0.1:1&region=us-east-1"
    for arguments in (["pack", gone, "-o", "out"], ["pack", corpus, "-o", gone, *UNFRAMED], ["verify", gone]):
        message = r"s3://bucket/a\.jsonl(/_run/run\.json)?: the server does not answer \("
        assert re.match(message, failed(call(*arguments)))


def test_a_bucket_that_does_not_exist_is_named(bucket: str, call: Run, corpus: Path) -> None:
    assert failed(call("pack", f"{bucket}-none/a", "-o", "out")) == f"{bucket}-none/a: no such file, folder or bucket"
    assert failed(call("verify", f"{bucket}/none")) == f"{bucket}/none: no such folder"
    message = failed(call("pack", corpus, "-o", f"{bucket}-none/out", *UNFRAMED))
    assert message.startswith(f"{bucket}-none/out/.probe: cannot be written: no such bucket (")


def test_a_connection_that_breaks_leaves_no_output(corpus: Path, temporary: Path, tmp_path: Path) -> None:
    Faulty().pipe_file("/in/a.jsonl", corpus.read_bytes())
    Faulty.fails_at = 5000
    with pytest.raises(RemoteError, match=r"^faulty://in/a.jsonl: connection reset by peer"):
        seampack.pack("faulty://in", out=tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()


def test_an_output_is_replaced_only_when_the_new_one_is_complete(corpus: Path, temporary: Path) -> None:
    many = {**SMALL, "shard_tokens": 256}
    seampack.pack(corpus, out="faulty://out", **many)
    before = remote_contents("faulty://out")
    with pytest.raises(ShardError, match=r"^faulty://out: the folder holds packed shards .*; use --overwrite"):
        seampack.pack(corpus, out="faulty://out", **SMALL)
    with pytest.raises(DataError):
        seampack.pack(write_corpus(corpus, TEXTS).with_name("none"), out="faulty://out", overwrite=True, **SMALL)
    assert remote_contents("faulty://out") == before
    Faulty.log.clear()
    manifest = seampack.pack(corpus, out="faulty://out", overwrite=True, **SMALL)
    after = remote_contents("faulty://out")
    assert set(after) == {"manifest.json", "state.json", "dataset_info.json", *(s.file for s in manifest.shards)}
    assert len(after) < len(before)
    steps = [step for step in Faulty.log if "partial" not in step[1] and "probe" not in step[1]]
    assert steps[0] == ("remove", "manifest.json")
    assert steps[-1] == ("write", "manifest.json")
    assert list(temporary.iterdir()) == []


def test_an_upload_that_fails_leaves_no_manifest(
    corpus: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seampack.pack(corpus, out="faulty://out", **SMALL)
    monkeypatch.setattr(Faulty, "refused", "shard-00000-00001")
    message = r"^faulty://out/shard-00000-00001.arrow: cannot be written: access is denied"
    with pytest.raises(ShardError, match=message), pytest.warns(match="are kept in .*; --resume goes on"):
        seampack.pack(corpus, out="faulty://out", overwrite=True, **SMALL)
    with pytest.raises(ShardError, match=r"^faulty://out: no manifest.json: not a packed folder, or a run that did"):
        seampack.PackedFolder("faulty://out")
    monkeypatch.setattr(Faulty, "refused", None)
    seampack.pack(corpus, out="faulty://out", overwrite=True, resume=True, **SMALL)
    seampack.PackedFolder("faulty://out").verify()
    assert list(temporary.iterdir()) == []


def test_other_files_are_not_replaced(corpus: Path, temporary: Path) -> None:
    Faulty().pipe_file("/out/notes.txt", b"")
    with pytest.raises(ShardError, match=r"^faulty://out: --overwrite replaces packed shards only; .* notes.txt"):
        seampack.pack(corpus, out="faulty://out", overwrite=True, **SMALL)


def test_a_run_to_an_address_is_resumed(corpus: Path, temporary: Path, tmp_path: Path) -> None:
    write_corpus(corpus, TEXTS * 10)
    options: dict[str, Any] = {**SMALL, "partition_bytes": 1 << 16, "shard_tokens": 1 << 14}
    seampack.pack(corpus, out=tmp_path / "whole", **options)

    def stop(progress: Any) -> None:
        if progress.documents > 900:
            raise KeyboardInterrupt

    with (
        pytest.warns(UserWarning, match=r"^faulty://out: .* partition\(s\) are kept in"),
        pytest.raises(KeyboardInterrupt),
    ):
        seampack.pack(corpus, out="faulty://out", on_progress=stop, **options)
    assert remote_contents("faulty://out") == {}
    with pytest.raises(ShardError, match=r"^faulty://out: a run that did not finish .* --resume"):
        seampack.pack(corpus, out="faulty://out", **options)
    manifest = seampack.pack(corpus, out="faulty://out", resume=True, **options)
    assert remote_contents("faulty://out") == contents(tmp_path / "whole")
    assert seampack.pack(corpus, out="faulty://out", resume=True, **options).to_dict() == manifest.to_dict()
    assert list(temporary.iterdir()) == []


def test_an_output_in_its_input_is_refused(corpus: Path) -> None:
    Faulty().pipe_file("/in/a.jsonl", corpus.read_bytes())
    with pytest.raises(ConfigError, match=r"^faulty://in/out: the output is in the input folder faulty://in;"):
        seampack.pack("faulty://in", out="faulty://in/out", **SMALL)
    with pytest.raises(ConfigError, match=r"^faulty://in/a.jsonl: the input is in the output folder faulty://in;"):
        seampack.pack("faulty://in/a.jsonl", out="faulty://in", **SMALL)


def test_a_damaged_remote_shard_is_found(corpus: Path, temporary: Path) -> None:
    seampack.pack(corpus, out="faulty://out", **SMALL)
    data = remote_contents("faulty://out")["shard-00000-00001.arrow"]
    Faulty().pipe_file("/out/shard-00000-00001.arrow", data[:999] + bytes([data[999] ^ 1]) + data[1000:])
    with pytest.raises(ShardError, match=r"^faulty://out/shard-00000-00001.arrow: the checksum differs"):
        seampack.PackedFolder("faulty://out").verify()
    Faulty().rm_file("/out/shard-00000-00001.arrow")
    with pytest.raises(ShardError, match=r"^faulty://out/shard-00000-00001.arrow: the shard is missing"):
        seampack.PackedFolder("faulty://out")


def test_the_checksum_of_a_remote_table_is_not_known(temporary: Path, tmp_path: Path) -> None:
    others = [os.urandom(2000) for _ in TEXTS]
    pq.write_table(pa.table({"text": TEXTS, "other": others}), tmp_path / "a.parquet")
    Faulty().pipe_file("/in/a.parquet", (tmp_path / "a.parquet").read_bytes())
    manifest = seampack.pack("faulty://in", out=tmp_path / "out", **SMALL)
    local = seampack.pack(tmp_path / "a.parquet", out=tmp_path / "local", **SMALL)
    assert [shard.checksum for shard in manifest.shards] == [shard.checksum for shard in local.shards]
    (given,) = manifest.inputs
    assert (given.bytes, given.checksum) == ((tmp_path / "a.parquet").stat().st_size, "")
    packed = seampack.PackedFolder(tmp_path / "out")
    assert verify_against(packed, tmp_path / "a.parquet").differences == ()
    write_corpus(tmp_path / "b.jsonl", TEXTS[:-1])
    kinds = {each.kind for each in verify_against(packed, tmp_path / "b.jsonl").differences}
    assert "foreign" in kinds
    assert "input" not in kinds


def test_local_files_need_no_remote_modules(tmp_path: Path) -> None:
    write_corpus(tmp_path / "a.jsonl", TEXTS[:3])
    code = """
import json, sys
from seampack.packer.packing import pack
pack("a.jsonl", out="out")
print(json.dumps(sorted({"seampack.io.remote", "seampack.io.store", "fsspec", "pyarrow.fs"} & set(sys.modules))))
"""
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(process.stdout) == []
