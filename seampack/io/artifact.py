"""Artifacts (segmenters and trained methods): folders with a JSON description and arrays in safetensors.

The description has a format and a version. It is written last: a folder without it is not an artifact.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from seampack.errors import ShardError
from seampack.io.output import write_file

Arrays = Mapping[str, npt.NDArray[Any]]


def finite_facts(value: Any) -> Any:
    """Return facts with None for NaN and infinity, which JSON cannot express."""
    if isinstance(value, Mapping):
        return {name: finite_facts(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_facts(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """A kind of artifact: the format and file name of its description, and the command and remedy for messages."""

    format: str
    """Value of ``format`` in the description, such as ``seampack segmenter``."""
    version: int
    """Value of ``format_version`` that this program writes and reads."""
    description: str
    """File name of the description."""
    command: str
    """Command that writes such an artifact, without the output folder."""
    remedy: str
    """Remedy for a damaged artifact."""

    def damaged(self, path: Path, reason: object) -> ShardError:
        """Return the error for a damaged part of an artifact."""
        return ShardError(f"{path}: damaged: {reason}; {self.remedy}")

    def write_description(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write the description of an artifact whose other files are written.

        Raises ShardError if it cannot be written, ValueError or TypeError for facts that JSON cannot express.
        """
        write_file(folder / self.description, self.encode(facts))

    def encode(self, facts: Mapping[str, Any]) -> bytes:
        """Return the description as JSON. Raise ValueError or TypeError for facts that JSON cannot express."""
        content = {"format": self.format, "format_version": self.version, **facts}
        return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def read_description(self, folder: Path) -> dict[str, Any]:
        """Read the description. Raise ShardError if it is missing, damaged, or of another kind or version."""
        path = folder / self.description
        if not path.is_file():
            problem = f"no {self.description}: not a {self.format}, or a run that did not finish"
            problem = problem if folder.exists() else "no such folder"
            raise ShardError(f"{folder}: {problem}; make one with: {self.command} -o {folder}")
        try:
            content = json.loads(path.read_bytes(), parse_constant=lambda _: None)  # None for Infinity and NaN
        except (OSError, ValueError, RecursionError) as error:
            raise self.damaged(path, error) from error
        if not isinstance(content, dict) or content.get("format") != self.format:
            raise self.damaged(path, f"format: expected {self.format!r}; got {content!r:.80}")
        if content.get("format_version") != self.version:
            version = content.get("format_version")
            raise ShardError(f"{path}: expected format version {self.version}; got {version}; {self.remedy}")
        return content

    def read_arrays(self, path: Path, *, finite: bool = True) -> dict[str, npt.NDArray[Any]]:
        """Read arrays. Raise ShardError for a missing or damaged file, and, if ``finite``, for NaN and infinity."""
        try:
            arrays: dict[str, npt.NDArray[Any]] = load_file(path)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise self.damaged(path, error) from error
        for name, values in arrays.items():
            if finite and values.dtype.kind == "f" and not np.isfinite(values).all():
                raise self.damaged(path, f"{name}: expected finite numbers; got NaN or infinity")
        return arrays


def to_bytes(arrays: Arrays) -> bytes:
    """Return arrays in the safetensors format. A file written from it obeys the umask; ``save_file`` ignores it."""
    data: bytes = save({name: np.ascontiguousarray(values) for name, values in arrays.items()})
    return data
