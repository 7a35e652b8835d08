"""Packed folders that are damaged, contradict their manifest, or share ids: refused with the reason."""

import json
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

import seampack
from seampack.commands.report import row_text
from seampack.errors import ShardError
from seampack.packer.folder import PackedFolder
from tests.packer.corpus import END, END_ID, FORMATS, SMALL, STRATEGIES
from tests.packer.tampering import edit_manifest, flip, make_version_1, write_shard


@FORMATS
def test_damage_is_found_and_the_shard_named(corpus: Path, tmp_path: Path, output_format: str) -> None:
    out = tmp_path / "out"
    shard = out / seampack.pack(corpus, out=out, output_format=output_format, **SMALL).shards[1].file
    whole = shard.read_bytes()
    flip(shard)
    with pytest.raises(ShardError, match=rf"{shard.name}: the checksum differs: it is damaged; pack again"):
        PackedFolder(out).verify()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShardError, match=rf"{shard.name}: expected {len(whole)} bytes; got {len(whole) // 2}"):
        PackedFolder(out).verify()
    with pytest.raises(ShardError, match=rf"{shard.name}: expected {len(whole)} bytes; got {len(whole) // 2}"):
        list(PackedFolder(out).tables())
    shard.write_bytes((out / f"shard-00000-00000.{output_format}").read_bytes())
    edit_manifest(out, shards=[{**shard, "rows": 3} for shard in PackedFolder(out).manifest["shards"]])
    with pytest.raises(ShardError, match=r"expected 3 rows; got \d+"):
        list(PackedFolder(out).tables())
    shard.unlink()
    with pytest.raises(ShardError, match=rf"{shard.name}: the shard is missing; pack again"):
        PackedFolder(out)


@pytest.fixture
def copied(packed: Path, tmp_path: Path) -> Path:
    """A packed folder of this test alone, with a quarantined record."""
    shutil.copytree(packed, tmp_path / "out")
    return tmp_path / "out"


def edit_accounting(folder: Path, **changes: int) -> None:
    """Add to entries of the accounting; the partitions keep adding up."""
    content = json.loads((folder / "manifest.json").read_text())
    edited = {name: content["accounting"][name] + more for name, more in changes.items()}
    partitions = {"partitions": [edited["documents"]]} if "documents" in edited and "partitions" in content else {}
    edit_manifest(folder, accounting=content["accounting"] | edited, **partitions)


@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"documents": 3},
            r"documents - empty_documents - documents_dropped: the manifest says \d+, the shards hold \d+; pack again",
        ),
        ({"documents": -2}, "doc_ids: expected one of the 118 documents of partition 0; got number 11[89]"),
        ({"documents": -90, "empty_documents": -5}, "doc_ids: expected one of the 30 documents of partition 0; got"),
        ({"empty_documents": 2}, "documents - empty_documents - documents_dropped: the manifest says"),
        ({"segments": 1}, "segments: the manifest says"),
        ({"tokens_in": 1, "dropped": 1, "segments": -1}, "segments: the manifest says"),
        ({"repeated": 1, "dropped": 1}, "repeated: the manifest says"),
        ({"cuts": 1}, "cuts: the manifest says"),
        ({"documents_split": -1}, "documents_split: the manifest says"),
    ],
    ids=str,
)
def test_the_accounting_is_verified(copied: Path, version: int, changes: dict[str, int], message: str) -> None:
    if version == 1:
        make_version_1(copied)
    PackedFolder(copied).verify()
    edit_accounting(copied, **changes)
    with pytest.raises(ShardError, match=message):
        PackedFolder(copied).verify()


@pytest.mark.parametrize(
    "changes",
    [{"documents": 4, "empty_documents": 4}, {"tokens_in": 3, "dropped": 3}, {"documents_truncated": 1}],
    ids=str,
)
def test_edits_that_rows_cannot_prove_are_found_by_the_digest(copied: Path, changes: dict[str, int]) -> None:
    path = copied / "manifest.json"
    content = json.loads(path.read_text())
    edit_accounting(copied, **changes)
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": content["digest"]}))
    with pytest.raises(ShardError, match=r"manifest\.json: the manifest is damaged: digest: expected"):
        PackedFolder(copied)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"vocab_size": 1 << 17}, r"columns: expected .*'list<item: uint32>'.*; got .*'list<item: uint16>'"),
        ({"vocab_size": 257}, r"input_ids: expected ids below 257; got \d+"),
        ({"pad_id": 0}, r"columns: expected .*'fixed_size_list<item: uint16>\[32\]'.*; got .*'list<item: uint16>'"),
    ],
    ids=str,
)
def test_the_tokenizer_is_verified(copied: Path, facts: dict[str, int], message: str) -> None:
    edit_manifest(copied, tokenizer={**PackedFolder(copied).manifest["tokenizer"], **facts})
    with pytest.raises(ShardError, match=message):
        PackedFolder(copied).verify()


