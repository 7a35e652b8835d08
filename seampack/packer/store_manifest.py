"""The manifest of a token store: dataclasses, JSON, and the file names of the format."""

import dataclasses
import os
import re
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from seampack._version import __version__
from seampack.errors import SeampackError, ShardError
from seampack.io.output import FolderKind
from seampack.io.places import Place, place_of
from seampack.packer.checksums import digest
from seampack.packer.config import PackConfig
from seampack.packer.entries import File, Input, TokenizerFacts
from seampack.packer.names import QUARANTINE

MARKER = "tokens.json"
FORMAT = "seampack token store"
FORMAT_VERSION = 1
TOKENISE_AGAIN = "tokenise again"
_PARTITION = re.compile(r"tokens-[0-9]{5,}\.arrow")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPartition:
    """A file of documents, those of a partition of the corpus."""

    file: str
    bytes: int
    checksum: str
    documents: int
    tokens: int
    inputs: tuple[Input, ...]
    """The files of the corpus, or parts of files, that the documents were read from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreManifest:
    """The description of a token store, returned by ``tokenize``."""

    tokenizer: TokenizerFacts
    special_tokens: dict[str, int]
    """Tokens that rows can be padded with, and their ids."""
    config: dict[str, Any]
    """The options in ``READING``."""
    columns: dict[str, str]
    """Arrow type of each column of the files."""
    quarantined: int
    """Number of records in ``quarantine.jsonl``."""
    partitions: tuple[StoredPartition, ...]
    files: tuple[File, ...]
    """The other files of the folder."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What packed folders are to note, such as ``pre_segment``."""
    seampack_version: str = __version__
    format: str = FORMAT
    format_version: int = FORMAT_VERSION

    @property
    def documents(self) -> int:
        """Number of documents."""
        return sum(partition.documents for partition in self.partitions)

    @property
    def tokens(self) -> int:
        """Number of tokens, with those around the documents."""
        return sum(partition.tokens for partition in self.partitions)

    @property
    def fingerprint(self) -> str:
        """The checksum of all entries, which has the checksums of all files."""
        return digest(dataclasses.asdict(self))

    @property
    def contents(self) -> str:
        """The checksum of the documents alone, wherever the corpus and the tokenizer are."""
        return digest({"files": [partition.checksum for partition in self.partitions]})

    @property
    def noted_quarantine(self) -> dict[str, int]:
        """What packed folders note of records that could not be read: their number, if there are any."""
        return {"quarantined": self.quarantined} if self.quarantined else {}

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``tokens.json``; ``digest`` is the checksum of all other entries."""
        return dataclasses.asdict(self) | {"digest": self.fingerprint}

    @classmethod
    def read(cls, path: Place) -> Self:
        """Read a manifest file. Raise ShardError if it is missing, damaged, or of a later format."""
        try:
            content = msgspec.json.decode(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ShardError(f"{path.parent}: no {path.name}: not a token store") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ShardError(f"{path}: the token store is damaged: {error}; {TOKENISE_AGAIN}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ShardError(f'{path}: not a token store: expected "format": "{FORMAT}"')
        if (version := content.get("format_version")) != FORMAT_VERSION:
            raise ShardError(
                f"{path}: format version {version!r}; this program reads version {FORMAT_VERSION}; update seampack, or "
                "tokenise again"
            )
        stated = content.pop("digest", None)
        try:
            manifest = msgspec.convert(content, cls, strict=True)
            PackConfig.given(None, **manifest.config)
        except (msgspec.ValidationError, TypeError, SeampackError) as error:
            raise ShardError(f"{path}: the token store is damaged: {error}; {TOKENISE_AGAIN}") from error
        if stated != manifest.fingerprint or content.keys() != dataclasses.asdict(manifest).keys():
            raise ShardError(
                f"{path}: the token store is damaged: digest: expected {manifest.fingerprint}; got {stated!r}: an "
                "entry was changed; tokenise again"
            )
        if other := [each.file for each in manifest.partitions if not _PARTITION.fullmatch(each.file)]:
            raise ShardError(f"{path}: the token store is damaged: {other[0]!r} is no name of a partition")
        if [each.file for each in manifest.files] != [QUARANTINE] * (manifest.quarantined > 0):
            raise ShardError(
                f"{path}: the token store is damaged: files: expected {QUARANTINE} if records are quarantined, and no "
                f"other; {TOKENISE_AGAIN}"
            )
        return manifest


def partition_name(number: int) -> str:
    """Return the name of the file of a partition."""
    return f"tokens-{number:05d}.arrow"


def is_marker(path: Place) -> bool:
    """Return whether a file is the manifest of a token store, of any version."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def is_stored_name(name: str) -> bool:
    """Return whether a token store has files of this name."""
    return name in (MARKER, QUARANTINE) or _PARTITION.fullmatch(name) is not None


TOKENS = FolderKind(
    "a token store",
    MARKER,
    owns=lambda entry: is_stored_name(entry.name) and entry.is_file(),
    is_marker=is_marker,
)


def is_token_store(path: str | os.PathLike[str]) -> bool:
    """Return whether a path or an address is the folder of a token store, of any version, or damaged."""
    folder = place_of(path)
    return folder.is_dir() and holds_tokens(folder)


def holds_tokens(folder: Place) -> bool:
    """Return whether a folder is a token store, of any version, or damaged."""
    marker = folder / MARKER
    return marker.is_file() and (is_marker(marker) or (folder / partition_name(0)).is_file())
