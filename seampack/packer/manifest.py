"""The manifest of a packed folder: dataclasses, JSON (format version 1), and the file names of the format."""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from seampack._version import __version__
from seampack.config import check_choice, check_integer, check_number
from seampack.errors import ConfigError, SeampackError, ShardError
from seampack.packer.accounting import Accounting
from seampack.packer.config import OutputFormat, PackConfig

MANIFEST = "manifest.json"
QUARANTINE = "quarantine.jsonl"
DATASET_FILES = ("dataset_info.json", "state.json")  # read by ``datasets.load_from_disk``
FORMAT = "seampack packed shards"
FORMAT_VERSION = 1

_SHARD = re.compile(r"shard-[0-9]{5,}\.(arrow|parquet)")


def shard_name(number: int, output_format: str) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.{output_format}"


def is_packed_name(name: str) -> bool:
    """Return whether a packing run writes files of this name."""
    return name in (MANIFEST, QUARANTINE, *DATASET_FILES) or _SHARD.fullmatch(name) is not None


def is_manifest(path: Path) -> bool:
    """Return whether a file is the manifest of packed shards, of any version."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """The tokenizer that a folder was packed with."""

    name: str
    fingerprint: str
    vocab_size: int
    pad_id: int | None = None
    """Id of the padding token; None for rows that are not padded."""
    bos: str | None = None
    """Token before each document; None for no token."""
    bos_id: int | None = None
    eos: str | None = None
    """Token after each document; None for no token."""
    eos_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A file of rows."""

    file: str
    rows: int
    bytes: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The description of a packed folder, returned by ``pack`` and held by ``PackedFolder``.

    ``manifest["accounting"]["fill"]`` also works: indexing gives the entries of ``to_dict``.
    """

    tokenizer: TokenizerFacts
    config: Mapping[str, Any]
    """The fields of the PackConfig. Kept as written: another version of seampack may allow other values."""
    columns: Mapping[str, str]
    """Arrow type of each column of the rows."""
    accounting: Accounting
    quarantined: int
    """Number of records in ``quarantine.jsonl``."""
    shards: tuple[Shard, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Entries that the caller of ``pack`` added, such as ``pre_segment``."""
    seampack_version: str = __version__
    format: str = FORMAT
    format_version: int = FORMAT_VERSION

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``manifest.json``; the notes are entries of the top level."""
        return {
            "format": self.format,
            "format_version": self.format_version,
            "seampack_version": self.seampack_version,
            "tokenizer": dataclasses.asdict(self.tokenizer),
            **self.notes,
            "config": dict(self.config),
            "columns": dict(self.columns),
            "accounting": self.accounting.to_dict(),
            "quarantined": self.quarantined,
            "shards": [dataclasses.asdict(shard) for shard in self.shards],
        }

    @classmethod
    def from_dict(cls, content: object) -> Self:
        """Return the manifest in a JSON value. Raise ShardError, naming the wrong field, if it is damaged."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ShardError(f'not a manifest of packed shards: expected "format": "{FORMAT}"')
        version = content.get("format_version")
        if version != FORMAT_VERSION or isinstance(version, bool):
            raise ShardError(f"format version {version}; this program reads version {FORMAT_VERSION}")
        try:
            return cls._from_fields(content)
        except ConfigError as error:
            raise ShardError(f"the manifest is damaged: {error}; pack again") from error

    @classmethod
    def _from_fields(cls, content: dict[str, Any]) -> Self:
        top = _object("", content, [name for name in _NAMES if name != "notes"])
        config = top["config"]
        _fields(PackConfig, "config.", config)
        check_choice("config.output_format", config["output_format"], OutputFormat)
        check_integer("config.seq_len", config["seq_len"], low=1)
        columns = _object("columns.", top["columns"])
        return cls(
            tokenizer=TokenizerFacts(**_fields(TokenizerFacts, "tokenizer.", top["tokenizer"])),
            config=config,
            columns={name: _plain(f"columns.{name}", kind, str) for name, kind in columns.items()},
            accounting=_accounting(top["accounting"], config["seq_len"]),
            quarantined=check_integer("quarantined", top["quarantined"], low=0),
            shards=_shards(top["shards"], config["output_format"]),
            notes={name: value for name, value in content.items() if name not in _NAMES},
            seampack_version=_plain("seampack_version", top["seampack_version"], str),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest file. Raise ShardError if it is missing or damaged."""
        if not path.is_file():
            raise ShardError(f"{path.parent}: no {path.name}: not a packed folder, or a run that did not finish")
        try:
            content = msgspec.json.decode(path.read_bytes())
        except (OSError, ValueError, RecursionError, msgspec.DecodeError) as error:
            raise ShardError(f"{path}: not a manifest of packed shards: {error}") from error
        try:
            return cls.from_dict(content)
        except ShardError as error:
            raise ShardError(f"{path}: {error}") from error


_NAMES = tuple(entry.name for entry in dataclasses.fields(Manifest))

# Fields that were added to version 1 after its first release: None for a folder that lacks them.
_ADDED = (
    "accounting.documents_fit_but_cut",
    *(f"tokenizer.{name}" for name in ("bos", "bos_id", "eos", "eos_id")),
)


def check_notes(notes: Mapping[str, Any]) -> None:
    """Raise ConfigError if a note has the name of a manifest field."""
    for name in notes:
        if name in _NAMES:
            raise ConfigError(f"notes: expected a name that the manifest does not use; got {name!r}")


def _accounting(content: object, seq_len: int) -> Accounting:
    """Return the accounting. Raise ConfigError if it does not balance or contradicts ``seq_len``."""
    counts = _fields(Accounting, "accounting.", content)
    try:
        accounting = Accounting(**counts)
    except SeampackError as error:
        raise ConfigError(
            f"accounting: expected tokens_in = tokens_out - repeated + dropped <= rows * seq_len; got {counts}"
        ) from error
    given = _object("accounting.", content, ["padding", "fill"])
    expected = {**accounting.to_dict(), "seq_len": seq_len}
    for name in ("padding", "fill", "seq_len"):
        value = given[name] if expected[name] is None else check_number(f"accounting.{name}", given[name])
        if value != expected[name]:
            raise ConfigError(f"accounting.{name}: expected {expected[name]}; got {given[name]}")
    return accounting


def _shards(content: object, output_format: str) -> tuple[Shard, ...]:
    """Return the shards. Raise ConfigError unless there is at least one, and each is named by its number."""
    if not isinstance(content, list) or not content:
        raise ConfigError(f"shards: expected a list of at least one shard; got {content!r}")
    shards = []
    for number, entry in enumerate(content):
        shard = Shard(**_fields(Shard, f"shards[{number}].", entry))
        expected = shard_name(number, output_format)
        if shard.file != expected:
            raise ConfigError(f"shards[{number}].file: expected {expected}; got {shard.file!r}")
        shards.append(shard)
    return tuple(shards)


def _object(prefix: str, content: object, names: typing.Iterable[str] = ()) -> dict[str, Any]:
    """Return the content. Raise ConfigError unless it is a JSON object that has all ``names``."""
    if not isinstance(content, dict):
        raise ConfigError(f"{prefix.removesuffix('.')}: expected an object; got {content!r}")
    for name in names:
        if name not in content:
            raise ConfigError(f"{prefix}{name}: expected a value; got none")
    return content


def _fields(kind: type, prefix: str, content: object) -> dict[str, Any]:
    """Return the fields of a flat dataclass from a JSON object, checked by their annotations; integers are >= 0."""
    fields = dataclasses.fields(kind)
    values = _object(prefix, content, [entry.name for entry in fields if prefix + entry.name not in _ADDED])
    return {entry.name: _plain(prefix + entry.name, values.get(entry.name), entry.type) for entry in fields}


def _plain(name: str, value: Any, annotation: Any) -> Any:
    """Return the value. Raise ConfigError unless it has the annotated type."""
    if isinstance(annotation, types.UnionType):  # only ``kind | None`` is used
        if value is None:
            return None
        annotation = next(kind for kind in typing.get_args(annotation) if kind is not types.NoneType)
    if annotation is int:
        return check_integer(name, value, low=0)
    if annotation is float:
        return check_number(name, value)
    if not isinstance(value, annotation):
        raise ConfigError(f"{name}: expected {'text' if annotation is str else 'true or false'}; got {value!r}")
    return value
