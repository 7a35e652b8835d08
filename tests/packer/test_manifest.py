"""The manifest: its JSON is stable, and damage of any field is refused by the field's name."""

import bz2
import copy
import functools
import gzip
import json
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import seampack
from seampack.errors import ConfigError, ShardError
from seampack.packer.checksums import checksum, digest
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.manifest import Manifest
from seampack.packer.names import is_packed_name, shard_name
from tests.conftest import Run
from tests.faulty import UNFRAMED
from tests.packer.corpus import SMALL, write_corpus

# A manifest of version 1, as the first release wrote it, with the fields of ADDED. Every later version must open both.
VERSION_1: dict[str, Any] = {
    "format": "seampack packed shards",
    "format_version": 1,
    "seampack_version": "0.1.0",
    "tokenizer": {
        "name": "bundled",
        "fingerprint": "sha256:00",
        "vocab_size": 8192,
        "pad_id": None,
        "bos": None,
        "bos_id": None,
        "eos": "<|endoftext|>",
        "eos_id": 0,
    },
    "pre_segment": "zh",
    "config": {
        "seq_len": 2048,
        "strategy": "seamless",
        "max_overlap": 0.3,
        "extra_tokens": 50,
        "extra_room": "needed",
        "leftover": "concat",
        "drop_last": False,
        "shuffle": True,
        "seed": 2**40,  # the first release took seeds up to 2^63 - 1
        "input_format": "auto",
        "text_column": "text",
        "input_ids_column": "input_ids",
        "id_column": None,
        "on_bad": "stop",
        "special_tokens_in_text": False,
        "bos": None,
        "eos": None,
        "pad": None,
        "labels": False,
        "window_tokens": 16777216,
        "output_format": "arrow",
        "shard_tokens": 67108864,
    },
    "columns": {"input_ids": "list<item: uint16>", "doc_ids": "list<item: int64>"},
    "accounting": {
        "seq_len": 2048,
        "rows": 2,
        "documents": 3,
        "empty_documents": 1,
        "tokens_in": 3100,
        "tokens_out": 3100,
        "repeated": 10,
        "dropped": 10,
        "segments": 4,
        "cuts": 2,
        "documents_split": 1,
        "documents_truncated": 1,
        "documents_dropped": 0,
        "documents_fit_but_cut": 1,
        "padding": 996,
        "fill": 0.75683594,
    },
    "quarantined": 0,
    "shards": [{"file": "shard-00000.arrow", "rows": 2, "bytes": 12345, "checksum": "xxh3_128:00"}],
}
ADDED = [
    ("accounting", "documents_dropped"),
    ("accounting", "documents_fit_but_cut"),
    *(("tokenizer", name) for name in ("bos", "bos_id", "eos", "eos_id")),
]


FILES = [
    {"file": name, "bytes": 10, "checksum": "xxh3_128:00"}
    for name in ("dataset_info.json", "state.json", "quarantine.jsonl")
]
INPUTS = [{"path": "a.jsonl", "bytes": 99, "checksum": "xxh3_128:00"}]
VERSION_2: dict[str, Any] = {**VERSION_1, "format_version": 2, "quarantined": 3, "inputs": INPUTS, "files": FILES}
VERSION_2["digest"] = digest(VERSION_2)
VERSION_3: dict[str, Any] = {
    **VERSION_1,
    "format_version": 3,
    "quarantined": 3,
    "shards": [
        {"file": f"shard-{name}.arrow", "rows": 1, "bytes": 12345, "checksum": "xxh3_128:00"}
        for name in ("00000-00000", "00000-00001", "00002-00000")
    ],
    "inputs": [{**INPUTS[0], "part": part, "parts": 2} for part in range(2)],
    "partitions": [1, 2],
    "files": FILES,
}
VERSION_3["digest"] = digest(VERSION_3)
VERSIONS = (VERSION_1, VERSION_2, VERSION_3)

CYCLE: list[Any] = []
CYCLE.append(CYCLE)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path of every value in a manifest except the note."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        if key != "pre_segment":
            yield (*path, key)
            yield from paths(child, (*path, key))


def value_at(content: Any, path: Sequence[Any]) -> Any:
    return functools.reduce(operator.getitem, path, content)