@pytest.mark.parametrize(
    "options", [{"strategy": name} for name in ("seamless", "concat", "pad")] + [{"id_column": "id"}]
)
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("pad", [None, END])
def test_what_was_packed_is_verified(
    corpus: Path, tmp_path: Path, options: dict[str, str], drop_last: bool, pad: str | None
) -> None:
    """No proof refuses a folder that is right, whatever its options."""
    with corpus.open("a") as file:
        file.write("{")
    settings = {**SMALL, **options, "drop_last": drop_last, "pad": pad, "on_bad": "quarantine", "labels": True}
    seampack.pack(corpus, out=tmp_path / "out", output_format="parquet" if pad else "arrow", **settings)
    PackedFolder(tmp_path / "out").verify()
    make_version_1(tmp_path / "out")
    PackedFolder(tmp_path / "out").verify()


@pytest.mark.parametrize("version", [1, 3])
def test_other_files_are_verified(copied: Path, version: int) -> None:
    """Edits of the files that datasets reads, and of the quarantine."""
    if version == 1:
        make_version_1(copied)
    state = copied / "state.json"
    content = json.loads(state.read_text())
    shards = content["_data_files"]
    for files in (shards[1:], [*shards, shards[0]], shards[::-1], [*shards[:-1], {"filename": "x.arrow"}], [], None, 5):
        state.write_text(json.dumps({**content, "_data_files": files}))
        with pytest.raises(
            ShardError, match=r"state\.json: (_data_files: expected .*; got|expected \d+ bytes; got|the check)"
        ):
            PackedFolder(copied).verify()
    state.write_text(json.dumps(content, indent=2) + "\n")
    PackedFolder(copied).verify()
    info = copied / "dataset_info.json"
    info.write_text(info.read_text().replace('"repeated"', '"repeatex"'))
    with pytest.raises(ShardError, match=r"dataset_info\.json: (features: expected .*; got|the checksum differs)"):
        PackedFolder(copied).verify()
    info.write_text(info.read_text().replace('"repeatex"', '"repeated"'))
    quarantine = copied / "quarantine.jsonl"
    lines = quarantine.read_text()
    quarantine.write_text(lines * 2)
    with pytest.raises(ShardError, match=r"quarantine\.jsonl: (expected 1 records; got 2|expected \d+ bytes; got)"):
        PackedFolder(copied).verify()
    quarantine.write_text(lines)
    for path in (state, info, quarantine):
        path.rename(copied / "aside")
        with pytest.raises(ShardError, match=f"{path.name}: the file is missing; pack again"):
            PackedFolder(copied).verify()
        (copied / "aside").rename(path)
    PackedFolder(copied).verify()


@pytest.mark.parametrize("name", ["shard-00099.arrow", "shard-00000-00000.parquet", "more.arrow", "rows.parquet"])
def test_a_stray_file_that_readers_take_for_rows(copied: Path, name: str) -> None:
    for other in ("notes.txt", "cache-0123456789abcdef.arrow", ".hidden.arrow", "model"):
        (copied / other).touch()
    PackedFolder(copied).verify()
    (copied / name).write_bytes((copied / "shard-00000-00000.arrow").read_bytes())
    with pytest.raises(
        ShardError, match=f"{name}: the manifest does not list this file, but readers of the folder use it"
    ):
        PackedFolder(copied).verify()


def test_a_stray_state_makes_datasets_read_other_rows(corpus: Path, tmp_path: Path) -> None:
    seampack.pack(corpus, out=tmp_path / "out", output_format="parquet", **SMALL)
    (tmp_path / "out/state.json").write_text("{}")
    with pytest.raises(ShardError, match=r"state\.json: the manifest does not list this file"):
        PackedFolder(tmp_path / "out").verify()


@pytest.mark.parametrize("pad", [None, END])
def test_rows_that_differ_from_their_segments(tmp_path: Path, pad: str | None) -> None:
    """Checksums and sums are right, but the row borders are wrong, as a faulty writer might leave them."""
    (tmp_path / "a.jsonl").write_text('{"text": "seam pack seam"}\n{"text": "pack"}\n')
    out = tmp_path / "out"
    seampack.pack(tmp_path / "a.jsonl", out=out, seq_len=16, strategy="pad", pad=pad)
    table = next(PackedFolder(out).tables())
    lengths, ids = table["seq_lengths"].to_pylist(), table["input_ids"].to_pylist()
    lengths[0][0], lengths[1][0] = lengths[0][0] + 16, lengths[1][0] - 16
    ids[1][-1] += 5
    cases = [
        ("seq_lengths", "seq_lengths", lengths, "row 0: expected .*16.* in its segments; got"),
        ("doc_ids", "doc_ids", [[0, 1, 1], []], "doc_ids: expected a value for each segment of seq_lengths"),
        ("seq_lengths", "other", lengths, "expected a column seq_lengths; got input_ids, other"),
    ]
    if pad:
        cases.append(("input_ids", "input_ids", ids, f"row 1: expected padding, {END_ID}; got {END_ID + 5}"))
    for replaced, name, values, message in cases:
        column = table.column_names.index(replaced)
        write_shard(out, table.set_column(column, name, pa.array(values, table.schema.field(column).type)))
        with pytest.raises(ShardError, match=message):
            PackedFolder(out).verify()
    write_shard(out, table)
    PackedFolder(out).verify()


