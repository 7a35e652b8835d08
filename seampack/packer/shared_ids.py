"""Ids that several documents share, looked for in the shards at the end of a run: ``unpack`` cannot tell them apart."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from seampack.packer.config import PackConfig
from seampack.packer.entries import Shard
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.rows import flat

_MOST = 1 << 26
"""Documents whose ids are compared; of more, those of an even share, so that memory is bounded."""

_NEEDED = ["doc_ids", "doc_starts", "repeated"]

Hashes = npt.NDArray[np.uint64]


def warn_of_shared_ids(
    folder: Path, shards: Iterable[Shard], config: PackConfig, documents: int, *, shown: str
) -> None:
    """Warn if documents with tokens in the rows have the id of another one.

    ``documents``: their number. Shards that are not in the folder, because they are at an address, are skipped.
    """
    if config.id_column is None or config.output_format == OutputFormat.INDEX:  # whose ids are in the store
        return
    paths = [path for shard in shards if (path := folder / shard.file).exists()]
    share = np.uint64(documents // _MOST + 1)
    kept = [hashes[hashes % share == 0] for _, hashes in _ids(paths, config)]
    found = np.sort(np.concatenate([np.empty(0, np.uint64), *kept]))
    again = found[1:][found[1:] == found[:-1]]
    if again.size and (example := _first_twice(paths, config, again)) is not None:
        count = f"{again.size:,}" if share == 1 else f"at least {again.size:,}"
        noun = "document has" if again.size == 1 else "documents have"
        warnings.warn(
            f"{shown}: {count} {noun} the id of another one, such as {example!r}: unpack and verify --against need "
            "ids that no two documents share; give another --id-column, or none",
            stacklevel=2,
        )


def _ids(paths: Iterable[Path], config: PackConfig) -> Iterator[tuple[pa.Array, Hashes]]:
    """Yield the ids of the documents that begin in some rows, as bytes, and their hashes."""
    for path in paths:
        for batch in _columns(path, config).to_batches():
            rows = pa.Table.from_batches([batch])
            begins = flat(rows, "doc_starts") + flat(rows, "repeated") == 0
            ids = pc.list_flatten(batch.column("doc_ids")).cast(pa.large_binary()).filter(pa.array(begins))
            yield ids, np.fromiter(map(xxh3_64_intdigest, ids.to_pylist()), np.uint64, len(ids))


def _columns(path: Path, config: PackConfig) -> pa.Table:
    """Return the columns of a shard that are needed. Formats other than Parquet decode only what is looked at."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # slow, and other formats do not need it

        return pq.read_table(path, columns=_NEEDED)
    return OutputFormat(config.output_format).load().read(path).select(_NEEDED)


def _first_twice(paths: Iterable[Path], config: PackConfig, hashes: Hashes) -> str | None:
    """Return the first id with one of the hashes that is there twice; None if only hashes are."""
    seen: set[bytes] = set()
    for ids, given in _ids(paths, config):
        for each in ids.take(pa.array(np.flatnonzero(np.isin(given, hashes)))).to_pylist():
            if each in seen:
                return str(each, "utf-8")
            seen.add(each)
    return None
