"""Collation: every tensor against a slow twin, and equal logits with and without packing."""

import pickle
import warnings
from collections.abc import Callable, Iterator
from itertools import accumulate, count, pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask, flex_attention
from transformers.utils import is_flash_attn_2_available

import seampack
from seampack.errors import ConfigError, DataError
from seampack.training.collation import block_mask, collate, dense_mask
from tests.packer.corpus import END, SMALL, TEXTS, write_corpus

Row = dict[str, Any]


@st.composite
def packed_rows(draw: st.DrawFn) -> list[Row]:
    """Rows of segments with repeated tokens, some padded, all with a loss mask or none."""
    has_mask, rows = draw(st.booleans()), []
    for _ in range(draw(st.integers(1, 5))):
        lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
        padding = draw(st.sampled_from([0, 0, 3]))
        tokens = sum(lengths) + padding
        row: Row = {
            "input_ids": draw(st.lists(st.integers(1, 99), min_size=tokens, max_size=tokens)),
            "seq_lengths": [*lengths, padding] if padding else lengths,
            "repeated": [draw(st.integers(0, length)) for length in lengths],
        }
        if has_mask:
            row["loss_mask"] = draw(st.lists(st.integers(0, 1), min_size=tokens, max_size=tokens))
        rows.append(row)
    return rows


def naive_batch(rows: list[Row], *, padded: bool, multiple: int, train_on_repeated: bool) -> dict[str, list[list[int]]]:
    """Token by token: the lines of a batch."""
    numbers = count()
    lines: list[list[tuple[int, int, int, int]]] = [[]]
    for row in rows:
        if padded and lines[-1]:
            lines.append([])
        at = 0
        for length, repeated in zip(row["seq_lengths"], row["repeated"], strict=False):
            number = next(numbers)
            for place in range(length):
                token = row["input_ids"][at]
                is_label = place > 0 and (train_on_repeated or place >= repeated)
                is_label &= bool(row.get("loss_mask", row["input_ids"])[at])
                lines[-1].append((token, token if is_label else -100, place, number))
                at += 1
        if padded:
            lines[-1].append((-1, -1, -1, next(numbers)))  # a mark, for the padding
    if not padded:
        lines[-1].append((-1, -1, -1, next(numbers)))
    longest = max(len(line) - 1 for line in lines)
    width = next(k for k in count(longest) if k % multiple == 0)
    for line in lines:
        *_, number = line.pop()
        line += [(7, -100, place, number) for place in range(width - len(line))]
    columns = [[[token[k] for token in line] for line in lines] for k in range(4)]
    return dict(zip(["input_ids", "labels", "position_ids", "seq_idx"], columns, strict=True))


def renumbered(lines: list[list[int]]) -> list[list[int]]:
    """Number the values from 0 in the order in which they appear."""
    seen: dict[int, int] = {}
    return [[seen.setdefault(value, len(seen)) for value in line] for line in lines]


@given(packed_rows(), st.booleans(), st.sampled_from([1, 4, 16]), st.booleans(), st.booleans())
def test_batches(rows: list[Row], padded: bool, multiple: int, train_on_repeated: bool, arrow: bool) -> None:
    batch = collate(
        pa.Table.from_pylist(rows) if arrow else rows,
        layout="padded" if padded else "padding_free",
        pad_to_multiple=multiple,
        pad_id=7,
        train_on_repeated=train_on_repeated,
    )
    expected = naive_batch(rows, padded=padded, multiple=multiple, train_on_repeated=train_on_repeated)
    expected["seq_idx"] = renumbered(expected["seq_idx"])
    for name, lines in expected.items():
        assert batch[name].tolist() == lines, name
    numbers = [number for line in expected["seq_idx"] for number in line]
    lengths = [numbers.count(number) for number in range(max(numbers) + 1)]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, *accumulate(lengths)]
    assert batch["max_length_q"] == batch["max_length_k"] == max(lengths)
    types = {name: batch[name].dtype for name in [*expected, "cu_seq_lens_q"]}
    assert types.pop("seq_idx") == types.pop("cu_seq_lens_q") == torch.int32
    assert set(types.values()) == {torch.int64}


@settings(max_examples=25)
@given(packed_rows())
def test_masks_of_attention(rows: list[Row]) -> None:
    seq_idx = collate(rows, layout="padded")["seq_idx"]
    sees = [
        [[numbers[q] == numbers[k] and k <= q for k in range(len(numbers))] for q in range(len(numbers))]
        for numbers in seq_idx.tolist()
    ]
    assert (dense_mask(seq_idx)[:, 0] == 0).tolist() == sees
    rule = block_mask(seq_idx).mask_mod
    assert create_mask(rule, *seq_idx.shape[:1], None, *2 * seq_idx.shape[1:], "cpu")[:, 0].tolist() == sees


