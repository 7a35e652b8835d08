"""The output of training: a description in JSON, arrays in safetensors, and a folder for each pretrained part."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt
import pyarrow as pa
import xxhash

from seampack._version import __version__
from seampack.errors import ConfigError, ShardError
from seampack.io.artifact import ArtifactKind, finite_facts, to_bytes
from seampack.io.output import FolderKind, write_file
from seampack.models.progress import no_bars_in_files

if TYPE_CHECKING:
    from datasets import Dataset

DESCRIPTION = "artifact.json"
TENSORS = "tensors.safetensors"
KIND = ArtifactKind(
    "seampack model", 1, DESCRIPTION, "seampack models train METHOD", "train the artifact again with this version"
)
FOLDER = FolderKind(
    "a trained model", DESCRIPTION, lambda entry: entry.is_dir() or entry.name in (DESCRIPTION, TENSORS)
)
_PACKAGES = ("torch", "transformers", "datasets", "numpy")

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A trained method."""

    method: str
    """The adapter's name."""
    config: dict[str, Any]
    """The training options, as JSON types."""
    tensors: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Arrays by name."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts about the training, as JSON types, such as classes and losses."""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Objects with ``save_pretrained``, such as models and tokenizers; after ``load``, the folders of these objects."""

    def part(self, name: str, load: Callable[[Path], Part]) -> Part:
        """Return a part; load it from its folder unless it is in memory. Raises ShardError if the folder is damaged."""
        part = self.parts[name]
        if not isinstance(part, Path):
            return part  # type: ignore[no-any-return]
        try:
            return load(part)
        except Exception as error:  # each format raises its own types of errors
            reason = " ".join(str(error).split())
            raise ShardError(f"{part}: this part of the artifact is damaged: {reason}; train it again") from error

    @no_bars_in_files()
    def save(self, folder: Path) -> None:
        """Write the artifact into an existing folder. The description is written last, because it marks the folder."""
        write_file(folder / TENSORS, to_bytes(self.tensors))
        for name, part in self.parts.items():
            part.save_pretrained(folder / name)
        versions = {package: version(package) for package in _PACKAGES}
        facts = {
            "method": self.method,
            "config": self.config,
            "versions": {"seampack": __version__, "python": platform.python_version()} | versions,
            "facts": self.facts,
            "parts": sorted(self.parts),
        }
        KIND.write_description(folder, finite_facts(facts))
        mode = (folder / DESCRIPTION).stat().st_mode
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(mode)  # safetensors, which transformers uses, writes files that only the owner can read

    @classmethod
    def load(cls, folder: Path, method: str | None = None) -> "Artifact":
        """Read an artifact; ``part`` loads the parts later.

        Args:
            folder: A folder written by ``save``.
            method: Name of the expected method; None accepts any.

        Raises:
            ShardError: The folder has no artifact, or the artifact is damaged.
            ConfigError: The artifact belongs to another method.
        """
        content = KIND.read_description(folder)
        tensors = KIND.read_arrays(folder / TENSORS, finite=False)
        try:
            parts = {name: folder / name for name in content["parts"]}
            artifact = cls(content["method"], content["config"], tensors, content["facts"], parts)
        except (KeyError, TypeError) as error:
            raise KIND.damaged(folder / DESCRIPTION, f"no {error}") from error
        if missing := [name for name, part in parts.items() if not part.is_dir()]:
            raise KIND.damaged(folder, f"no folder {missing[0]}")
        if method is not None and artifact.method != method:
            raise ConfigError(
                f"{folder}: expected an artifact of {method}; got an artifact of {artifact.method}; use another folder"
            )
        return artifact


def fingerprint(dataset: "Dataset") -> str:
    """Return a hash of a dataset's columns, types and values, independent of the files or slices that store them."""
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
