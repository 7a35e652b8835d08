"""The collators of trl and transformers on packed rows: which borders they keep, and which tokens are labels."""

from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import transformers
from datasets import load_from_disk
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

import seampack
from tests.packer.corpus import END, END_ID, SMALL

OPTIONS = pytest.mark.parametrize(
    "options",
    [{}, {"labels": True}, {"pad": END, "labels": True}, {"pad": END, "labels": True, "strategy": "pad"}],
    ids=str,
)


def rows_of(corpus: Path, out: Path, options: dict[str, Any]) -> list[dict[str, Any]]:
    seampack.pack(corpus, out=out, **{**SMALL, "strategy": "best_fit", **options})
    rows = load_from_disk(out).to_list()
    lengths = [len(row["seq_lengths"]) for row in rows]
    assert min(lengths) < max(lengths)
    return rows


def joined(rows: list[dict[str, Any]], column: str) -> list[int]:
    return [value for row in rows for value in row[column]]


@OPTIONS
def test_the_padding_free_collator_of_trl_keeps_every_border(
    corpus: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    rows = rows_of(corpus, tmp_path / "out", options)
    collator = DataCollatorForLanguageModeling(pad_token_id=END_ID, padding_free=True)
    for first in range(0, len(rows), 8):
        some = rows[first : first + 8]
        batch = collator(some)
        lengths = joined(some, "seq_lengths")
        assert batch["input_ids"][0].tolist() == joined(some, "input_ids")
        assert batch["position_ids"][0].tolist() == [place for length in lengths for place in range(length)]
        assert batch["cu_seq_lens_q"].tolist() == [0, *accumulate(lengths)]
        expected = joined(some, "labels" if "labels" in options else "input_ids")
        starts = {0, *accumulate(lengths)}
        assert batch["labels"][0].tolist() == [-100 if k in starts else label for k, label in enumerate(expected)]


@OPTIONS
def test_the_flattening_collator_of_transformers_joins_the_documents_of_a_row(
    corpus: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """It keeps the borders of rows alone, as the page about trainers says."""
    rows = rows_of(corpus, tmp_path / "out", options)[:8]
    batch = transformers.DataCollatorWithFlattening()(rows)
    assert batch["input_ids"][0].tolist() == joined(rows, "input_ids")
    assert batch["position_ids"][0].tolist() == [place for row in rows for place in range(len(row["input_ids"]))]


def test_padded_rows_make_a_rectangular_batch(corpus: Path, tmp_path: Path) -> None:
    rows = rows_of(corpus, tmp_path / "out", {"pad": END, "labels": True})
    kept = [{name: row[name] for name in ("input_ids", "labels")} for row in rows]
    batch = transformers.default_data_collator(kept)
    assert batch["input_ids"].shape == batch["labels"].shape == (len(rows), 32)
