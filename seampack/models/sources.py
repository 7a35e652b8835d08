"""Names of datasets and models: files, folders or the hub. Checked without importing datasets or transformers."""

import glob
from pathlib import Path

from seampack.io.sources import STDIN, expand


def is_hub_name(source: str) -> bool:
    """Return whether the source is no file, folder, glob or path, so that only the hub can have it."""
    looks_like_path = bool(Path(source).suffix) or source.startswith((".", "/"))
    return source != STDIN and not Path(source).exists() and not glob.has_magic(source) and not looks_like_path


def check_source(source: str) -> None:
    """Raise DataError if files or a folder are named that do not exist, or that hold no dataset."""
    if not is_hub_name(source) and not (Path(source) / "dataset_dict.json").is_file():
        expand(source)


def is_model_path(source: str) -> bool:
    """Return whether a model that does not exist here is spelled as a path, so that the hub cannot have it."""
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or source.endswith("/")
