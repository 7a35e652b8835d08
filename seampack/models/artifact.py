"""The output of training: a description in JSON, arrays in safetensors, and a folder for each pretrained part."""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from datasets import Dataset
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from seampack._version import __version__
from seampack.errors import ConfigError, ShardError
from seampack.models.progress import no_bars_in_files

FORMAT = "seampack model"
FORMAT_VERSION = 1
DESCRIPTION = "artifact.json"
TENSORS = "tensors.safetensors"
_PACKAGES = ("torch", "transformers", "datasets", "numpy")

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A trained method."""

    method: str
    """The adapter's name."""
    config: dict[str, Any]
    """The options of the training, in the types that JSON has."""
    tensors: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Arrays by name."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts in the types that JSON has, such as classes and losses."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Objects with ``save_pretrained``, such as models and tokenizers; after ``load``, the folders that hold them."""

    def part(self, name: str, load: Callable[[Path], Part]) -> Part:
        """Return a part, loaded from its folder unless it is in memory. Raises ShardError for a damaged folder."""
        part = self.parts[name]
        if not isinstance(part, Path):
            return part  # type: ignore[no-any-return]
        try:
            return load(part)
        except Exception as error:  # the formats inside have many kinds of errors
            reason = " ".join(str(error).split())
            raise ShardError(f"{part}: a damaged part of an artifact: {reason}; train the artifact again") from error

    @no_bars_in_files()
    def save(self, folder: Path) -> None:
        """Write the artifact into an existing folder. The description is written last: it makes the folder valid."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.tensors.items()}
        save_file(arrays, folder / TENSORS)
        for name, part in self.parts.items():
            part.save_pretrained(folder / name)
        description = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "config": self.config,
            "versions": {"seampack": __version__, "python": platform.python_version()}
            | {package: version(package) for package in _PACKAGES},
            "facts": self.facts,
            "parts": sorted(self.parts),
        }
        description_path = folder / DESCRIPTION
        description_path.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(description_path.stat().st_mode)  # safetensors ignores the umask: its files are private

    @classmethod
    def load(cls, folder: Path, method: str | None = None) -> "Artifact":
        """Read an artifact; parts are loaded later, by ``part``.

        Args:
            folder: The folder that ``save`` wrote.
            method: Name of the expected method; None accepts any.

        Raises:
            ShardError: The folder has no artifact, or a damaged one.
            ConfigError: The artifact is of another method.
        """
        path = folder / DESCRIPTION
        if not path.is_file():
            problem = f"no {DESCRIPTION}: not a trained model" if folder.exists() else "no such folder"
            raise ShardError(f"{folder}: {problem}; make one with: seampack models train METHOD -o {folder}")
        try:
            content = json.loads(path.read_text("utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}")
            if content["format_version"] != FORMAT_VERSION:
                raise ShardError(
                    f"{path}: expected format version {FORMAT_VERSION}; got {content['format_version']}; "
                    "train the artifact again with this version of seampack"
                )
            parts = {name: folder / name for name in content["parts"]}
            tensors = load_file(folder / TENSORS)
            artifact = cls(content["method"], content["config"], tensors, content["facts"], parts)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{folder}: a damaged artifact: {error!r}; train it again") from error
        if missing := [name for name, part in parts.items() if not part.is_dir()]:
            raise ShardError(f"{folder}: a damaged artifact: no folder {missing[0]}; train it again")
        if method is not None and artifact.method != method:
            raise ConfigError(
                f"{folder}: expected an artifact of {method}; got one of {artifact.method}; use the folder of another"
            )
        return artifact


def fingerprint(dataset: Dataset) -> str:
    """Return a hash of a dataset's columns, types and values. It is the same however files or slices store them."""
    digest = xxhash.xxh3_128()
    table = dataset.with_format("arrow")[:]

    class Sink:
        closed = False

        def write(self, data: Any) -> int:
            digest.update(data)
            return len(data)

        def flush(self) -> None: ...

    plain = table.replace_schema_metadata(None).take(pa.array(range(len(table)), pa.int64())).combine_chunks()
    with pa.ipc.new_stream(pa.PythonFile(Sink(), "w"), plain.schema) as writer:
        writer.write_table(plain)
    return digest.hexdigest()
