"""Runs that do not finish, and go on: the same bytes as a run that was not interrupted."""

import errno
import fcntl
import gzip
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from benchmarks import kills
from seampack.errors import ConfigError, DataError, ShardError
from seampack.packer import readers
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.journal import Journal
from seampack.packer.packing import merge, pack_partitions
from seampack.packer.planning import plan
from seampack.packer.run_folder import RunFolder
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


ENDINGS = ["jsonl", "parquet", "txt", "jsonl.zst"]


@pytest.fixture(params=ENDINGS)
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"corpus.{request.param}"
    lines = [json.dumps({"id": f"d{number}", "text": text}) + "\n" for number, text in enumerate(texts())]
    if request.param == "parquet":
        pq.write_table(pa.table({"text": texts(), "id": [f"d{n}" for n in range(1_200)]}), path, row_group_size=200)
    elif request.param == "txt":
        path.write_text("\n".join(texts()) + "\n")
    else:
        with pa.output_stream(str(path), compression="detect") as stream:
            stream.write("".join(lines).encode())
    return path


def pack_until_killed(monkeypatch: pytest.MonkeyPatch, after: int | None, corpus: Path, **options: Any) -> None:
    """Pack into ``out``, and stop after a number of sections, or after the last one."""
    end = RunFolder.end_section

    def end_section(folder: RunFolder, *arguments: Any, **facts: Any) -> None:
        end(folder, *arguments, **facts)
        if len(folder.journal.in_order) == after:
            raise Killed

    def finish(folder: RunFolder, *arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "end_section", end_section)
        if after is None:
            patch.setattr(RunFolder, "finish", finish)
        with pytest.raises(Killed), pytest.warns(match="finished sections of .* are kept in .*; --resume goes on"):
            seampack.pack(corpus, out=corpus.parent / "out", **options)


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


AFTER = [1, 3, None]


