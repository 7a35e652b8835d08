"""``seampack pack``, ``compare``, ``inspect`` and ``tokenizer train``: from the command line to files and back."""

import dataclasses
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset
from tokenizers import Tokenizer

import seampack
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from tests.conftest import CORPUS, DATA, Run
from tests.faulty import UNFRAMED, failed
from tests.packer.tampering import make_version_1

COMPARED = (*UNFRAMED, "--seq-len", 64, "--window-tokens", 40_000)
SMALL = (*COMPARED, "--shard-tokens", 20_000)


def test_pack_shows_the_accounting(call: Run, tmp_path: Path) -> None:
    result = call("pack", CORPUS, "-o", "out", "--seq-len", 256)
    assert result.returncode == 0
    assert result.stderr == (
        b"seampack: no --tokenizer: using the small bundled one, which is meant for trying seampack out\n"
        b"seampack: begin token: none; end token: <|endoftext|> (id 0, from a well-known name); "
        b"choose others with --bos and --eos\n"
    )
    shown = result.stdout.decode()
    for word in ("documents", "rows", "tokens in", "repeated", "dropped", "tokens out", "padding", "fill", "time"):
        assert word in shown
    accounting = PackedFolder(tmp_path / "out").manifest.accounting
    assert f"fit but cut{accounting.documents_fit_but_cut:>15,}" in shown
    assert PackedFolder(tmp_path / "out").rows > 0


def test_threads_do_not_change_a_byte(call: Run, tmp_path: Path) -> None:
    texts = [f"{n} seam {'pack ' * (n % 90)}" for n in range(60_000)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for threads in (1, 4):  # about 14 MB: several blocks
        options = ("--seq-len", 512, "--window-tokens", 1_000_000, "--shard-tokens", 1_000_000)
        result = call("pack", "a.jsonl", "-o", threads, "--threads", threads, *UNFRAMED, *options)
        assert (result.returncode, result.stderr) == (0, b"")
    one, four = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "14")
    assert one == four
    assert sum(name.startswith("shard-") for name in one) > 1


def test_stdout_is_json_and_nothing_else(call: Run, tmp_path: Path) -> None:
    result = call("pack", CORPUS, "-o", "out", *SMALL, "--json")
    packed = json.loads(result.stdout)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert packed.items() >= manifest.items()
    assert packed["seconds"] > 0
    inspected = call("inspect", "out", "--verify", "--json")
    assert json.loads(inspected.stdout) == {**manifest, "verified": True}
    rows = json.loads(call("inspect", "out", "--row", 3, "--row", 0, "--json").stdout)
    assert rows == [{"row": n, **PackedFolder(tmp_path / "out").row(n)} for n in (3, 0)]
    row = json.loads(call("inspect", "out", "--row", 3, "--verify", "--json").stdout)
    assert row == {**rows[0], "verified": True}
    compared = json.loads(call("compare", CORPUS, *COMPARED, "--json").stdout)
    assert [row["strategy"] for row in compared] == [
        "seamless",
        "concat",
        "best_fit",
        "ffd",
        "pad",
        "keep_order",
        "paper",
    ]
    assert {row["tokens_in"] for row in compared} == {manifest["accounting"]["tokens_in"]}
    assert compared[0]["rows"] == manifest["accounting"]["rows"]


def test_rows_are_shown_as_text(call: Run) -> None:
    assert call("pack", "-", "-o", "out", *SMALL, stdin=b'{"text": "first text"}\n{"text": "second"}').returncode == 0
    shown = call("inspect", "out", "--row", 0).stdout.decode()
    assert shown.startswith("row 0\n")
    assert "first text\n" in shown
    assert "second\n" in shown
    assert "document 0, tokens 0.." in shown
    verified = call("inspect", "out", "--verify").stdout.decode()
    outcome = "verified: every file, and the manifest against the rows\n"
    assert verified.endswith(outcome)
    assert call("inspect", "out", "--row", 0, "--verify").stdout.decode() == shown + outcome


