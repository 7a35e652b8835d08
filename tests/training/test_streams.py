"""Streams in torch's DataLoader."""

from collections import Counter
from itertools import islice
from typing import Any

import pytest
from torch.utils.data import DataLoader

from seampack import PackedStreamDataset, collate, pack_stream
from tests.packer.corpus import TOKENS

WINDOWS = {"seq_len": 32, "window_tokens": 256, "max_overlap": 0}


def loader(workers: int = 0, kind: Any = DataLoader) -> Any:
    dataset = PackedStreamDataset(pack_stream(TOKENS, **WINDOWS))
    return kind(dataset, batch_size=3, num_workers=workers, collate_fn=collate)


def ids(batches: Any) -> list[list[int]]:
    return [batch["input_ids"][0].tolist() for batch in batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_each_token_once(workers: int) -> None:
    found = Counter(token for batch in ids(loader(workers)) for token in batch)
    assert found == Counter(token for tokens in TOKENS for token in tokens)


def test_a_loader_goes_on() -> None:
    whole = ids(loader())
    first = loader()
    before = ids(islice(iter(first), 9))
    second = loader()
    second.dataset.load_state_dict(first.dataset.state_dict())
    assert before + ids(second) == whole


@pytest.mark.filterwarnings("ignore")  # torchdata looks at deprecated names of torch
def test_a_stateful_loader_goes_on_with_workers() -> None:
    """Also where a worker has packed its share, and others have not."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    whole = ids(loader(2, StatefulDataLoader))
    for place in (5, len(whole) - 1):
        first = loader(2, StatefulDataLoader)
        batches = iter(first)
        before = ids(islice(batches, place))
        state = first.state_dict()
        del batches
        second = loader(2, StatefulDataLoader)
        second.load_state_dict(state)
        assert before + ids(second) == whole
    assert ids(second) == whole