@pytest.mark.parametrize(  # every pair of an ending, a strategy and a moment
    ("corpus", "strategy", "after"),
    [
        (ending, strategy, AFTER[(a + b) % 3])
        for a, ending in enumerate(ENDINGS)
        for b, strategy in enumerate(["seamless", "best_fit", "concat"])
    ],
    indirect=["corpus"],
)
def test_the_same_bytes(
    corpus: Path, tmp_path: Path, after: int | None, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = corpus.suffix != ".txt"
    options = OPTIONS | {"strategy": strategy, "id_column": "id" if named else None}
    seampack.pack(corpus, out=tmp_path / "whole", **options)
    assert not hidden(tmp_path)
    pack_until_killed(monkeypatch, after, corpus, **options)
    assert hidden(tmp_path) == [".out.partial"]
    receipts = len(list((tmp_path / ".out.partial").glob("receipt-*.json")))
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


@pytest.mark.parametrize("partitions", [False, True])
def test_a_run_that_a_bad_record_stopped_goes_on_without_it(partitions: bool, tmp_path: Path) -> None:
    """The finished partitions are kept; the output is that of a run that put the record aside from the start."""
    lines = [json.dumps({"text": text}) for text in texts()]
    lines[900] = '{"text": broken'
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    source, out, options = tmp_path / "corpus.jsonl", tmp_path / "out", OPTIONS | {"on_bad": "quarantine"}
    seampack.pack(source, out=tmp_path / "whole", **options)

    def run(**changes: Any) -> None:
        if partitions:
            pack_partitions(source, out=out, chosen=range, **OPTIONS | changes)
        else:
            seampack.pack(source, out=out, resume=True, **OPTIONS | changes)

    kept = nullcontext() if partitions else pytest.warns(match="are kept in .*; --resume goes on")
    with pytest.raises(DataError, match="corpus"), kept:
        run()
    receipts = {path: path.stat().st_mtime_ns for path in (tmp_path / ".out.partial").glob("receipt-*.json")}
    assert len(receipts) > 2
    with pytest.raises(ConfigError, match="cannot resume: options seq_len was 64, is now 128; give the same"):
        run(on_bad="quarantine", seq_len=128)
    run(on_bad="quarantine")
    if partitions:
        assert {path: path.stat().st_mtime_ns for path in receipts} == receipts
        with pytest.raises(ConfigError, match="cannot resume: options on_bad was 'quarantine', is now 'stop'"):
            run()
        merge(out)
    assert kills.contents(out) == kills.contents(tmp_path / "whole")
    assert len((out / "quarantine.jsonl").read_text().splitlines()) == 1


def test_another_tokenizer_is_named(unfinished: Path, tmp_path: Path) -> None:
    seampack.train_tokenizer(unfinished, tmp_path / "t.json", vocab_size=300)
    with pytest.raises(ConfigError, match="cannot resume: tokenizer was 'sha256:"):
        resume(unfinished, tokenizer=tmp_path / "t.json")


def test_another_version_is_named(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seampack.packer.work.__version__", "9.9")
    with pytest.raises(ConfigError, match=r"seampack was '.*', is now '9\.9'"):
        resume(unfinished)


def test_another_input_is_named(unfinished: Path) -> None:
    (unfinished.parent / "b.txt").write_text("one\n")
    with pytest.raises(ConfigError, match=r"inputs was .*corpus\.txt.*, is now .*b\.txt"):
        seampack.pack([unfinished, unfinished.parent / "b.txt"], out=unfinished.parent / "out", resume=True, **OPTIONS)


def change(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_changed_byte_is_refused(unfinished: Path) -> None:
    change(unfinished, 70_000)
    with pytest.raises(
        DataError,
        match=r"out: cannot resume: .*corpus\.txt \(partition 1\) has changed since .*; give the same input, or",
    ):
        resume(unfinished)


@pytest.mark.parametrize("size", [70_000, 10_000_000])
def test_another_size_is_refused(unfinished: Path, size: int) -> None:
    os.truncate(unfinished, size)
    with pytest.raises(ConfigError, match=rf"cannot resume: .*sizes .*corpus\.txt was \d+, is now {size}"):
        resume(unfinished)


def test_what_comes_after_the_finished_partitions_may_change(unfinished: Path, tmp_path: Path) -> None:
    change(unfinished, unfinished.stat().st_size - 9)
    resume(unfinished)
    seampack.pack(unfinished, out=tmp_path / "whole", **OPTIONS)
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")


def test_finished_partitions_of_unmodified_files_are_not_read(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the same size and time of modification is trusted."""
    before = unfinished.stat()
    change(unfinished, 70_000)
    os.utime(unfinished, ns=(before.st_atime_ns, before.st_mtime_ns))
    read: list[int] = []

    def read_partitions(source: Any, partitions: Any, *arguments: Any, **settings: Any) -> Iterator[Any]:
        read.extend(number for number, _ in partitions)
        return readers.read_partitions(source, partitions, *arguments, **settings)

    monkeypatch.setattr("seampack.packer.pipeline.read_partitions", read_partitions)
    resume(unfinished)
    assert read == list(range(2, 7))


@pytest.mark.parametrize(
    "name", ["run.json", "receipt-00001-00000.json", "tail-00000-00000.arrow", "output/shard-00000-00000.arrow"]
)
def test_damage_is_named(unfinished: Path, name: str) -> None:
    path = unfinished.parent / ".out.partial" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ShardError, match=f"cannot go on: .*{path.name} is damaged: .*; remove .* and pack again"):
        resume(unfinished)


@pytest.mark.parametrize("name", ["run.json", "receipt-00001-00000.json"])
def test_any_changed_number_or_word_is_found(unfinished: Path, name: str) -> None:
    path = unfinished.parent / ".out.partial" / name
    content = path.read_text()
    for word in list(re.finditer(r"\d+|true|[a-z]{3,}", content))[::7]:
        changed = {"true": "false"}.get(word[0], str(int(word[0]) + 1) if word[0].isdigit() else "abc")
        path.write_text(content[: word.start()] + changed + content[word.end() :])
        with pytest.raises(ShardError, match=f"cannot go on: .*{name} is damaged: "):
            resume(unfinished)


def test_a_receipt_of_another_partition_is_found(unfinished: Path) -> None:
    """Otherwise, the documents of one would be twice in the rows, and those of the other not at all."""
    folder = unfinished.parent / ".out.partial"
    shutil.copy(folder / "receipt-00000-00000.json", folder / "receipt-00001-00000.json")
    with pytest.raises(ShardError, match=r"00001-00000\.json is damaged: it has the content of receipt-00000-00000"):
        resume(unfinished)


def test_a_changed_tail_is_found(unfinished: Path) -> None:
    path = unfinished.parent / ".out.partial" / "tail-00000-00000.arrow"
    change(path, path.stat().st_size // 2)
    with pytest.raises(ShardError, match=r"tail-00000-00000\.arrow is damaged: its checksum is another"):
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


@pytest.mark.filterwarnings("ignore:.*given twice")
def test_a_complete_output_is_compared_with_files_that_were_modified(corpus: Path) -> None:
    """Also a file that is divided, or given twice."""
    inputs = [corpus, corpus]
    made = seampack.pack(inputs, out=corpus.parent / "out", **OPTIONS)
    os.utime(corpus)
    assert seampack.pack(inputs, out=corpus.parent / "out", resume=True, **OPTIONS) == made
    change(corpus, corpus.stat().st_size // 2)
    for pack in (
        lambda: seampack.pack(inputs, out=corpus.parent / "out", resume=True, **OPTIONS),
        lambda: pack_partitions(inputs, out=corpus.parent / "out", chosen=range, **OPTIONS),
    ):
        with pytest.raises(ShardError, match=r"something else was packed: .*corpus.* has changed; use --overwrite or"):
            pack()
    change(corpus, corpus.stat().st_size // 2)
    assert seampack.pack(inputs, out=corpus.parent / "out", resume=True, **OPTIONS) == made


def test_a_complete_output_is_compared_with_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(text: str, **options: Any) -> seampack.Manifest:
        (tmp_path / "fed").write_text(text)
        with (tmp_path / "fed").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            return seampack.pack("-", out=tmp_path / "out", resume=True, **OPTIONS | options)

    made = feed("one\ntwo\n")
    assert feed("one\ntwo\n") == made
    for text in ("one\ntwx\n", "one\n", "one\ntwo\nthree\n", ""):
        with pytest.raises(ShardError, match="something else was packed: standard input has changed; use --overwrite"):
            feed(text)
    assert feed("one\ntwo\nthree\n", overwrite=True).accounting.documents == 3
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ShardError, match="standard input has changed"):
        seampack.pack("-", out=tmp_path / "out", resume=True, **OPTIONS)


def test_a_complete_output_says_what_else_was_packed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    seampack.pack(tmp_path / "a.txt", out=tmp_path / "out", **OPTIONS)
    with pytest.raises(ShardError, match=r"complete, but .*: options seq_len was 64, is now 32; use --overwrite"):
        seampack.pack(tmp_path / "a.txt", out=tmp_path / "out", resume=True, **OPTIONS | {"seq_len": 32})


def test_what_another_run_has_finished_is_kept(tmp_path: Path) -> None:
    """A run that finds its output complete removes only what it has left itself."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(texts()) + "\n")
    seampack.pack(corpus, out=tmp_path / "out", **OPTIONS)
    other = OPTIONS | {"seq_len": 32}
    pack_partitions(corpus, out=tmp_path / "out", chosen=lambda count: [0], overwrite=True, **other)
    receipts = sorted((tmp_path / ".out.partial").glob("receipt-*.json"))
    resume(corpus)
    assert sorted((tmp_path / ".out.partial").glob("receipt-*.json")) == receipts != []
    with pytest.raises(ShardError, match="partitions are not finished: 1, 2"):
        merge(tmp_path / "out", overwrite=True)


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
    """It may agree with the reference on the first text after the finished sections of a partition."""
    corpus = tmp_path / "corpus.txt.gz"
    corpus.write_bytes(gzip.compress("\n".join(texts()).encode()))
    agrees = iter([True, False])  # on the sample, on the first block
    monkeypatch.setattr("seampack.packer.tokenizing._FAST_FROM", 0.0)
    monkeypatch.setattr(TextTokenizer, "_agree", lambda self, sample: next(agrees, True))
    pack_until_killed(monkeypatch, 2, corpus, **OPTIONS)
    for name in ("receipt-00000-00000.json", "receipt-00000-00001.json"):
        assert json.loads((tmp_path / ".out.partial" / name).read_text())["trusts_fast"] is False
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
    command = kills.pack("JSON lines", "out", "--resume")
    kills.start(tmp_path, kills.pack("JSON lines", "whole")).communicate(timeout=120)
    run = kills.start(tmp_path, command, preexec_fn=obey_interrupts)
    while run.poll() is None and not list(tmp_path.glob(".out.partial/receipt-00001-00000.json")):
        time.sleep(0.001)
    run.send_signal(number)
    _, errors = run.communicate(timeout=120)
    if run.returncode:  # it may have been faster
        assert run.returncode == 128 + number
        first, last = errors.decode().splitlines()[-2:]
        assert ": finished sections of " in first
        assert last == "seampack: interrupted; the output is unchanged"
    kills.start(tmp_path, command).communicate(timeout=120)
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")


def test_a_shard_that_is_deleted_while_the_run_works_is_named(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = RunFolder.end_section

    def end_section(folder: RunFolder, *arguments: Any, **facts: Any) -> None:
        end(folder, *arguments, **facts)
        (corpus.parent / ".out.partial" / "output" / "shard-00000-00000.arrow").unlink(missing_ok=True)

    monkeypatch.setattr(RunFolder, "end_section", end_section)
    message = r"shard-00000-00000\.arrow: the shard is missing; something has removed it during"
    with pytest.raises(ShardError, match=message), pytest.warns(match="are kept in"):
        seampack.pack(corpus, out=corpus.parent / "out", **OPTIONS)
    assert not (corpus.parent / "out").exists()


@pytest.mark.parametrize("case", ["JSON lines, through a pipe", "Parquet, best_fit", kills.SHARED])
def test_killed_processes(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "KILLS", 3)
    kills.write_corpora(tmp_path, 2_000)
    results = list(kills.killed_runs(tmp_path, case, 3, random.Random(0)))
    assert sum(killed for killed, _ in results) >= 3
    assert not any(differs for _, differs in results)


class Batch:
    def __init__(self, lengths: Any, size: int) -> None:
        self.lengths = np.asarray(lengths, np.int64)
        self.input_bytes = size
        self.ends_partition = False
        self.begins = None


def test_sections_end_at_batches() -> None:
    config = PackConfig(seq_len=10, window_tokens=20, partition_bytes=1 << 16)
    batches = [Batch([4, 4], 40_000), Batch([4], 40_000), Batch([4], 10), Batch([4, 9], 10), Batch([1], 10)]
    ends = [(len(window), end) for window, end in windows_of(batches, config)]
    assert ends == [(2, End.SECTION), (2, End.WINDOW), (1, End.PARTITION)]


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


@pytest.mark.parametrize("error", [None, PermissionError(errno.EPERM, "no links")])
def test_processes_of_the_same_number_begin_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    """As in containers that share a folder, also on a file system without links."""
    link = os.link

    def begun_by_another(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        Journal(tmp_path, "out").begin({"first": True})
        if error is not None:
            raise error
        link(source, target)

    monkeypatch.setattr(os, "link", begun_by_another)
    Journal(tmp_path, "out").begin({"first": False})
    assert Journal(tmp_path, "out").read_run() == {"first": True}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_receipts_are_written_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tmp_path / "out")
    journal.begin({"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
