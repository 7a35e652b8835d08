"""What an earlier run has left: what its receipts count, the batches that none counts, inputs that have changed."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from seampack.errors import DataError
from seampack.io.places import Place, is_url
from seampack.io.sources import STDIN, name_of
from seampack.packer.checksums import Checksum
from seampack.packer.documents import Doubled, TokenBatch
from seampack.packer.entries import Input
from seampack.packer.journal import BlockDigest, Receipt
from seampack.packer.pipeline import Counted, Finished

_BLOCK = 1 << 20


def finished(receipts: Sequence[Receipt]) -> Finished:
    """Return what the receipts of a partition report."""
    return Finished(sum(receipt.blocks for receipt in receipts), receipts[-1].trusts_fast)


def counted(receipts: Sequence[Receipt]) -> Counted:
    """Return what the receipts count."""
    doubled = Doubled(), *(receipt.doubled for receipt in receipts)
    return Counted(
        documents=sum(receipt.documents for receipt in receipts),
        tokens=sum(receipt.tokens for receipt in receipts),
        bytes=sum(receipt.bytes for receipt in receipts),
        doubled=Doubled(*map(sum, zip(*doubled, strict=True))),
    )


def unfinished(
    batches: Iterator[TokenBatch], receipts: Mapping[int, Sequence[Receipt]], changed: Callable[[int], DataError]
) -> Iterator[TokenBatch]:
    """Yield the batches that no receipt counts. Raise the error of a partition if its input has changed."""
    left = {number: list(each) for number, each in receipts.items()}
    complete = {number for number, each in receipts.items() if each[-1].is_last}
    digest = BlockDigest()
    for batch in batches:
        number = batch.origin.partition
        if not left.get(number) and number not in complete:
            yield batch
            continue
        if not batch.ends_partition:
            digest.add(batch.origin)
        if left.get(number):
            receipt = left[number][0]
            if digest.blocks < receipt.blocks and not batch.ends_partition:
                continue
            is_same = (digest.blocks, str(digest)) == (receipt.blocks, receipt.checksum)
            left[number].pop(0)
            digest = BlockDigest()
        else:
            is_same = batch.ends_partition
        if not is_same:
            raise changed(number)


def read_once(inputs: Sequence[Input]) -> dict[str, list[Input]]:
    """Return the inputs of a manifest by their paths, in order; of a file that was read several times, the first."""
    parts: dict[str, list[Input]] = {}
    for each in inputs:
        known = parts.setdefault(each.path, [])
        if each.part == len(known):
            known.append(each)
    return parts


def modified_inputs(paths: Sequence[str], inputs: Mapping[str, Sequence[Input]], manifest: Place) -> list[str]:
    """Return the names of inputs that differ from their descriptions: of pipes, and of files modified since a manifest.

    Remote files are not compared.
    """
    since = manifest.stat().st_mtime_ns if isinstance(manifest, Path) else manifest.info.mtime_ns or 0
    names = []
    for path in dict.fromkeys(paths):
        name = path if path == STDIN else name_of(path)
        if is_url(path) or name not in inputs or (os.path.isfile(path) and os.stat(path).st_mtime_ns < since):
            continue
        if not _is_described(path, inputs[name]):
            names.append(name_of(path))
    return names


def _is_described(path: str, parts: Sequence[Input]) -> bool:
    """Return whether the parts of a file or pipe, one after another, have the bytes that were packed."""
    if path == STDIN and sys.stdin is None:
        return False
    with open(os.dup(sys.stdin.fileno()) if path == STDIN else path, "rb") as file:
        for part in parts:
            state = Checksum()
            while state.bytes < part.bytes and (data := file.read(min(_BLOCK, part.bytes - state.bytes))):
                state.update(data)
            if (state.bytes, str(state)) != (part.bytes, part.checksum):
                return False
        return not file.read(1)
