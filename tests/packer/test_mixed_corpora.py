"""Mixes of corpora: the rows of a mix of their token stores, which no run leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from seampack.errors import ConfigError, DataError, ShardError
from seampack.packer import mixed_corpora
from seampack.packer.against import verify_against
from seampack.packer.folder import PackedFolder
from seampack.packer.mixed_corpora import tokenised
from seampack.packer.mixes import Mix
from seampack.packer.packing import pack_partitions
from seampack.packer.run_folder import RunFolder
from tests.conftest import CORPUS, Run
from tests.faulty import contents, failed
from tests.packer.corpus import END, UNFRAMED
from tests.packer.test_resume import Killed, hidden

WEIGHTS = {"books": 0.3, "web": 0.7}
GIVEN: dict[str, Any] = {"seq_len": 64, **UNFRAMED}


def records(name: str) -> list[dict[str, str]]:
    return [
        {"id": f"{n}", "text": f"{name} {n} " * (n * 7 % 23), "body": f"of {name} {n}", "from": name}
        for n in range(250)
    ]


@pytest.fixture
def corpora(tmp_path: Path) -> dict[str, str]:
    """A file of JSON lines with a broken one, and a Parquet file."""
    lines = "".join(json.dumps(record) + "\n" for record in records("books"))
    (tmp_path / "books.jsonl").write_text(f"{lines}broken\n")
    pq.write_table(pa.Table.from_pylist(records("web")), tmp_path / "web.parquet")
    return {"books": str(tmp_path / "books.jsonl"), "web": str(tmp_path / "web.parquet")}


READING: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"on_bad": "quarantine"}, {"strategy": "best_fit"}),
    (
        {"on_bad": "quarantine", "text_column": "body", "id_column": "id", "keep": ("from",), "eos": END, "bos": END},
        {"pad": END, "pad_to_multiple": 8, "labels": True, "output_format": "parquet", "partition_bytes": 1 << 16},
    ),
    (
        {"on_bad": "quarantine", "prompt_column": "body", "completion_column": "text"},
        {"labels": True, "long": "split"},
    ),
]


@pytest.mark.parametrize(("reading", "planning"), READING)
@pytest.mark.parametrize("repeat", [False, True])
def test_the_rows_are_those_of_the_stores(
    corpora: dict[str, str], tmp_path: Path, reading: dict[str, Any], planning: dict[str, Any], repeat: bool
) -> None:
    reading = {**UNFRAMED, **reading}
    for name, place in corpora.items():
        seampack.tokenize(place, out=tmp_path / f"{name}-tokens", **reading)
    of_stores = Mix(stores={name: tmp_path / f"{name}-tokens" for name in corpora}, weights=WEIGHTS, repeat=repeat)
    expected = seampack.pack(of_stores, out=tmp_path / "expected", seq_len=64, **planning)
    mix = Mix(stores=corpora, weights=WEIGHTS, repeat=repeat)
    got = seampack.pack(mix, out=tmp_path / "got", seq_len=64, **reading, **planning)
    assert not hidden(tmp_path)
    files = contents(tmp_path / "got")
    kept = [tmp_path / f"{name}-tokens/quarantine.jsonl" for name in corpora]
    bad = b"".join(path.read_bytes() for path in kept if path.exists())
    assert files.pop("quarantine.jsonl") == bad
    assert got.quarantined == bad.count(b"\n") >= 1
    changed = contents(tmp_path / "expected")
    assert files.pop("manifest.json") != changed.pop("manifest.json")
    assert files == changed
    assert (got.accounting, got.config, got.inputs) == (expected.accounting, expected.config, expected.inputs)
    for mine, stored in zip(got.notes["mix"]["sources"], expected.notes["mix"]["sources"], strict=True):
        assert mine.pop("input") == corpora[mine["name"]]
        del stored["folder"], stored["fingerprint"], mine["fingerprint"]
        stored.pop("quarantined", None)  # here they are in the quarantine of the folder
        assert mine == stored
    folder = PackedFolder(tmp_path / "got")
    folder.verify()
    for sources in (corpora, of_stores.stores, {"web": corpora["web"], "books": tmp_path / "books-tokens"}):
        outcome = verify_against(folder, sources)
        assert (outcome.differences, outcome.tokens) == ((), got.accounting.tokens_in)


def test_several_lengths_are_tokenised_once(
    corpora: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, tokenize = [], mixed_corpora.tokenize

    def counted(*arguments: Any, **options: Any) -> Any:
        made.append(arguments[2])
        return tokenize(*arguments, **options)

    monkeypatch.setattr(mixed_corpora, "tokenize", counted)
    mix = Mix(stores=corpora, weights=WEIGHTS)
    given: dict[str, Any] = {**UNFRAMED, "on_bad": "quarantine"}
    seampack.pack_lengths(mix, out=tmp_path / "out", seq_lens=(32, 64), **given)
    assert len(made) == 2
    assert {path.parent.parent for path in made} == {tmp_path}
    for length in (32, 64):
        seampack.pack(mix, out=tmp_path / f"{length}", seq_len=length, **given)
        assert contents(tmp_path / f"out/{length}") == contents(tmp_path / f"{length}")
    assert sorted(os.listdir(tmp_path / "out")) == ["32", "64"]
    assert not hidden(tmp_path)


def test_stores_corpora_and_documents_in_memory(corpora: dict[str, str], tmp_path: Path) -> None:
    seampack.tokenize(corpora["web"], out=tmp_path / "tokens", **UNFRAMED)
    sources = {"files": [corpora["web"], CORPUS], "stored": tmp_path / "tokens", "held": iter(records("held"))}
    manifest = seampack.pack(
        Mix(stores=sources, weights=dict.fromkeys(sources, 1)), out=tmp_path / "out", tokenizer="bundled", **GIVEN
    )
    files, stored, held = manifest.notes["mix"]["sources"]
    assert files["input"] == f"{corpora['web']}, {CORPUS}"
    assert stored["folder"] == str(tmp_path / "tokens")
    assert held["input"] == "documents in memory"
    again = {"files": [corpora["web"], CORPUS], "stored": tmp_path / "tokens", "held": iter(records("held"))}
    assert verify_against(PackedFolder(tmp_path / "out"), again).differences == ()


@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    for name in WEIGHTS:
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {n} and more\n" * (n % 9) for n in range(1_500)))
    mix = Mix(stores={name: tmp_path / f"{name}.txt" for name in WEIGHTS}, weights=WEIGHTS)
    given: dict[str, Any] = {**GIVEN, "partition_bytes": 1 << 16, "window_tokens": 4_000, "seq_len": 60}
    seampack.pack(mix, out=tmp_path / "whole", **given)
    end = RunFolder.end_section

    def end_section(folder: RunFolder, *arguments: Any, **facts: Any) -> None:
        end(folder, *arguments, **facts)
        if len(folder.journal.in_order) == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "end_section", end_section)
        with pytest.raises(Killed), pytest.warns(match="finished sections of .* are kept in .*; --resume goes on"):
            seampack.pack(mix, out=tmp_path / "out", **given)
    assert hidden(tmp_path) == [".out.partial"]  # the stores are gone
    with monkeypatch.context() as patch:
        patch.setattr(mixed_corpora, "tokenize", pytest.fail)
        with pytest.raises(ShardError, match=r"out: a run that did not finish has left partitions in .*; go on with"):
            seampack.pack(mix, out=tmp_path / "out", **given)
    changed = Mix(stores=mix.stores, weights={"books": 1, "web": 1})
    message = r"cannot resume: mix sources was books=0.*, web=.*, is now books=1 of xxh3_128:\w+, web=1 of xxh3_128:"
    with pytest.raises(ConfigError, match=message):
        seampack.pack(changed, out=tmp_path / "out", resume=True, **given)
    seampack.pack(mix, out=tmp_path / "out", resume=True, **given)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    seampack.pack(mix, out=tmp_path / "out", resume=True, **given)
    assert not hidden(tmp_path)


def test_what_a_killed_run_has_left_is_named_and_removed(corpora: dict[str, str], tmp_path: Path) -> None:
    """The process is killed when the first corpus is tokenised."""
    code = (
        "import os, signal, sys, seampack\n"
        "from seampack.packer import blends\n"
        "blends.Blend.__init__ = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "mix = seampack.Mix(stores={'web': sys.argv[1]}, weights={'web': 1})\n"
        "seampack.pack(mix, out=sys.argv[2])\n"
    )
    command = [sys.executable, "-c", code, corpora["web"], str(tmp_path / "new/out")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    (left,) = hidden(tmp_path / "new")
    assert (tmp_path / "new" / left / "source-0/tokens.json").is_file()
    with pytest.warns(match=rf"{left}: removed; a killed run had left it"):
        seampack.pack(Mix(stores={"web": corpora["web"]}, weights={"web": 1}), out=tmp_path / "new/out", **GIVEN)
    assert os.listdir(tmp_path / "new") == ["out"]


def test_a_run_that_fails_leaves_nothing(corpora: dict[str, str], tmp_path: Path) -> None:
    mix = Mix(stores=corpora, weights=WEIGHTS)
    with pytest.raises(DataError, match=r"books.jsonl:251: broken JSON"):
        seampack.pack(mix, out=tmp_path / "new/out", **GIVEN)
    assert not (tmp_path / "new").exists()
    seampack.pack(corpora["web"], out=tmp_path / "out", **GIVEN)
    before = contents(tmp_path / "out")
    with pytest.raises(DataError, match=r"books.jsonl:251: broken JSON"):
        seampack.pack(mix, out=tmp_path / "out", overwrite=True, **GIVEN)
    assert contents(tmp_path / "out") == before
    assert not hidden(tmp_path)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"output_format": "index"}, "output_format: an index refers to token stores; make one of each input"),
    ({"group_column": "from"}, "group_column: a mix draws documents one by one"),
    ({"pad_to_multiple": 8}, "pad_to_multiple: expected a token to pad with"),
    ({"pad": "no such"}, r"pad: expected an added token of bundled, such as '<\|endoftext\|>'.*; got 'no such'"),
    ({"tokenizer": "./none.json"}, "none.json: no such tokenizer"),
    ({"eos": "no such"}, "eos: .*'no such'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_can_be_known_is_refused_before_anything_is_read(
    corpora: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("seampack.packer.tokenize.token_batches", pytest.fail)
    with pytest.raises(ConfigError, match=message):
        seampack.pack(Mix(stores=corpora, weights=WEIGHTS), out=tmp_path / "out", **{**GIVEN, **options})
    assert sorted(os.listdir(tmp_path)) == ["books.jsonl", "web.parquet"]


def test_inputs_that_cannot_be_mixed(corpora: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = corpora["web"]
    (tmp_path / "empty.txt").write_text("")
    for stores, message in (
        (
            {"web": web, "same": web},
            r"mix: same: .*web\.parquet: the same documents as web; give others, or",
        ),
        ({"web": web, "empty": tmp_path / "empty.txt"}, r"mix: empty: .*empty\.txt: the source has no tokens"),
    ):
        with pytest.raises(ConfigError, match=message):
            seampack.pack(Mix(stores=stores, weights=dict.fromkeys(stores, 1)), out=tmp_path / "out", **GIVEN)
    mix = Mix(stores={"web": web}, weights={"web": 1})
    with pytest.raises(
        ConfigError, match=r"mix: web: .*web\.parquet: expected a token store, because only pack by one"
    ):
        pack_partitions(mix, out=tmp_path / "out", chosen=range)
    monkeypatch.setattr(mixed_corpora, "tokenize", pytest.fail)
    none = Mix(stores={"none": tmp_path / "none.txt"}, weights={"none": 1})
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        seampack.pack(none, out=tmp_path / "out", **GIVEN)
    with pytest.raises(DataError, match="expected paths, a datasets"):
        seampack.pack(Mix(stores={"n": 7}, weights={"n": 1}), out=tmp_path / "out", **GIVEN)
    with pytest.raises(ShardError, match="is not empty"):
        seampack.pack(mix, out=tmp_path, **GIVEN)
    with pytest.raises(ConfigError, match=r"out: the output is in the input folder"):
        seampack.pack(Mix(stores={"all": tmp_path}, weights={"all": 1}), out=tmp_path / "out", **GIVEN)
    assert not hidden(tmp_path)


def test_a_changed_corpus_is_another(corpora: dict[str, str], tmp_path: Path) -> None:
    seampack.pack(Mix(stores={"web": corpora["web"]}, weights={"web": 1}), out=tmp_path / "out", **GIVEN)
    pq.write_table(pa.Table.from_pylist(records("web")[1:]), corpora["web"])
    with pytest.raises(ConfigError, match=r"mix: web: .*web.parquet: another corpus than the one that was packed"):
        verify_against(PackedFolder(tmp_path / "out"), {"web": corpora["web"]})
    with pytest.raises(ConfigError, match="mix: no source is named 'wob'; the sources are web"):
        verify_against(PackedFolder(tmp_path / "out"), {"wob": corpora["web"]})


def test_a_corpus_is_not_compared_in_place_of_a_store(
    corpora: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    seampack.tokenize(corpora["web"], out=store, **UNFRAMED)
    seampack.pack(Mix(stores={"web": store}, weights={"web": 1}), out=tmp_path / "out", seq_len=64)
    monkeypatch.setattr(mixed_corpora, "tokenize", pytest.fail)
    for given, shown in ((corpora["web"], r".*web\.parquet"), (iter(["a"]), "a corpus")):
        with pytest.raises(ConfigError, match=rf"^mix: web: expected the token store .*/store; got {shown}$"):
            verify_against(PackedFolder(tmp_path / "out"), {"web": given})


def test_the_command_names_sources_by_their_files(call: Run, corpora: dict[str, str], tmp_path: Path) -> None:
    given = ("--on-bad", "quarantine", "--tokenizer", "bundled", "--bos", "none", "--eos", "none", "--seq-len", 64)
    mixed = call("pack", "--mix", "books.jsonl=0.3", "--mix", f"{corpora['web']}=0.7", "-o", "out", *given)
    assert (mixed.returncode, mixed.stderr) == (0, b"")
    assert [line.split()[:2] for line in mixed.stdout.decode().splitlines()[1:3]] == [
        ["books", "0.300"],
        ["web", "0.700"],
    ]
    named = call("pack", "a=books.jsonl", "b=web.*", "--mix", "b=0.7", "--mix", "a=0.3", "-o", "named", *given)
    assert named.returncode == 0
    shards = [(tmp_path / folder / "shard-00000-00000.arrow").read_bytes() for folder in ("out", "named")]
    assert shards[0] == shards[1]
    verified = call("verify", "named", "--against", "b=web.parquet", "--against", "a=books.jsonl")
    assert verified.stdout.decode().splitlines()[1].endswith("documents against the source")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/books.txt").write_text("more\n")
    for arguments, message in (
        (["books.jsonl"], "mix: expected INPUT=WEIGHT, such as web.jsonl=0.7; got 'books.jsonl'"),
        (["*.jsonl=1"], "mix: *.jsonl: a source needs a name; name the inputs: seampack pack NAME=INPUT"),
        (["books.jsonl=1", "more/books.txt=1"], "mix: books.jsonl and more/books.txt have one name, books; name the"),
        (["books.jsonl=lots"], "mix: expected a number greater than 0 as the weight of 'books'; got 'lots'"),
        (["none.jsonl=1"], "none.jsonl: no such file"),
    ):
        weights = [each for argument in arguments for each in ("--mix", argument)]
        assert failed(call("pack", *weights, "-o", "other", *given)).startswith(message)
    assert not hidden(tmp_path)


def test_splits_are_compared_as_they_were(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("研究生命的起源\n我们今天在北京大学讨论人工智能的发展\n")
    assert call("pack", "--mix", "a.txt=1", "-o", "out", "--pre-segment", "zh").returncode == 0
    assert call("verify", "out", "--against", "a=a.txt").returncode == 0


def test_the_stores_are_named_by_the_inputs(corpora: dict[str, str], tmp_path: Path) -> None:
    given: dict[str, Any] = {"tokenizer": "bundled", "threads": 1, "split": None, "on_tokenizer": None}
    mix = Mix(stores={"web": corpora["web"]}, weights={"web": 2})
    with tokenised(mix, seampack.PackConfig(), tmp_path / "out", on_progress=None, **given) as stores:
        assert stores.corpora == {"web": corpora["web"]}
        assert Path(stores.stores["web"]).parent.parent == tmp_path
        assert hidden(tmp_path)
    assert not hidden(tmp_path)
