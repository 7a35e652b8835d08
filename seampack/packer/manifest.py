"""The manifest of a packed folder: dataclasses, JSON (format version 3), and the file names of the format.

Earlier versions are read, but not written. Version 2 lacked ``partitions``, named shards by one number, and numbered
all documents of a run in one series. Version 1 lacked ``inputs``, ``files`` and ``digest`` too.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from seampack._version import __version__
from seampack.config import check_choice, check_integer, check_number, check_value
from seampack.errors import ConfigError, SeampackError, ShardError
from seampack.io.places import Place
from seampack.packer.accounting import Accounting
from seampack.packer.checksums import digest
from seampack.packer.config import PackConfig
from seampack.packer.entries import File, Input, Shard, TokenizerFacts
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.names import QUARANTINE, SHARD, shard_name

CHAT_TEMPLATE = "chat_template"
"""Note with the digest of the template of conversations."""
FORMAT = "seampack packed shards"
FORMAT_VERSION = 3
_SINCE = {"inputs": 2, "files": 2, "digest": 2, "partitions": 3}

_NEEDED = ("seq_len", "strategy", "drop_last", "output_format")  # fields of the config that reading a folder needs


def is_manifest(path: Place) -> bool:
    """Return whether a file is the manifest of packed shards, of any version."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Manifest(Mapping[str, Any]):
    """The description of a packed folder, returned by ``pack`` and held by ``PackedFolder``.

    It is also a mapping of the entries of ``to_dict``: ``manifest["accounting"]["fill"]``.
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
    inputs: tuple[Input, ...] = ()
    """The files that were packed, in this order; none in version 1."""
    partitions: tuple[int, ...] = ()
    """Number of documents of each partition of the inputs, with empty ones; a single one in versions 1 and 2."""
    files: tuple[File, ...] = ()
    """The other files of the folder; none in version 1."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Entries that the caller of ``pack`` added, such as ``pre_segment``."""
    seampack_version: str = __version__
    format: str = FORMAT
    format_version: int = FORMAT_VERSION

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``manifest.json``; the notes are entries of the top level.

        ``digest`` is the checksum of all other entries.
        """
        content = {
            "format": self.format,
            "format_version": self.format_version,
            "seampack_version": self.seampack_version,
            "tokenizer": dataclasses.asdict(self.tokenizer),
            **self.notes,
            "config": dict(self.config),
            "columns": dict(self.columns),
            "accounting": self.accounting.to_dict(),
            "quarantined": self.quarantined,
            "shards": [shard.to_dict() for shard in self.shards],
        }
        if self.format_version == 1:
            return content
        content["inputs"] = [dataclasses.asdict(each) for each in self.inputs]
        if self.format_version > 2:
            content["partitions"] = list(self.partitions)
        for given in content["inputs"] if self.format_version == 2 else ():
            del given["part"], given["parts"]
        content["files"] = [dataclasses.asdict(file) for file in self.files]
        return content | {"digest": digest(content)}

    @property
    def other_files(self) -> tuple[str, ...]:
        """Names of the files without rows."""
        return _other_files(self.config["output_format"], self.quarantined)

    @classmethod
    def from_dict(cls, content: object) -> Self:
        """Return the manifest in a JSON value. Raise ShardError, naming the wrong field, if it is damaged."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ShardError(f'not a manifest of packed shards: expected "format": "{FORMAT}"')
        version = content.get("format_version")
        if version not in range(1, FORMAT_VERSION + 1) or not isinstance(version, int) or isinstance(version, bool):
            raise ShardError(f"format version {version}; this program reads versions 1 to {FORMAT_VERSION}")
        try:
            return cls._from_fields(content)
        except ConfigError as error:
            raise ShardError(f"the manifest is damaged: {error}; pack again") from error

    @classmethod
    def _from_fields(cls, content: dict[str, Any]) -> Self:
        version = content["format_version"]
        names = [name for name in _NAMES if version >= _SINCE.get(name, 1)]
        top = _object("", content, names)
        config = _config(top["config"])
        columns = _object("columns.", top["columns"])
        quarantined = check_integer("quarantined", top["quarantined"], low=0)
        accounting = _accounting(top["accounting"], config["seq_len"])
        manifest = cls(
            tokenizer=TokenizerFacts(**_fields(TokenizerFacts, "tokenizer.", top["tokenizer"])),
            config=config,
            columns={name: check_value(f"columns.{name}", kind, str, {}) for name, kind in columns.items()},
            accounting=accounting,
            quarantined=quarantined,
            shards=_shards(top["shards"], config["output_format"], version),
            inputs=_inputs(top["inputs"], version) if version > 1 else (),
            partitions=_partitions(top["partitions"] if version > 2 else [accounting.documents], accounting.documents),
            files=_files(top["files"], _other_files(config["output_format"], quarantined)) if version > 1 else (),
            notes={name: value for name, value in content.items() if name not in names},
            seampack_version=check_value("seampack_version", top["seampack_version"], str, {}),
            format_version=version,
        )
        if version > 1:
            given = {name: value for name, value in content.items() if name != "digest"}
            if top["digest"] != (expected := digest(given)):
                raise ConfigError(
                    f"digest: expected {expected}; got {top['digest']!r}: an entry was changed after packing"
                )
        return manifest

    @classmethod
    def read(cls, path: Place) -> Self:
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


_NAMES = (*(entry.name for entry in dataclasses.fields(Manifest) if entry.name != "notes"), "digest")