def test_a_folder_of_version_1_is_verified_as_far_as_it_can_be(call: Run, tmp_path: Path) -> None:
    assert call("pack", "-", "-o", "out", *SMALL, stdin=b"a\n").returncode == 0
    path = tmp_path / "out/manifest.json"
    content = json.loads(path.read_text())
    make_version_1(tmp_path / "out")
    shown = call("inspect", "out", "--verify").stdout.decode().splitlines()
    assert "; in format version 1, nothing proves the other entries" in shown[-1]
    path.write_text(json.dumps({**content, "config": {**content["config"], "seed": 9}}))
    assert "an entry was changed after packing; pack again" in failed(call("inspect", "out"))


def test_standard_input_takes_text_and_arrow_streams(call: Run, tmp_path: Path) -> None:
    table = pa.table({"text": ["a b", "c"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    inputs = {"lines": b"a b\n\nc", "arrow": sink.getvalue().to_pybytes()}
    for name, stdin in inputs.items():
        assert call("pack", "-", "-o", name, *SMALL, stdin=stdin).returncode == 0
    unpacked = [PackedFolder(tmp_path / name).unpack()["input_ids"].to_pylist() for name in inputs]
    assert unpacked[0] == unpacked[1]
    assert len(unpacked[0]) == 2


def test_a_saved_dataset_is_an_input(call: Run, tmp_path: Path) -> None:
    Dataset.from_dict({"body": ["a", "b c"], "uid": [7, 8]}).save_to_disk(tmp_path / "saved")
    names = ("--text-column", "body", "--id-column", "uid")
    assert call("pack", "saved", "-o", "out", *SMALL, *names).returncode == 0
    assert PackedFolder(tmp_path / "out").unpack()["doc_ids"].to_pylist() == ["7", "8"]


def test_a_trained_tokenizer_packs(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("seam pack seam pack\n" * 50)
    trained = call("tokenizer", "train", "a.txt", "-o", "tokenizer.json", "--vocab-size", 300)
    assert trained.returncode == 0
    assert trained.stdout.startswith(b"tokenizer.json: ")
    assert call("pack", "a.txt", "-o", "out", "--seq-len", 8, "--tokenizer", "tokenizer.json").returncode == 0
    facts = json.loads((tmp_path / "out/manifest.json").read_text())["tokenizer"]
    assert facts["name"] == "tokenizer.json"
    assert trained.stdout.decode().split()[1] == str(facts["vocab_size"])
    (tmp_path / "tokenizer.json").unlink()
    shown = call("inspect", "out", "--row", 0)
    assert shown.returncode == 0
    assert shown.stderr.startswith(b"seampack: warning: the rows are shown as ids: ")


def test_every_option_reaches_the_config(call: Run, tmp_path: Path) -> None:
    document = {"ids": [1, 2], "loss_mask": [0, 1], "x": [3, 4], "source": "s"}
    lines = [json.dumps({**document, "uid": number}) + "\n" for number in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    chosen: dict[str, Any] = {
        "seq_len": 9,
        "strategy": "ffd",
        "long": "truncate",
        "max_overlap": 0.2,
        "extra_tokens": 3,
        "extra_room": "always",
        "leftover": "pad",
        "pad_to_multiple": 3,
        "max_segments": 7,
        "rows_multiple_of": 2,
        "rest": "drop",
        "balance": 2,
        "linear_cost": 11,
        "look_back": 10,
        "drop_last": True,
        "shuffle": False,
        "seed": 5,
        "input_format": "jsonl",
        "text_column": "body",
        "input_ids_column": "ids",
        "id_column": "uid",
        "carry": ["loss_mask", "x:int8"],
        "keep": ["source"],
        "on_bad": "quarantine",
        "max_document_bytes": 12345,
        "special_tokens_in_text": True,
        "bos": "a",
        "eos": "b",
        "pad": "c",
        "labels": True,
        "window_tokens": 99,
        "partition_bytes": 123456,
        "output_format": "parquet",
        "shard_tokens": 77,
    }
    of_chats = {
        "messages_column": "chat",
        "tools_column": "functions",
        "chat_template": "chat.jinja",
        "template_variables": ['effort="low"', "think=false"],
        "train_on": "last",
    }
    (tmp_path / "chat.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ effort }}{{ think }}"
    )
    (tmp_path / "b.jsonl").write_text(
        '{"chat": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    )
    (tmp_path / "c.jsonl").write_text('{"question": "a", "answer": "b", "topic": "c"}')
    of_pairs = {"prompt_column": "question", "completion_column": "answer", "group_column": "topic"}
    defaults = {field.name: field.default for field in dataclasses.fields(PackConfig)}
    for file, given in (("a.jsonl", chosen), ("b.jsonl", of_chats), ("c.jsonl", of_pairs)):
        assert call("pack", file, "-o", file[0], *arguments_of(given)).returncode == 0
        written = json.loads((tmp_path / file[0] / "manifest.json").read_text())["config"]
        assert written == {**defaults, "carry": [], "keep": [], "template_variables": [], **given}
    assert {*chosen, *of_chats, *of_pairs} == set(defaults)


def arguments_of(options: dict[str, Any]) -> list[Any]:
    arguments: list[Any] = []
    for name, value in options.items():
        flag = (name.removesuffix("s") if isinstance(value, list) else name).replace("_", "-")
        if isinstance(value, bool):
            arguments += [f"--{'' if value else 'no-'}{flag}"]
        for each in [] if isinstance(value, bool) else value if isinstance(value, list) else [value]:
            arguments += [f"--{flag}", each]
    return arguments


@pytest.mark.parametrize(
    ("stdin", "message"),
    [(b"\n", "the input has no documents"), (b'{"text": ""}\n' * 3, "no document of the input has a token")],
)
def test_nothing_to_pack_is_a_warning(call: Run, tmp_path: Path, stdin: bytes, message: str) -> None:
    shown, written = (
        call("pack", "-", "-o", name, *SMALL, *name.split()[1:], stdin=stdin) for name in ("a", "b --json")
    )
    compared = call("compare", "-", *SMALL[:6], stdin=stdin)
    for result in (shown, written, compared):
        assert (result.returncode, result.stderr.decode()) == (0, f"seampack: warning: {message}\n")
    assert ["fill", "-"] in [line.split() for line in shown.stdout.decode().splitlines()]
    assert json.loads(written.stdout)["accounting"]["fill"] is None
    assert compared.stdout.decode().splitlines()[1].split()[:3] == ["seamless", "0", "-"]
    packed = PackedFolder(tmp_path / "a")
    packed.verify()
    assert packed.manifest.accounting.fill is None


def test_records_that_were_all_quarantined(call: Run, tmp_path: Path) -> None:
    """Here because of a misspelt column."""
    given = [*SMALL, "--on-bad", "quarantine", "--text-column", "content"]
    result = call("pack", "-", "-o", "out", *given, stdin=b'{"text": "a"}\n' * 3)
    message = "seampack: warning: all 3 records of the input were quarantined: none could be read\n"
    assert (result.returncode, result.stderr.decode()) == (0, message)
    shown = call("inspect", "out").stdout.decode().splitlines()
    assert "quarantined                3   records, in quarantine.jsonl" in shown


def test_options_that_the_strategy_does_not_use_are_a_warning(call: Run) -> None:
    def warnings_of(*options: object) -> list[str]:
        result = call("pack", "-", "-o", "out", "--overwrite", *SMALL, *options, stdin=b"seam pack\n" * 9_000)
        assert result.returncode == 0
        return result.stderr.decode().splitlines()

    idle = "seampack: warning: --{} has no effect with --strategy {}".format
    assert warnings_of("--strategy", "pad", "--max-overlap", 0.3) == [idle("max-overlap", "pad")]
    assert warnings_of("--strategy", "best-fit", "--drop-last", "--extra-tokens", 5) == [
        idle("extra-tokens", "best_fit"),
        idle("drop-last", "best_fit"),
    ]
    assert warnings_of("--leftover", "pad", "--drop-last") == [idle("drop-last", "seamless")]
    assert warnings_of("--strategy", "concat", "--drop-last") == []
    assert warnings_of("--max-overlap", 0.2, "--leftover", "concat", "--drop-last") == []
    assert warnings_of("--strategy", "ffd") == []
    assert warnings_of("--strategy", "keep_order", "--balance", 2, "--look-back", 9) == [idle("balance", "keep_order")]
    assert warnings_of("--rest", "drop", "--linear-cost", 1) == [
        "seampack: warning: --rest has no effect without --rows-multiple-of",
        "seampack: warning: --linear-cost has no effect without --balance",
    ]
    assert warnings_of("--strategy", "concat", "--fill") == [idle("fill", "concat")]
    assert warnings_of("--strategy", "ffd", "--fill", "--drop-last") == []
    assert warnings_of("--extra-room", "always") == [
        "seampack: warning: --extra-room has no effect without --extra-tokens"
    ]
    assert warnings_of("--extra-room", "needed", "--extra-tokens", 1) == []
    assert warnings_of("--no-shuffle", "--seed", 5) == ["seampack: warning: --seed has no effect with --no-shuffle"]
    assert warnings_of("--strategy", "keep_order", "--no-shuffle", "--seed", 5) == [
        idle("shuffle", "keep_order"),
        idle("seed", "keep_order"),
    ]


def test_the_seed_draws_a_mix_that_is_not_shuffled(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("seam pack\n" * 9_000)
    options = ("--mix", "a.txt=1", "--no-shuffle", "--seed", 5)
    assert b"no effect" not in call("pack", "-o", "out", *SMALL, *options).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--fill", "--leftover", "pad"),
            "--fill means --leftover fill; got --leftover pad too; omit one of the two (see seampack pack --help)",
        ),
        (("--index-only", "--output-format", "parquet"), "--index-only means --output-format index; got"),
        (("--paper", "--strategy", "best-fit"), "--paper means --strategy seamless; got --strategy best_fit too;"),
    ],
)
def test_short_options_that_others_contradict(
    call: Run, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    assert message in failed(call("pack", "-", "-o", "out", *options, stdin=b"a\n"), 2)
    assert not (tmp_path / "out").exists()


def test_short_options_with_what_they_mean(call: Run, tmp_path: Path) -> None:
    options = ("--fill", "--leftover", "fill", "--paper", "--strategy", "seamless", "--extra-tokens", 5)
    assert call("pack", "-", "-o", "out", *SMALL, *options, stdin=b"a\n").returncode == 0
    config = PackedFolder(tmp_path / "out").manifest.config
    assert (config["leftover"], config["extra_tokens"], config["extra_room"]) == ("fill", 5, "always")


def test_several_text_files_are_said_to_be_lines(call: Run, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("one\ntwo\n")
    note = b"seampack: each line of the 2 text files (a.txt, ...) is a document; if each file is one, give "
    for arguments in (("pack", "*.txt", "-o", "out", *SMALL), ("compare", "a.txt", "b.txt", *SMALL[:6])):
        assert call(*arguments).stderr == note + b"--input-format file\n"
    assert call("tokenizer", "train", "*.txt", "-o", "t.json").stderr.startswith(note)
    for arguments in (("a.txt",), ("*.txt", "--input-format", "file")):
        assert call("pack", *arguments, "-o", "out", "--overwrite", *SMALL).stderr == b""


def test_many_small_shards_are_a_warning(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words\n" * 150)
    small = ("--tokenizer", "bundled", "--bos", "none", "--eos", "none", "--seq-len", 8, "--strategy", "pad")
    with warnings.catch_warnings(action="always"):
        result = call("pack", "a.txt", "-o", "out", *small, "--shard-tokens", 5)
    assert result.returncode == 0
    assert result.stderr.startswith(b"seampack: warning: out: 100 shards of about ")
    assert result.stderr.endswith(b" bytes so far; a larger shard_tokens than 5 makes fewer files\n")
    assert call("pack", "a.txt", "-o", "few", *small, "--shard-tokens", 80).stderr == b""


def test_quarantined_records_are_counted(call: Run) -> None:
    result = call("pack", "-", "-o", "out", *SMALL, "--on-bad", "quarantine", stdin=b'{"text": "a"}\n{"text": 5}\n')
    assert "quarantined                1   records, in quarantine.jsonl" in result.stdout.decode()


def test_compare_shows_a_line_per_strategy(call: Run) -> None:
    shown = call("compare", CORPUS, *COMPARED).stdout.decode().splitlines()
    headings = [name.strip() for name in shown[0].split("  ") if name]
    assert headings[:6] == ["strategy", "rows", "fill", "padding", "dropped", "repeated"]
    assert headings[6:] == ["split", "truncated", "fit but cut", "cuts", "CPU-s"]
    cells = {line.split()[0]: line.split() for line in shown[1:]}
    assert list(cells) == ["seamless", "concat", "best_fit", "ffd", "pad", "keep_order", "paper"]
    cut = {strategy: row[headings.index("fit but cut")] for strategy, row in cells.items()}
    assert (cut["best_fit"], cut["ffd"], cut["pad"]) == ("0", "0", "0")
    assert int(cut["concat"].replace(",", "")) > 0
    assert all(re.fullmatch(r"[\d,]+\.\d{4}", row[-1]) for row in cells.values())  # seconds have one form
    truncated = {strategy: row[headings.index("truncated")] for strategy, row in cells.items()}
    assert truncated["seamless"] == "0" != truncated["paper"]


def test_documents_that_are_dropped_whole_are_apart(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("seam pack\n" * 999 + "pack " * 999)
    with warnings.catch_warnings(action="always"):
        packed = call("pack", "a.txt", "-o", "out", *SMALL, "--long", "drop")
    assert " 0 truncated, 1 dropped whole, 0 empty\n" in packed.stdout.decode()
    assert "of the tokens are dropped: 1 whole document(s); without" in packed.stderr.decode()
    compared = call("compare", "a.txt", *COMPARED, "--long", "drop").stdout.decode().splitlines()
    assert "  truncated  dropped whole  fit but cut" in compared[0]
    assert compared[1].split()[7:9] == ["0", "1"]
    account = PackedFolder(tmp_path / "out").manifest.accounting
    assert (account.documents_truncated, account.documents_dropped) == (1, 1)
    assert "dropped whole" not in call("compare", "a.txt", *COMPARED).stdout.decode()


def test_compare_has_a_table_for_each_length(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join("seam " * (n % 90) + "\n" for n in range(400)))
    given = (*UNFRAMED, "--window-tokens", 40_000, "--optimal")
    together = call("compare", "a.txt", *given, "--seq-len", "256,64", "--seq-len", 128)
    assert together.returncode == 0
    tables = together.stdout.decode().split("\n\n")
    listed = json.loads(call("compare", "a.txt", *given, "--seq-len", "256,64,128", "--json").stdout)
    for place, length in enumerate((256, 64, 128)):
        alone = call("compare", "a.txt", *given, "--seq-len", length).stdout.decode().splitlines()
        heading, *lines = tables[place].strip().splitlines()
        assert heading == f"rows of {length} tokens"
        assert [line.split()[:-1] for line in lines] == [line.split()[:-1] for line in alone]  # without the seconds
        rows = [row for row in listed if row["seq_len"] == length]
        assert [row["strategy"] for row in rows] == [line.split()[0] for line in alone[1:-1]]
        assert [f"{row['rows']:,}" for row in rows] == [line.split()[1] for line in alone[1:-1]]
    assert listed == sorted(listed, key=lambda row: (256, 64, 128).index(row["seq_len"]))
    twice = failed(call("compare", "a.txt", *UNFRAMED, "--seq-len", "64,64"))
    assert twice == "seq_lens: expected different lengths; got 64, 64"


def test_compare_shows_how_far_optimal_is_from_the_bound(call: Run) -> None:
    shown = call("compare", CORPUS, *COMPARED[:-2], "--optimal").stdout.decode().splitlines()
    assert [line.split()[0] for line in shown[-3:]] == ["paper", "optimal", "optimal:"]
    assert shown[-1].endswith(" row(s) more than the fewest")
    assert int(shown[-1].split()[3]) <= 0.001 * int(shown[-2].split()[1].replace(",", ""))


def test_compare_shows_the_balance_of_steps(call: Run) -> None:
    shown = call("compare", CORPUS, *COMPARED, "--balance", 8, "--rows-multiple-of", 24).stdout.decode().splitlines()
    assert shown[0].endswith("imbalance")
    for line in shown[1:]:
        assert int(line.split()[1].replace(",", "")) % 24 == 0
        assert 1 <= float(line.split()[-1]) < (2 if line.startswith("keep_order") else 1.05)


def test_pack_and_inspect_show_the_balance_of_steps(call: Run, tmp_path: Path) -> None:
    options = (*SMALL, "--balance", 8, "--linear-cost", 64)
    shown = call("pack", CORPUS, "-o", "out", *options).stdout.decode()
    (compared,) = (
        row["imbalance"]
        for row in json.loads(call("compare", CORPUS, *COMPARED, *options[-4:], "--json").stdout)
        if row["strategy"] == "seamless"
    )
    assert 1 <= compared < 1.05
    line = f"imbalance   {compared:>16.4f}   the dearest rows of steps of 8 ranks over the mean\n"
    assert line in shown
    assert line in call("inspect", "out").stdout.decode()
    again = call("pack", CORPUS, "-o", "out", *options, "--overwrite", "--json")
    lengths = call("pack", CORPUS, "-o", "both", *SMALL, "--balance", 8, "--seq-len", 128, "--json")
    results = [again.stdout, call("inspect", "out", "--json").stdout]
    assert [json.loads(each)["imbalance"] for each in results] == [compared, compared]
    assert json.loads(lengths.stdout)["128"]["imbalance"] == round(PackedFolder(tmp_path / "both/128").imbalance(), 4)
    assert PackedFolder(tmp_path / "out").imbalance() == pytest.approx(compared, abs=1e-4)


def test_fewer_rows_than_ranks_are_a_warning(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("seam pack\n" * 90)
    options = ("a.txt", *COMPARED, "--balance", 1000)
    with warnings.catch_warnings(action="always"):
        packed, compared = call("pack", *options, "-o", "out"), call("compare", *options)
    warning = r"warning: balance: [\d,]+ rows are too few for a step of 1,000 ranks, so none is balanced"
    for result in (packed, compared):
        assert re.search(warning, result.stderr.decode())
    assert re.search(r"^imbalance +-  ", packed.stdout.decode(), re.MULTILINE)
    assert {line.split()[-1] for line in compared.stdout.decode().splitlines()} == {"imbalance", "-"}
    assert json.loads(call("inspect", "out", "--json").stdout)["imbalance"] is None


def test_another_tokenizer_than_that_of_the_folder(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("seam pack " * 50)
    assert call("tokenizer", "train", "a.txt", "-o", "t.json", "--vocab-size", 257).returncode == 0
    assert call("pack", "a.txt", "-o", "out", *SMALL).returncode == 0
    shown = call("inspect", "out", "--row", 0, "--tokenizer", "t.json")
    assert shown.stderr == b"seampack: warning: this is not the tokenizer that the folder was packed with\n"
    assert "none.json: no such tokenizer" in failed(call("inspect", "out", "--row", 0, "--tokenizer", "none.json"))


def test_a_tokenizer_in_memory_is_that_of_its_file(call: Run, tmp_path: Path) -> None:
    """Whatever the white space of the file."""
    (tmp_path / "a.txt").write_text("seam pack " * 50)
    stored = json.dumps(json.loads((DATA / "tokenizer.json").read_text()), indent=9)
    (tmp_path / "t.json").write_text(stored)
    seampack.pack(tmp_path / "a.txt", out=tmp_path / "out", tokenizer=Tokenizer.from_str(stored))
    shown = call("inspect", "out", "--row", 0, "--tokenizer", "t.json")
    assert (shown.returncode, shown.stderr) == (0, b"")


def test_words_are_not_crossed_by_tokens(call: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("研究生命的起源\n" * 20, "utf-8")
    words = ("--pre-segment", "zh")
    assert call("tokenizer", "train", "a.txt", "-o", "t.json", *words).returncode == 0
    packed = call("pack", "a.txt", "-o", "out", "--tokenizer", "t.json", "--seq-len", 64, *words, "--json")
    assert json.loads(packed.stdout)["tokenizer"]["name"] == "t.json"
    assert json.loads(packed.stdout)["pre_segment"] == "zh"
    assert "nowhere" in failed(call("pack", "a.txt", "-o", "other", *SMALL, "--pre-segment", "nowhere"))


def test_out_folders_are_replaced_only_on_request(call: Run) -> None:
    assert call("pack", "-", "-o", "out", *SMALL, stdin=b"a\n").returncode == 0
    assert "--overwrite" in failed(call("pack", "-", "-o", "out", *SMALL, stdin=b"a\n"))
    assert call("pack", "-", "-o", "out", *SMALL, "--overwrite", stdin=b"b\n").returncode == 0
