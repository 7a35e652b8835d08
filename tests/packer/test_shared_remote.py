"""Runs that several processes share at an address of S3: the same bytes as one local process."""

import json
import random
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import seampack
from benchmarks import kills
from seampack.errors import ConfigError, ShardError
from seampack.io.places import place_of
from seampack.io.store import RemoteStore, store_of
from seampack.packer.against import verify_against
from seampack.packer.packing import merge, pack_partitions
from seampack.packer.unpacking import unpack
from tests.packer.corpus import UNFRAMED
from tests.s3 import put

pytestmark = pytest.mark.xdist_group("s3")  # one server

OPTIONS: dict[str, Any] = {
    "seq_len": 64,
    "partition_bytes": 1 << 16,
    "shard_tokens": 6_000,
    "on_bad": "quarantine",
    **UNFRAMED,
}


@pytest.fixture
def corpus(s3: str, bucket: str, tmp_path: Path) -> str:
    """The address of a corpus of several partitions, with a record that cannot be read; a copy is ``corpus.jsonl``."""
    draw = random.Random(0)
    lines = [json.dumps({"text": " ".join(draw.choices(kills.WORDS, k=draw.randint(1, 120)))}) for _ in range(900)]
    lines[500] = '{"text": 5}'
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    put(f"{s3}/{bucket.removeprefix('s3://')}/in/corpus.jsonl", (tmp_path / "corpus.jsonl").read_bytes())
    return f"{bucket}/in/corpus.jsonl"


def files(address: str) -> dict[str, bytes]:
    """Return the files of a folder, without what names the input's place."""
    place = place_of(address)
    content = {entry.name: entry.read_bytes() for entry in place.iterdir() if entry.is_file()}
    manifest = json.loads(content.pop("manifest.json"))
    facts = [manifest[name] for name in ("shards", "accounting", "partitions")]
    quarantined = json.loads(content.pop("quarantine.jsonl"))
    where = quarantined["source"].rpartition("/")[2], quarantined["position"]
    return content | {"facts": json.dumps([facts, where]).encode()}


def part(corpus: str, out: str, number: int, of: int, **options: Any) -> None:
    pack_partitions(corpus, out=out, chosen=lambda count: range(number, count, of), **OPTIONS | options)


def test_processes_give_the_local_bytes(corpus: str, bucket: str, tmp_path: Path) -> None:
    seampack.pack(tmp_path / "corpus.jsonl", out=tmp_path / "local", **OPTIONS)
    out = f"{bucket}/out"
    part(corpus, out, 1, 2)
    with pytest.raises(ShardError, match=r"s3://.*/out: \d of \d partitions are not finished: 0, 2, "):
        merge(out)
    with pytest.raises(ConfigError, match=r"options seq_len was 64, is now 32; .* or remove s3://.*/out/_run to"):
        part(corpus, out, 0, 2, seq_len=32)
    names = store_of(out).names()
    assert "_run/run.json" in names
    assert "manifest.json" not in names
    part(corpus, out, 0, 2)
    before = store_of(out).names()
    part(corpus, out, 0, 2)  # started again: nothing is left to do
    assert store_of(out).names() == before
    manifest = merge(out)
    assert manifest.quarantined == 1
    assert files(out) == files(str(tmp_path / "local"))
    assert not store_of(out).names("_run/")
    packed = seampack.PackedFolder(out)
    packed.verify()
    assert verify_against(packed, corpus).differences == ()
    unpack(out, tmp_path / "back.jsonl")
    unpack(tmp_path / "local", tmp_path / "back_of_local.jsonl")
    assert (tmp_path / "back.jsonl").read_bytes() == (tmp_path / "back_of_local.jsonl").read_bytes()
    assert merge(out).to_dict() == manifest.to_dict()


def test_an_old_folder_is_replaced_only_if_allowed(corpus: str, bucket: str) -> None:
    out = f"{bucket}/out"
    seampack.pack(corpus, out=out, **OPTIONS | {"seq_len": 32})
    with pytest.raises(ShardError, match=r"options seq_len was 32, is now 64; use --overwrite or another"):
        part(corpus, out, 0, 1)
    part(corpus, out, 0, 1, overwrite=True)
    assert not store_of(out).exists("manifest.json")  # its shards are being replaced
    merge(out, overwrite=True)
    seampack.PackedFolder(out).verify()


def test_one_process_completes_what_several_began(corpus: str, bucket: str, tmp_path: Path) -> None:
    seampack.pack(tmp_path / "corpus.jsonl", out=tmp_path / "local", **OPTIONS)
    out = f"{bucket}/out"
    part(corpus, out, 1, 2)
    with pytest.raises(ShardError, match=r"have left partitions in s3://.*/out/_run; go on with --resume, or remove"):
        seampack.pack(corpus, out=out, overwrite=True, **OPTIONS)
    seampack.pack(corpus, out=out, resume=True, **OPTIONS)
    assert files(out) == files(str(tmp_path / "local"))


def test_a_merge_that_was_killed_at_its_end(
    corpus: str, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Some files of the run are removed already; the folder is complete."""
    out = f"{bucket}/out"
    part(corpus, out, 0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(RemoteStore, "delete_folder", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            merge(out)
    store_of(out).delete("_run/receipt-00001-00000.json")
    assert merge(out) == seampack.PackedFolder(out).manifest
    assert not store_of(out).names("_run/")
    part(corpus, out, 0, 1)  # nothing is left to do
    seampack.PackedFolder(out).verify()


def test_a_missing_shard_is_named(corpus: str, bucket: str) -> None:
    out = f"{bucket}/out"
    part(corpus, out, 0, 1)
    store_of(out).delete("shard-00001-00000.arrow")
    with pytest.raises(ShardError, match=r"out/shard-00001-00000\.arrow: the shard is missing"):
        merge(out)


def test_ray_from_s3_to_s3(corpus: str, bucket: str, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from seampack.packer.ray import pack

    seampack.pack(tmp_path / "corpus.jsonl", out=tmp_path / "local", **OPTIONS)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")  # its environment is ours
    try:
        pack(corpus, out=f"{bucket}/out", workers=2, **OPTIONS)
    finally:
        ray.shutdown()
    assert files(f"{bucket}/out") == files(str(tmp_path / "local"))


def test_short_rows_of_several_processes_are_named(corpus: str, bucket: str) -> None:
    """Their shards are at the address when the run is merged."""
    flat = {"output_format": "npy", "strategy": "best_fit", "long": "split"}
    for number in (0, 1):
        part(corpus, f"{bucket}/out", number, 2, **flat)
    with pytest.warns(UserWarning, match="rows have less than 64 tokens; trainers that cut npy every 64 tokens"):
        manifest = merge(f"{bucket}/out")
    assert manifest.accounting.padding