@pytest.mark.parametrize("pad", [None, END])
def test_labels_are_verified(corpus: Path, tmp_path: Path, pad: str | None) -> None:
    """A label that differs, and a repeated token or padding that would be learned."""
    out = tmp_path / "out"
    options = {**SMALL, "shard_tokens": 1 << 20, "pad": pad, "labels": True, "strategy": "seamless"}
    seampack.pack(corpus, out=out, **options)
    PackedFolder(out).verify()
    table = next(PackedFolder(out).tables())
    column = table.column_names.index("labels")
    first, masked = table["labels"].to_pylist(), table["labels"].to_pylist()
    ignored = [(row, place) for row, labels in enumerate(masked) for place, each in enumerate(labels) if each == -100]
    row, place = ignored[-1]
    masked[row][place] = table["input_ids"][row][place].as_py()
    first[3][-1] = 9 if first[3][-1] != 9 else 8
    cases = [(first, r"row 3: labels: expected -?\d+; got [89]"), (masked, f"row {row}: labels: expected -100; got ")]
    for labels, message in cases:
        write_shard(out, table.set_column(column, "labels", pa.array(labels, table.schema.field(column).type)))
        with pytest.raises(ShardError, match=message):
            PackedFolder(out).verify()
    if pad is None:
        shorter = [labels[:-1] if n == 1 else labels for n, labels in enumerate(table["labels"].to_pylist())]
        shorter[0] = [*shorter[0], 5]
        write_shard(out, table.set_column(column, "labels", pa.array(shorter, table.schema.field(column).type)))
        with pytest.raises(ShardError, match="labels: expected as many as token ids in each row"):
            PackedFolder(out).verify()


def test_a_row_opens_its_shard_alone(packed: Path) -> None:
    folder = PackedFolder(packed)
    rows = [row for table in folder.tables() for row in table.to_pylist()]
    assert [folder.row(n) for n in range(len(rows))] == rows
    shard = packed / "shard-00000-00001.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(b"")
    try:
        assert folder.row(0) == rows[0]
        assert folder.row(len(rows) - 1) == rows[-1]
        with pytest.raises(ShardError, match=r"shard-00000-00001\.arrow: expected \d+ bytes; got 0: it is damaged"):
            folder.row(folder.shards[0].rows)
    finally:
        shard.write_bytes(whole)


@STRATEGIES
@pytest.mark.parametrize("texts", [["a", "a"], ["seam " * 99, "pack", "seam " * 9]], ids=["short", "long"])
def test_documents_of_one_id_cannot_be_unpacked(tmp_path: Path, strategy: str, texts: list[str]) -> None:
    corpus = tmp_path / "a.jsonl"
    corpus.write_text("".join(json.dumps({"text": text, "id": "same"}) + "\n" for text in texts))
    with pytest.warns(
        UserWarning, match=f"{len(texts) - 1} documents? (has|have) the id of another one, such as 'same'"
    ):
        seampack.pack(corpus, out=tmp_path / "out", id_column="id", strategy=strategy, **SMALL)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    with pytest.raises(ShardError, match=r"document 'same': expected a segment from .* several documents share this"):
        folder.unpack()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="nope: no such folder"):
        PackedFolder(tmp_path / "nope")


@FORMATS
def test_a_row_of_a_damaged_shard_never_ends_in_an_error_of_a_library(
    corpus: Path, tmp_path: Path, output_format: str
) -> None:
    out = tmp_path / "out"
    seampack.pack(corpus, out=out, output_format=output_format, id_column="id", **SMALL)
    shard = out / f"shard-00000-00000.{output_format}"
    whole = shard.read_bytes()
    chance = random.Random(5)
    messages = set()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 20])):
            damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
        shard.write_bytes(damaged)
        try:
            row_text(PackedFolder(out).row(0), None)
        except ShardError as error:
            messages.add(str(error).removeprefix(f"{shard}: "))
    assert f"the shard is damaged: expected rows in the format {output_format}; got other data; pack again" in messages
    assert all(message.startswith(("the shard is damaged: ", "expected ", "columns: ")) for message in messages)