def written(path: tuple[Any, ...]) -> str:
    """Return a path as in messages: ``shards[0].rows``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


FIELDS = [
    pytest.param(content, path, id=f"{content['format_version']}.{written(path)}")
    for content in VERSIONS
    for path in paths(content)
]


@pytest.mark.parametrize("content", VERSIONS, ids=["1", "2", "3"])
def test_the_json_of_each_version_is_kept(content: dict[str, Any]) -> None:
    manifest = Manifest.from_dict(content)
    assert manifest.to_dict() == content
    assert list(manifest.to_dict()) == list(content)
    assert manifest.notes == {"pre_segment": "zh"}
    assert manifest.accounting.fill == pytest.approx(3100 / 4096)
    assert manifest["accounting"]["padding"] == manifest.accounting.padding == 996
    with pytest.raises(KeyError):
        manifest["nothing"]


def test_fields_that_the_first_release_did_not_write_are_null() -> None:
    first, expected = copy.deepcopy(VERSION_1), copy.deepcopy(VERSION_1)
    for *parent, key in ADDED:
        del value_at(first, parent)[key]
        value_at(expected, parent)[key] = None
    assert Manifest.from_dict(first).to_dict() == expected
    assert Manifest.from_dict(expected).to_dict() == expected


def test_the_file_is_what_pack_returns(packed: Path) -> None:
    content = json.loads((packed / "manifest.json").read_text())
    manifest = PackedFolder(packed).manifest
    assert manifest.to_dict() == content
    assert list(content) == [name for name in VERSION_3 if name != "pre_segment"]
    for name in ("tokenizer", "accounting"):
        assert list(content[name]) == list(VERSION_1[name])
    assert manifest.config == PackConfig(on_bad="quarantine", **SMALL).to_dict()
    assert content["digest"] == digest({name: value for name, value in content.items() if name != "digest"})


def stored(folder: Path) -> list[Path]:
    """Write an input of each kind of reading, and return their paths."""
    texts = "".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(20_000))
    table = pa.table({"text": ["a", "b"], "unused": ["x" * 99_999, "y"]})
    (folder / "a.jsonl").write_text(texts)
    (folder / "a.json").write_text(f"[{texts.strip().replace(chr(10), ',')}]\n")
    (folder / "a.csv").write_text("text\na\n")
    (folder / "a.txt.gz").write_bytes(gzip.compress(texts.encode()) + bytes(9))
    (folder / "a.txt.bz2").write_bytes(bz2.compress(texts.encode()))
    (folder / "a.txt.zst").write_bytes(bytes(pa.Codec("zstd").compress(texts.encode(), asbytes=True)))
    (folder / "empty.txt").write_text("")
    pq.write_table(table, folder / "a.parquet")
    with pa.OSFile(str(folder / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / "a.arrow.gz").write_bytes(gzip.compress((folder / "a.arrow").read_bytes()))
    path = Path(os.fsdecode(os.fsencode(folder) + b"/n\xff.txt"))
    path.write_text("a\n")
    return sorted(folder.iterdir())


def test_the_manifest_names_the_inputs_as_they_are_stored(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    files = stored(tmp_path / "corpus")
    manifest = seampack.pack(tmp_path / "corpus", out=tmp_path / "out", window_tokens=1 << 20)
    assert [each.path for each in manifest.inputs] == [
        os.fsencode(path).decode(errors="backslashreplace") for path in files
    ]
    assert [each.bytes for each in manifest.inputs] == [path.stat().st_size for path in files]
    assert [each.checksum for each in manifest.inputs] == [checksum(path) for path in files]
    assert PackedFolder(tmp_path / "out").manifest == manifest


def test_standard_input_is_named_by_its_content(call: Run, tmp_path: Path) -> None:
    data = gzip.compress(b"one\ntwo\n")
    result = call("pack", "-", "-o", "out", *UNFRAMED, "--json", stdin=data)
    (entry,) = json.loads(result.stdout)["inputs"]
    (tmp_path / "same").write_bytes(data)
    assert entry == {"path": "-", "bytes": len(data), "checksum": checksum(tmp_path / "same"), "part": 0, "parts": 1}
    for name in ("b.txt", "c.txt", "d.txt"):
        (tmp_path / name).write_text("b\n" * 1000)
    assert call("pack", "b.txt", "same", "c.txt", "d.txt", "-o", "other", *UNFRAMED).returncode == 0
    shown = call("inspect", "other", "--verify").stdout.decode()
    assert "\ninputs                     4   0.0 MB, b.txt, same, c.txt, ...\n" in shown


def test_pack_returns_the_manifest_with_the_notes(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "a.jsonl", ["a"])
    manifest = seampack.pack(corpus, out=tmp_path / "out", notes={"pre_segment": "zh"})
    assert manifest == PackedFolder(tmp_path / "out").manifest
    assert manifest["pre_segment"] == "zh"
    with pytest.raises(ConfigError, match=r"^notes: expected a name that the manifest does not use; got 'digest'$"):
        seampack.pack(corpus, out=tmp_path / "other", notes={"digest": 1})
    assert not (tmp_path / "other").exists()


def test_a_manifest_is_a_mapping_of_its_json() -> None:
    manifest = Manifest.from_dict(VERSION_1)
    assert isinstance(manifest, Mapping)
    assert dict(manifest) == manifest == VERSION_1
    assert list(manifest) == list(VERSION_1)
    assert len(manifest) == len(VERSION_1)
    assert "shards" in manifest
    assert "notes" not in manifest
    assert manifest.get("pre_segment") == "zh"
    assert manifest.get("nothing", 5) == 5
    assert {**manifest}["shards"][0]["rows"] == 2
    assert manifest != Manifest.from_dict({**VERSION_1, "pre_segment": "th"})


@pytest.mark.parametrize(
    "value", [{1, 2}, Path("a"), float("nan"), [1, float("inf")], b"bytes", "\ud800", {(1, 2): 3}, CYCLE, object()]
)
def test_notes_that_json_cannot_express_are_refused_before_the_run(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^notes: expected a value of 'origin' that JSON can express; got "):
        seampack.pack(tmp_path / "no such corpus", out=tmp_path / "out", notes={"day": 1, "origin": value})
    assert list(tmp_path.iterdir()) == []


def test_notes_are_returned_as_the_file_holds_them(tmp_path: Path) -> None:
    notes = {"sizes": (1, 2), "by id": {7: "x"}, "ä": None, "share": 0.1, "big": 2**70}
    manifest = seampack.pack(write_corpus(tmp_path / "a.jsonl", ["a"]), out=tmp_path / "out", notes=notes)
    assert manifest.notes == {**notes, "sizes": [1, 2], "by id": {"7": "x"}}
    assert manifest == PackedFolder(tmp_path / "out").manifest


WRONG: list[Any] = [None, [], {"a": 1}, True, -1, 1.5, "text"]
RIGHT: dict[type, list[Any]] = {str: ["text"], bool: [True], float: [-1, 1.5], type(None): [None, "text"]}


def damaged(content: dict[str, Any], path: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """Return manifests in which one value is missing, null or of the wrong type; an added field may be missing."""
    *parent, key = path
    right = RIGHT.get(type(value_at(content, path)), [])
    if path in ADDED or key == "pad_id":
        right = [*right, None]
    for value in WRONG:
        if value not in right:
            changed = copy.deepcopy(content)
            value_at(changed, parent)[key] = value
            yield changed
    if isinstance(key, str) and path not in ADDED and (parent not in (["columns"], ["config"]) or key in NEEDED):
        changed = copy.deepcopy(content)
        del value_at(changed, parent)[key]
        yield changed


NEEDED = ("seq_len", "strategy", "drop_last", "output_format")
"""Fields of the config that reading needs; another version may not have the others."""


@pytest.mark.parametrize(("whole", "path"), FIELDS)
def test_damage_of_a_field_is_refused_by_its_name(whole: dict[str, Any], path: tuple[Any, ...]) -> None:
    contents = list(damaged(whole, path))
    assert len(contents) >= 4
    for content in contents:
        with pytest.raises(ShardError) as error:
            Manifest.from_dict(content)
        message = str(error.value)
        if path == ("format",):
            assert message == 'not a manifest of packed shards: expected "format": "seampack packed shards"'
        elif path == ("format_version",):
            assert message.endswith("; this program reads versions 1 to 3")
        else:
            assert message.startswith(f"the manifest is damaged: {written(path)}")
            assert "expected" in message
            assert message.endswith("; pack again")
            assert "; got " in message


def edited(content: Any) -> Iterator[Any]:
    """Return copies of a JSON value with one entry changed to another of its type, added or removed."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from ({**content, key: other} for other in edited(value))
            yield {name: value for name, value in content.items() if name != key}
        yield {**content, "new": 1}
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from ([*content[:place], other, *content[place + 1 :]] for other in edited(value))
        yield content[::-1] if content != content[::-1] else [*content, *content]
    elif isinstance(content, bool):
        yield not content
    elif isinstance(content, str):
        yield f"{content}x"
    else:
        yield 5 if content is None else content + 1


