"""A remote file system in memory whose faults are set by a test."""

import io
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class _File(io.BytesIO):
    """A file of which reads fail, or give fewer bytes, from a position on."""

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        data = super().read(size)
        Faulty.read_bytes += len(data)
        if Faulty.fails_at is not None and start + len(data) > Faulty.fails_at:
            raise ConnectionResetError("connection reset by peer")
        return data[: max(0, Faulty.ends_at - start)] if Faulty.ends_at is not None else data


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """Files in memory at ``faulty://``."""

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False
    fails_at: ClassVar[int | None] = None
    ends_at: ClassVar[int | None] = None
    refused: ClassVar[str | None] = None
    """The part of the names that must not be opened."""
    read_bytes: ClassVar[int] = 0
    log: ClassVar[list[tuple[str, str]]] = []
    """What was written and removed."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("faulty://"))  # type: ignore[no-any-return]

    def _open(self, path: str, mode: str = "rb", **settings: Any) -> Any:
        if Faulty.refused is not None and Faulty.refused in path:
            raise PermissionError(f"{path}: 403 Forbidden")
        opened = super()._open(path, mode, **settings)
        return _File(opened.getvalue()) if mode == "rb" else opened

    def mv(self, path1: str, path2: str, *others: Any, **settings: Any) -> None:
        super().mv(path1, path2, *others, **settings)
        Faulty.log.append(("write", path2.rpartition("/")[2]))

    def rm_file(self, path: str) -> None:
        super().rm_file(path)
        Faulty.log.append(("remove", path.rpartition("/")[2]))

    @classmethod
    def reset(cls) -> None:
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.log.clear()
        cls.fails_at = cls.ends_at = cls.refused = None
        cls.read_bytes = 0


fsspec.register_implementation("faulty", Faulty, clobber=True)


def put(name: str, data: bytes) -> str:
    """Write a file, and return its address."""
    Faulty().pipe_file(f"/{name}", data)
    return f"faulty://{name}"
