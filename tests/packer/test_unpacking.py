"""Unpacking gives every document back: its tokens, its text, its id, in order; what packing dropped is counted."""

import json
import os
import random
import resource
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE, WordLevel

import seampack
from seampack.errors import ConfigError, DataError, ShardError
from seampack.io.ragged import lengths_of, offsets_of
from seampack.packer import segments
from seampack.packer.against import verify_against
from seampack.packer.decoding import Decoder
from seampack.packer.folder import PackedFolder
from seampack.packer.plan_config import Leftover, Strategy
from seampack.packer.tokenizing import TextTokenizer
from seampack.packer.unpacking import unpack
from tests.packer.corpus import END, END_ID, OF_ROWS, SHORT_ROWS, SMALL, TEXTS, TOKENIZER, TOKENS, write_corpus
from tests.packer.tampering import flip, write_shard

pytestmark = SHORT_ROWS

TEXT = st.text(st.sampled_from("ab Äß中👩\n\x00<|>"), max_size=40) | st.just(END) | st.just("seam " * 60)
OPTIONS = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from([member.value for member in Strategy]),
        "leftover": st.sampled_from([member.value for member in Leftover]),
        "output_format": st.sampled_from([member.value for member in OF_ROWS]),
        "seq_len": st.integers(1, 40),
        "max_overlap": st.sampled_from([0, 0.3, 0.9]),
        "shuffle": st.booleans(),
        "shard_tokens": st.sampled_from([100, 1 << 20]),
        "window_tokens": st.sampled_from([40, 1 << 20]),
        "pad": st.sampled_from([None, END]),
        "bos": st.sampled_from(["none", END, "Z"]),
        "eos": st.sampled_from(["none", "auto", "a"]),
        "id_column": st.sampled_from([None, "id"]),
    }
)
LOSSES = st.fixed_dictionaries(
    {
        "extra_tokens": st.sampled_from([0, 3, 30]),
        "extra_room": st.sampled_from(["needed", "always"]),
        "drop_last": st.booleans(),
        "long": st.sampled_from(["window", "split", "truncate", "drop"]),
        "rows_multiple_of": st.sampled_from([1, 1, 3]),
        "rest": st.just("drop"),
    }
)


def framed(ids: list[int], bos: str, eos: str) -> list[int]:
    """Return a document between the tokens that are named, where it does not have them already."""
    before = [] if bos == "none" else [TOKENIZER.reference.token_to_id(bos)]
    after = [] if eos == "none" else [END_ID if eos == "auto" else TOKENIZER.reference.token_to_id(eos)]
    before, after = before * (ids[:1] != before), after * (ids[-1:] != after)
    return [*before, *ids, *after] if ids else []


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# of the texts that are END, and of the extra tokens
EXPECTED_WARNINGS = pytest.mark.filterwarnings(
    "ignore:.*no second one was added",
    "ignore:.*as plain text, next to the token",
    "ignore:.*of the tokens are dropped",
)
SLOW_TOKENIZER = pytest.mark.filterwarnings("ignore:.*using tokenizers")


@EXPECTED_WARNINGS
@settings(max_examples=25)
@given(texts=st.lists(TEXT, max_size=12), options=OPTIONS, tokenised=st.booleans())
def test_every_document_comes_back(texts: list[str], options: dict[str, Any], tokenised: bool) -> None:
    tokens = [TOKENIZER.reference.encode(text, add_special_tokens=False).ids for text in texts]
    names = [f"{len(texts) - n:03d}" for n in range(len(texts))] if options["id_column"] else list(range(len(texts)))
    records = [
        {"id": str(name), **({"input_ids": ids} if tokenised else {"text": text})}
        for name, text, ids in zip(names, texts, tokens, strict=True)
    ]
    with TemporaryDirectory() as folder:
        corpus, out = Path(folder, "a.jsonl"), Path(folder, "out")
        corpus.write_text("".join(json.dumps(record) + "\n" for record in records))
        seampack.pack(corpus, out=out, **options)
        expected = [
            (name, framed(ids, options["bos"], options["eos"])) for name, ids in zip(names, tokens, strict=True) if ids
        ]
        batches = list(PackedFolder(out).documents())
        got = [pair for batch in batches for pair in zip(*(column.to_pylist() for column in batch), strict=True)]
        assert got == sorted(expected)
        unpacked = unpack(out, Path(folder, "back.jsonl"))
        assert (unpacked.documents, unpacked.empty) == (len(expected), len(texts) - len(expected))
        assert (unpacked.dropped, unpacked.lost, unpacked.truncated) == (0, 0, 0)
        if not (options["bos"] == "Z" or options["eos"] == "a"):  # a text with that letter at the border loses it
            shown = [(name, text) for name, text in zip(names, texts, strict=True) if text]
            back = lines(Path(folder, "back.jsonl"))
            assert [(each["id"], each["text"]) for each in back] == sorted(shown)
        assert verify_against(PackedFolder(out), corpus).differences == ()


