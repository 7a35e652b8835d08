"""Small readers of other projects' formats, written from their published descriptions; and those projects' own."""

import json
import os
import struct
import subprocess
import sys
from importlib.machinery import PathFinder
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

Rows = list[list[int]]
READERS = Path(sys.prefix) / "readers"
"""Where ``make readers`` installs packages, beside those of the environment."""


def megatron(stem: Path) -> tuple[np.dtype[Any], Rows, list[int]]:
    """Return the type of the ids, the sequences, and the document index of an IndexedDataset, read one by one."""
    index = stem.with_suffix(".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\0\0"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    dtype = np.dtype({4: np.int32, 8: np.uint16}[code])
    place = 34
    lengths = struct.unpack_from(f"<{sequences}i", index, place)
    pointers = struct.unpack_from(f"<{sequences}q", index, place + 4 * sequences)
    bounds = struct.unpack_from(f"<{documents}q", index, place + 12 * sequences)
    assert len(index) == place + 12 * sequences + 8 * documents
    data = stem.with_suffix(".bin").read_bytes()
    rows = [
        np.frombuffer(data, dtype, length, pointer).tolist() for length, pointer in zip(lengths, pointers, strict=True)
    ]
    return dtype, rows, list(bounds)


def mds(folder: Path) -> list[dict[str, list[int]]]:
    """Return the samples that ``index.json`` lists, one by one."""
    index = json.loads((folder / "index.json").read_text())
    assert index["version"] == 2
    samples = []
    for shard in index["shards"]:
        assert (shard["version"], shard["format"], shard["compression"]) == (2, "mds", None)
        data = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert len(data) == shard["raw_data"]["bytes"]
        (count,) = struct.unpack_from("<I", data)
        assert count == shard["samples"]
        places = struct.unpack_from(f"<{count + 1}I", data, 4)
        columns = list(zip(shard["column_names"], shard["column_encodings"], shard["column_sizes"], strict=True))
        assert [name for name, *_ in columns] == sorted(name for name, *_ in columns)
        description = json.loads(data[4 * (count + 2) : places[0]])
        assert description["column_encodings"] == shard["column_encodings"]
        samples += [mds_sample(data[a:b], columns) for a, b in pairwise(places)]
    return samples


def mds_sample(data: bytes, columns: list[tuple[str, str, int | None]]) -> dict[str, list[int]]:
    place = 0
    sizes = []
    for _, _, size in columns:
        if size is None:
            (size,) = struct.unpack_from("<I", data, place)
            place += 4
        sizes.append(size)
    sample = {}
    for (name, encoding, _), size in zip(columns, sizes, strict=True):
        kind, dtype, *shape = encoding.split(":")
        assert kind == "ndarray"
        value = data[place : place + size]
        place += size
        if not shape:
            dimensions, width = value[0] >> 2, 1 << (value[0] & 3)
            shape = [str(int.from_bytes(value[1 : 1 + width], "little"))]
            assert dimensions == 1
            value = value[1 + width :]
        assert np.frombuffer(value, dtype).shape == (int(shape[0]),)
        sample[name] = np.frombuffer(value, dtype).tolist()
    assert place == len(data)
    return sample


def bridge(path: Path) -> list[dict[str, list[int]]]:
    """Return the rows of packed Parquet, with the checks of Megatron-Bridge, which reads these three columns."""
    rows: list[dict[str, list[int]]] = pq.read_table(
        path, columns=["input_ids", "seq_start_id", "loss_mask"]
    ).to_pylist()
    for row in rows:
        ids, starts, mask = row["input_ids"], row["seq_start_id"], row["loss_mask"]
        assert len(mask) == len(ids)
        assert starts[0] == 0
        assert starts == sorted(starts)
        assert starts[-1] < len(ids)
        assert set(mask) <= {0, 1}
    return rows


def trained_on(row: dict[str, list[int]]) -> list[tuple[int, int]]:
    """Return the pairs of a token and the next one that Megatron-Bridge trains on, as its collator cuts a row."""
    bounds = [*row["seq_start_id"], len(row["input_ids"])]
    tokens: list[int] = []
    labels: list[int] = []
    mask: list[int] = []
    for first, last in pairwise(bounds):
        tokens += row["input_ids"][first : last - 1]
        labels += row["input_ids"][first + 1 : last]
        mask += row["loss_mask"][first : last - 1]
    return [(token, label) for token, label, counts in zip(tokens, labels, mask, strict=True) if counts]


def by_package(package: str, script: str, *arguments: object) -> Any:
    """Return what a script prints as JSON, in a process of its own: these packages change others when imported.

    Skips the test where the package is absent; ``make readers`` installs it.
    """
    if PathFinder.find_spec(package, [*sys.path, str(READERS)]) is None:
        pytest.skip(f"{package} is not installed: make readers")
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    paths = os.pathsep.join([str(READERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
