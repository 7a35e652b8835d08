"""Count the documents that fit a row and are cut, for each strategy; write the table of ``docs/strategies.md``.

    python -m benchmarks.cuts                                            # drawn lengths and the bundled corpus
    python -m benchmarks.cuts --tokenizer gpt2/tokenizer.json news.jsonl.zst abstracts.jsonl.zst

Counts, not times: the table is the same on every machine.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import seampack
from benchmarks import measure
from seampack.packer.plan_config import PAPER

PAGE = Path(__file__).parent.parent / "docs" / "strategies.md"
BUNDLED = Path(seampack.__file__).parent / "data" / "corpus.jsonl.zst"
SEQ_LENS = (512, 1024, 2048)

# Columns: a strategy with its options, and the counts shown.
ARMS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "concat": ({"strategy": "concat"}, ("cut",)),
    "as published": (PAPER, ("cut", "dropped")),
    "seamless": ({}, ("cut", "fill")),
    "best_fit": ({"strategy": "best_fit"}, ("cut", "fill")),
    "best_fit, filled": ({"strategy": "best_fit", "leftover": "fill"}, ("cut", "fill")),
}


def drawn() -> Iterator[tuple[str, npt.NDArray[np.int32], tuple[int, ...]]]:
    """Yield names, lengths and row lengths of 100,000 drawn documents of several kinds."""
    random = np.random.default_rng(0)
    web = random.lognormal(np.log(700) - 1.2**2 / 2, 1.2, 100_000)
    yield "drawn as web text: lognormal, mean 700", np.maximum(web, 1).astype(np.int32), (2048,)
    yield "drawn: 0.55 to 0.95 rows", random.integers(1126, 1945, 100_000, np.int32), (2048,)
    yield "drawn: 0.30 to 0.45 rows", random.integers(614, 921, 100_000, np.int32), (2048,)


def lengths_of(corpus: Path, tokenizer: str) -> npt.NDArray[np.int32]:
    """Return the number of tokens of each document, with its EOS."""
    from seampack.packer.config import PackConfig
    from seampack.packer.pipeline import token_batches
    from seampack.packer.tokenizing import TextTokenizer

    config = PackConfig()
    batches = token_batches([str(corpus)], TextTokenizer(tokenizer, config), config)
    return np.concatenate([batch.lengths for batch in batches]).astype(np.int32)


def cells(lengths: npt.NDArray[np.int32], seq_len: int) -> list[str]:
    """Return the counts of each arm as shares: of the documents that fit, of the tokens, and of the rows."""
    fitting = max(1, int(((lengths > 0) & (lengths <= seq_len)).sum()))
    shown = []
    for options, counts in ARMS.values():
        account = seampack.plan(lengths, seq_len=seq_len, **options).account()
        values = {
            "cut": f"{(account.documents_fit_but_cut or 0) / fitting:.1%}",
            "dropped": f"{account.dropped / account.tokens_in:.2%}",
            "fill": f"{account.fill or 0:.2%}",
        }
        shown.append(", ".join(values[count] for count in counts))
    return shown


def main() -> None:
    """Count, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*", type=Path, default=[BUNDLED], help="corpora of one kind of text each")
    parser.add_argument("--tokenizer", default="bundled")
    options = parser.parse_args()
    sources = [(path.name.split(".")[0], lengths_of(path, options.tokenizer), SEQ_LENS) for path in options.corpora]
    rows = [
        [name, f"{lengths.size:,}", f"{int(np.median(lengths)):,}", f"{seq_len:,}", *cells(lengths, seq_len)]
        for name, lengths, seq_lens in [*sources, *drawn()]
        for seq_len in seq_lens
    ]
    headings = [f"{name}: {', '.join(counts)}" for name, (_, counts) in ARMS.items()]
    table = measure.table(["documents", "number", "median tokens", "row", *headings], rows)
    measure.write_between(PAGE, "cuts", table)
    print(table)


if __name__ == "__main__":
    main()
