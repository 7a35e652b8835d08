"""A packed folder is held against its source: every difference between them is found and named."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import seampack
from seampack.errors import ConfigError, DataError, ShardError
from seampack.packer.against import Difference, Outcome, verify_against
from seampack.packer.folder import PackedFolder
from seampack.packer.packing import pack
from tests.packer.corpus import END, FORMATS, SMALL, STRATEGIES, TEXTS, TOKENS, UNFRAMED, write_corpus
from tests.packer.tampering import edit_manifest, flip, write_shard

Names = Callable[[int], int | str]


def compared(folder: Path, source: Any, **options: Any) -> Outcome:
    """Verify a folder by itself, and against its source."""
    packed = PackedFolder(folder)
    packed.verify()
    return verify_against(packed, source, **options)


def found(folder: Path, source: Any) -> dict[str, str]:
    """Return the lines of the differences of each kind."""
    differences = compared(folder, source).differences
    return {kind: "\n".join(str(each) for each in differences if each.kind == kind) for kind in kinds(differences)}


def kinds(differences: Sequence[Difference]) -> set[str]:
    return {each.kind for each in differences}


@STRATEGIES
@FORMATS
@pytest.mark.parametrize("id_column", [None, "id"])
def test_a_right_folder_has_no_difference(
    corpus: Path, tmp_path: Path, strategy: str, output_format: str, id_column: str | None
) -> None:
    options = {**SMALL, "strategy": strategy, "output_format": output_format, "id_column": id_column}
    seampack.pack(corpus, out=tmp_path / "out", **options)
    outcome = compared(tmp_path / "out", corpus)
    assert outcome == Outcome(len(TEXTS), sum(map(len, TOKENS)), ())


@pytest.fixture(params=[None, "id"], ids=["numbered", "named"])
def packed_once(request: pytest.FixtureRequest, corpus: Path, tmp_path: Path) -> tuple[Path, Names]:
    """A folder of one shard, and the function from the number of a document to its id."""
    seampack.pack(corpus, out=tmp_path / "out", **{**SMALL, "shard_tokens": 1 << 20}, id_column=request.param)
    return tmp_path / "out", (lambda n: f"d{n:05d}") if request.param else (lambda n: n)


def test_changed_sources(packed_once: tuple[Path, Names], tmp_path: Path) -> None:
    """A changed word, a document more or less, two swapped, one twice: with the ids of the unchanged corpus."""
    folder, name = packed_once
    is_named = isinstance(name(0), str)
    lines = (tmp_path / "corpus.jsonl").read_text().splitlines(keepends=True)
    number = next(n for n, ids in enumerate(TOKENS) if len(ids) > 40 and "pack" in TEXTS[n])
    other = next(n for n in range(number + 1, len(TOKENS)) if len(TOKENS[n]) > 40)

    def changed(edited: Sequence[str]) -> dict[str, str]:
        (tmp_path / "changed.jsonl").write_text("".join(edited))
        differences = found(folder, tmp_path / "changed.jsonl")
        assert "changed.jsonl: expected an input that was packed; got one with another checksum" in differences["input"]
        return differences

    word = changed([*lines[:number], lines[number].replace("pack", "tack", 1), *lines[number + 1 :]])
    assert word["tokens"].startswith(f"document {name(number)!r}, token ")
    assert "as in the source; the rows have " in word["tokens"]
    longer = changed([*lines[:number], lines[number].replace('", "id"', 'X", "id"'), *lines[number + 1 :]])
    assert f"the first document of which the rows lack tokens is {name(number)!r}, from token " in longer["count"]
    empty = json.dumps({"text": "", "id": name(number)}) + "\n"
    shorter = changed([*lines[:number], empty, *lines[number + 1 :]])
    expected = f"document {name(number)!r}: expected 0 tokens, as in the source; the rows have {len(TOKENS[number]):,}"
    assert shorter["length"] == expected
    more = changed([*lines, json.dumps({"text": "seam pack", "id": "new"}) + "\n"])
    assert f"documents: the manifest says {len(lines)}; against the source it is {len(lines) + 1}" in more["count"]
    assert "dropped: the manifest says 0; against the source it is " in more["count"]
    assert f"lack tokens is {'new' if is_named else len(lines)!r}, from token 0 of " in more["count"]
    less = changed(lines[:-1])
    assert less["foreign"].startswith(f"document {name(len(TEXTS) - 1)!r}: expected no tokens, because the source")
    swapped = lines.copy()
    swapped[number], swapped[other] = lines[other], lines[number]
    if is_named:  # each document has its id, in any order
        assert found(folder, write(tmp_path / "swapped.jsonl", swapped)) == {}
        twice = changed([*lines, lines[number]])
        assert twice["twice"] == f"document {name(number)!r}: expected once in the source; got it again"
    else:
        assert changed(swapped).keys() & {"tokens", "length"}


def write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(lines))
    return path


def test_many_documents_are_one_line_of_each_kind(corpus: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "out", **SMALL)
    lines = corpus.read_text().splitlines(keepends=True)
    random.Random(5).shuffle(lines)
    outcome = compared(tmp_path / "out", write(tmp_path / "shuffled.jsonl", lines))
    assert len(outcome.differences) <= 7
    tokens = next(each for each in outcome.differences if each.kind == "tokens")
    assert tokens.documents > 20
    assert str(tokens).endswith(f" (and {tokens.documents - 1:,} more documents)")
    assert isinstance(tokens.document, int)
    ids = PackedFolder(tmp_path / "out").unpack().filter(pc.field("doc_ids") == tokens.document)
    assert ids["input_ids"][0].as_py()[tokens.position] == tokens.got != tokens.expected


def edit_rows(folder: Path, edit: Callable[[pa.Table], pa.Table]) -> None:
    """Change the only shard, and make its checksum right."""
    write_shard(folder, edit(next(PackedFolder(folder).tables())))


def test_a_changed_token_with_a_right_checksum(packed_once: tuple[Path, Names], tmp_path: Path) -> None:
    folder, name = packed_once

    def edit(table: pa.Table) -> pa.Table:
        rows = table["input_ids"].to_pylist()
        rows[2][7] += 1
        column = table.column_names.index("input_ids")
        return table.set_column(column, "input_ids", pa.array(rows, table.schema.field(column).type))

    row = PackedFolder(folder).row(2)
    segment = next(n for n in range(len(row["doc_ids"])) if sum(row["seq_lengths"][: n + 1]) > 7)
    position = row["doc_starts"][segment] + 7 - sum(row["seq_lengths"][:segment])
    edit_rows(folder, edit)
    difference = compared(folder, tmp_path / "corpus.jsonl").differences[0]
    assert (difference.kind, difference.document, difference.position) == ("tokens", row["doc_ids"][segment], position)
    assert (difference.expected, difference.got) == (row["input_ids"][7], row["input_ids"][7] + 1)
    assert name(0) == (0 if isinstance(difference.document, int) else "d00000")


def test_rows_that_are_missing_swapped_or_twice(packed_once: tuple[Path, Names], tmp_path: Path) -> None:
    """The manifest is made right for the rows as far as it can be: only the source tells."""
    folder, _ = packed_once
    whole = next(PackedFolder(folder).tables())
    shutil.copytree(folder, tmp_path / "copy")
    rows = whole.num_rows

    edit_rows(folder, lambda table: table.take(list(range(rows))[::-1]))
    assert found(folder, tmp_path / "corpus.jsonl") == {}  # the order of the rows carries nothing

    # a row in the place of another of as many tokens and segments
    shapes = [shape(whole, row) for row in range(rows)]
    first, second = next((a, b) for a in range(rows) for b in range(a) if shapes[a] == shapes[b])
    order = [second if n == first else n for n in range(rows)]
    edit_rows(folder, lambda table: whole.take(order))
    with pytest.raises(ShardError, match=r"expected a segment from token \d+; got one from \d+"):
        verify_against(PackedFolder(folder), tmp_path / "corpus.jsonl")


def shape(table: pa.Table, row: int) -> tuple[int, int]:
    return len(table["input_ids"][row]), len(table["doc_ids"][row])


def test_shards_that_are_damaged_missing_swapped_twice_or_foreign(corpus: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "whole", **SMALL)
    seampack.pack(write_corpus(tmp_path / "b.jsonl", TEXTS[::-1]), out=tmp_path / "other", **SMALL)
    folder = tmp_path / "out"
    one, two, three = (folder / f"shard-00000-{n:05d}.arrow" for n in range(3))

    def fails(change: Callable[[], Any], message: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        change()
        with pytest.raises(ShardError, match=message):
            compared(folder, corpus)

    def swap() -> None:
        one.rename(folder / "aside")
        two.rename(one)
        (folder / "aside").rename(two)

    fails(lambda: flip(two), r"shard-00000-00001\.arrow: the checksum differs")
    fails(two.unlink, r"shard-00000-00001\.arrow: the shard is missing")
    fails(swap, r"shard-00000-0000\d\.arrow: (the checksum differs|expected \d+ bytes)")
    fails(lambda: shutil.copy(one, three), r"shard-00000-00002\.arrow: (the checksum differs|expected \d+ bytes)")
    fails(lambda: shutil.copy(one, folder / "shard-00099.arrow"), r"shard-00099\.arrow: the manifest does not list")
    fails(
        lambda: shutil.copy(tmp_path / "other" / two.name, two),
        r"shard-00000-00001\.arrow: (the checksum|expected \d+ b)",
    )
    fails(lambda: edit_manifest(folder, shards=PackedFolder(folder).manifest["shards"][:-1]), "does not list this file")
    fails(lambda: (folder / "manifest.json").write_text((folder / "manifest.json").read_text() + "x"), "manifest")


def test_a_foreign_folder(corpus: Path, tmp_path: Path) -> None:
    """The folder is right by itself, and as large, but was packed from another corpus."""
    texts = TEXTS.copy()
    number = max(range(len(texts)), key=lambda n: len(texts[n]))
    texts[number] = texts[number].replace("seam", "pack")
    seampack.pack(write_corpus(tmp_path / "b.jsonl", texts), out=tmp_path / "out", **SMALL)
    differences = found(tmp_path / "out", corpus)
    assert f"document {number}" in differences.get("tokens", "") + differences.get("length", "")


def test_edited_counts_of_what_was_dropped(corpus: Path, tmp_path: Path) -> None:
    """The rows cannot prove these entries; the source does."""
    seampack.pack(corpus, out=tmp_path / "out", **SMALL)
    accounting = PackedFolder(tmp_path / "out").manifest["accounting"]
    more = {"dropped": 5, "tokens_in": accounting["tokens_in"] + 5, "documents_truncated": 2}
    edit_manifest(tmp_path / "out", accounting={**accounting, **more})
    outcome = compared(tmp_path / "out", corpus)
    tokens = accounting["tokens_in"]
    assert [str(each) for each in outcome.differences] == [
        f"tokens_in: the manifest says {tokens + 5:,}; against the source it is {tokens:,}",
        "dropped: the manifest says 5; against the source it is 0",
        "documents_truncated: the manifest says 2; against the source it is 0",
    ]


def test_quarantined_records_are_skipped_as_pack_did(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write('{"text": 5}\n{\n')
    seampack.pack(corpus, out=tmp_path / "out", on_bad="quarantine", **SMALL)
    assert compared(tmp_path / "out", corpus).differences == ()
    with corpus.open("a") as file:
        file.write("[\n")
    assert "quarantined: the manifest says 2; against the source it is 3" in found(tmp_path / "out", corpus)["count"]


def test_quarantined_records_stay_with_a_store(corpus: Path, tmp_path: Path) -> None:
    """Folders of the corpus and of its store, each compared with both."""
    with corpus.open("a") as file:
        file.write('{"text": 5}\n{\n')
    reading = {"on_bad": "quarantine", "tokenizer": "bundled", **UNFRAMED}
    seampack.tokenize(corpus, out=tmp_path / "store", **reading)
    of_corpus = seampack.pack(corpus, out=tmp_path / "of corpus", seq_len=64, **reading)
    of_store = seampack.pack(tmp_path / "store", out=tmp_path / "of store", seq_len=64)
    assert (of_corpus.quarantined, of_store.quarantined) == (2, 0)
    for folder in ("of corpus", "of store"):
        for source in (corpus, tmp_path / "store"):
            assert compared(tmp_path / folder, source).differences == ()
    seampack.tokenize(iter(TEXTS), out=tmp_path / "clean", **reading)
    counted = found(tmp_path / "of corpus", tmp_path / "clean")["count"]
    assert counted == "quarantined: the manifest says 2; against the source it is 0"


@pytest.mark.filterwarnings("ignore:.*are dropped", "ignore:.*no second one", "ignore:.*as plain text")
@pytest.mark.parametrize(
    "options",
    [
        {"extra_tokens": 8, "extra_room": "always", "eos": "auto"},
        {"drop_last": True, "eos": "auto", "bos": END},
        {"special_tokens_in_text": True, "eos": END},
        {"extra_tokens": 8, "leftover": "concat", "drop_last": True, "pad": END, "labels": True},
    ],
    ids=str,
)
def test_the_recorded_options_are_used(corpus: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """And a truncated document may end with its end token in the place of a dropped one."""
    accounting = seampack.pack(corpus, out=tmp_path / "out", **{**SMALL, **options}).accounting
    assert accounting.dropped or "special_tokens_in_text" in options
    assert compared(tmp_path / "out", corpus).differences == ()


def test_other_columns_and_formats_are_those_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('body,key\n"seam, pack",k1\nseam,k2\n')
    (tmp_path / "b.txt").write_text("one\n\ntwo\nlines\n")
    seampack.pack(tmp_path / "a.csv", out=tmp_path / "a", text_column="body", id_column="key", seq_len=8)
    seampack.pack(tmp_path / "b.txt", out=tmp_path / "b", input_format="paragraphs", seq_len=8)
    assert compared(tmp_path / "a", tmp_path / "a.csv").documents == 2
    assert compared(tmp_path / "b", [tmp_path / "b.txt"]) == Outcome(2, 7, ())
    with pytest.raises(DataError, match="no such file"):
        compared(tmp_path / "b", tmp_path / "c.txt")


def test_pieces_are_those_of_the_split(tmp_path: Path) -> None:
    def split(texts: list[str]) -> tuple[list[str], Any]:
        import numpy as np

        return [character for text in texts for character in text], np.cumsum([0, *map(len, texts)])

    (tmp_path / "a.txt").write_text("seam pack\npack\n")
    pack(tmp_path / "a.txt", out=tmp_path / "out", split=split, seq_len=8)
    assert compared(tmp_path / "out", tmp_path / "a.txt", split=split).differences == ()
    assert kinds(compared(tmp_path / "out", tmp_path / "a.txt").differences) == {"length", "count"}


def test_the_first_manifests_had_the_tokens_in_their_config_only(corpus: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "out", **{**SMALL, "eos": "Z"})
    content = PackedFolder(tmp_path / "out").manifest.to_dict()
    tokenizer = {name: value for name, value in content["tokenizer"].items() if name[:3] not in ("bos", "eos")}
    edit_manifest(tmp_path / "out", tokenizer=tokenizer)
    assert compared(tmp_path / "out", corpus).differences == ()


def test_another_tokenizer_is_refused(corpus: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "out", **SMALL)
    seampack.train_tokenizer(corpus, tmp_path / "tokenizer.json", vocab_size=300)
    with pytest.raises(ConfigError, match=r"tokenizer\.json: expected the tokenizer that packed the folder, sha256:"):
        compared(tmp_path / "out", corpus, tokenizer=tmp_path / "tokenizer.json")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", **UNFRAMED)
    assert compared(tmp_path / "out", tmp_path / "a.jsonl") == Outcome(1, 0, ())
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    assert "count" in found(tmp_path / "out", tmp_path / "a.jsonl")
