"""Folders as inputs: saved Hugging Face datasets, and folders of files, which are walked."""

import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from seampack.errors import DataError
from seampack.io.formats import format_of_name
from seampack.io.places import Place

_SPLITS, _STATE = "dataset_dict.json", "state.json"
_NUMBERED = re.compile(r"data-\d+-of-(\d+)\.arrow")
"""Names of the files of a saved dataset, with their number."""


def is_saved_dataset(folder: Path) -> bool:
    """Return whether ``save_to_disk`` of a Dataset or DatasetDict wrote a folder."""
    return (folder / _SPLITS).is_file() or (folder / _STATE).is_file()


def is_file_or_dead(path: str) -> bool:
    """Return whether a path is a file, or a link to nothing, which must not be skipped silently."""
    return os.path.isfile(path) or not os.path.exists(path)


def files_of(folder: Place) -> list[str]:
    """Return the files of a folder and its subfolders whose names show a known format, sorted folder by folder.

    Of a saved dataset, the files of its rows are returned. Hidden files and folders are skipped, files of unknown kinds
    too, with a warning that names some of them. A link to a folder that was walked already is not followed.

    Raises DataError if there is no file to read, or a saved dataset is incomplete.
    """
    files: list[str] = []
    unknown: list[Place] = []
    for path, is_known in _walk(folder, set()):
        if is_known:
            files.append(os.fspath(path))
        else:
            unknown.append(path)
    named = ", ".join(map(str, unknown[:3])) + (", ..." if len(unknown) > 3 else "")
    if not files:
        found = f"got {named}" if unknown else "it has no files"
        raise DataError(f"{folder}: expected files with a known ending, such as .jsonl or .txt.gz; {found}")
    if unknown:
        warnings.warn(
            f"{folder}: {len(unknown):,} file(s) with an unknown ending are skipped: {named}; give their names to read "
            "them",
            stacklevel=1,  # this line, so that a second look at the folder does not warn again
        )
    return files


def _walk(folder: Place, seen: set[str]) -> Iterator[tuple[Place, bool]]:
    """Iterate over the files of a folder and its subfolders, and whether they can be read."""
    real = os.path.realpath(folder) if isinstance(folder, Path) else str(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        entries: list[Place] = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    if {_SPLITS, _STATE} & {entry.name for entry in entries if entry.is_file()}:
        yield from ((path, True) for path in _dataset_files(folder))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, seen)
        elif not isinstance(entry, Path) or is_file_or_dead(str(entry)):
            yield entry, format_of_name(entry.name) is not None


def _dataset_files(folder: Place) -> list[Place]:
    """Return the Arrow files of a folder that ``Dataset.save_to_disk`` wrote."""
    splits, state = folder / _SPLITS, folder / _STATE
    try:
        first = json.loads(splits.read_text("utf-8"))["splits"][0] if splits.is_file() else None
        names = [] if first else [entry["filename"] for entry in json.loads(state.read_text("utf-8"))["_data_files"]]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{folder}: the dataset is damaged: its description cannot be read: {error!r}") from error
    if first:
        raise DataError(f"{folder}: a dataset of several splits; name one, for example {folder / first}")
    if names and (match := _NUMBERED.fullmatch(names[0])) and int(match[1]) != len(set(names)):
        raise DataError(
            f"{folder}: the dataset is incomplete: its files are numbered to {int(match[1])}; state.json lists "
            f"{len(set(names))}; save it again"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder}: the dataset is incomplete: no file {missing[0]}")
    return [folder / name for name in names]
