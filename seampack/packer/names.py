"""The names of the files of a packed folder."""

import re

from seampack.packer.formats.registry import OutputFormat

MANIFEST = "manifest.json"
QUARANTINE = "quarantine.jsonl"
DATASET_FILES = OutputFormat.ARROW.folder_files  # read by ``datasets.load_from_disk``
_ENDINGS = {ending for each in OutputFormat for ending in each.endings}
SHARD = re.compile(rf"shard-(?:([0-9]{{5,}})-)?[0-9]{{5,}}\.({'|'.join(map(re.escape, sorted(_ENDINGS)))})")
_FOLDER_FILES = {name for each in OutputFormat for name in each.folder_files}


def shard_name(partition: int, number: int, output_format: str) -> str:
    """Return the name of the main file of a partition's shard."""
    return f"shard-{partition:05d}-{number:05d}.{OutputFormat(output_format).endings[0]}"


def shards_of_partition(partition: int) -> str:
    """Return a pattern of the file names of a partition's shards."""
    return f"shard-{partition:05d}-*"


def is_packed_name(name: str) -> bool:
    """Return whether a packing run writes files of this name."""
    return name in (MANIFEST, QUARANTINE, *_FOLDER_FILES) or SHARD.fullmatch(name) is not None
