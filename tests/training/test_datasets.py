"""Datasets over packed folders: each row once, in an order that any process can make again and go on with."""

import pickle
import signal
import subprocess
import sys
from collections import Counter
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import seampack
from seampack.errors import ConfigError, DataError, ShardError
from seampack.training import order as orders
from seampack.training.order import RowOrder, part
from tests.packer.corpus import END, FORMATS, SMALL, TEXTS, write_corpus


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same rows in each format, in several shards, padded in one."""
    top = tmp_path_factory.mktemp("folders")
    source = write_corpus(top / "corpus.jsonl", TEXTS)
    for name in ("arrow", "parquet"):
        seampack.pack(source, out=top / name, output_format=name, labels=True, **SMALL)
    seampack.pack(source, out=top / "padded", pad=END, id_column="id", **SMALL)
    return {path.name: path for path in top.iterdir() if path.is_dir()}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def keys(rows: Any) -> list[tuple[Any, ...]]:
    """A hashable value for each row."""
    return [(*row["input_ids"].tolist(), *row["doc_ids"], *row["doc_starts"]) for row in rows]


@pytest.mark.parametrize("name", ["arrow", "parquet", "padded"])
def test_rows_by_index(folders: dict[str, Path], name: str) -> None:
    dataset = seampack.PackedDataset(folders[name])
    folder = seampack.PackedFolder(folders[name])
    expected = [row for table in folder.tables() for row in table.to_pylist()]
    assert len(folder.shards) > 2
    assert [plain(row) for row in dataset] == expected
    assert plain(dataset[np.int64(-1)]) == expected[-1]
    assert dataset.column_names == list(expected[0])
    mixed = [len(dataset) - 1, 0, 40, 40, 1]
    copy = pickle.loads(pickle.dumps(dataset))
    assert [plain(row) for row in copy.__getitems__(mixed)] == [expected[index] for index in mixed]
    assert dataset[0]["input_ids"].dtype == np.int64
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match=f"expected a row from 0 to {len(dataset) - 1}; got {index}"):
            dataset[index]


def test_an_open_shard_is_not_pickled(folders: dict[str, Path]) -> None:
    dataset = seampack.PackedDataset(folders["arrow"])
    size = len(pickle.dumps(dataset))
    _ = [dataset[index] for index in range(len(dataset))]
    assert len(pickle.dumps(dataset)) == size


def test_chosen_columns(folders: dict[str, Path]) -> None:
    dataset = seampack.PackedDataset(folders["arrow"], columns=["input_ids", "seq_lengths"])
    assert list(dataset[0]) == dataset.column_names == ["input_ids", "seq_lengths"]
    with pytest.raises(ConfigError, match=r"columns: expected some of input_ids, .*; got 'text'"):
        seampack.PackedDataset(folders["arrow"], columns=["text"])
    with pytest.raises(ConfigError, match=r"columns: expected a list, such as \['input_ids'\]; got 'input_ids'"):
        seampack.PackedDataset(folders["arrow"], columns="input_ids")
    with pytest.raises(ShardError, match="no such folder"):
        seampack.PackedDataset(folders["arrow"] / "no")


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=8),
    st.booleans(),
    st.integers(0, 3),
    st.booleans(),
    st.integers(1, 5),
    st.integers(1, 50),
)
def test_orders(shards: list[int], mapped: bool, epoch: int, shuffle: bool, run: int, group: int) -> None:
    """An order is a permutation; any part of it is that of the whole; shards of other formats are read one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "_RUN_ROWS", run)
        patch.setattr(orders, "_GROUP_ROWS", group)
        order = RowOrder(shards, is_mapped=mapped, seed=7, epoch=epoch, shuffle=shuffle)
        rows = sum(shards)
        whole = list(order.numbers(0, rows))
        assert sorted(whole) == list(range(rows))
        if not shuffle:
            assert whole == list(range(rows))
        for first in range(0, rows, 7):
            assert list(order.numbers(first, min(rows, first + 9))) == whole[first : first + 9]
        if not mapped:
            shard = [k for k, size in enumerate(shards) for _ in range(size)]
            visited = [shard[number] for number in whole]
            assert sum(a != b for a, b in pairwise(visited)) == max(0, len(set(visited)) - 1)


