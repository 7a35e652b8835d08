"""The base of the adapters: the protocol, datasets from files, artifacts, output folders, and the commands."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, is_progress_bar_enabled

from seampack.commands.report import readable
from seampack.errors import ConfigError, DataError, MissingExtraError, ShardError
from seampack.models import METHODS, data, get, registry
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, with_results
from seampack.models.options import saved_options
from tests.models.contract import AdapterContract, scopes
from tests.models.dummy import MajorityConfig

ROWS = [
    {"text": "good, really", "label": "yes"},
    {"text": 'a "quoted"\nline', "label": "no"},
    {"text": "so", "label": "yes"},
]
REVIEWS = Path(__file__).parent.parent / "data" / "reviews.csv"


@pytest.fixture(autouse=True, scope="module")
def majority() -> Any:
    METHODS["majority"] = registry.Method(
        "predicts the most frequent label", "tests.models.dummy:MajorityConfig", "tests.models.dummy:ADAPTER"
    )
    yield
    del METHODS["majority"]


SCOPES = scopes(
    saved="text_column label_column",
    fixed="share",
    per_run="digits",
)
"""Scope of each option."""


class TestMajority(AdapterContract):
    method = "majority"
    scopes = SCOPES

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return data.load(str(REVIEWS)).select(range(50))

    def test_training_adds_facts_of_the_method_to_those_of_the_data(self, artifact: Artifact) -> None:
        assert artifact.facts["data"].keys() == {"fingerprint", "rows", "votes"}
        assert artifact.facts["classes"] == ["negative", "positive"]

    def test_scopes(self, adapter: "Adapter[Any]") -> None:
        scopes = {name: adapter.config.scope(name).value for name in ("share", "digits", "text_column")}
        assert scopes == {"share": "fixed", "digits": "per run", "text_column": "saved"}

    def test_a_fixed_option_is_refused_by_name(
        self, adapter: "Adapter[Any]", prepared: Dataset, artifact: Artifact
    ) -> None:
        config = adapter.config.of_training(artifact.config, artifact.method)
        assert adapter.evaluate(prepared, artifact, config.replace(digits=2)).metrics
        with pytest.raises(ConfigError) as refusal:
            adapter.evaluate(prepared, artifact, config.replace(share=0.5))
        facts, remedy = str(refusal.value).rsplit("; ", 1)
        assert facts == "share: fixed by training; expected 1.0, as in the artifact; got 0.5"
        assert remedy == "omit the option, or train again with it"

    def test_options_of_a_run_are_not_inherited(self, adapter: "Adapter[Any]", prepared: Dataset) -> None:
        artifact = adapter.train(prepared, adapter.config(share=0.5, digits=2))
        assert adapter.config.of_training(artifact.config, artifact.method) == adapter.config(share=0.5)


def written(folder: Path, kind: str) -> Path:
    """Write ROWS to a file of one kind."""
    path = folder / f"rows.{kind}"
    table = pa.Table.from_pylist(ROWS)
    if kind == "csv":
        path.write_text('text,label\n"good, really",yes\n"a ""quoted""\nline",no\nso,yes\n', "utf-8")
    elif kind == "tsv":
        path.write_text('text\tlabel\ngood, really\tyes\n"a ""quoted""\nline"\tno\nso\tyes\n', "utf-8")
    elif kind == "json":
        path.write_text(json.dumps(ROWS), "utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n", "utf-8")
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    elif kind == "parquet":
        pq.write_table(table, path)
    elif kind == "arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        Dataset(table).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "jsonl.gz", "parquet", "arrow", "folder"])
def test_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    found = data.load(str(written(tmp_path, kind)))
    assert found.to_list() == ROWS
    assert fingerprint(found) == fingerprint(Dataset.from_list(ROWS))


def test_splits(tmp_path: Path) -> None:
    rows = Dataset.from_list(ROWS)
    DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(str(tmp_path / "both"))
    assert len(data.load(str(tmp_path / "both"), "test")) == 1
    with pytest.raises(DataError, match=r"several splits; choose one of train, test"):
        data.load(str(tmp_path / "both"))
    with pytest.raises(DataError, match=r"no split 'dev'; expected one of train, test"):
        data.load(str(tmp_path / "both"), "dev")
    with pytest.raises(DataError, match="has no splits"):
        data.load(str(written(tmp_path, "csv")), "train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": 1}\n{"te', r"a\.jsonl:2: broken JSON"),
        ("a.json", "[1, 2]", r"a\.json:1: expected object, got array"),
        ("a.csv", "text,label\nonly one\n", r"a\.csv:2: cannot be read: expected 2 fields"),
        ("a.parquet", "nonsense", r"a\.parquet: cannot be read"),
        ("a.csv", "text,text\na,b\n", r"a\.csv: cannot be read: a column name appears twice"),
        (
            "a.jsonl",
            '{"a": 123456789012345678901234567890}',
            r"a\.jsonl:1: field 'a': expected a value",
        ),
        ("a.docx", "PK\x03\x04", r"a\.docx: a zip archive; expected text, JSON or a table"),
        ("a.csv.gz", "\x1f\x8b not gzip", r"a\.csv\.gz: cannot be read"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, "latin-1")
    with pytest.raises(DataError, match=message):
        data.load(str(tmp_path / name))
    with pytest.raises(DataError, match="no such file"):
        data.load(str(tmp_path / "missing.csv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected files with a known ending"):
        data.load(str(tmp_path / "empty"))


def test_records_have_the_union_of_all_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"b": ["x"]}\n{"a": 2.5, "c": null}\n{"c": {"d": true}}\n', "utf-8")
    found = data.load(str(path))
    assert found.column_names == ["a", "b", "c"]
    assert found["a"][:] == [1.0, None, 2.5, None]
    assert found["b"][:] == [None, ["x"], None, None]
    assert found["c"][:] == [None, None, None, {"d": True}]
    path.write_text("[]", "utf-8")
    assert len(data.load(str(path))) == 0


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            '{"a": "x", "b": 1}\n\n{"b": 2}\n{"b": "y"}',
            r"rows.jsonl:4: field 'b': expected int64, as in the lines",
        ),
        ('{"a": ["x"]}\n{"a": null}\n{"a": "x"}', r"rows.jsonl:3: field 'a': expected list<.*string>, as .*; got 'x'"),
        (
            '{"a": {"b": 1}}\n{"a": {"b": "z"}}',
            r"rows.jsonl:2: field 'a': expected struct<b: int64>, .*'z'",
        ),
    ],
)
def test_values_of_two_types_are_named_by_line_and_field(tmp_path: Path, records: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(records, "utf-8")
    with pytest.raises(DataError, match=message):
        data.load(str(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([0], "row 1"),
        ([2, 6], "rows 3 and 7"),
        ([0, 1, 2, 3, 4], "rows 1, 2, 3, 4 and 5"),
        (list(range(9, 2_009)), "rows 10, 11, 12, 13, 14 and 1,995 others"),
    ],
)
def test_rows_are_named_from_1(rows: list[int], words: str) -> None:
    assert data.named_rows(rows) == words


def test_labels() -> None:
    rows = Dataset.from_list(ROWS)
    assert data.classes_of(rows, "label") == ["no", "yes"]
    encoded = data.with_labels(rows, "label", ["yes", "no"])
    assert encoded["label"][:] == [0, 1, 0]
    assert data.with_labels(encoded, "label", ["yes", "no"]) is encoded
    assert data.with_labels(encoded, "label", ["no", "yes"])["label"][:] == [1, 0, 1]
    with pytest.raises(DataError, match=r"unknown label 'no'; expected one of yes, maybe"):
        data.with_labels(rows, "label", ["yes", "maybe"])
    both = encoded.rename_column("label", "stars").add_column("label", ["x", "y", "z"])
    named = data.with_labels(both, "stars", ["yes", "no"])
    assert named["label"][:] == [0, 1, 0]
    assert named["label_given"][:] == ["x", "y", "z"]
    assert named["stars"][:] == [0, 1, 0]
    assert data.with_labels(named, "stars", ["yes", "no"]) is named
    alone = data.with_labels(rows.select_columns("label"), "label", ["yes", "no"])
    assert alone.to_dict() == {"label": [0, 1, 0]}
    unlabelled = Dataset.from_dict({"label": [0, -1]}, Features({"label": ClassLabel(names=["yes", "no"])}))
    with pytest.raises(DataError, match=r"1 of 2 labels are missing \(-1\), in row 2; drop"):
        data.with_labels(unlabelled, "label", ["yes", "no"])
    numbers = Dataset.from_dict({"label": [3, 1, 10]})
    assert data.classes_of(numbers, "label") == ["1", "3", "10"]
    with pytest.raises(DataError, match="whole numbers"):
        data.classes_of(Dataset.from_dict({"label": [0.5]}), "label")
    with pytest.raises(DataError, match="the label of row 2 is empty"):
        data.classes_of(Dataset.from_dict({"label": ["yes", ""]}), "label")
    with pytest.raises(DataError, match="text or whole numbers"):
        data.classes_of(Dataset.from_dict({"label": [{"a": 1}]}), "label")
    with pytest.raises(DataError, match="1 of 2 values are null, in row 2"):
        data.require(Dataset.from_dict({"text": ["a", None]}), ["text"])
    with pytest.raises(DataError, match="expected text; got int64"):
        data.require_text(numbers, "label")


def test_names_instead_of_ids() -> None:
    feature = ClassLabel(names=["no", "yes"])
    columns = {"label": [1, 0, -1, None], "text": ["a", "b", "c", "d"], "guess": [1, 1, 0, 0]}
    rows = Dataset.from_dict(columns, Features({"label": feature, "text": Value("string"), "guess": feature}))
    named = data.with_names(rows)
    assert named.to_dict() == {
        "label": ["yes", "no", None, None],
        "text": ["a", "b", "c", "d"],
        "guess": ["yes", "yes", "no", "no"],
    }
    assert data.with_names(rows.select_columns("guess").select([2]))["guess"][:] == ["no"]
    assert data.with_names(named) is named


def test_fingerprint_is_of_the_values() -> None:
    rows = Dataset.from_dict({"a": list(range(20)), "b": list("abcdefghijklmnopqrst")})
    part = rows.select(range(5, 10))
    assert fingerprint(part) == fingerprint(Dataset.from_dict(part.to_dict()))
    assert fingerprint(rows.select([5, 6, 7, 8, 9])) == fingerprint(part)
    assert fingerprint(rows.select([6, 5, 7, 8, 9])) != fingerprint(part)
    labelled = Features({"a": ClassLabel(num_classes=20), "b": Value("string")})
    assert fingerprint(rows.cast(labelled)) == fingerprint(rows)


def test_results_keep_the_columns_of_the_dataset() -> None:
    dataset = Dataset.from_dict({"count": [1, 2], "count_given": ["a", "b"], "text": ["x", "y"]})
    found = with_results(dataset, {"count": [3, 4], "said": ([0, 1], ClassLabel(names=["no", "yes"]))})
    assert found.to_dict() == {
        "count_given_given": [1, 2],
        "count_given": ["a", "b"],
        "text": ["x", "y"],
        "count": [3, 4],
        "said": [0, 1],
    }
    assert found.features["said"].names == ["no", "yes"]


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (True, 3, "yes"),
        (False, 3, "no"),
        (1234, 3, "1,234"),
        (0.0, 3, "0.000"),
        (4.2e-9, 3, "4.2e-09"),
        (-4e-4, 3, "-4.0e-04"),
        (-4e-4, 4, "-0.0004"),
        (1234.5, 4, "1,234.5000"),
        (None, 3, "-"),
    ],
)
def test_numbers_are_readable(value: Any, digits: int, text: str) -> None:
    assert readable(value, digits) == text


def test_missing_methods_and_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no such method; expected one of"):
        get("nothing")
    monkeypatch.setitem(
        METHODS, "lost", registry.Method("needs a missing package", "a:B", "no_such_package.module:ADAPTER")
    )
    with pytest.raises(MissingExtraError, match=r"no_such_package.*seampack\[models\]"):
        get("lost")


@pytest.mark.parametrize(
    ("saved", "reason"),
    [
        (None, "no options are saved"),
        ({"share": 0.5, "seeds": 3, "colour": 1}, "unknown option 'colour'"),
        ({"share": 7}, "share: expected a number from 0 to 1; got 7"),
    ],
)
def test_saved_options_of_another_version_are_named(saved: Any, reason: str) -> None:
    remedy = "train the artifact again with this version"
    message = f"artifact of counting: made by another version of seampack: {reason}; {remedy}"
    with pytest.raises(ShardError, match=f"^{re.escape(message)}$"):
        saved_options(MajorityConfig, saved, "counting")
    assert saved_options(MajorityConfig, {"share": 0.5}, "counting") == MajorityConfig(share=0.5)


def test_a_part_in_memory_is_not_loaded() -> None:
    part = object()
    assert Artifact("m", {}, parts={"model": part}).part("model", lambda folder: None) is part


def test_notes_of_training_are_said_again_in_evaluation(call: Any, tmp_path: Path) -> None:
    rows = ("--data", "rows.csv", "-o")
    (tmp_path / "rows.csv").write_text("text,label\na,so\nb,so\n", "utf-8")
    note = "one label alone; use more rows"
    assert call("models", "train", "majority", *rows, "artifact").stderr.decode() == f"seampack: warning: {note}\n"
    measured = call("models", "evaluate", "majority", "--artifact", "artifact", *rows, "out", "--json")
    expected = [f"in training: {note}", "every label is given as so; use another method"]
    assert json.loads(measured.stdout)["notes"] == expected
    assert json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))["notes"] == expected


def test_the_commands(call: Any, tmp_path: Path) -> None:
    listed = json.loads(call("models", "list", "--json").stdout)
    assert {row["method"] for row in listed} == set(METHODS)
    described = call("models", "list", "majority").stdout.decode()
    assert "label_column" in described
    assert "its class" in described

    made = call("models", "prepare", "majority", "--data", REVIEWS, "-o", "prepared", "--json")
    assert json.loads(made.stdout) == {"rows": 2000, "columns": ["text", "label"]}
    (tmp_path / "options.toml").write_text("share = 0.5\n", "utf-8")
    reading = ("--data", "prepared", "--config", "options.toml", "--set", "text_column=text")
    trained = json.loads(call("models", "train", "majority", *reading, "-o", "artifact", "--json").stdout)
    assert trained["config"] == {"text_column": "text", "label_column": "label", "share": 0.5, "digits": 6}
    assert Artifact.load(tmp_path / "artifact").facts == trained["facts"]

    evaluate = ("models", "evaluate", "majority", "--artifact", "artifact", "--data", REVIEWS, "-o", "out")
    refused = call(*evaluate, "--set", "share=0.7")
    assert refused.returncode == 1
    assert b"share: fixed by training; expected 0.5" in refused.stderr
    unread = call(*("none.csv" if argument is REVIEWS else argument for argument in evaluate), "--set", "share=0.7")
    assert unread.stderr == refused.stderr  # the option is checked before the data is read
    measured = call(*evaluate)
    assert measured.returncode == 0
    assert b"0.5000" in measured.stdout
    assert measured.stdout.split()[4:8] == [b"even", b"yes", b"p", b"1.0e-09"]
    note = "every label is given as positive; use another method"
    assert f"seampack: warning: {note}\n" in measured.stderr.decode()
    metrics = {"accuracy": 0.5, "undefined": None, "even": True, "p": 1e-9, "notes": [note]}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8")) == metrics
    again = call(*evaluate)
    assert again.returncode == 1
    assert is_progress_bar_enabled()
    assert b"use --overwrite" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "nothing", "--data", REVIEWS, "-o", "out"), b"nothing: no such method"),
        (("train", "majority", "--data", "none.csv", "-o", "out"), b"none.csv: no such file"),
        (("train", "majority", "--data", REVIEWS, "--set", "share=2", "-o", "out"), b"share: expected a number"),
        (("train", "majority", "--data", REVIEWS, "--set", "shares=1", "-o", "out"), b"shares: no such option"),
        (("train", "majority", "--data", REVIEWS, "--set", "share", "-o", "out"), b"expected NAME=VALUE"),
        (("train", "majority", "--data", REVIEWS, "--set", "label_column=none", "-o", "out"), b"no column 'none'"),
        (("train", "refine", "--data", REVIEWS, "--set", "whole_text=no", "-o", "out"), b"expected true or false"),
        (("evaluate", "majority", "--artifact", "none", "--data", REVIEWS, "-o", "out"), b"none: no such folder"),
    ],
)
def test_mistakes_of_users_are_one_line(call: Any, tmp_path: Path, arguments: tuple[Any, ...], message: bytes) -> None:
    result = call("models", *arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count(b"\n") == 1
    assert not list(tmp_path.iterdir())
