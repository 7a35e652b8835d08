"""A segmenter on disk: ``segmenter.json``, ``student.safetensors`` and, for exact decoding, ``teacher.safetensors``."""

import dataclasses
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
from seampack.segmenter.config import TrainConfig

FORMAT = "seampack segmenter"
FORMAT_VERSION = 1
DESCRIPTION = "segmenter.json"
BUNDLED = ("zh", "th")
PARTS = ("student", "teacher")
REMEDY = "copy the model again, or train it anew"
_DECODING = ("script", "longest", "hidden", "chunk_units", "forward_weight")
"""The options of training without which a teacher cannot be run."""

Arrays = dict[str, npt.NDArray[Any]]


def save(folder: Path, facts: dict[str, Any], parts: dict[str, Arrays]) -> None:
    """Write the parts (``student``, ``teacher``) and, last, the description that makes the folder a segmenter.

    A segmenter that is there is whole until the new parts are written. Raises ShardError when it cannot be written,
    ValueError or TypeError for facts that JSON has no words for.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "seampack_version": __version__,
        **facts,
        "parts": sorted(parts),
    }
    # made before the folder is touched: what it refuses must not cost the segmenter that is there
    description = (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partials = {part: folder / f".{part}.partial" for part in parts}
        for part, arrays in parts.items():
            if part == "teacher":  # a segment of any length has a score: K does not show in the parameters
                arrays = {**arrays, "longest": np.array([facts["config"]["longest"]])}
            # not save_file: its files are the owner's alone, whatever the umask
            partials[part].write_bytes(to_bytes({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
        (folder / DESCRIPTION).unlink(missing_ok=True)
        for part in PARTS:
            if part in partials:
                partials[part].replace(_part(folder, part))
            else:
                _part(folder, part).unlink(missing_ok=True)
        partial = folder / f".{DESCRIPTION}.partial"
        partial.write_bytes(description)
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
    """What ``segmenter.json`` says.

    Raises ShardError where there is none, it is of another kind or version, or lacks what is needed to segment.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        what = "no such folder"
        if folder.exists():
            what = f"no {DESCRIPTION}: not a segmenter, or training did not finish"
        raise ShardError(f"{folder}: {what}; train one with: seampack segment train RAW -o {folder}")
    try:
        content = json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)  # Infinity and NaN: unknown
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"format: expected {FORMAT!r}; got {content!r:.80}")
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise ShardError(f"{path}: format version {version}; this program reads version {FORMAT_VERSION}")
        _check_description(content)
    except (OSError, ValueError, TypeError) as error:
        raise ShardError(f"{path}: not the description of a segmenter: {error}; {REMEDY}") from error
    return content


def _check_description(description: dict[str, Any]) -> None:
    """Raise ValueError unless it has what segmenting needs. Options of training that are not known are passed over."""
    script, parts, config = (description.get(name) for name in ("script", "parts", "config"))
    if not isinstance(script, str) or not script:
        raise ValueError(f"script: expected a preset or characters; got {script!r}")
    if not isinstance(parts, list) or not parts or any(part not in PARTS for part in parts):
        raise ValueError(f"parts: expected a list of {' and '.join(PARTS)}, one or both; got {parts!r}")
    if "teacher" not in parts:
        return
    if not isinstance(config, dict):
        raise ValueError(f"config: expected the options of training; got {config!r}")
    if missing := [name for name in _DECODING if name not in config]:
        raise ValueError(f"config: expected {', '.join(_DECODING)}; no {', '.join(missing)}")
    if config["script"] != script:
        raise ValueError(f"script: expected that of config, {config['script']!r}; got {script!r}")
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    TrainConfig(**{name: value for name, value in config.items() if name in known})


def load_part(folder: Path, part: str, description: dict[str, Any]) -> Arrays:
    """The arrays of a part.

    Raises ShardError where the description names no such part, it is missing or damaged, or has numbers that are not
    finite.
    """
    path = _part(folder, part)
    if part not in description["parts"]:
        raise ShardError(f"{folder}: the segmenter has no {part}; its parts: {', '.join(description['parts'])}")
    try:
        arrays: Arrays = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ShardError(f"{path}: damaged: {error}; {REMEDY}") from error
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ShardError(f"{path}: damaged: {name}: expected finite numbers; got some that are not; {REMEDY}")
    return arrays


def _part(folder: Path, part: str) -> Path:
    return folder / f"{part}.safetensors"
