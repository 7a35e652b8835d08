"""What training leaves: arrays in safetensors, facts in JSON, and pretrained parts in folders of their own."""

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
    """A trained method. ``facts`` is whatever JSON holds; ``parts`` are models and tokenizers of transformers."""

    method: str
    config: dict[str, Any]
    tensors: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    """Objects with ``save_pretrained``; after ``load``, the folders that they were saved to."""

    def part(self, name: str, load: Callable[[Path], Part]) -> Part:
        """A part, loaded from its folder where it is not in memory. Raises ShardError where that is damaged."""
        found = self.parts[name]
        if not isinstance(found, Path):
            return found  # type: ignore[no-any-return]
        try:
            return load(found)
        except Exception as error:  # as many kinds as files inside
            reason = " ".join(str(error).split())
            raise ShardError(f"{found}: a damaged part of an artifact: {reason}; train it anew") from error

    @no_bars_in_files()
    def save(self, folder: Path) -> None:
        """Write everything into a folder that exists; the description, which makes it an artifact, goes last."""
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
        written = folder / DESCRIPTION
        written.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(written.stat().st_mode)  # safetensors' files are the owner's alone, whatever the umask

    @classmethod
    def load(cls, folder: Path, method: str | None = None) -> "Artifact":
        """Read an artifact, of the method ``method`` if one is named.

        Raises ShardError for a folder that holds none or a damaged one, ConfigError for one of another method.
        """
        path = folder / DESCRIPTION
        if not path.is_file():
            what = f"no {DESCRIPTION}: not a trained model" if folder.exists() else "no such folder"
            raise ShardError(f"{folder}: {what}; make one with: seampack models train METHOD -o {folder}")
        try:
            content = json.loads(path.read_text("utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}")
            if content["format_version"] != FORMAT_VERSION:
                found = content["format_version"]
                raise ShardError(f"{path}: format version {found}; this program reads version {FORMAT_VERSION}")
            parts = {name: folder / name for name in content["parts"]}
            tensors = load_file(folder / TENSORS)
            result = cls(content["method"], content["config"], tensors, content["facts"], parts)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{folder}: a damaged artifact: {error!r}; train it anew") from error
        if missing := [name for name, part in parts.items() if not part.is_dir()]:
            raise ShardError(f"{folder}: a damaged artifact: no folder {missing[0]}; train it anew")
        if method is not None and result.method != method:
            raise ConfigError(f"{folder}: trained by {result.method}; expected {method}")
        return result


def fingerprint(dataset: Dataset) -> str:
    """Hash of a dataset's columns, their types and values, whatever slices or files hold them."""
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