@pytest.mark.parametrize("whole", [VERSION_2, VERSION_3], ids=["2", "3"])
def test_every_edit_of_a_manifest_is_found(whole: dict[str, Any]) -> None:
    changed = list(edited(whole))
    assert len(changed) > 100
    for content in changed:
        with pytest.raises(ShardError):
            Manifest.from_dict(content)
    seed = {**whole, "config": {**whole["config"], "seed": 8}}
    message = f"^the manifest is damaged: digest: expected .*; got '{whole['digest']}': an entry was changed"
    with pytest.raises(ShardError, match=message):
        Manifest.from_dict(seed)


def test_options_of_another_version_are_kept() -> None:
    config = {name: value for name, value in VERSION_1["config"].items() if name != "leftover"}
    manifest = Manifest.from_dict({**VERSION_1, "config": {**config, "later": [1]}})
    assert manifest.config == {**config, "later": [1]}
    named = Manifest.from_dict({**VERSION_1, "files": "a note of version 1"})
    assert named.notes == {"pre_segment": "zh", "files": "a note of version 1"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("config", "seq_len"), 0, "config.seq_len: expected an integer of at least 1; got 0"),
        (("config", "seq_len"), 1024, "accounting.seq_len: expected 1024; got 2048"),
        (
            ("config", "output_format"),
            "csv",
            "config.output_format: expected one of arrow, parquet, bridge, megatron, mds, npy, bin, index; got 'csv'",
        ),
        (("accounting", "padding"), 995, "accounting.padding: expected 996; got 995"),
        (("accounting", "fill"), 0.5, r"accounting.fill: expected 0\.75683594; got 0\.5"),
        (("accounting", "repeated"), 11, "accounting: expected tokens_in = tokens_out - repeated"),
        (("accounting", "tokens_out"), 9999, "accounting: expected tokens_in = tokens_out - repeated"),
        (("shards",), [], r"shards: expected a list of at least one shard; got \[\]"),
        *(
            (("shards", 0, "file"), name, r"shards\[0\].file: expected shard-00000\.arrow; got")
            for name in ("../x", "/etc/passwd", "x.arrow", "shard-00001.arrow", "shard-00000.parquet", "")
        ),
    ],
)
def test_values_that_contradict_each_other(path: tuple[Any, ...], value: Any, message: str) -> None:
    content = copy.deepcopy(VERSION_1)
    value_at(content, path[:-1])[path[-1]] = value
    with pytest.raises(ShardError, match=f"^the manifest is damaged: {message}.*; pack again$"):
        Manifest.from_dict(content)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("partitions",), [1, 1], "partitions: expected 3 documents, as in the accounting; got 2"),
        *(
            (
                ("shards", place, "file"),
                f"shard-{name}",
                rf"shards\[{place}\].file: expected shard-{expected}\.arrow; got",
            )
            for place, name, expected in (
                (0, "00000.arrow", "00000-00000"),
                (1, "00000-00000.arrow", "00000-00001"),
                (1, "00000-00002.arrow", "00000-00001"),
                (2, "00000-00001.arrow", "00000-00002"),
                (2, "00002-00001.arrow", "00002-00000"),
                (2, "00002-00000.parquet", "00002-00000"),
            )
        ),
    ],
)
def test_partitions_and_shards_that_contradict_each_other(path: tuple[Any, ...], value: Any, message: str) -> None:
    content = copy.deepcopy(VERSION_3)
    value_at(content, path[:-1])[path[-1]] = value
    with pytest.raises(ShardError, match=f"^the manifest is damaged: {message}.*; pack again$"):
        Manifest.from_dict(content)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            '{"format": "seampack packed shards", "format_version": 4}',
            "format version 4; this program reads versions 1",
        ),
        ("{", "not a manifest of packed shards"),
        ("[]", "not a manifest of packed shards"),
        ("[" * 99_999, "not a manifest of packed shards"),
        ('{"format_version": 1}', "not a manifest of packed shards"),
        (json.dumps({**VERSION_1, "shards": None}), "the manifest is damaged: shards: expected"),
        (None, r"no manifest\.json: not a packed folder, or a run that did not finish"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_file_is_refused_by_its_path(tmp_path: Path, manifest: str | None, message: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    place = tmp_path if manifest is None else tmp_path / "manifest.json"
    with pytest.raises(ShardError, match=f"^{place}: {message}"):
        PackedFolder(tmp_path)


def test_names_of_the_format() -> None:
    for name in (
        shard_name(0, 0, "arrow"),
        shard_name(123_456, 7, "parquet"),
        "shard-00000.arrow",
        "manifest.json",
        "quarantine.jsonl",
        "state.json",
    ):
        assert is_packed_name(name)
    for name in (
        "shard-1.arrow",
        "shard-00000-00000.arrow.bak",
        "shard-00000-00000.arrow.partial",
        ".manifest.json",
        "notes.txt",
    ):
        assert not is_packed_name(name)
