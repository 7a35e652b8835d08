"""Token stores: packing one gives the shards of packing its corpus; what is damaged or does not fit is refused."""

import gzip
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, DataError, SeampackError, ShardError
from seampack.packer import packing, tokenizing
from seampack.packer.checksums import checksum, digest
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.option_groups import NOT_READING
from seampack.packer.plan_config import Strategy
from seampack.packer.token_store import TokenStore
from tests.conftest import Run
from tests.faulty import UNFRAMED as UNFRAMED_FLAGS
from tests.faulty import contents, failed
from tests.packer.chats import write_model
from tests.packer.corpus import END, SHORT_ROWS, TOKENIZER, UNFRAMED, sample, write_corpus
from tests.packer.tampering import flip

TEXTS = [text.replace(END, "end") for text in sample()]
TOKENS = [TOKENIZER.reference.encode(text, add_special_tokens=False).ids for text in TEXTS]
WORDS = ["seam", "pack", "Ä", "12", "the", "\n"]
READ: dict[str, Any] = {"partition_bytes": 1 << 16, "id_column": "id", "keep": ("score:int64",)}


def write_folder(folder: Path, documents: int = 400) -> Path:
    """Write a corpus whose first file is divided into partitions, and whose second is packed in sections."""
    chance = random.Random(3)
    lines = [
        json.dumps({"id": f"d{n}", "score": n, "text": " ".join(chance.choices(WORDS, k=chance.choice([0, 9, 400])))})
        for n in range(documents)
    ]
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(lines[: documents // 2]))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[documents // 2 :]).encode()))
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus of many partitions and sections, and its token store, for tests that change neither."""
    folder = tmp_path_factory.mktemp("stores")
    corpus = write_folder(folder / "corpus")
    manifest = seampack.tokenize(corpus, out=folder / "store", **READ)
    assert len(manifest.partitions) > 2
    return corpus, folder / "store"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A small store that a test may damage."""
    seampack.tokenize(write_corpus(tmp_path / "corpus.jsonl", TEXTS), out=tmp_path / "store")
    return tmp_path / "store"


@given(
    st.fixed_dictionaries(
        {
            "strategy": st.sampled_from(list(Strategy)),
            "long": st.sampled_from(["auto", "split", "truncate", "drop"]),
            "leftover": st.sampled_from(["auto", "pad", "concat"]),
            "extra_tokens": st.sampled_from([0, 3]),
            "seq_len": st.sampled_from([64, 256, 1000]),
            "window_tokens": st.sampled_from([5000, 20_000, 1 << 24]),
            "pad": st.sampled_from([None, END]),
            "labels": st.booleans(),
            "output_format": st.sampled_from(["arrow", "npy"]),
            "seed": st.integers(0, 2),
        }
    )
)
@settings(max_examples=8)
@pytest.mark.filterwarnings("ignore:.*of the tokens are dropped")
@SHORT_ROWS
def test_a_store_packs_to_the_shards_of_its_corpus(
    tmp_path_factory: pytest.TempPathFactory, both: tuple[Path, Path], options: dict[str, Any]
) -> None:
    base = tmp_path_factory.getbasetemp()
    folders = [base / "of_corpus", base / "of_store"]
    corpus, store = both
    seampack.pack(corpus, out=folders[0], overwrite=True, **READ, **options)
    seampack.pack(store, out=folders[1], overwrite=True, **options)
    packed = [contents(folder) for folder in folders]
    manifests = [json.loads(each.pop("manifest.json")) for each in packed]
    assert packed[0] == packed[1]
    noted = manifests[1].pop("token_store")
    assert noted == {"folder": str(store.resolve()), "fingerprint": TokenStore(store).fingerprint}
    assert {**manifests[0], "digest": ""} == {**manifests[1], "digest": ""}


def test_a_store_needs_no_tokenizer(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "_tokenizer_json", lambda name: pytest.fail("the tokenizer was loaded"))
    assert seampack.pack(store, out=tmp_path / "out", seq_len=32).accounting.documents == len(TEXTS)


def test_a_store_is_read_by_arrow(tmp_path: Path) -> None:
    seampack.tokenize(write_corpus(tmp_path / "a.jsonl", TEXTS), out=tmp_path / "store", id_column="id", **UNFRAMED)
    table = pa.ipc.open_file(str(tmp_path / "store/tokens-00000.arrow")).read_all()
    assert table.schema.field("input_ids").type == pa.large_list(pa.uint16())
    assert table["input_ids"].to_pylist() == TOKENS
    assert table["id"].to_pylist() == [f"d{n:05d}" for n in range(len(TEXTS))]


@pytest.mark.parametrize("labels", [False, True])
def test_conversations(tmp_path: Path, labels: bool) -> None:
    roles = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": "the answer is 12"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"messages": roles * n}) + "\n" for n in range(1, 9)))
    read = {"messages_column": "messages"}
    model = write_model(tmp_path / "model", "chatml")
    seampack.tokenize(tmp_path / "a.jsonl", out=tmp_path / "store", tokenizer=model, **read)
    shutil.rmtree(tmp_path / "model")
    packed = seampack.pack(tmp_path / "store", out=tmp_path / "b", seq_len=512, labels=labels)
    model = write_model(tmp_path / "model", "chatml")
    expected = seampack.pack(
        tmp_path / "a.jsonl", out=tmp_path / "a", seq_len=512, labels=labels, tokenizer=model, **read
    )
    assert packed.shards == expected.shards
    assert packed.notes["chat_template"] == expected.notes["chat_template"]
    with pytest.raises(DataError, match="document 3: expected at most seq_len, 64 tokens"):
        seampack.pack(tmp_path / "store", out=tmp_path / "b", seq_len=64, overwrite=True)


def test_carried_columns(tmp_path: Path) -> None:
    rows = [{"input_ids": [*range(1, n)], "weights": [n / 7] * (n - 1)} for n in range(2, 60)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    read = {"carry": ("weights:float32",)}
    seampack.tokenize(tmp_path / "a.parquet", out=tmp_path / "store", **read)
    packed = seampack.pack(tmp_path / "store", out=tmp_path / "b", seq_len=64)
    assert packed.shards == seampack.pack(tmp_path / "a.parquet", out=tmp_path / "a", seq_len=64, **read).shards


def test_bad_records_stay_with_the_store(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{\n{"text": "good"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        seampack.tokenize(tmp_path / "a.jsonl", out=tmp_path / "store")
    assert not (tmp_path / "store").exists()
    manifest = seampack.tokenize(tmp_path / "a.jsonl", out=tmp_path / "store", on_bad="quarantine")
    assert (manifest.documents, manifest.quarantined) == (2, 1)
    assert json.loads((tmp_path / "store/quarantine.jsonl").read_text())["position"] == 2
    assert seampack.pack(tmp_path / "store", out=tmp_path / "out").accounting.documents == 2
    PackedFolder(tmp_path / "out").verify()


@pytest.mark.parametrize("content", ["", '{"text": ""}\n'])
def test_a_store_of_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    assert seampack.tokenize(tmp_path / "a.jsonl", out=tmp_path / "store", **UNFRAMED).tokens == 0
    assert seampack.pack(tmp_path / "store", out=tmp_path / "out").accounting.rows == 0


def test_strategies_are_compared(both: tuple[Path, Path]) -> None:
    corpus, store = both
    options: dict[str, Any] = {"seq_len": 128, "window_tokens": 20_000}
    expected = [each.accounting for each in seampack.compare(corpus, **READ, **options)]
    assert [each.accounting for each in seampack.compare(store, **options)] == expected
    with pytest.raises(ConfigError, match="eos: the token store was made with auto; got none"):
        seampack.compare(store, eos="none")
    with pytest.raises(ConfigError, match="a token store, whose tokens are those of bundled; omit the tokenizer"):
        seampack.compare(store, tokenizer="gpt2")


def test_partitions_of_a_store_are_packed_by_several_processes(both: tuple[Path, Path], tmp_path: Path) -> None:
    _, store = both
    alone = seampack.pack(store, out=tmp_path / "alone", seq_len=128)
    for number in (1, 0):
        packing.pack_partitions(
            str(store), out=tmp_path / "out", seq_len=128, chosen=lambda count, n=number: range(n, count, 2)
        )
    assert seampack.merge(tmp_path / "out") == alone


def test_a_run_over_a_store_is_resumed(
    both: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store = both
    options: dict[str, Any] = {"seq_len": 128, "out": tmp_path / "out"}
    alone = seampack.pack(store, out=tmp_path / "alone", seq_len=128)
    with monkeypatch.context() as patch:
        patch.setattr(TokenStore, "_check", lambda self, file, path: 1 / (file.file != "tokens-00002.arrow"))
        with pytest.raises(ZeroDivisionError), pytest.warns(UserWarning, match="--resume goes on after them"):
            seampack.pack(store, **options)
    assert seampack.pack(store, resume=True, **options) == alone
    assert seampack.pack(store, resume=True, **options) == alone


# -- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eos": "none"}, "store: eos: the token store was made with auto; got none; omit the option, or tokenise"),
        ({"text_column": "body"}, "text_column: the token store was made with text; got body"),
        ({"id_column": "name"}, "id_column: the token store was made with none; got name"),
        ({"keep": ("source",)}, "keep: the token store was made with none; got source"),
        ({"partition_bytes": 1 << 20}, "partition_bytes: the token store was made with 268435456; got 1048576"),
        ({"tokenizer": "gpt2"}, "a token store, whose tokens are those of bundled; omit the tokenizer, or tokenise"),
        ({"pad": "seam"}, "pad: no token 'seam' in the token store .*; it knows '<|endoftext|>'".replace("|", r"\|")),
        ({"split": lambda texts: (texts, None)}, "a token store has no texts to split; split them with tokenize"),
    ],
)
def test_options_that_contradict_the_store(store: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        seampack.pack(store, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", sorted({*NOT_READING} - {"seq_len"}))
def test_options_of_planning_are_given_to_pack(tmp_path: Path, option: str) -> None:
    other: dict[str, Any] = {"strategy": "pad", "long": "drop", "extra_room": "always", "leftover": "pad", "pad": END}
    other |= {"output_format": "npy", "max_overlap": 0.1, "rest": "drop", "pad_to_multiple": 16}
    default = getattr(PackConfig(), option)
    changed = other.get(option, not default if isinstance(default, bool) else 1 << 20)
    with pytest.raises(ConfigError, match=f"{option}: a token store does not depend on it; give it to pack"):
        seampack.tokenize(tmp_path, out=tmp_path / "store", **{option: changed})


def test_a_store_is_packed_alone(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a token store is packed alone, or in a mix; got 2 inputs"):
        seampack.pack([store, tmp_path / "corpus.jsonl"], out=tmp_path / "out")
    for inner in (tmp_path, store / "tokens-00000.arrow"):
        with pytest.raises(DataError, match="store: a token store; pack it alone, by the name of its folder"):
            seampack.pack(inner, out=tmp_path / "../out")
    with pytest.raises(ConfigError, match="the output is in the input folder"):
        seampack.pack(store, out=store / "packed")


def test_the_output_is_replaced_only_if_it_is_a_store(store: Path, tmp_path: Path) -> None:
    before = contents(store)
    with pytest.raises(ShardError, match="the folder holds a token store"):
        seampack.tokenize(tmp_path / "corpus.jsonl", out=store)
    assert contents(store) == before
    seampack.tokenize(tmp_path / "corpus.jsonl", out=store, overwrite=True, eos="none")
    assert contents(store) != before
    with pytest.raises(ShardError, match="--overwrite replaces packed shards only; the folder has tokens"):
        seampack.pack(tmp_path / "corpus.jsonl", out=store, overwrite=True)


# -- damage -----------------------------------------------------------------------------------------------------------


def edit(store: Path, **changes: Any) -> None:
    """Change entries of the manifest, with a digest that is right."""
    content = {**json.loads((store / "tokens.json").read_text()), **changes}
    del content["digest"]
    (store / "tokens.json").write_text(json.dumps({**content, "digest": digest(content)}))


def entry(store: Path, **changes: Any) -> None:
    """Change the entry of the only partition."""
    (partition,) = json.loads((store / "tokens.json").read_text())["partitions"]
    edit(store, partitions=[{**partition, **changes}])


def rewrite(store: Path, change: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
    """Replace the rows of the only partition, and its checksum."""
    path = store / "tokens-00000.arrow"
    rows, facts = pa.ipc.open_file(path.read_bytes()).get_batch_with_custom_metadata(0)
    rows = change(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_batch(rows, custom_metadata=facts)
    entry(store, bytes=path.stat().st_size, checksum=checksum(path))


def with_offsets(offsets: list[int]) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    def change(rows: pa.RecordBatch) -> pa.RecordBatch:
        buffers = [None, pa.array(offsets, pa.int64()).buffers()[1]]
        children = [rows.column(0).values]
        lists = pa.Array.from_buffers(rows.schema.field(0).type, len(offsets) - 1, buffers, children=children)
        return pa.record_batch([lists], schema=rows.schema)

    return change


def wide(rows: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({"input_ids": rows.column(0).cast(pa.large_list(pa.int64()))})


def with_large_ids(rows: pa.RecordBatch) -> pa.RecordBatch:
    lists = rows.column(0)
    ids = pa.array([65_535] * len(lists.values), lists.values.type)
    return pa.record_batch([pa.LargeListArray.from_arrays(lists.offsets, ids)], schema=rows.schema)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a later format": (lambda s: edit(s, format_version=2), "format version 2; this program reads version 1; update"),
    "another marker": (
        lambda s: edit(s, format="other"),
        "not a token store: expected .format.: .seampack token store.",
    ),
    "no JSON": (lambda s: (s / "tokens.json").write_text("{"), "tokens.json: the token store is damaged"),
    "an edited entry": (
        lambda s: (s / "tokens.json").write_text((s / "tokens.json").read_text().replace('"bundled"', '"other"')),
        "digest: expected xxh3_128:.*; got 'xxh3_128:.*': an entry was changed; tokenise again",
    ),
    "an entry too many": (lambda s: edit(s, more=1), "the token store is damaged"),
    "an entry of another type": (lambda s: edit(s, quarantined="1"), "the token store is damaged: .*quarantined"),
    "an option of another kind": (lambda s: edit(s, config={"eos": 5}), "the token store is damaged: eos"),
    "an unknown option": (lambda s: edit(s, config={"wings": 2}), "the token store is damaged: .*wings"),
    "a path as a name": (lambda s: entry(s, file="../corpus.jsonl"), "'../corpus.jsonl' is no name of a partition"),
    "other columns": (lambda s: edit(s, columns={}), "columns: expected those of its options"),
    "a missing file": (lambda s: (s / "tokens-00000.arrow").unlink(), "it is missing or damaged; tokenise again"),
    "a truncated file": (
        lambda s: (s / "tokens-00000.arrow").write_bytes((s / "tokens-00000.arrow").read_bytes()[:-9]),
        "tokens-00000.arrow: expected a file of [0-9,]+ bytes: it is missing or damaged; tokenise again",
    ),
    "a flipped bit": (lambda s: flip(s / "tokens-00000.arrow"), "the checksum differs: it is damaged; tokenise again"),
    "other counts": (lambda s: entry(s, documents=7), "expected 7 documents of [0-9,]+ tokens; got 120 of"),
    "falling offsets": (lambda s: rewrite(s, with_offsets([0, 9, 3, 9])), "the token store is damaged"),
    "offsets that skip": (
        lambda s: rewrite(s, with_offsets([1, 9])),
        "the token store is damaged|expected 120 doc",
    ),
    "other types": (
        lambda s: rewrite(
            s, lambda rows: pa.record_batch({"input_ids": rows.column(0).cast(pa.large_list(pa.int64()))})
        ),
        "the token store is damaged",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("output_format", ["arrow", "index"])
def test_damage_is_one_line(store: Path, tmp_path: Path, damage: str, output_format: str) -> None:
    break_it, message = DAMAGE[damage]
    break_it(store)
    if damage == "a flipped bit" and output_format == "index":  # a plan does not look at the tokens, but their rows do
        seampack.pack(store, out=tmp_path / "out", seq_len=64, output_format=output_format)
        with pytest.raises(ShardError, match=message):
            PackedFolder(tmp_path / "out").verify()
        return
    with pytest.raises(SeampackError, match=message) as error:
        seampack.pack(store, out=tmp_path / "out", seq_len=64, output_format=output_format)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: flip(s / "tokens-00000.arrow"), "tokens-00000.arrow: the checksum differs: it is damaged"),
        (lambda s: entry(s, documents=7), "tokens-00000.arrow: expected 7 documents of [0-9,]+ tokens; got 4 of"),
        (lambda s: flip(s / "quarantine.jsonl"), "quarantine.jsonl: the checksum differs: it is damaged"),
        (lambda s: edit(s, quarantined=2), "quarantine.jsonl: expected 2 records; got 1"),
        (lambda s: edit(s, files=[]), "files: expected quarantine.jsonl if records are quarantined, and no other"),
        (lambda s: rewrite(s, with_large_ids), "tokens-00000.arrow: input_ids: expected ids below 8,192; got 65,535"),
        (lambda s: (s / "tokens-00001.arrow").touch(), "tokens-00001.arrow: the manifest does not list this file"),
    ],
)
def test_a_store_is_verified(call: Run, tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "good"}}\n{"{"}\n' + '{"text": "seam pack"}\n' * 3)
    seampack.tokenize(tmp_path / "a.jsonl", out=tmp_path / "store", on_bad="quarantine")
    verified = "verified: every file, and the manifest against the documents"
    assert call("verify", "store").stdout.decode() == f"{verified}\n"
    assert call("inspect", "store", "--verify").stdout.decode().splitlines()[-1] == verified
    assert json.loads(call("verify", "store", "--json").stdout) == {
        "folder": "store",
        "verified": True,
        "differences": [],
    }
    damage(tmp_path / "store")
    for command in (["verify", "store"], ["inspect", "store", "--verify"]):
        assert re.search(f"^store/.*{message}", failed(call(*command)))
    as_json = call("verify", "store", "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)["verified"]) == (1, False)


def test_a_truncated_write_leaves_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "a.jsonl", TEXTS)

    def full(*given: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seampack.packer.tokenize.write_block", full)
    with pytest.raises(ShardError, match="store: cannot be written: No space left on device; the output is unchanged"):
        seampack.tokenize(tmp_path / "a.jsonl", out=tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


# -- the command line -------------------------------------------------------------------------------------------------


def test_commands(call: Run, tmp_path: Path) -> None:
    write_corpus(tmp_path / "a.jsonl", TEXTS)
    made = call("tokenize", "a.jsonl", "-o", "store", *UNFRAMED_FLAGS)
    assert (made.returncode, made.stderr) == (0, b"")
    assert made.stdout.split()[:4] == [b"documents", b"120", b"tokens", f"{sum(map(len, TOKENS)):,}".encode()]
    packed = call("pack", "store", "-o", "out", "--seq-len", 64, "--json")
    assert (packed.returncode, packed.stderr) == (0, b"")
    assert json.loads(packed.stdout)["token_store"]["folder"] == str((tmp_path / "store").resolve())
    assert call("compare", "store", "--seq-len", 64).stderr == b""
    refused = call("pack", "store", "-o", "out2", "--tokenizer", "bundled.json")
    assert failed(refused).startswith("store: a token store, whose tokens are those of bundled; omit")
    again = call("tokenize", "store", "-o", "other", *UNFRAMED_FLAGS)
    assert failed(again).startswith("store: a token store; pack it alone")
    assert failed(call("tokenize", "a.jsonl", "-o", "other", "--seq-len", 9), 2).startswith("No such option")


def test_folders_name_the_records_that_their_stores_lack(call: Run, tmp_path: Path) -> None:
    good = ['{"text": "seam"}', '{"text": "pack it"}']
    for name, bad in {"a": 2, "b": 1, "c": 0, "d": 1}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join([*(good if name != "d" else []), *["{"] * bad, ""]))
        assert call("tokenize", f"{name}.jsonl", "-o", name, "--on-bad", "quarantine", *UNFRAMED_FLAGS).returncode == 0
        (tmp_path / f"{name}.jsonl").unlink()
    mix = [each for name in "abc" for each in ("--mix", f"{name}=1")]
    for packing_of, records in ((["a"], 2), (mix, 3), (["c"], 0), (["d"], 1)):
        packed = call("pack", *packing_of, "-o", "out", "--overwrite", "--seq-len", 8, "--report", "report.html")
        line = f"quarantined {records:>16}   records, in quarantine.jsonl of the token stores"
        for output in (packed, call("inspect", "out")):
            assert (line in output.stdout.decode().splitlines()) == (records > 0)
        page = (tmp_path / "report.html").read_text()
        assert ("records, when the token stores were made" in page) == (records > 0)
        left_out = f" {records} records in quarantine.jsonl of the token stores"
        assert (left_out in call("unpack", "out", "-o", "-").stderr.decode()) == (records > 0)
        assert call("verify", "out").returncode == 0
    assert packed.stderr.decode() == (
        "seampack: warning: all 1 records of the input were quarantined: none could be read\n"
    )


def test_inspect_shows_a_store(call: Run, tmp_path: Path) -> None:
    lines = [json.dumps({"id": f"d{n}", "text": "pack " * n, "more": "x" * 30_000}) for n in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "{"]))
    reading = ("--id-column", "id", "--on-bad", "quarantine", "--partition-bytes", 1 << 16, *UNFRAMED_FLAGS)
    assert call("tokenize", "a.jsonl", "-o", "store", *reading).returncode == 0
    lengths = sorted(len(TOKENIZER.reference.encode("pack " * n, add_special_tokens=False).ids) for n in range(5))
    content = json.loads((tmp_path / "store/tokens.json").read_text())
    assert len(content["partitions"]) == 3
    shown = [line.split(maxsplit=2) for line in call("inspect", "store").stdout.decode().splitlines()]
    assert [name for name, *_ in shown[:9]] == [
        *("format", "tokenizer", "inputs", "special", "options", "documents", "tokens", "columns", "quarantined")
    ]
    of_name = {name: rest for name, *rest in shown}
    assert of_name["tokenizer"] == ["8,192", "ids, bundled"]
    assert of_name["inputs"] == ["1", "0.2 MB, a.jsonl"]
    assert of_name["special"] == ["1", f"added tokens: {END}; begin token: none; end token: none"]
    options = "id_column id, on_bad quarantine, bos none, eos none, partition_bytes 65536"
    assert of_name["options"] == ["5", f"other than by default: {options}"]
    average = f"mean {sum(lengths) / 5:.1f}"
    assert of_name["documents"] == ["5", f"{lengths[0]} to {lengths[-1]} tokens, median {lengths[2]}, {average}"]
    assert of_name["tokens"] == [str(sum(lengths))]
    assert of_name["columns"] == ["2", "id: large_string, input_ids: large_list<item: uint16>"]
    assert of_name["quarantined"] == ["1", "records, in quarantine.jsonl"]
    assert [name for name, *_ in shown[9:]] == [each["file"] for each in content["partitions"]]
    expected = {"shortest": lengths[0], "median": lengths[2], "longest": lengths[-1], "mean": sum(lengths) / 5}
    as_json = json.loads(call("inspect", "store", "--json", "--verify").stdout)
    counts = {"documents": 5, "tokens": sum(lengths), "lengths": expected}
    assert as_json == content | counts | {"verified": True}


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "store", "--row", 0),
        ("inspect", "store", "--html", "report.html"),
        ("inspect", "store", "--tokenizer", "bundled"),
        ("verify", "store", "--against", "corpus.jsonl"),
        ("verify", "store", "--store", "store"),
    ],
)
def test_options_of_rows_are_refused_for_a_store(call: Run, store: Path, arguments: tuple[object, ...]) -> None:
    message = failed(call(*arguments), 2)
    assert message.startswith(f"{arguments[2]} needs packed rows; store is a token store: pack it with seampack pack")
