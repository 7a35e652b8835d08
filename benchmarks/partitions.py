"""Count what partitions cost in fill and cuts against one global plan; write the table of ``docs/resuming.md``.

    python -m benchmarks.partitions

Counts of drawn document lengths, not times: the table is the same on every machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import seampack
from benchmarks import measure
from seampack.packer.accounting import Accounting
from seampack.packer.config import PackConfig
from seampack.packer.windows import plan_stream

PAGE = Path(__file__).parent.parent / "docs" / "resuming.md"
DOCUMENTS = 2_000_000
PARTITIONS = (1, 10, 100, 1_000)
BATCHES = 4_000
"""Blocks of input; a partition ends at the end of a block."""


@dataclass(frozen=True)
class Batch:
    """The documents of a block of input."""

    lengths: npt.NDArray[np.int64]
    input_bytes: int = 1 << 16
    ends_partition: bool = False  # sections cost the same
    begins: None = None


def kinds() -> Iterator[tuple[str, npt.NDArray[np.int64], int]]:
    """Yield names, document lengths and row lengths."""
    random = np.random.default_rng(0)
    web = random.lognormal(np.log(700) - 1.2**2 / 2, 1.2, DOCUMENTS)
    yield "as web text: lognormal, mean 700", np.maximum(web, 1).astype(np.int64), 2048
    news = random.lognormal(np.log(420), 0.45, DOCUMENTS)
    yield "as news: median 420", news.astype(np.int64) + 1, 512


def planned(lengths: npt.NDArray[np.int64], partitions: int, config: PackConfig) -> Accounting:
    """Return the accounting of a corpus that is packed in partitions."""
    batches = (Batch(part) for part in np.array_split(lengths, BATCHES))
    total = Accounting(seq_len=config.seq_len)
    for window in plan_stream(batches, config.replace(partition_bytes=(BATCHES // partitions) << 16)):
        total += window.accounting
    return total


def main() -> None:
    """Plan, and write the table."""
    rows = []
    for name, lengths, seq_len in kinds():
        for strategy in ("seamless", "best_fit"):
            config = PackConfig(seq_len=seq_len, strategy=strategy)
            whole = seampack.plan(lengths, config).account()
            fitting = int((lengths <= seq_len).sum())
            accounts = [whole, *(planned(lengths, partitions, config) for partitions in PARTITIONS)]
            shown = [f"{a.fill or 0:.4%}, {(a.documents_fit_but_cut or 0) / fitting:.2%}" for a in accounts]
            rows.append([name, f"{seq_len:,}", strategy, *shown])
    headings = ["documents", "row", "strategy", "one plan", "1 partition", *(f"{n:,}" for n in PARTITIONS[1:])]
    table = measure.table(headings, rows)
    measure.write_between(PAGE, "partitions", table)
    print(table)


if __name__ == "__main__":
    main()
