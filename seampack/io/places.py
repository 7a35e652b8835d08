"""Places: local paths, and addresses of remote files such as ``s3://bucket/folder``; both are read in the same way."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from seampack.errors import ConfigError

if TYPE_CHECKING:
    from seampack.io.remote import RemotePath

Place: TypeAlias = "Path | RemotePath"
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(?:([^/:@]*)(?::[^/@]*)?@)?([^?]*)(\?.*)?", re.IGNORECASE | re.DOTALL)
_LOCAL = "file://"
_OF_BUCKETS = ("s3", "gs", "gcs")
"""Schemes whose addresses may have credentials, and nothing else, before ``@``."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is an address of a remote file or folder. ``file://`` is local."""
    name = os.fspath(path)
    return _URL.match(name) is not None and not name.startswith(_LOCAL)


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path or address without credentials and query, for messages and manifests."""
    name = os.fspath(path)
    match = _URL.fullmatch(name)
    if match is None:
        return name
    scheme, user, rest = match[1], match[2], match[3]
    kept = f"{user}@" if user and scheme.lower() not in _OF_BUCKETS else ""  # the container of Azure
    return f"{scheme}://{kept}{rest}"


def local_path(path: str | os.PathLike[str]) -> str:
    """Return the path of a ``file://`` address, and others as they are."""
    return os.fspath(path).removeprefix(_LOCAL)


def check_path(path: object, name: str = "path") -> None:
    """Raise ConfigError, with the name of the argument, unless it is a path: an empty one would be the current folder.

    ``name``: the argument that has the path or address.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ConfigError(f"{name}: expected a path or an address; got {path!r}; the current folder is '.'")


def place_of(path: str | os.PathLike[str]) -> Place:
    """Return the place that a path or an address names; nothing is read.

    Raises ConfigError for an empty path, RemoteError for a server that cannot be asked, MissingExtraError if the scheme
    needs another package.
    """
    check_path(path)
    if is_url(path):
        from seampack.io.remote import remote_path

        return remote_path(os.fspath(path))
    return Path(local_path(path))


@contextmanager
def on_disk(place: Place, *others: Place) -> Iterator[Path]:
    """Yield a local file with the content of a place: the file itself, or a temporary copy, with ``others``."""
    if isinstance(place, Path):
        yield place
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="seampack-") as folder:
        for each in (place, *others):
            each.copy_to(Path(folder) / each.name)  # type: ignore[union-attr]  # all are remote
        yield Path(folder) / place.name