@EXPECTED_WARNINGS
@settings(max_examples=25)
@given(texts=st.lists(TEXT, max_size=12), options=OPTIONS, losses=LOSSES)
def test_dropped_tokens_are_counted_and_the_rest_comes_back(
    texts: list[str], options: dict[str, Any], losses: dict[str, Any]
) -> None:
    with TemporaryDirectory() as folder:
        corpus, out = write_corpus(Path(folder, "a.jsonl"), texts), Path(folder, "out")
        accounting = seampack.pack(corpus, out=out, **options, **losses).accounting
        unpacked = unpack(out, Path(folder, "back.parquet"), ids=True)
        documents = [framed(TOKENIZER.reference.encode(text).ids, options["bos"], options["eos"]) for text in texts]
        kept = pq.read_table(Path(folder, "back.parquet")).to_pylist()
        for row in kept:
            ids = documents[int(str(row["id"]).removeprefix("d"))]
            cut = len(row["input_ids"])
            assert row["input_ids"] in (ids[:cut], [*ids[: cut - 1], ids[-1]])
        tokens = sum(len(row["input_ids"]) for row in kept)
        assert unpacked.tokens == tokens == accounting.tokens_in - accounting.dropped
        assert unpacked.lost == sum(map(bool, documents)) - len(kept) == accounting.documents_dropped
        PackedFolder(out).verify()
        assert verify_against(PackedFolder(out), corpus).differences == ()


def test_batches_are_bounded_and_in_order(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seampack.pack(corpus, out=tmp_path / "out", **SMALL)
    monkeypatch.setattr(segments, "_BATCH_TOKENS", 50)
    batches = list(PackedFolder(tmp_path / "out").documents())
    assert len(batches) > 20
    for batch in batches:
        assert len(batch["input_ids"].values) <= 50 or batch.num_rows == 1
    assert [ids for batch in batches for ids in batch["input_ids"].to_pylist()] == [ids for ids in TOKENS if ids]


def test_shards_are_mapped_without_open_files(corpus: Path, tmp_path: Path) -> None:
    """A folder may have more shards than a process may open files."""
    shards = seampack.pack(corpus, out=tmp_path / "out", **{**SMALL, "shard_tokens": 200}).shards
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, hard))
    try:
        assert len(shards) > 30
        assert PackedFolder(tmp_path / "out").unpack()["input_ids"].to_pylist() == [ids for ids in TOKENS if ids]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@EXPECTED_WARNINGS
@pytest.mark.parametrize("ending", ["jsonl", "jsonl.zst", "ndjson.gz", "parquet", "arrow"])
@pytest.mark.parametrize("ids", [False, True])
def test_what_is_unpacked_is_packed_again_to_the_same_rows(
    corpus: Path, tmp_path: Path, ending: str, ids: bool
) -> None:
    options = {**SMALL, "eos": "auto", "special_tokens_in_text": False}
    seampack.pack(corpus, out=tmp_path / "out", **options)
    back = tmp_path / f"back.{ending}"
    unpack(tmp_path / "out", back, ids=ids)
    seampack.pack(back, out=tmp_path / "again", **options)
    first, second = PackedFolder(tmp_path / "out"), PackedFolder(tmp_path / "again")
    documents = first.unpack()["input_ids"].to_pylist()
    assert second.unpack()["input_ids"].to_pylist() == documents
    assert len(documents) == len([text for text in TEXTS if text])