# Fields that were added to version 1 after its first release: None for a folder that lacks them.
_ADDED = (
    "accounting.documents_dropped",
    "accounting.documents_fit_but_cut",
    *(f"tokenizer.{name}" for name in ("bos", "bos_id", "eos", "eos_id")),
)


def check_notes(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the notes as a manifest holds them: lists for tuples, text for the keys of objects.

    Raises ConfigError for a note with the name of a manifest field, or that JSON cannot express.
    """
    checked = {}
    for name, value in notes.items():
        if not isinstance(name, str) or name in (*_NAMES, "notes"):
            raise ConfigError(f"notes: expected a name that the manifest does not use; got {name!r}")
        try:
            text = json.dumps({name: value}, ensure_ascii=False, allow_nan=False).encode()
            checked.update(msgspec.json.decode(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"notes: expected a value of {name!r} that JSON can express; got {error}") from error
    return checked


def _other_files(output_format: str, quarantined: int) -> tuple[str, ...]:
    """Return the names of the files that a folder has besides the shards and the manifest."""
    return OutputFormat(output_format).folder_files + ((QUARANTINE,) if quarantined else ())


def _config(content: object) -> dict[str, Any]:
    """Return the fields of the PackConfig that wrote the folder; another version may have more or fewer fields."""
    config = _object("config.", content, _NEEDED)
    for entry in dataclasses.fields(PackConfig):
        if entry.name in config:
            check_value(f"config.{entry.name}", config[entry.name], entry.type, {"low": 0})
    check_choice("config.output_format", config["output_format"], OutputFormat)
    check_integer("config.seq_len", config["seq_len"], low=1)
    return config


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


def _shards(content: object, output_format: str, version: int) -> tuple[Shard, ...]:
    """Return the shards. Raise ConfigError unless there is at least one, and each is named by its place."""
    if not isinstance(content, list) or not content:
        raise ConfigError(f"shards: expected a list of at least one shard; got {content!r}")
    shards: list[Shard] = []
    partition, number = 0, -1
    for place, entry in enumerate(content):
        where = f"shards[{place}]."
        shard = Shard(**_fields(Shard, where, entry))
        named = SHARD.fullmatch(shard.file)
        given = int(named[1] or 0) if named is not None else 0
        partition, number = (given, 0) if given > partition else (partition, number + 1)
        expected = shard_name(partition, number, output_format) if version > 2 else f"shard-{place:05d}.{output_format}"
        if shard.file != expected:
            raise ConfigError(f"{where}file: expected {expected}; got {shard.file!r}")
        _, *names = OutputFormat(output_format).files(expected)
        parts = _files(entry.get("parts", []), tuple(names), f"{where}parts")
        shards.append(dataclasses.replace(shard, parts=parts))
    return tuple(shards)


def _partitions(content: object, documents: int) -> tuple[int, ...]:
    """Return the number of documents of each partition. Raise ConfigError unless they add up."""
    if not isinstance(content, list):
        raise ConfigError(f"partitions: expected a list of numbers of documents; got {content!r}")
    counts = tuple(check_integer(f"partitions[{number}]", count, low=0) for number, count in enumerate(content))
    if sum(counts) != documents:
        raise ConfigError(f"partitions: expected {documents} documents, as in the accounting; got {sum(counts)}")
    return counts


def _inputs(content: object, version: int) -> tuple[Input, ...]:
    """Return the inputs. Raise ConfigError unless there is at least one."""
    if not isinstance(content, list) or not content:
        raise ConfigError(f"inputs: expected a list of at least one input; got {content!r}")
    added = {} if version > 2 else {"part": 0, "parts": 1}
    entries = [{**entry, **added} if isinstance(entry, dict) else entry for entry in content]
    return tuple(Input(**_fields(Input, f"inputs[{number}].", entry)) for number, entry in enumerate(entries))


def _files(content: object, names: tuple[str, ...], where: str = "files") -> tuple[File, ...]:
    """Return the files without rows. Raise ConfigError unless they have the given names, in this order."""
    if not isinstance(content, list) or len(content) != len(names):
        raise ConfigError(f"{where}: expected {', '.join(names) or 'an empty list'}; got {content!r}")
    files = tuple(File(**_fields(File, f"{where}[{number}].", entry)) for number, entry in enumerate(content))
    for number, (name, file) in enumerate(zip(names, files, strict=True)):
        if file.file != name:
            raise ConfigError(f"{where}[{number}].file: expected {name}; got {file.file!r}")
    return files


def _object(prefix: str, content: object, names: Iterable[str] = ()) -> dict[str, Any]:
    """Return the content. Raise ConfigError unless it is a JSON object that has all ``names``."""
    if not isinstance(content, dict):
        raise ConfigError(f"{prefix.removesuffix('.')}: expected an object; got {content!r}")
    for name in names:
        if name not in content:
            raise ConfigError(f"{prefix}{name}: expected a value; got none")
    return content


def _fields(kind: type, prefix: str, content: object) -> dict[str, Any]:
    """Return the fields of a flat dataclass from a JSON object, checked by their annotations; integers are >= 0."""
    fields = [entry for entry in dataclasses.fields(kind) if (kind, entry.name) != (Shard, "parts")]  # read as files
    values = _object(prefix, content, [entry.name for entry in fields if prefix + entry.name not in _ADDED])
    return {
        entry.name: check_value(prefix + entry.name, values.get(entry.name), entry.type, {"low": 0}) for entry in fields
    }