def test_epochs_and_seeds_have_other_orders() -> None:
    found = {
        tuple(RowOrder([300], is_mapped=mapped, seed=seed, epoch=epoch, shuffle=True).numbers(0, 300))
        for mapped in (True, False)
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(found) == 18


def test_a_shuffle_moves_rows_far() -> None:
    numbers = np.array(list(RowOrder([5_000] * 4, is_mapped=True, seed=0, epoch=0, shuffle=True).numbers(0, 20_000)))
    assert abs(np.corrcoef(numbers, np.arange(20_000))[0, 1]) < 0.03
    assert (abs(np.diff(numbers)) == 1).sum() < 10


@given(st.integers(0, 100), st.integers(1, 9))
def test_parts(rows: int, parts: int) -> None:
    shares = [part(range(3, 3 + rows), number, parts) for number in range(parts)]
    assert [row for share in shares for row in share] == list(range(3, 3 + rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@FORMATS
@pytest.mark.parametrize("remainder", ["keep", "skip"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_each_row_once_over_all_ranks_and_workers(
    folders: dict[str, Path], output_format: str, remainder: str, world_size: int
) -> None:
    folder = folders[output_format]
    everything = Counter(keys(seampack.PackedDataset(folder)))
    ranks = []
    for rank in range(world_size):
        dataset = seampack.PackedIterableDataset(folder, rank=rank, world_size=world_size, remainder=remainder, seed=3)
        loader: Any = DataLoader(dataset, batch_size=4, num_workers=2 if rank == 0 else 0, collate_fn=list)
        ranks.append([key for batch in loader for key in keys(batch)])
        assert len(ranks[-1]) == len(dataset)
    found = Counter(key for rank in ranks for key in rank)
    lost = everything - found
    assert not found - everything
    assert lost.total() == (everything.total() % world_size if remainder == "skip" else 0)
    if remainder == "skip":
        assert len(set(map(len, ranks))) == 1


@FORMATS
def test_a_run_goes_on_after_any_row(folders: dict[str, Path], output_format: str) -> None:
    folder = folders[output_format]

    def loader(dataset: Any) -> Any:
        return DataLoader(dataset, batch_size=3, collate_fn=list)

    whole = seampack.PackedIterableDataset(folder, seed=5)
    epochs = [[keys(batch) for batch in loader(whole)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    steps = [(epoch, step) for epoch in (0, 1) for step in (0, 1, 7, len(epochs[0]) - 1)]
    for epoch, step in steps:
        dataset = seampack.PackedIterableDataset(folder, seed=5)
        dataset.set_epoch(epoch)
        batches = iter(loader(dataset))
        before = [keys(batch) for batch in islice(batches, step)]
        state = dataset.state_dict()
        assert state["rows"] == 3 * step
        copy = seampack.PackedIterableDataset(folder, seed=5)
        copy.load_state_dict(pickle.loads(pickle.dumps(state)))
        assert copy.state_dict() == state
        copy.set_epoch(epoch)  # as the Trainer does; changes nothing
        assert before + [keys(batch) for batch in loader(copy)] == epochs[epoch]
        assert copy.epoch == epoch + 1
        assert copy.state_dict()["rows"] == 0
        if epoch == 0:
            assert [keys(batch) for batch in loader(copy)] == epochs[1]


def test_an_iteration_that_was_left_begins_again(folders: dict[str, Path]) -> None:
    dataset = seampack.PackedIterableDataset(folders["arrow"])
    first = keys(islice(dataset, 5))
    assert keys(islice(dataset, 5)) == first


TRAIN = """
import sys, torch, seampack
from pathlib import Path
from torch.utils.data import DataLoader

folder, checkpoint, log = sys.argv[1:]
dataset = seampack.PackedIterableDataset(folder, seed=1)
step = 0
if Path(checkpoint).exists():
    saved = torch.load(checkpoint)
    dataset.load_state_dict(saved["data"])
    step = saved["step"]
with open(log, "a") as file:
    while dataset.epoch < 2:
        for batch in DataLoader(dataset, batch_size=2, collate_fn=seampack.collate):
            step += 1
            print(step, batch["input_ids"].sum().item(), file=file, flush=True)
            torch.save({"data": dataset.state_dict(), "step": step}, checkpoint + ".new")
            Path(checkpoint + ".new").rename(checkpoint)
            if step == 9 and not Path(checkpoint + ".killed").exists():
                Path(checkpoint + ".killed").touch()
                import os, signal
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_goes_on(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of a run that was killed and of the run that went on are those of a run that was not."""

    def paths(name: str) -> list[str]:
        return [str(folders["arrow"]), str(tmp_path / f"{name}.pt"), str(tmp_path / f"{name}.log")]

    run = subprocess.run([sys.executable, "-c", TRAIN, *paths("killed")], check=False, timeout=120)
    assert run.returncode == -signal.SIGKILL
    (tmp_path / "whole.pt.killed").touch()
    for name in ("killed", "whole"):
        monkeypatch.setattr(sys, "argv", ["-c", *paths(name)])
        exec(TRAIN, {})
    assert (tmp_path / "killed.log").read_text() == (tmp_path / "whole.log").read_text()
    rows = len(seampack.PackedDataset(folders["arrow"]))
    assert len((tmp_path / "whole.log").read_text().splitlines()) == 2 * -(-rows // 2)


def test_states_of_other_runs_are_refused(folders: dict[str, Path]) -> None:
    state = seampack.PackedIterableDataset(folders["arrow"]).state_dict()
    other = {
        "folder": seampack.PackedIterableDataset(folders["padded"]),
        "seed": seampack.PackedIterableDataset(folders["arrow"], seed=2),
        "shuffle": seampack.PackedIterableDataset(folders["arrow"], shuffle=False),
        "rank": seampack.PackedIterableDataset(folders["arrow"], rank=1, world_size=2),
    }
    for name, dataset in other.items():
        with pytest.raises(DataError, match=f"state: expected {name} .*, as now; got .*, from the earlier run"):
            dataset.load_state_dict(state)


@pytest.mark.filterwarnings("ignore")  # torchdata looks at deprecated names of torch
def test_a_stateful_loader_goes_on_with_workers(folders: dict[str, Path]) -> None:
    """Also where a worker has given all its rows, and others have not."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader(**options: Any) -> Any:
        dataset = seampack.PackedIterableDataset(folders["arrow"], seed=2)
        return StatefulDataLoader(dataset, batch_size=3, num_workers=2, collate_fn=list, **options)

    kept = loader(persistent_workers=True)
    whole, next_epoch = ([keys(batch) for batch in kept] for _ in range(2))
    assert sorted(chain.from_iterable(whole)) == sorted(chain.from_iterable(next_epoch))
    assert whole != next_epoch
    for place in (5, len(whole) - 1):
        first = loader()
        batches = iter(first)
        before = [keys(batch) for batch in islice(batches, place)]
        assert before == whole[:place]
        state = first.state_dict()
        del batches
        second = loader(persistent_workers=True)
        second.load_state_dict(state)
        assert before + [keys(batch) for batch in second] == whole
        assert [keys(batch) for batch in second] == next_epoch


def test_ranks_are_not_guessed(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(ConfigError, match="rank: expected rank and world_size, because several processes"):
        seampack.PackedIterableDataset(folders["arrow"])
    assert len(seampack.PackedIterableDataset(folders["arrow"], rank=0, world_size=1))


def test_options_are_checked(folders: dict[str, Path]) -> None:
    for options, message in [
        ({"rank": 1}, "rank, world_size: expected both or none"),
        ({"rank": 2, "world_size": 2}, "rank: expected a number below world_size, 2; got 2"),
        ({"remainder": "pad"}, "remainder: expected one of skip, keep; got 'pad'"),
        ({"sede": 1}, "sede: no such option; did you mean seed?"),
    ]:
        with pytest.raises(ConfigError, match=message):
            seampack.PackedIterableDataset(folders["arrow"], **options)