@pytest.mark.parametrize("options", [{}, {"pad": END}, {"labels": True}, {"pad": END, "labels": True}], ids=str)
def test_each_token_of_a_packed_folder_is_a_label_once(tmp_path: Path, options: dict[str, Any]) -> None:
    """Except the first token of a segment: nothing precedes it."""
    seampack.pack(write_corpus(tmp_path / "corpus.jsonl", TEXTS), out=tmp_path / "out", **SMALL, **options)
    labels, others = [], set()
    for row in datasets.load_from_disk(tmp_path / "out").to_list():
        segments = list(zip(row["doc_ids"], row["doc_starts"], row["seq_lengths"], strict=False))
        places = [(document, start + k) for document, start, length in segments for k in range(length)]
        found = collate([row])["labels"][0].tolist()
        labels += [place for place, label in zip(places, found, strict=True) if label != -100]
        others |= {place for place, label in zip(places, found, strict=True) if label == -100}
        assert {(document, start) for document, start, _ in segments} <= others
    lengths = map(len, seampack.PackedFolder(tmp_path / "out").unpack()["input_ids"].to_pylist())
    assert len(labels) == len(set(labels))
    assert len(set(labels) | others) == sum(lengths)


def alone(ids: Any) -> Row:
    return {"input_ids": ids, "seq_lengths": [len(ids)]}


def segments(rows: list[Row]) -> Iterator[list[int]]:
    for row in rows:
        at = 0
        for length in row["seq_lengths"]:
            yield row["input_ids"][at : at + length]
            at += length


ROWS: list[Row] = [
    {"input_ids": list(range(1, 18)), "seq_lengths": [5, 9, 3]},
    {"input_ids": list(range(3, 15)), "seq_lengths": [1, 11]},
    {"input_ids": list(range(40, 58)), "seq_lengths": [18]},
]


def tiny(attention: str) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        attn_implementation=attention,
    )
    return transformers.LlamaForCausalLM(config).eval()


def check_equal(model: Callable[..., torch.Tensor], batch: dict[str, Any]) -> None:
    """The logits of each segment in the batch equal those of the segment alone."""
    together = model(batch)
    logits = together.reshape(-1, together.shape[-1])
    numbers = batch["seq_idx"].flatten()
    is_token = torch.ones_like(numbers, dtype=torch.bool)
    expected = list(segments(ROWS))
    found = []
    for number in range(int(numbers.max()) + 1):
        ids = batch["input_ids"].flatten()[numbers == number]
        if int(ids[0]) == 0:  # padding
            is_token &= numbers != number
            continue
        found.append(ids.tolist())
        expected_logits = model(collate([alone(ids)]))[0]
        torch.testing.assert_close(logits[numbers == number], expected_logits, rtol=1e-4, atol=1e-4)
    assert found == expected
    assert int(is_token.sum()) == sum(map(len, expected))


LAYOUTS = pytest.mark.parametrize("layout", ["padding_free", "padded"])


@LAYOUTS
@pytest.mark.parametrize(
    ("attention", "mask"), [("eager", "none"), ("eager", "dense"), ("sdpa", "none"), ("sdpa", "dense")]
)
def test_packing_changes_no_logit(attention: str, mask: str, layout: str) -> None:
    model = tiny(attention)
    with torch.no_grad():
        check_equal(lambda batch: model(**batch).logits, collate(ROWS, layout=layout, mask=mask))


def test_packing_changes_no_logit_of_flex_attention() -> None:
    """Attention alone, as most of the time goes into compiling."""
    batch = pickle.loads(pickle.dumps(collate(ROWS, mask="flex")))  # as if a worker of a DataLoader had sent it
    query, key, value = torch.randn(3, 1, 2, batch["input_ids"].numel(), 16).unbind()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        together = flex_attention(query, key, value, block_mask=batch["attention_mask"])
    for start, end in pairwise(batch["cu_seq_lens_q"].tolist()):
        parts = (each[:, :, start:end] for each in (query, key, value))
        expected = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        torch.testing.assert_close(together[:, :, start:end], expected)


