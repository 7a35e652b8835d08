"""Runs that do not finish, and go on: the same bytes as a run that was not interrupted."""

import fcntl
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from benchmarks import kills
from seampack.errors import ConfigError, DataError, ShardError
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.journal import Journal
from seampack.packer.planning import plan
from seampack.packer.shards import ShardWriter
from seampack.packer.tokenizing import TextTokenizer
from seampack.packer.windows import End, plan_stream, windows_of
from tests.conftest import Run, obey_interrupts
from tests.faulty import failed
from tests.packer.corpus import UNFRAMED

OPTIONS: dict[str, Any] = {
    "seq_len": 64,
    "partition_bytes": 1 << 16,
    "window_tokens": 4_000,
    "shard_tokens": 6_000,
    **UNFRAMED,
}


class Killed(BaseException):
    """Stands for a signal that cannot be caught."""


def texts() -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices(kills.WORDS, k=draw.randint(1, 120))) for _ in range(1_200)]


@pytest.fixture(params=["jsonl", "parquet", "txt", "jsonl.zst"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"corpus.{request.param}"
    lines = [json.dumps({"id": f"d{number}", "text": text}) + "\n" for number, text in enumerate(texts())]
    if request.param == "parquet":
        pq.write_table(pa.table({"text": texts(), "id": [f"d{n}" for n in range(1_200)]}), path)
    elif request.param == "txt":
        path.write_text("\n".join(texts()) + "\n")
    else:
        with pa.output_stream(str(path), compression="detect") as stream:
            stream.write("".join(lines).encode())
    return path


def pack_until_killed(monkeypatch: pytest.MonkeyPatch, after: int | None, corpus: Path, **options: Any) -> None:
    """Pack into ``out``, and stop after a number of partitions, or after the last one."""
    end = ShardWriter.end_partition

    def end_partition(writer: ShardWriter, *arguments: Any, **facts: Any) -> None:
        end(writer, *arguments, **facts)
        if len(writer.journal.receipts) == after:
            raise Killed

    def finish(writer: ShardWriter, *arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "end_partition", end_partition)
        if after is None:
            patch.setattr(ShardWriter, "finish", finish)
        with pytest.raises(Killed), pytest.warns(match="finished partition.s. are kept in .*; --resume goes on"):
            seampack.pack(corpus, out=corpus.parent / "out", **options)


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


@pytest.mark.parametrize("after", [1, 3, None])
@pytest.mark.parametrize("strategy", ["seamless", "best_fit", "concat"])
def test_the_same_bytes(
    corpus: Path, tmp_path: Path, after: int | None, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = corpus.suffix != ".txt"
    options = OPTIONS | {"strategy": strategy, "id_column": "id" if named else None}
    seampack.pack(corpus, out=tmp_path / "whole", **options)
    assert not hidden(tmp_path)
    pack_until_killed(monkeypatch, after, corpus, **options)
    assert hidden(tmp_path) == [".out.partial"]
    receipts = len(list((tmp_path / ".out.partial").glob("receipt-*")))
    assert receipts == after or (after is None and receipts > 3)
    seampack.pack(corpus, out=tmp_path / "out", resume=True, **options)
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")
    assert not hidden(tmp_path)
    PackedFolder(tmp_path / "out").verify()


@pytest.fixture
def unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus, next to a run of it that did not finish."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(texts()) + "\n")
    pack_until_killed(monkeypatch, 2, path, **OPTIONS)
    return path


def resume(corpus: Path, **options: Any) -> None:
    seampack.pack(corpus, out=corpus.parent / "out", resume=True, **OPTIONS | options)


def test_another_option_is_named(unfinished: Path) -> None:
    with pytest.raises(ConfigError, match="cannot resume: options seq_len was 64, is now 128; give the same"):
        resume(unfinished, seq_len=128)
    resume(unfinished)  # it can still go on


def test_another_tokenizer_is_named(unfinished: Path, tmp_path: Path) -> None:
    seampack.train_tokenizer(unfinished, tmp_path / "t.json", vocab_size=300)
    with pytest.raises(ConfigError, match="cannot resume: tokenizer was 'sha256:"):
        resume(unfinished, tokenizer=tmp_path / "t.json")


def test_another_version_is_named(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seampack.packer.packing.__version__", "9.9")
    with pytest.raises(ConfigError, match=r"seampack was '.*', is now '9\.9'"):
        resume(unfinished)


def test_another_input_is_named(unfinished: Path) -> None:
    (unfinished.parent / "b.txt").write_text("one\n")
    with pytest.raises(ConfigError, match=r"inputs was .*corpus\.txt.*, is now .*b\.txt"):
        seampack.pack([unfinished, unfinished.parent / "b.txt"], out=unfinished.parent / "out", resume=True, **OPTIONS)


@pytest.mark.parametrize("change", ["a byte", "shorter"])
def test_a_changed_input_is_refused(unfinished: Path, change: str) -> None:
    content = bytearray(unfinished.read_bytes())
    content[70_000] ^= 1
    unfinished.write_bytes(content if change == "a byte" else content[:70_000])
    with pytest.raises(DataError, match=r"cannot resume: the input of partition [01] has changed"):
        resume(unfinished)


def test_what_comes_after_the_finished_partitions_may_change(unfinished: Path, tmp_path: Path) -> None:
    with unfinished.open("a") as file:
        file.write("a new line\n")
    resume(unfinished)
    seampack.pack(unfinished, out=tmp_path / "whole", **OPTIONS)
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "name", ["run.json", "receipt-00001.json", "tail-00000.arrow", "output/shard-00000-00000.arrow"]
)
def test_damage_is_named(unfinished: Path, name: str) -> None:
    path = unfinished.parent / ".out.partial" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ShardError, match=f"cannot resume: .*{path.name} is damaged: .*; start again with --overwrite"):
        resume(unfinished)


def test_a_changed_tail_is_found(unfinished: Path) -> None:
    path = unfinished.parent / ".out.partial" / "tail-00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"tail-00000\.arrow is damaged: its checksum is another"):
        resume(unfinished)


def test_without_resume_both_ways_are_named(unfinished: Path, call: Run) -> None:
    options = [word for name, value in OPTIONS.items() for word in (f"--{name.replace('_', '-')}", value)]
    tokenizer = ("--tokenizer", "bundled")
    message = failed(call("pack", unfinished, "-o", "out", *options, *tokenizer))
    assert "a run that did not finish has left partitions in" in message
    assert "go on with --resume, or start again with --overwrite" in message
    with pytest.warns(match=r"\.out\.partial: removed; a run that did not finish had left it"):
        seampack.pack(unfinished, out=unfinished.parent / "out", overwrite=True, **OPTIONS)
    assert hidden(unfinished.parent) == []


def test_a_run_that_still_works_is_left_alone(unfinished: Path) -> None:
    descriptor = os.open(unfinished.parent / ".out.partial", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for options in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(ShardError, match="another run is writing there"):
            seampack.pack(unfinished, out=unfinished.parent / "out", **OPTIONS, **options)
    os.close(descriptor)
    resume(unfinished)


def test_a_complete_output_is_left_alone(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("one\ntwo\n")
    first = seampack.pack(corpus, out=tmp_path / "out", resume=True, **OPTIONS)
    made = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    again = seampack.pack(corpus, out=tmp_path / "out", resume=True, **OPTIONS)
    assert again.to_dict() == first.to_dict()
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == made
    with pytest.raises(ShardError, match="use --overwrite"):
        seampack.pack(corpus, out=tmp_path / "out", resume=True, **OPTIONS | {"seq_len": 32})
    corpus.write_text("one\ntwo\nthree\n")
    with pytest.raises(ShardError, match="use --overwrite"):
        resume(corpus)


def test_bad_records_are_quarantined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join('{"text": 5}\n' if n % 9 == 0 else f'{{"text": "{t}"}}\n' for n, t in enumerate(texts())))
    options = OPTIONS | {"on_bad": "quarantine"}
    seampack.pack(corpus, out=tmp_path / "whole", **options)
    pack_until_killed(monkeypatch, 2, corpus, **options)
    manifest = seampack.pack(corpus, out=tmp_path / "out", resume=True, **options)
    assert manifest.quarantined == 134
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")


def test_a_fast_path_that_was_wrong_stays_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may agree with the reference on the first text after the finished partitions."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(texts()) + "\n")
    agrees = iter([False, True, True])
    monkeypatch.setattr("seampack.packer.tokenizing._FAST_FROM", 0.0)
    monkeypatch.setattr("seampack.packer.tokenizing.TextTokenizer._agree", lambda self, sample: next(agrees))
    pack_until_killed(monkeypatch, 2, corpus, **OPTIONS)
    assert json.loads((tmp_path / ".out.partial" / "receipt-00001.json").read_text())["uses_reference"]
    used = []
    encode = TextTokenizer._encode_fast
    monkeypatch.setattr(TextTokenizer, "_encode_fast", lambda self, texts: used.append(1) or encode(self, texts))
    resume(corpus)
    assert not used


def test_a_small_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"text": "one"}\n{"text": 5}\n')
    with pytest.raises(DataError):
        seampack.pack(corpus, out=tmp_path / "out", **OPTIONS)
    assert not hidden(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_keeps_its_partitions(tmp_path: Path, number: int) -> None:
    kills.write_corpora(tmp_path, 2_000)
    case = "JSON lines"
    kills.start(tmp_path, case, "whole").communicate(timeout=120)
    run = kills.start(tmp_path, case, "out", preexec_fn=obey_interrupts)
    while run.poll() is None and not list(tmp_path.glob(".out.partial/receipt-00001.json")):
        time.sleep(0.001)
    run.send_signal(number)
    _, errors = run.communicate(timeout=120)
    if run.returncode:  # it may have been faster
        assert run.returncode == 128 + number
        first, last = errors.decode().splitlines()[-2:]
        assert "finished partition(s) are kept in" in first
        assert last == "seampack: interrupted; the output is unchanged"
    kills.start(tmp_path, case, "out").communicate(timeout=120)
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")


def test_a_shard_that_is_deleted_while_the_run_works_is_named(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = ShardWriter.end_partition

    def end_partition(writer: ShardWriter, *arguments: Any, **facts: Any) -> None:
        end(writer, *arguments, **facts)
        (corpus.parent / ".out.partial" / "output" / "shard-00000-00000.arrow").unlink(missing_ok=True)

    monkeypatch.setattr(ShardWriter, "end_partition", end_partition)
    message = r"shard-00000-00000\.arrow: the shard is missing; something has removed it during"
    with pytest.raises(ShardError, match=message), pytest.warns(match="are kept in"):
        seampack.pack(corpus, out=corpus.parent / "out", **OPTIONS)
    assert not (corpus.parent / "out").exists()


@pytest.mark.parametrize("case", ["JSON lines, through a pipe", "Parquet, best_fit"])
def test_killed_processes(tmp_path: Path, case: str) -> None:
    kills.write_corpora(tmp_path, 2_000)
    results = list(kills.killed_runs(tmp_path, case, 4, random.Random(0)))
    assert sum(killed for killed, _ in results) >= 4
    assert not any(differs for _, differs in results)


class Batch:
    def __init__(self, lengths: Any, size: int) -> None:
        self.lengths = np.asarray(lengths, np.int64)
        self.input_bytes = size


def test_partitions_end_at_batches() -> None:
    config = PackConfig(seq_len=10, window_tokens=20, partition_bytes=1 << 16)
    batches = [Batch([4, 4], 40_000), Batch([4], 40_000), Batch([4], 10), Batch([4, 9], 10), Batch([1], 10)]
    ends = [(len(window), end) for window, end in windows_of(batches, config)]
    assert ends == [(2, End.PARTITION), (2, End.WINDOW), (1, End.INPUT)]


@pytest.mark.parametrize("partitions", [10, 100])
@pytest.mark.parametrize("strategy", ["seamless", "best_fit"])
def test_partitions_cost_little_fill(strategy: str, partitions: int) -> None:
    """Against one plan, partitions lose less than 0.1 % of fill."""
    lengths = np.random.default_rng(0).lognormal(5.8, 1.2, 200_000).astype(np.int64) + 1
    config = PackConfig(strategy=strategy, partition_bytes=1 << 16)
    batches = [Batch(part, 1 << 16) for part in np.array_split(lengths, partitions)]
    windows = list(plan_stream(batches, config))
    whole = plan(lengths, config).account()
    total = sum((window.accounting for window in windows[1:]), windows[0].accounting)
    assert (total.tokens_in, total.documents) == (whole.tokens_in, whole.documents)
    assert total.fill > whole.fill - 0.001
    assert (total.documents_fit_but_cut or 0) <= (whole.documents_fit_but_cut or 0) + 0.001 * lengths.size


def test_receipts_are_written_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tmp_path / "out")
    journal.begin({"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
