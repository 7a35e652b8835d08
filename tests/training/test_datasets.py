"""Datasets over packed folders: each row once, in an order that any process can make again and go on with."""

import pickle
import re
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

BALANCED: dict[str, Any] = {
    **SMALL,
    "seq_len": 512,
    "window_tokens": 1 << 20,
    "shard_tokens": 7 * 512,  # steps of 4 rows go over the ends of shards
    "balance": 4,
    "linear_cost": 0,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same rows in each format, in several shards, padded in one."""
    top = tmp_path_factory.mktemp("folders")
    source = write_corpus(top / "corpus.jsonl", TEXTS)
    for name in ("arrow", "parquet"):
        seampack.pack(source, out=top / name, output_format=name, labels=True, **SMALL)
        seampack.pack(source, out=top / f"balanced-{name}", output_format=name, **BALANCED)
    seampack.pack(source, out=top / "padded", pad=END, id_column="id", **SMALL)
    seampack.pack(source, out=top / "ordered", strategy="keep_order", **SMALL)
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
    st.integers(1, 9),
)
def test_orders(
    shards: list[int], mapped: bool, epoch: int, shuffle: bool, run: int, group: int, step_rows: int
) -> None:
    """An order is a permutation that keeps steps; any part of it is that of the whole; shards are read one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "_RUN_ROWS", run)
        patch.setattr(orders, "_GROUP_ROWS", group)
        order = RowOrder(shards, is_mapped=mapped, seed=7, epoch=epoch, shuffle=shuffle, step_rows=step_rows)
        rows = sum(shards)
        whole = list(order.numbers(range(rows)))
        assert sorted(whole) == list(range(rows))
        if not shuffle:
            assert whole == list(range(rows))
        for first in range(0, rows, 7):
            assert list(order.numbers(range(first, min(rows, first + 9)))) == whole[first : first + 9]
        for every in range(1, 5):
            assert list(order.numbers(range(rows)[1::every])) == whole[1::every]
        in_steps = rows - rows % step_rows
        for first in range(0, in_steps, step_rows):
            assert whole[first] % step_rows == 0
            assert whole[first : first + step_rows] == list(range(whole[first], whole[first] + step_rows))
        assert whole[in_steps:] == list(range(in_steps, rows))
        if not mapped:
            shard = [k for k, size in enumerate(shards) for _ in range(size)]
            visited = [shard[number] for number in whole[:in_steps:step_rows]]
            assert sum(a != b for a, b in pairwise(visited)) == max(0, len(set(visited)) - 1)


def test_epochs_and_seeds_have_other_orders() -> None:
    found = {
        tuple(RowOrder([300], is_mapped=mapped, seed=seed, epoch=epoch, shuffle=True).numbers(range(300)))
        for mapped in (True, False)
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(found) == 18


def test_a_shuffle_moves_rows_far() -> None:
    numbers = np.array(
        list(RowOrder([5_000] * 4, is_mapped=True, seed=0, epoch=0, shuffle=True).numbers(range(20_000)))
    )
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
@pytest.mark.parametrize("interleave", [False, True])
def test_each_row_once_over_all_ranks_and_workers(
    folders: dict[str, Path], output_format: str, remainder: str, world_size: int, interleave: bool
) -> None:
    folder = folders[output_format]
    everything = Counter(keys(seampack.PackedDataset(folder)))
    options: dict[str, Any] = {"world_size": world_size, "remainder": remainder, "interleave": interleave, "seed": 3}
    ranks = []
    for rank in range(world_size):
        dataset = seampack.PackedIterableDataset(folder, rank=rank, **options)
        loader: Any = DataLoader(dataset, batch_size=4, num_workers=2 if rank == 0 else 0, collate_fn=list)
        ranks.append([key for batch in loader for key in keys(batch)])
        assert len(ranks[-1]) == len(dataset)
    found = Counter(key for rank in ranks for key in rank)
    lost = everything - found
    assert not found - everything
    assert lost.total() == (everything.total() % world_size if remainder == "skip" else 0)
    if remainder == "skip":
        assert len(set(map(len, ranks))) == 1


def attention(row: dict[str, Any]) -> int:
    """What attention within the documents of a row costs."""
    return sum(length * length for length in row["seq_lengths"])


def of_steps(folder: Path, world_size: int, *, workers: int = 0, **options: Any) -> list[list[dict[str, Any]]]:
    """The rows that the ranks read at the same time, one each, step by step."""
    ranks = []
    for rank in range(world_size):
        dataset = seampack.PackedIterableDataset(folder, rank=rank, world_size=world_size, **options)
        loader: Any = DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=lambda rows: rows[0])
        ranks.append(list(loader))
    return [list(step) for step in zip(*ranks, strict=True)]


