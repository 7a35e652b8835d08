"""The output formats by name. A format is a line here and the module of its name, which is imported when it is used."""

import importlib
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

_REST = "segments.arrow"
"""Ending of the file of the columns that a format cannot hold."""


class OutputFormat(StrEnum):
    """Format of the shards: its name, the endings of a shard's files, and the files of the whole folder."""

    ARROW = "arrow", ("arrow",), ("dataset_info.json", "state.json")
    """Arrow IPC stream files, uncompressed: opened memory-mapped. ``datasets.load_from_disk`` reads the folder."""
    PARQUET = "parquet", ("parquet",)
    """Parquet with zstd: smaller, slower to write, copied into memory when read."""
    BRIDGE = "bridge", ("parquet",)
    """Packed Parquet of Megatron-Bridge: also the columns ``loss_mask`` and ``seq_start_id``."""
    MEGATRON = "megatron", ("bin", "idx", _REST)
    """The IndexedDataset of Megatron-Core: a row is a document."""
    MDS = "mds", ("mds", _REST), ("index.json",)
    """Shards of MosaicML's StreamingDataset."""
    NPY = "npy", ("npy", "rows.npy", _REST)
    """A memory-mapped numpy array of the ids, and one of the places of the rows."""
    BIN = "bin", ("bin", _REST)
    """The ids alone, without a header: nanoGPT, OLMo-core, ``numpy.memmap``."""
    INDEX = "index", ("index.arrow",)
    """The plan alone: where the tokens of each row are in a token store."""

    endings: tuple[str, ...]
    folder_files: tuple[str, ...]

    def __new__(cls, name: str, endings: tuple[str, ...] = (), folder_files: tuple[str, ...] = ()) -> Self:
        """Return the member of a format."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.endings = endings
        member.folder_files = folder_files
        return member

    def files(self, main: str) -> tuple[str, ...]:
        """Return the names of a shard's files, the main one first."""
        stem = main.removesuffix(self.endings[0])
        return tuple(stem + ending for ending in self.endings)

    def paths(self, main: Path) -> tuple[Path, ...]:
        """Return the paths of a shard's files, the main one first."""
        return tuple(main.with_name(name) for name in self.files(main.name))

    @property
    def is_flat(self) -> bool:
        """Whether its trainers see the ids of all rows as one array, which they cut into rows of one length."""
        return self in (OutputFormat.MEGATRON, OutputFormat.NPY, OutputFormat.BIN)

    def load(self) -> Any:
        """Import the module of the format, and return it."""
        return importlib.import_module(f"{__package__}.{self.value}")
