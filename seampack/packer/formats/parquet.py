"""Parquet with zstd."""

from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

IS_MAPPED = False


class Writer:
    """Writes rows to a Parquet file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._files = ExitStack()
        file = self._files.enter_context(pa.OSFile(str(path), "wb"))
        self._file = self._files.enter_context(pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._file.write_batch(batch)

    def close(self) -> None:
        """Complete the file."""
        self._files.close()


def read(path: Path) -> pa.Table:
    """Return the rows of a shard."""
    return pq.read_table(path)
