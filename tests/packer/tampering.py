"""Changes of packed folders that a careless or malicious hand might make."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from seampack.packer.checksums import checksum, digest
from seampack.packer.folder import PackedFolder


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write a manifest with a digest that is right, so that only the rows can contradict it."""
    if content["format_version"] > 1:
        content["digest"] = digest({name: value for name, value in content.items() if name != "digest"})
    (folder / "manifest.json").write_text(json.dumps(content))


def make_version_1(folder: Path) -> None:
    """Rewrite the manifest and the names of the shards as the first release wrote them."""
    content = json.loads((folder / "manifest.json").read_text())
    kept = {name: value for name, value in content.items() if name not in ("inputs", "partitions", "files", "digest")}
    for number, shard in enumerate(kept["shards"]):
        name = f"shard-{number:05d}{Path(shard['file']).suffix}"
        (folder / shard["file"]).rename(folder / name)
        shard["file"] = name
    if (state := folder / "state.json").exists():
        state.write_text(state.read_text().replace("shard-00000-", "shard-"))
    write_manifest(folder, {**kept, "format_version": 1})


def edit_manifest(folder: Path, **changes: Any) -> None:
    write_manifest(folder, {**json.loads((folder / "manifest.json").read_text()), **changes})


def write_shard(folder: Path, table: pa.Table) -> None:
    """Replace the only shard, and its entry of the manifest."""
    file = folder / "shard-00000-00000.arrow"
    with pa.OSFile(str(folder / "new"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / "new").rename(file)
    entry = PackedFolder(folder).manifest["shards"][0]
    edit_manifest(folder, shards=[{**entry, "bytes": file.stat().st_size, "checksum": checksum(file)}])