@pytest.mark.skipif(not is_flash_attn_2_available(), reason="needs a GPU and flash-attn")
@LAYOUTS
def test_packing_changes_no_logit_of_flash_attention(layout: str) -> None:
    model = tiny("flash_attention_2").to("cuda", torch.bfloat16)

    def logits(batch: dict[str, Any]) -> torch.Tensor:
        moved = {name: value.to("cuda") if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        return model(**moved).logits.float().cpu()

    with torch.no_grad():
        check_equal(logits, collate(ROWS, layout=layout))


class Recurrent(torch.nn.Module):
    """A short causal convolution, then a decayed linear recurrence, as in Mamba; both begin anew at each segment."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(64, 8)
        self.taps = torch.nn.Parameter(torch.randn(3, 8))
        self.decay = torch.nn.Parameter(torch.rand(8))

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        hidden, numbers = self.embedding(batch["input_ids"]), batch["seq_idx"]
        mixed = torch.zeros_like(hidden)
        for back, tap in enumerate(self.taps):
            shifted = hidden.roll(back, 1)
            is_same = numbers == numbers.roll(back, 1)
            is_same[:, :back] = False
            mixed = mixed + tap * shifted * (is_same if back else torch.ones_like(is_same))[..., None]
        state, out = torch.zeros_like(mixed[:, 0]), []
        for place in range(mixed.shape[1]):
            goes_on = (numbers[:, place] == numbers[:, place - 1])[:, None] if place else 0
            state = state * self.decay * goes_on + mixed[:, place]
            out.append(state)
        return torch.stack(out, 1)


@LAYOUTS
def test_packing_changes_no_output_of_a_recurrent_layer(layout: str) -> None:
    with torch.no_grad():
        check_equal(Recurrent(), collate(ROWS, layout=layout))


def test_no_gradient_crosses_a_seam() -> None:
    """The loss of a batch is the mean over the labels of the segments alone."""
    model = tiny("sdpa")
    batch = collate(ROWS)
    loss = model(**batch).loss
    outputs = [model(**collate([alone(ids)])) for ids in segments(ROWS) if len(ids) > 1]
    weights = [len(ids) - 1 for ids in segments(ROWS) if len(ids) > 1]
    expected = sum(each.loss * weight for each, weight in zip(outputs, weights, strict=True)) / sum(weights)
    torch.testing.assert_close(loss, expected)
    assert int((batch["labels"] != -100).sum()) == sum(weights)


def test_values_may_be_arrays_or_tensors() -> None:
    expected = collate(ROWS)
    arrays = [{name: np.asarray(value, np.uint16) for name, value in row.items()} for row in ROWS]
    tensors = [{name: torch.tensor(value) for name, value in row.items()} for row in ROWS]
    batch = pa.Table.from_pylist(ROWS).to_batches()[0]
    for rows in (arrays, tensors, batch):
        for name, value in collate(rows).items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(expected[name])), name


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "expected at least one row; got none"),
        ([alone([])], "expected at least 1 token; got 0"),
        ([{"input_ids": [1], "labels": [1]}], "expected rows with a column seq_lengths; .*remove_unused_columns=False"),
        ([{"text": "a"}], "expected rows with a column input_ids; got text; .*remove_unused_columns=False"),
        (
            [{"input_ids": [1, 2], "seq_lengths": [1, 2]}],
            "row 0 of the batch: expected seq_lengths that add up to its 2",
        ),
        (
            [{"input_ids": [1], "seq_lengths": [1]}, {"input_ids": [1], "seq_lengths": [2, -1]}],
            "row 1 of the batch: seq_lengths: expected at least 1 token; got -1",
        ),
        ([{"input_ids": [1], "seq_lengths": [1]}, {"input_ids": [1]}], "expected a column seq_lengths in each row"),
        (
            [{"input_ids": [1, 2, 3], "seq_lengths": [1, 1, 1], "repeated": [0]}],
            "row 0 of the batch: expected seq_lengths of 1 segments, and of padding; got 3 lengths",
        ),
        ([{**alone([1, 2]), "labels": [1]}], "labels: expected a value for each of 2 tokens; got 1"),
        ([{**alone([1, 2]), "loss_mask": [0.5, 1]}], "loss_mask: expected 0 and 1; got 0.5"),
    ],
)
def test_rows_that_do_not_fit_together(rows: list[Row], message: str) -> None:
    with pytest.raises(DataError, match=message):
        collate(rows)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="layout: expected one of padding_free, padded; got 'flat'"):
        collate(ROWS, layout="flat")
    with pytest.raises(ConfigError, match="pad_to_multiple: expected an integer from 1"):
        collate(ROWS, pad_to_multiple=0)