def dearest_over_mean(steps: list[list[dict[str, Any]]]) -> float:
    costs = np.array([[attention(row) for row in step] for step in steps])
    return float(costs.max(axis=1).sum() / costs.mean(axis=1).sum())


@FORMATS
@pytest.mark.parametrize("workers", [0, 2])
def test_the_ranks_of_a_balanced_folder_read_the_rows_of_a_step(
    folders: dict[str, Path], output_format: str, workers: int
) -> None:
    """Steps cost what those of the folder cost, in another order in each epoch; rows that are over come last."""
    folder = folders[f"balanced-{output_format}"]
    rows = list(seampack.PackedDataset(folder))
    steps = [rows[first : first + 4] for first in range(0, len(rows) - 3, 4)]
    assert len(rows) % 4
    found = of_steps(folder, 4, workers=workers)
    assert sorted(map(keys, found)) == sorted(map(keys, steps))
    assert list(map(keys, found)) != list(map(keys, steps))
    assert dearest_over_mean(found) == pytest.approx(dearest_over_mean(steps))
    assert dearest_over_mean(steps) < 1.01 < 1.2 < dearest_over_mean(of_steps(folder, 4, interleave=False))
    assert list(map(keys, of_steps(folder, 4, workers=workers, shuffle=False))) == list(map(keys, steps))
    assert sorted(chain.from_iterable(map(keys, of_steps(folder, 2)))) == sorted(keys(rows[: len(rows) // 2 * 2]))
    whole = list(seampack.PackedIterableDataset(folder))  # for a trainer that divides the rows itself
    assert sorted(keys(whole[at : at + 4]) for at in range(0, len(steps) * 4, 4)) == sorted(map(keys, steps))
    assert keys(whole[len(steps) * 4 :]) == keys(rows[len(steps) * 4 :])


def test_ranks_that_do_not_divide_a_step_are_named(folders: dict[str, Path]) -> None:
    folder = folders["balanced-arrow"]
    message = f"world_size: expected a divisor of 4, the --balance of {folder}; got 3: .*; pack with --balance 3"
    with pytest.warns(UserWarning, match=re.escape(message).replace(r"\.\*", ".*")):
        seampack.PackedIterableDataset(folder, rank=0, world_size=3)


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_in_order_are_read_in_order(folders: dict[str, Path], workers: int) -> None:
    rows = keys(seampack.PackedDataset(folders["ordered"]))
    assert keys(chain.from_iterable(of_steps(folders["ordered"], 2, workers=workers))) == rows[: len(rows) // 2 * 2]
    shuffled = keys(seampack.PackedIterableDataset(folders["ordered"], shuffle=True))
    assert shuffled != rows
    assert sorted(shuffled) == sorted(rows)


@pytest.mark.parametrize("name", ["arrow", "parquet", "balanced-arrow", "balanced-parquet", "ordered"])
def test_a_run_goes_on_after_any_row(folders: dict[str, Path], name: str) -> None:
    folder = folders[name]
    options: dict[str, Any] = {"seed": 5, "rank": 1, "world_size": 2}

    def loader(dataset: Any) -> Any:
        return DataLoader(dataset, batch_size=3, collate_fn=list)

    whole = seampack.PackedIterableDataset(folder, **options)
    epochs = [[keys(batch) for batch in loader(whole)] for _ in range(2)]
    assert (epochs[0] == epochs[1]) == (name == "ordered")
    steps = [(epoch, step) for epoch in (0, 1) for step in (0, 1, len(epochs[0]) // 2, len(epochs[0]) - 1)]
    for epoch, step in steps:
        dataset = seampack.PackedIterableDataset(folder, **options)
        dataset.set_epoch(epoch)
        batches = iter(loader(dataset))
        before = [keys(batch) for batch in islice(batches, step)]
        state = dataset.state_dict()
        assert state["rows"] == 3 * step
        copy = seampack.PackedIterableDataset(folder, **options)
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
        "folder": (seampack.PackedIterableDataset(folders["padded"]), "open the folder of the earlier run"),
        "seed": (seampack.PackedIterableDataset(folders["arrow"], seed=2), "give the seed of the earlier run"),
        "shuffle": (seampack.PackedIterableDataset(folders["arrow"], shuffle=False), "give the shuffle"),
        "rank 1 of 2": (
            seampack.PackedIterableDataset(folders["arrow"], rank=1, world_size=2),
            "load on each rank the state that it has saved, with as many ranks; for another number, give the epoch to",
        ),
    }
    for name, (dataset, remedy) in other.items():
        with pytest.raises(
            DataError, match=f"state: expected {name}.*, as now; got .*, from the earlier run; {remedy}"
        ):
            dataset.load_state_dict(state)
    several: dict[str, Any] = {"rank": 0, "world_size": 2}
    state = seampack.PackedIterableDataset(folders["arrow"], interleave=True, **several).state_dict()
    with pytest.raises(
        DataError, match="state: expected interleave False, as now; got True, from the earlier run; give"
    ):
        seampack.PackedIterableDataset(folders["arrow"], **several).load_state_dict(state)


@pytest.mark.parametrize("state", [None, [], "state.pt"])
def test_a_state_that_is_none_is_refused(folders: dict[str, Path], state: Any) -> None:
    rows = seampack.PackedIterableDataset(folders["arrow"])
    stream = seampack.PackedStreamDataset(seampack.pack_stream([[1, 2]], seq_len=2))
    for dataset in (rows, stream):
        message = f"state: expected what state_dict returned; got {state!r}; give the entry of the checkpoint"
        with pytest.raises(DataError, match=re.escape(message)):
            dataset.load_state_dict(state)
        with pytest.raises(DataError, match=r"state: expected an entry .*; got none; give what state_dict returned"):
            dataset.load_state_dict({})
    with pytest.raises(DataError, match="state: expected an entry rows; got epoch, "):
        rows.load_state_dict({name: value for name, value in rows.state_dict().items() if name != "rows"})


def test_states_of_earlier_versions(folders: dict[str, Path]) -> None:
    """They go on where the order is that of then, and nowhere else."""

    def state_of(dataset: Any) -> dict[str, Any]:
        return {name: value for name, value in dataset.state_dict().items() if name not in ("interleave", "balance")}

    for options in ({}, {"shuffle": False}, {"rank": 1, "world_size": 2}):
        dataset = seampack.PackedIterableDataset(folders["arrow"], **options)
        dataset.load_state_dict({**state_of(dataset), "rows": 5})
        assert dataset.state_dict()["rows"] == 5
    in_turn = seampack.PackedIterableDataset(folders["arrow"], shuffle=False, rank=1, world_size=2)
    with pytest.raises(
        DataError, match="state: expected interleave True, as now; got False, from the earlier run; give"
    ):
        in_turn.load_state_dict(state_of(in_turn))
    balanced = seampack.PackedIterableDataset(folders["balanced-arrow"], interleave=False)
    with pytest.raises(
        DataError, match=r"state: expected balance 4, as now; got 1, .*; open the folder with the version"
    ):
        balanced.load_state_dict(state_of(balanced))


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
