"""Tokenising: from a corpus to a token store, in one pass."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from seampack._threads import thread_count
from seampack.errors import ConfigError
from seampack.io.bad_records import BadRecord
from seampack.io.output import staged_folder, sync, writing
from seampack.io.places import check_path
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split, TokenBatch
from seampack.packer.manifest import CHAT_TEMPLATE, check_notes
from seampack.packer.memory_sources import MemorySource, opened
from seampack.packer.names import QUARANTINE
from seampack.packer.option_groups import NOT_READING, READING
from seampack.packer.pipeline import Progress, known_bytes, token_batches
from seampack.packer.shards import described
from seampack.packer.store_files import schema_of, with_labels, write_block
from seampack.packer.store_manifest import (
    MARKER,
    TOKENS,
    StoredPartition,
    StoreManifest,
    partition_name,
)
from seampack.packer.tokenizing import BUNDLED, AnyTokenizer, TextTokenizer
from seampack.packer.work import Inputs, facts_of, refuse_own_input


def tokenize(
    source: Inputs | Any,
    config: PackConfig | None = None,
    out: str | os.PathLike[str] = "tokens",
    *,
    tokenizer: AnyTokenizer = BUNDLED,
    threads: int | None = None,
    overwrite: bool = False,
    split: Split | None = None,
    notes: Mapping[str, Any] | None = None,
    on_tokenizer: Callable[[TextTokenizer], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> StoreManifest:
    """Tokenise a corpus of any size into the token store ``out``, which ``pack`` packs without the tokenizer.

    Args:
        out: A folder, or an address, to which the folder is uploaded when it is complete, ``tokens.json`` last.
        config, options: The fields of PackConfig that decide the documents, such as ``text_column`` or ``eos``; those
            of planning and writing are given to ``pack``.
        source, tokenizer, threads, overwrite, split, notes, on_tokenizer, on_progress: See ``pack``.

    Raises ConfigError, DataError or ShardError; ``out`` is then unchanged.
    """
    check_path(out, "out")
    config = PackConfig.given(config, **options)
    _refuse_planning(config)
    threads = thread_count(threads)
    noted = check_notes(notes or {})
    paths = opened(source)
    if not isinstance(paths, MemorySource):
        refuse_own_input(source, paths, out)
    loaded = TextTokenizer(tokenizer, config, input_bytes=known_bytes(paths))
    if on_tokenizer is not None:
        on_tokenizer(loaded)
    if loaded.chats is not None:
        noted[CHAT_TEMPLATE] = loaded.chats.digest
    with staged_folder(out, TOKENS, overwrite=overwrite, uploads=True) as folder:
        store = _Store(folder, os.fspath(out), config, loaded)
        with (
            ThreadPoolExecutor(1, thread_name_prefix="write") as thread,
            ExitStack() as files,
            closing(
                token_batches(
                    paths,
                    loaded,
                    config,
                    threads=threads,
                    split=split,
                    on_bad=store.quarantine,
                    on_progress=on_progress,
                )
            ) as batches,
        ):
            files.callback(store.abandon)
            pending: Future[None] | None = None
            for batch in batches:
                if pending is not None:
                    pending.result()
                pending = thread.submit(store.add, batch)
            if pending is not None:
                pending.result()
        return store.finish(noted)


def _refuse_planning(config: PackConfig) -> None:
    """Raise ConfigError for an option that has no effect on a store."""
    for field in dataclasses.fields(config):
        if field.name in NOT_READING and getattr(config, field.name) != field.default:
            raise ConfigError(f"{field.name}: a token store does not depend on it; give it to pack")


def special_tokens_of(tokenizer: TextTokenizer) -> dict[str, int]:
    """Return the ids of the added tokens, and of those around documents, by name."""
    added = {token.content: number for number, token in tokenizer.reference.get_added_tokens_decoder().items()}
    return added | {each.name: each.id for each in (tokenizer.bos, tokenizer.eos) if each.name is not None}


class _Store:
    """A token store that is being written."""

    def __init__(self, folder: Path, out: str, config: PackConfig, tokenizer: TextTokenizer) -> None:
        self._folder = folder
        self._out = out
        self._config = with_labels(config)
        self._tokenizer = tokenizer
        self._schema = schema_of(self._config, tokenizer.vocab_size)
        self._partitions: list[StoredPartition] = []
        self._file: Any = None
        self._writer: Any = None
        self._documents = self._tokens = self._quarantined = 0

    def add(self, batch: TokenBatch) -> None:
        """Write the documents of a block, or end the partition."""
        with writing(self._out):
            if self._writer is None:
                path = self._folder / partition_name(len(self._partitions))
                self._file = pa.OSFile(str(path), "wb")
                self._writer = pa.ipc.new_file(self._file, self._schema)
            if not batch.ends_partition:
                write_block(self._writer, self._schema, batch, self._config)
                self._documents += batch.lengths.size
                self._tokens += batch.ids.size
                return
            self._close()
            path = self._folder / partition_name(len(self._partitions))
            file = described(path)
            sync(path)
        self._partitions.append(
            StoredPartition(
                file=file.file,
                bytes=file.bytes,
                checksum=file.checksum,
                documents=self._documents,
                tokens=self._tokens,
                inputs=batch.origin.inputs or (),
            )
        )
        self._documents = self._tokens = 0

    def _close(self) -> None:
        self._writer.close()
        self._file.close()
        self._writer = None

    def abandon(self) -> None:
        """Close the open file of a run that failed."""
        if self._writer is not None:
            with suppress(Exception):  # a full disk fails again here
                self._close()

    def quarantine(self, records: Iterable[BadRecord]) -> None:
        """Append records that could not be read."""
        with writing(self._out), (self._folder / QUARANTINE).open("a", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record.to_dict(), ensure_ascii=False) + "\n")
                self._quarantined += 1

    def finish(self, notes: dict[str, Any]) -> StoreManifest:
        """Write the manifest, and return it."""
        tokenizer, options = self._tokenizer, self._config.to_dict()
        with writing(self._out):
            manifest = StoreManifest(
                tokenizer=facts_of(tokenizer),
                special_tokens=special_tokens_of(tokenizer),
                config={name: options[name] for name in READING},
                columns={each.name: str(each.type) for each in self._schema},
                quarantined=self._quarantined,
                partitions=tuple(self._partitions),
                files=(described(self._folder / QUARANTINE),) if self._quarantined else (),
                notes=notes,
            )
            text = json.dumps(manifest.to_dict(), indent=2, ensure_ascii=False) + "\n"
            (self._folder / MARKER).write_text(text, encoding="utf-8")
        return manifest
