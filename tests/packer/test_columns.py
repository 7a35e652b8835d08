"""Columns travel with the tokens, token by token or document by document; none is lost or moved."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, DataError, ShardError
from seampack.packer import text_blocks
from seampack.packer.against import verify_against
from seampack.packer.folder import PackedFolder
from seampack.packer.numbering import places_of
from seampack.packer.unpacking import unpack
from tests.packer.corpus import END_ID, SHORT_ROWS, SMALL, TOKENIZER, UNFRAMED
from tests.packer.tampering import write_shard
from tests.packer.test_unpacking import EXPECTED_WARNINGS, LOSSES, OPTIONS, framed

COLUMNS = ("input_ids", "labels", "loss_mask", "weights", "kinds")
FIELDS = ("source", "score", "n")
CARRY = ("labels", "loss_mask", "weights:float32", "kinds:int8")
KEEP = ("source", "score:float64", "n:int64")
KINDS = pytest.mark.parametrize("kind", ["jsonl", "parquet"])

token = st.tuples(
    st.sampled_from([END_ID, 5, 6, 70, 4000]),
    st.sampled_from([-100, 5, 6]),
    st.integers(0, 1),
    st.floats(-100, 100, width=32),
    st.integers(-128, 127),
)
document = st.tuples(
    st.lists(token, max_size=90), st.text(st.sampled_from("ab Ä中\n"), max_size=5), st.floats(-5, 5), st.integers(-9, 9)
)


def record(document: Any, number: int) -> dict[str, Any]:
    tokens, source, score, n = document
    columns = {name: [token[index] for token in tokens] for index, name in enumerate(COLUMNS)}
    return {**columns, "source": source, "score": score, "n": n, "id": f"d{number:03d}"}


def write(path: Path, records: list[dict[str, Any]], kind: str) -> Path:
    if kind == "jsonl":
        path.write_text("".join(json.dumps(each) + "\n" for each in records))
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    return path


def with_added(record: dict[str, Any], bos: str, eos: str) -> dict[str, Any]:
    """Return a document with the values that the tokens around it take: the slow twin of ``framed_columns``."""
    ids = framed(record["input_ids"], bos, eos)
    before = int(ids[:1] != record["input_ids"][:1])
    out = {**record, "input_ids": ids}
    for name in COLUMNS[1:]:
        values = list(record[name])
        if not values:
            continue
        first, last = values[0], values[-1]
        if name == "labels":
            first, last = (near if near == -100 else added for near, added in ((first, ids[0]), (last, ids[-1])))
        out[name] = [first] * before + values + [last] * (len(ids) - len(values) - before)
    return out


@EXPECTED_WARNINGS
@SHORT_ROWS
@settings(max_examples=25)
@given(
    st.lists(document, max_size=10),
    OPTIONS,
    LOSSES,
    st.sampled_from(["jsonl", "parquet"]),
    st.booleans(),
)
def test_every_column_comes_back(
    documents: list[Any], options: dict[str, Any], losses: dict[str, Any], kind: str, labels: bool
) -> None:
    records = [record(each, number) for number, each in enumerate(documents)]
    options = {**options, "partition_bytes": 1 << 16, "carry": CARRY, "keep": KEEP, "labels": labels}
    with TemporaryDirectory() as folder:
        if kind == "parquet" and not any(each["input_ids"] for each in records):
            return  # the lists of the table would have no type
        corpus, out = write(Path(folder, f"a.{kind}"), records, kind), Path(folder, "out")
        seampack.pack(corpus, out=out, **options, **losses)
        packed = PackedFolder(out)
        packed.verify()
        assert verify_against(packed, corpus).differences == ()
        unpack(out, Path(folder, "back.parquet"), ids=True)
        names = {row["id"]: row for row in pq.read_table(Path(folder, "back.parquet")).to_pylist()}
        for number, each in enumerate(records):
            whole = with_added(each, options["bos"], options["eos"])
            back = names.pop(each["id"] if options["id_column"] else number, None)
            drops_rows = losses["drop_last"] or losses["rows_multiple_of"] > 1
            if back is None:
                assert not each["input_ids"] or drops_rows or losses["long"] == "drop"
                continue
            assert [back[name] for name in FIELDS] == [each[name] for name in FIELDS]
            cut = len(back["input_ids"])
            for name in COLUMNS:
                assert back[name] in (whole[name][:cut], [*whole[name][: cut - 1], whole[name][-1]])
            lost = len(whole["input_ids"]) - cut
            assert lost == 0 or drops_rows or losses["extra_tokens"] or losses["long"] == "truncate"
        assert not names


@pytest.mark.parametrize("output_format", ["arrow", "parquet"])
def test_rows_partitions_and_tails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_format: str) -> None:
    """Columns are those of their tokens in every row, in many partitions and windows; padding has its own values."""
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 4096)
    records = [
        record(
            (
                [(t % 97, -100 if t % 3 else t % 97, t % 2, t / 4, t % 100) for t in range(n * 7 % 150)],
                f"s{n}",
                n / 8,
                n,
            ),
            n,
        )
        for n in range(400)
    ]
    options: dict[str, Any] = {**SMALL, "partition_bytes": 1 << 16, "pad": "a", "output_format": output_format}
    corpus = write(tmp_path / "a.jsonl", records, "jsonl")
    manifest = seampack.pack(corpus, out=tmp_path / "out", carry=CARRY, keep=KEEP, **options)
    rows = [row for table in PackedFolder(tmp_path / "out").tables() for row in table.to_pylist()]
    for row in rows:
        assert {len(row[name]) for name in COLUMNS} == {32}
        end = 0
        for segment, number in enumerate(places_of(np.array(row["doc_ids"]), manifest.partitions).tolist()):
            start, length = row["doc_starts"][segment], row["seq_lengths"][segment]
            for name in COLUMNS:
                assert row[name][end : end + length] == records[number][name][start : start + length]
            assert [row[name][segment] for name in FIELDS] == [f"s{number}", number / 8, number]
            end += length
        assert set(row["labels"][end:]) <= {-100}
        assert not any(row["loss_mask"][end:] + row["weights"][end:] + row["kinds"][end:])
    plain = seampack.pack(corpus, out=tmp_path / "plain", labels=True, **{**options, "on_bad": "quarantine"})
    lost = [each["labels"] != each["input_ids"] or 0 in each["loss_mask"] for each in records]
    assert plain.quarantined == sum(lost)
    if output_format == "arrow":
        loaded = datasets.load_from_disk(tmp_path / "out")
        assert loaded[0]["score"] == rows[0]["score"]
        assert loaded.features["weights"].feature.dtype == "float32"


def test_repeated_tokens_are_trained_on_once(tmp_path: Path) -> None:
    """With --labels, in the labels and the masks that are carried; without, these are carried as they are."""
    labels, mask = [-100, *range(1, 9)], [0] + [1] * 8
    columns = {"labels": labels, "loss_mask": mask, "assistant_masks": mask, "attention_mask": [1] * 9, "x": mask}
    write(tmp_path / "a.jsonl", [{"input_ids": list(range(9)), **columns}], "jsonl")
    options: dict[str, Any] = {"carry": list(columns), "seq_len": 5, "shuffle": False, **UNFRAMED}
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", labels=True, **options)
    folder = PackedFolder(tmp_path / "out")
    rows = next(folder.tables())
    assert rows["labels"].to_pylist() == [[-100, 1, 2, 3, 4], [-100, 5, 6, 7, 8]]
    for name in ("loss_mask", "assistant_masks"):
        assert rows[name].to_pylist() == [[0, 1, 1, 1, 1], [0, 1, 1, 1, 1]]
    assert rows["attention_mask"].to_pylist() == rows["x"].to_pylist()[1:] * 2 == [[1] * 5] * 2
    folder.verify()
    assert not verify_against(folder, tmp_path / "a.jsonl").differences
    assert {name: folder.unpack()[name].to_pylist() for name in columns} == {n: [v] for n, v in columns.items()}
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "all", **options)
    rows = next(PackedFolder(tmp_path / "all").tables())
    assert rows["labels"].to_pylist()[1] == [4, 5, 6, 7, 8]
    assert rows["loss_mask"].to_pylist()[1] == [1] * 5
    place = rows.column_names.index("loss_mask")
    write_shard(tmp_path / "out", next(folder.tables()).set_column(place, "loss_mask", rows["loss_mask"]))
    with pytest.raises(ShardError, match="row 1: loss_mask: expected 0 of a repeated token; got 1"):
        PackedFolder(tmp_path / "out").verify()


@KINDS
def test_columns_of_texts_are_kept(tmp_path: Path, kind: str) -> None:
    texts = [{"text": "seam pack " * n, "source": f"s{n}", "score": n / 2, "n": n} for n in range(1, 9)]
    corpus = write(tmp_path / f"a.{kind}", texts, kind)
    seampack.pack(corpus, out=tmp_path / "out", seq_len=8, keep=KEEP)
    unpack(tmp_path / "out", tmp_path / "back.jsonl")
    back = [json.loads(line) for line in (tmp_path / "back.jsonl").read_text().splitlines()]
    assert back == [{**each, "id": number} for number, each in enumerate(texts)]
    assert verify_against(PackedFolder(tmp_path / "out"), corpus).differences == ()
    _, difference, *_ = verify_against(
        PackedFolder(tmp_path / "out"), write(tmp_path / f"b.{kind}", [{**each, "n": 3} for each in texts], kind)
    ).differences
    assert str(difference) == "document 0, n: expected 3, as in the source; the rows have 1 (and 6 more documents)"


def test_columns_of_csv_are_parsed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,score,n\na,0.5,1\nb,x,2\nc,1e3,-3\n")
    options: dict[str, Any] = {"keep": ["score:float64", "n:int64"], "seq_len": 8, "on_bad": "quarantine"}
    seampack.pack(tmp_path / "a.csv", out=tmp_path / "out", **options)
    unpacked = PackedFolder(tmp_path / "out").unpack()
    assert (unpacked["score"].to_pylist(), unpacked["n"].to_pylist()) == ([0.5, 1000.0], [1, -3])
    assert "expected values of float64; got x" in (tmp_path / "out/quarantine.jsonl").read_text()


def test_a_column_that_differs_from_the_source_is_named(tmp_path: Path) -> None:
    records = [{"input_ids": [1, 2, 3], "loss_mask": [0, 1, 1]}, {"input_ids": [4, 5], "loss_mask": [1, 1]}]
    corpus = write(tmp_path / "a.jsonl", records, "jsonl")
    seampack.pack(corpus, out=tmp_path / "out", carry=["loss_mask"], seq_len=8, **UNFRAMED)
    records[1]["loss_mask"] = [1, 0]
    write(corpus, records, "jsonl")
    found = {each.kind: each for each in verify_against(PackedFolder(tmp_path / "out"), corpus).differences}
    message = "document 1, token 1, loss_mask: expected 0, as in the source; the rows have 1"
    assert str(found["column loss_mask"]) == message


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"loss_mask": [1]}, "column 'loss_mask': expected a value for each of the 2 token ids; got 1"),
    ({"loss_mask": [1, 2]}, "loss_mask"),
    ({"loss_mask": [1, None]}, "loss_mask"),
    ({"loss_mask": None}, "loss_mask"),
    ({"weights": [1, 2, 3]}, "column 'weights': expected a value for each of the 2 token ids; got 3"),
    ({"source": None}, "source"),
    ({"n": None}, "n"),
    ({"n": 1 << 62}, ""),
]


@KINDS
@pytest.mark.parametrize(("change", "message"), FAULTS, ids=str)
def test_records_with_faulty_columns(tmp_path: Path, kind: str, change: dict[str, Any], message: str) -> None:
    good = {"input_ids": [4, 5], "loss_mask": [0, 1], "weights": [0.5, 1.0], "source": "s", "n": 7}
    corpus = write(tmp_path / f"a.{kind}", [good, {**good, **change}, good], kind)
    options: dict[str, Any] = {"carry": ["loss_mask", "weights:float64"], "keep": ["source", "n:int64"], "seq_len": 8}
    if message:
        with pytest.raises(DataError, match=r"a\.(jsonl:|parquet, row )2: .*" + message) as error:
            seampack.pack(corpus, out=tmp_path / "out", **options)
        assert len(str(error.value).splitlines()) == 1
    manifest = seampack.pack(corpus, out=tmp_path / "out", on_bad="quarantine", **options)
    assert manifest.quarantined == bool(message)
    assert PackedFolder(tmp_path / "out").unpack()["source"].to_pylist() == ["s"] * (3 - bool(message))


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        (
            "a.jsonl",
            '{"input_ids": [1]}',
            {"carry": ["x"]},
            r":1: no field 'x'; .* --carry",
        ),
        ("a.jsonl", '{"text": "a"}', {"keep": ["x"]}, r":1: no field 'x'; .* --keep"),
        (
            "a.jsonl",
            '{"text": "a", "x": 5}',
            {"keep": ["x"]},
            r":1: field 'x': expected str.* --keep x:TYPE",
        ),
        (
            "a.jsonl",
            '{"input_ids": [1], "x": [0.5]}',
            {"carry": ["x"]},
            r":1: field 'x.*int, .* --carry x:TYPE",
        ),
        ("a.jsonl", '{"text": "a", "x": [1]}', {"carry": ["x"]}, r": column 'x' cannot be carried: the documents are"),
        ("a.txt", "a", {"carry": ["x"]}, r": column 'x' cannot be carried: the documents are texts, not token ids"),
        ("a.txt", "a", {"keep": ["x"]}, r": plain text has no field 'x'; omit --keep"),
        ("a.csv", "text,x\na,1\n", {"carry": ["x"]}, r": column 'x' cannot be carried"),
        (
            "a.csv",
            "text,x\na,1\n",
            {"keep": ["y"]},
            r": no column 'y'; the table has 'text', 'x'; .* --keep",
        ),
    ],
)
def test_inputs_without_the_columns(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        seampack.pack(tmp_path / name, out=tmp_path / "out", seq_len=8, **options)


@pytest.mark.parametrize(
    ("column", "options", "message"),
    [
        ([[0.5]], {"carry": ["x"]}, r"column 'x': expected lists of int64; got list<.*double>; give --carry x:float64"),
        ([["a"]], {"carry": ["x"]}, r"column 'x': expected lists of numbers; got list<"),
        ([0.5], {"keep": ["x"]}, r"column 'x': expected texts; got double; give --keep x:float64"),
        ([[1]], {"keep": ["x"]}, r"column 'x': expected texts; got list<"),
        ([300], {"keep": ["x:float64"]}, ""),
    ],
)
def test_tables_of_other_types(tmp_path: Path, column: list[Any], options: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table({"input_ids": [[1]], "x": column}), tmp_path / "a.parquet")
    if not message:
        seampack.pack(tmp_path / "a.parquet", out=tmp_path / "out", seq_len=8, **options)
        return
    with pytest.raises(DataError, match=message):
        seampack.pack(tmp_path / "a.parquet", out=tmp_path / "out", seq_len=8, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"carry": ["x:text"]}, r"carry: expected NAME or NAME:TYPE with a type of int8, .*float64; got 'x:text'"),
        ({"keep": ["x:int8"]}, r"keep: expected NAME or NAME:TYPE with a type of string, int64, float64; got 'x:int8'"),
        ({"carry": ["input_ids"]}, r"carry: expected names of different columns, other than input_ids, text, id, "),
        ({"carry": ["x", "x:int8"]}, r"carry: expected names of different columns"),
        ({"carry": ["labels:uint8"]}, r"carry: expected a signed type for labels, which -100 fits; got 'labels:uint8'"),
        ({"carry": ["x"], "keep": ["x"]}, r"carry, keep: expected columns that no other option names; got 'x'"),
        ({"keep": ["u"], "id_column": "u"}, r"carry, keep: expected columns that no other option names; got 'u'"),
        ({"keep": ["labels"]}, r"carry, keep: expected columns that no other option names; got 'labels'"),
    ],
)
def test_names_and_types_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        seampack.PackConfig(**options)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("loss_mask", [[0, 1]], "loss_mask: expected a value for each token id of the rows"),
        ("loss_mask", [[0, 1, 1, 1, 1, 1, 1, 1]], "row 0: loss_mask: expected 0 of padding; got 1"),
        ("loss_mask", [[9, 1, 1, 0, 0, 0, 0, 0]], "row 0: loss_mask: expected 0 or 1 of a mask; got 9"),
        ("source", [["a", "b"]], "source: expected a value for each segment"),
        ("source", [[None]], "source: expected a value everywhere; got a null"),
    ],
)
def test_rows_with_faulty_columns_are_refused(tmp_path: Path, column: str, values: list[Any], message: str) -> None:
    write(tmp_path / "a.jsonl", [{"input_ids": [1, 2, 3], "loss_mask": [0, 1, 1], "source": "s"}], "jsonl")
    options: dict[str, Any] = {"carry": ["loss_mask"], "keep": ["source"], "seq_len": 8, **UNFRAMED}
    options["pad"] = "a" if len(values[0]) == 8 else None
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", **options)
    table = next(PackedFolder(tmp_path / "out").tables())
    position = table.column_names.index(column)
    write_shard(tmp_path / "out", table.set_column(position, column, pa.array(values, table.schema.field(column).type)))
    with pytest.raises(ShardError, match=message):
        PackedFolder(tmp_path / "out").verify()


def test_text_of_carried_documents(tmp_path: Path) -> None:
    ids = TOKENIZER.reference.encode("seam pack").ids
    write(tmp_path / "a.jsonl", [{"input_ids": ids, "x": ids}], "jsonl")
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", carry=["x"], seq_len=8)
    unpack(tmp_path / "out", tmp_path / "back.jsonl")
    assert json.loads((tmp_path / "back.jsonl").read_text()) == {"text": "seam pack", "id": 0}
    unpack(tmp_path / "out", tmp_path / "ids.jsonl", ids=True, special=False)
    assert json.loads((tmp_path / "ids.jsonl").read_text()) == {"input_ids": ids, "x": ids, "id": 0}
