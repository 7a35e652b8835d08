"""A segmenter on disk: ``segmenter.json``, ``student.safetensors`` and, for exact decoding, ``teacher.safetensors``."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from seampack._version import __version__
from seampack.errors import ShardError

FORMAT = "seampack segmenter"
FORMAT_VERSION = 1
DESCRIPTION = "segmenter.json"
BUNDLED = ("zh", "th")
PARTS = ("student", "teacher")

Arrays = dict[str, npt.NDArray[Any]]


def save(folder: Path, facts: dict[str, Any], parts: dict[str, Arrays]) -> None:
    """Write the parts (``student``, ``teacher``) and, last, the description that makes the folder a segmenter.

    A segmenter that is there is whole until the new parts are written. Raises ShardError when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partials = {part: folder / f".{part}.partial" for part in parts}
        for part, arrays in parts.items():
            # not save_file: its files are the owner's alone, whatever the umask
            partials[part].write_bytes(to_bytes({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
        (folder / DESCRIPTION).unlink(missing_ok=True)
        for part in PARTS:
            if part in partials:
                partials[part].replace(_part(folder, part))
            else:
                _part(folder, part).unlink(missing_ok=True)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "seampack_version": __version__,
            **facts,
            "parts": sorted(parts),
        }
        partial = folder / f".{DESCRIPTION}.partial"
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(folder / DESCRIPTION)
    except (OSError, SafetensorError) as error:
        raise ShardError(f"{folder}: the segmenter cannot be written: {error}") from error


def is_ours(name: str) -> bool:
    """Whether a file name is one that ``save`` writes."""
    return name == DESCRIPTION or name in (_part(Path(), part).name for part in PARTS)


def facts(description: dict[str, Any]) -> dict[str, Any]:
    """What ``save`` was told of a segmenter beside its parts."""
    own = ("format", "format_version", "seampack_version", "parts")
    return {name: value for name, value in description.items() if name not in own}


def find(name: str | os.PathLike[str]) -> Path:
    """The folder of a segmenter, by path or by the name of a bundled one."""
    path = Path(name)
    if not path.exists() and str(name) in BUNDLED:
        return Path(str(files("seampack") / "data" / "segmenters" / str(name)))
    return path


def load_description(folder: Path) -> dict[str, Any]:
    """What ``segmenter.json`` says. Raises ShardError where there is none, or it is of another kind or version."""
    path = folder / DESCRIPTION
    if not path.is_file():
        what = "no such folder"
        if folder.exists():
            what = f"no {DESCRIPTION}: not a segmenter, or training did not finish"
        raise ShardError(f"{folder}: {what}; train one with: seampack segment train RAW -o {folder}")
    try:
        content = json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)  # Infinity and NaN: unknown
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        if content["format_version"] != FORMAT_VERSION:
            raise ShardError(
                f"{path}: format version {content['format_version']}; this program reads version {FORMAT_VERSION}"
            )
        if not isinstance(content["parts"], list):
            raise ValueError(f"parts {content['parts']!r}")
        return dict(content)
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{path}: not the description of a segmenter: {error!r}") from error


def load_part(folder: Path, part: str, description: dict[str, Any]) -> Arrays:
    """The arrays of a part. Raises ShardError where the description names no such part, or it is missing or damaged."""
    path = _part(folder, part)
    if part not in description["parts"]:
        raise ShardError(f"{folder}: the segmenter has no {part}")
    try:
        arrays: Arrays = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ShardError(f"{path}: damaged: {error}") from error
    return arrays


def _part(folder: Path, part: str) -> Path:
    return folder / f"{part}.safetensors"
