"""What the receipts of an earlier run report, and the batches that none of them counts."""

from collections.abc import Iterator, Mapping, Sequence

from seampack.errors import DataError
from seampack.packer.documents import Doubled, TokenBatch
from seampack.packer.journal import BlockDigest, Receipt
from seampack.packer.pipeline import Counted, Finished


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


def unfinished(batches: Iterator[TokenBatch], receipts: Mapping[int, Sequence[Receipt]]) -> Iterator[TokenBatch]:
    """Yield the batches that no receipt counts. Raise DataError if the input of a receipt has changed."""
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
            raise DataError(
                f"cannot resume: the input of partition {number} has changed since the run that did not finish; give "
                "the same input, or remove the hidden folder next to the output to start again"
            )