@pytest.mark.parametrize("special", [None, True, False])
@pytest.mark.parametrize("ids", [False, True])
def test_tokens_around_documents(tmp_path: Path, ids: bool, special: bool | None) -> None:
    write_corpus(tmp_path / "a.jsonl", ["seam", "pack seam"])
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", bos="Z", eos="auto", seq_len=8)
    unpack(tmp_path / "out", tmp_path / "back.jsonl", ids=ids, special=special)
    kept = ids if special is None else special
    before, after = (f"Z{''}", END) if kept else ("", "")
    back = lines(tmp_path / "back.jsonl")
    texts = [TOKENIZER.decode(each["input_ids"]) if ids else each["text"] for each in back]
    assert texts == [f"{before}seam{after}", f"{before}pack seam{after}"]


@EXPECTED_WARNINGS
def test_a_document_that_is_only_a_token_around_it(tmp_path: Path) -> None:
    """Begin and end token are the same, and the document is one more of it."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"input_ids": [END_ID]}) + '\n{"input_ids": [5]}\n')
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", bos=END, eos=END, seq_len=8)
    unpack(tmp_path / "out", tmp_path / "back.jsonl", ids=True, special=False)
    assert lines(tmp_path / "back.jsonl") == [{"input_ids": [], "id": 0}, {"input_ids": [5], "id": 1}]


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("back.txt", r"back\.txt: expected a name that ends in \.jsonl"),
        ("back", "back: expected a name that ends in"),
        ("back.csv", r"back\.csv: expected a name that ends in"),
        ("back.parquet.gz", r"back\.parquet\.gz: parquet files are not compressed by gzip; remove that ending"),
        ("out/back.jsonl", r"out/back\.jsonl: the output is in the packed folder"),
    ],
)
def test_outputs_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "a.jsonl", ["seam"])
    seampack.pack("a.jsonl", out="out", seq_len=8)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match=message):
        unpack("out", out)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_gives_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", output_format="parquet")
    assert unpack(tmp_path / "out", tmp_path / "back.parquet").empty == 1
    table = pq.read_table(tmp_path / "back.parquet")
    assert (table.num_rows, table.column_names) == (0, ["text", "id"])
    assert list(PackedFolder(tmp_path / "out").documents()) == []


def word_tokenizer(path: Path) -> str:
    """Save a tokenizer whose text is not made of bytes."""
    words = Tokenizer(WordLevel({"[UNK]": 0, "seam": 1, "pack": 2}, unk_token="[UNK]"))
    words.decoder = decoders.Fuse()
    words.save(str(path))
    return str(path)


@SLOW_TOKENIZER
def test_text_by_another_kind_of_tokenizer(tmp_path: Path) -> None:
    tokenizer = TextTokenizer(word_tokenizer(tmp_path / "tokenizer.json"))
    decoder = Decoder(tokenizer)
    assert not decoder.is_fast
    ids = np.array([1, 2, 2, 0, 1], np.uint8)
    assert decoder.decode(ids, np.array([0, 2, 2, 5])).to_pylist() == ["seampack", "", "pack[UNK]seam"]


@given(documents=st.lists(st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=20), max_size=6))
def test_the_table_of_bytes_decodes_as_the_reference(documents: list[list[int]]) -> None:
    """Any ids: parts of characters become U+FFFD in the same places."""
    decoder = Decoder(TOKENIZER)
    assert decoder.is_fast
    ids = np.array([token for document in documents for token in document], TOKENIZER.dtype)
    texts = decoder.decode(ids, offsets_of(lengths_of(documents))).to_pylist()
    assert texts == [TOKENIZER.decode(document) for document in documents]


@SLOW_TOKENIZER
def test_added_tokens_of_any_text_are_decoded(tmp_path: Path) -> None:
    """Added tokens are text, not bytes in the alphabet of the vocabulary."""
    content = json.loads(TOKENIZER.reference.to_str())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    for number, token in ((8192, "中文"), (8193, "Ä b"), (8194, "Ġ")):
        content["added_tokens"].append({"id": number, "content": token, **flags})
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json")
    decoder = Decoder(tokenizer)
    ids = tokenizer.reference.encode("a 中文 Ä b ĠĠ").ids
    assert max(ids) >= 8192
    assert decoder.decode(np.array(ids), np.array([0, len(ids)])).to_pylist() == [tokenizer.decode(ids)]


@SLOW_TOKENIZER
def test_the_tokenizer_of_the_folder_is_used(tmp_path: Path) -> None:
    path = word_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "a.jsonl").write_text('{"input_ids": [1, 2]}\n')
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", tokenizer=path, seq_len=8)
    unpack(tmp_path / "out", tmp_path / "back.jsonl")
    assert lines(tmp_path / "back.jsonl") == [{"text": "seampack", "id": 0}]
    Tokenizer(WordLevel({"[UNK]": 0, "other": 1, "words": 2}, unk_token="[UNK]")).save(path)
    with pytest.raises(ConfigError, match=r"expected the tokenizer that packed the folder, sha256:.*; got sha256:"):
        unpack(tmp_path / "out", tmp_path / "other.jsonl")
    with pytest.warns(UserWarning, match="expected the tokenizer that packed the folder"):
        unpack(tmp_path / "out", tmp_path / "back.jsonl", tokenizer=path, overwrite=True)
    assert lines(tmp_path / "back.jsonl") == [{"text": "other words", "id": 0}]
    Tokenizer(BPE({"a": 0}, [])).save(path)
    with (
        pytest.warns(UserWarning, match="expected the tokenizer"),
        pytest.raises(DataError, match=r"expected ids of its vocabulary, below 1; got 2: another tokenizer packed"),
    ):
        unpack(tmp_path / "out", tmp_path / "back.jsonl", tokenizer=path, overwrite=True)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("doc_starts", [[0, 3]], "document 0: expected a segment from token 0; got one from 3: a segment is missing"),
        (
            "doc_ids",
            [[1, 1]],
            "document 1: expected a segment from token 3; got one from 0: a segment is missing or",
        ),
        (
            "repeated",
            [[0, 99]],
            "segment 1: expected a start of at least 0 and 0 to 3 repeated tokens; got 0 and 99",
        ),
        ("repeated", [[0, -1]], "repeated tokens; got 0 and -1"),
        ("doc_starts", [[-1, 0]], "repeated tokens; got -1 and 0"),
        ("doc_starts", [[None, 0]], "doc_starts: expected a value everywhere; got a null"),
        ("repeated", [None], "repeated: expected a value everywhere; got a null"),
    ],
)
def test_rows_that_cannot_be_documents_are_refused(
    tmp_path: Path, column: str, values: list[Any], message: str
) -> None:
    """Addresses in memory are computed from these columns: nothing outside the shard is read."""
    write_corpus(tmp_path / "a.jsonl", ["seam", "pack seam pack"])
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", seq_len=32)
    table = next(PackedFolder(tmp_path / "out").tables())
    position = table.column_names.index(column)
    table = table.set_column(position, column, pa.array(values, table.schema.field(column).type))
    write_shard(tmp_path / "out", table)
    with pytest.raises(ShardError, match=message):
        unpack(tmp_path / "out", tmp_path / "back.jsonl")
    assert not (tmp_path / "back.jsonl").exists()


FLIPPED = [{}, {"pad": END}, {"id_column": "id"}, *({"output_format": name.value} for name in OF_ROWS)]


@pytest.mark.parametrize("options", FLIPPED, ids=str)
def test_any_flipped_byte_is_an_error_or_another_token(tmp_path: Path, options: dict[str, Any]) -> None:
    """Even without checksums."""
    write_corpus(tmp_path / "a.jsonl", ["seam", "pack seam pack", "seam " * 40])
    manifest = seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", seq_len=16, **options)
    chance = random.Random(3)
    for file in manifest.shards[0].files:
        path = tmp_path / "out" / file.file
        whole = path.read_bytes()
        for place in chance.sample(range(len(whole)), min(100, len(whole))):
            data = bytearray(whole)
            data[place] ^= 1 << chance.randrange(8)
            (tmp_path / "new").write_bytes(data)
            (tmp_path / "new").rename(path)  # the old one may be mapped
            with suppress(ShardError):
                documents = PackedFolder(tmp_path / "out").unpack()
                assert sum(map(len, documents["input_ids"].to_pylist())) <= manifest.accounting.tokens_out
        path.write_bytes(whole)


def test_damage_is_found_before_anything_is_written(tmp_path: Path) -> None:
    write_corpus(tmp_path / "a.jsonl", ["seam pack"])
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", seq_len=16)
    flip(tmp_path / "out/shard-00000-00000.arrow")
    with pytest.raises(ShardError, match=r"shard-00000-00000\.arrow: the checksum differs"):
        unpack(tmp_path / "out", tmp_path / "back.jsonl")
    assert not (tmp_path / "back.jsonl").exists()
