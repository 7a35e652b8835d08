"""Every output format: read back by its own ecosystem's reader, and by ours, with all columns of the rows."""

import functools
import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seampack
from benchmarks import kills
from seampack.errors import ConfigError, ShardError
from seampack.packer import text_blocks
from seampack.packer.against import verify_against
from seampack.packer.folder import PackedFolder
from seampack.packer.formats import mds
from seampack.packer.formats.registry import OutputFormat
from seampack.packer.gather import ADDED_COLUMNS, IGNORE_INDEX, apply_plan
from seampack.packer.planning import plan
from seampack.packer.unpacking import unpack
from tests.packer import foreign_readers as foreign
from tests.packer.corpus import END, OF_ROWS, SHORT_ROWS, SMALL, TEXTS, write_corpus
from tests.packer.tampering import edit_manifest, flip
from tests.packer.test_planning import lengths_and_seq_len
from tests.packer.test_resume import OPTIONS, pack_until_killed, texts

pytestmark = SHORT_ROWS

ALL_FORMATS = pytest.mark.parametrize("output_format", [member.value for member in OF_ROWS])
OTHERS = [member.value for member in OF_ROWS if member != OutputFormat.ARROW]
GIVEN: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"pad": END, "labels": True},
    "multiple": {"pad": END, "labels": True, "pad_to_multiple": 4},
    "named": {"labels": True, "id_column": "id"},
}
ROWS = pytest.mark.parametrize("given_options", GIVEN)
Packed = Callable[[str, str], tuple[Path, list[dict[str, Any]]]]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for table in PackedFolder(folder).tables() for row in table.to_pylist()]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packed]:
    """The folder of a corpus that is packed in a format with some options, and the rows of the same one in Arrow."""
    root = tmp_path_factory.mktemp("formats")
    corpus = write_corpus(root / "corpus.jsonl", TEXTS)

    @functools.cache
    def folder_of(output_format: str, given_options: str) -> Path:
        out = root / f"{output_format}-{given_options}"
        seampack.pack(corpus, out=out, output_format=output_format, **SMALL, **GIVEN[given_options])
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_blocks, "BLOCK_BYTES", 512)  # many windows
        yield lambda *names: (folder_of(*names), rows_of(folder_of("arrow", names[1])))


@pytest.fixture
def copied(packed: Packed, output_format: str, tmp_path: Path) -> Path:
    """A packed folder of this test alone."""
    shutil.copytree(packed(output_format, "named")[0], tmp_path / "out")
    return tmp_path / "out"


def stems(folder: Path) -> list[Path]:
    """Return the paths of the shards without their endings."""
    ending = OutputFormat(PackedFolder(folder).manifest.config["output_format"]).endings[0]
    return [folder / shard.file.removesuffix(f".{ending}") for shard in PackedFolder(folder).shards]


# -- their readers ----------------------------------------------------------------------------------------------------


@ROWS
def test_megatron_reads_a_row_as_a_document(packed: Packed, given_options: str) -> None:
    folder, rows = packed("megatron", given_options)
    shards = [foreign.megatron(stem) for stem in stems(folder)]
    assert len(shards) > 1
    assert [ids for _, shard, _ in shards for ids in shard] == [row["input_ids"] for row in rows]
    assert {dtype for dtype, _, _ in shards} == {np.dtype(np.uint16)}
    assert all(index == list(range(len(shard) + 1)) for _, shard, index in shards)


INDEXED_DATASET = """
import json, sys
from megatron.core.datasets.indexed_dataset import IndexedDataset
shards = [IndexedDataset(stem, mmap=True) for stem in sys.argv[1:]]
print(json.dumps([[row.tolist() for row in shard] + [shard.document_indices.tolist()] for shard in shards]))
"""


def test_megatron_core_reads_the_rows(packed: Packed) -> None:
    folder, rows = packed("megatron", "plain")
    shards = foreign.by_package("megatron", INDEXED_DATASET, *stems(folder))
    assert [row for *shard, _ in shards for row in shard] == [row["input_ids"] for row in rows]
    assert all(index == list(range(len(shard) + 1)) for *shard, index in shards)


@ROWS
def test_mds_has_the_numbers_of_a_row(packed: Packed, given_options: str) -> None:
    folder, rows = packed("mds", given_options)
    samples = foreign.mds(folder)
    assert len(stems(folder)) > 1
    assert [sample["tokens"] for sample in samples] == [row["input_ids"] for row in rows]
    for name in ("seq_lengths", *(["labels"] if "labels" in rows[0] else [])):
        assert [sample[name] for sample in samples] == [row[name] for row in rows]


STREAMING_DATASET = """
import json, sys, types
from importlib.machinery import ModuleSpec
for name in ("torchvision", "torchvision.datasets", "torchvision.datasets.folder", "torchvision.transforms",
             "torchvision.transforms.functional"):  # for pictures only
    module = sys.modules[name] = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.VisionDataset, module.default_loader, module.to_tensor = object, None, None
from streaming import StreamingDataset
folders = [StreamingDataset(local=folder, batch_size=1) for folder in sys.argv[1:]]
print(json.dumps([[{name: value.tolist() for name, value in row.items()} for row in rows] for rows in folders]))
"""


def test_streaming_dataset_reads_the_samples(packed: Packed) -> None:
    folders, expected = [], []
    for given_options in GIVEN:
        folder, rows = packed("mds", given_options)
        folders.append(folder)
        names = {"input_ids": "tokens", **{name: name for name in ("seq_lengths", "labels", "padding")}}
        expected.append([{names[each]: value for each, value in row.items() if each in names} for row in rows])
    assert foreign.by_package("streaming", STREAMING_DATASET, *folders) == expected


@ROWS
def test_bridge_trains_on_each_label_once(packed: Packed, given_options: str) -> None:
    """The pairs of a token and its label are those within a segment, without padding and masked labels."""
    folder, rows = packed("bridge", given_options)
    read = [row for stem in stems(folder) for row in foreign.bridge(Path(f"{stem}.parquet"))]
    more = int(given_options == "multiple")  # tokens of a segment that the collator cuts off
    for got, row in zip(read, rows, strict=True):
        ids, labels = row["input_ids"], row.get("labels", row["input_ids"])
        ends = np.cumsum(row["seq_lengths"]).tolist()
        borders = [0, *np.cumsum([length + more for length in row["seq_lengths"]]).tolist()]
        assert got["seq_start_id"] == borders[:-1]
        segments = [got["input_ids"][a : b - more] for a, b in pairwise(borders)]
        assert [token for segment in segments for token in segment] == ids
        assert not more or all((b - a - 1) % 4 == 0 for a, b in pairwise(borders))
        pairs = []
        for first, last in zip([0, *ends], ends[: len(row["doc_ids"])], strict=False):  # the padding comes last
            pairs += [(ids[k - 1], ids[k]) for k in range(first + 1, last) if labels[k] != IGNORE_INDEX]
        assert foreign.trained_on(got) == pairs


@ROWS
def test_numpy_reads_arrays(packed: Packed, given_options: str) -> None:
    folder, rows = packed("npy", given_options)
    read = []
    for stem in stems(folder):
        ids = np.load(f"{stem}.npy", mmap_mode="r")
        offsets = np.load(f"{stem}.rows.npy")
        flat = ids.reshape(-1)
        shard = [flat[first:last].tolist() for first, last in pairwise(offsets)]
        assert ids.ndim == (2 if len(set(map(len, shard))) == 1 else 1)
        assert ids.ndim == 1 or ids.tolist() == shard
        read += shard
    assert read == [row["input_ids"] for row in rows]
    assert given_options not in ("padded", "multiple") or ids.shape[1] == 32


@ROWS
def test_bin_has_the_ids_alone(packed: Packed, given_options: str) -> None:
    """nanoGPT maps the file, and OLMo-core takes bytes out of it: rows begin at multiples of their length."""
    folder, rows = packed("bin", given_options)
    read = [token for stem in stems(folder) for token in np.memmap(f"{stem}.bin", np.uint16, "r").tolist()]
    assert read == [token for row in rows for token in row["input_ids"]]


# -- our reader -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", OTHERS)
@ROWS
def test_nothing_is_lost(packed: Packed, tmp_path: Path, output_format: str, given_options: str) -> None:
    folder, rows = packed(output_format, given_options)
    ours, arrow = PackedFolder(folder), PackedFolder(packed("arrow", given_options)[0])
    ours.verify()
    assert [table.schema for table in ours.tables()] == [table.schema for table in arrow.tables()]
    assert rows_of(folder) == rows
    assert ours.row(len(rows) - 1) == rows[-1]
    assert ours.unpack().equals(arrow.unpack())
    assert not verify_against(ours, folder.parent / "corpus.jsonl").differences
    unpack(folder, tmp_path / "back.jsonl")
    back = [json.loads(line)["text"] for line in (tmp_path / "back.jsonl").read_text().splitlines()]
    assert sorted(back) == sorted(filter(None, TEXTS))


IDS = st.sampled_from([(pa.uint8(), 255), (pa.uint16(), 65_535), (pa.uint32(), 1 << 20)])
KINDS = (pa.int8(), pa.int32(), pa.float32(), pa.float64(), pa.bool_())


@given(lengths_and_seq_len, IDS, st.sampled_from(KINDS), st.booleans(), st.integers(1, 7), st.integers(0, 99))
@settings(max_examples=12)
def test_any_columns_come_back(
    case: tuple[list[int], int], ids: tuple[pa.DataType, int], kind: pa.DataType, padded: bool, step: int, seed: int
) -> None:
    """Also names that a format uses itself, columns of text, and ids of all types; for batches of any size."""
    lengths, seq_len = case
    draw = random.Random(seed)
    planned = plan(lengths, seq_len=seq_len)
    own = {"input_ids": [[draw.randint(0, ids[1]) for _ in range(length)] for length in lengths]}
    own |= {
        name: [[draw.randint(0, 1) for _ in range(length)] for length in lengths] for name in ("loss_mask", "tokens")
    }
    types = {"input_ids": ids[0], "loss_mask": kind, "tokens": pa.int64()}
    table = pa.table({name: pa.array(own[name]).cast(pa.list_(kind)) for name, kind in types.items()})
    rows = apply_plan(table, planned, pads={} if padded else None)
    sources = [[f"source {number}" for number in numbers] for numbers in rows["doc_ids"].to_pylist()]
    rows = rows.append_column("source", pa.array(sources, pa.list_(pa.string())))
    with TemporaryDirectory() as folder:
        for member in OF_ROWS:
            path = Path(folder) / f"shard-00000.{member.endings[0]}"
            writer = member.load().Writer(path, rows.schema)
            for batch in rows.combine_chunks().to_batches(max_chunksize=step):
                writer.write_batch(batch)
            writer.close()
            back = member.load().read(path)
            assert back.schema == rows.schema
            assert back.equals(rows)


@ALL_FORMATS
@pytest.mark.parametrize("content", ["", '{"text": ""}\n'])
def test_no_document_makes_a_readable_folder(tmp_path: Path, output_format: str, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    seampack.pack(tmp_path / "a.jsonl", out=tmp_path / "out", output_format=output_format)
    folder = PackedFolder(tmp_path / "out")
    folder.verify()
    assert (folder.rows, folder.unpack().num_rows) == (0, 0)


@ALL_FORMATS
def test_short_rows_are_named_where_trainers_find_rows_by_their_length(
    corpus: Path, tmp_path: Path, output_format: str
) -> None:
    def warnings_of(**options: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            seampack.pack(corpus, out=tmp_path / "out", overwrite=True, output_format=output_format, **SMALL | options)
        return [str(each.message) for each in caught if "rows have less than" in str(each.message)]

    is_flat = output_format in ("bin", "npy", "megatron")
    for options, remedy in [
        ({}, "give pad, a token that fills them, or drop_last"),
        ({"strategy": "best_fit"}, "give pad, a token that fills them"),
    ]:
        found = warnings_of(**options)
        lengths = [len(row["input_ids"]) for row in rows_of(tmp_path / "out")]
        short = sum(length < 32 for length in lengths)
        assert short
        message = (
            f"{tmp_path / 'out'}: {short} of {len(lengths)} rows have less than 32 tokens; trainers that cut "
            f"{output_format} every 32 tokens do not find the rows after these; {remedy}"
        )
        assert found == [message] * is_flat
    assert warnings_of(pad=END) == warnings_of(drop_last=True) == []


def shared_ids(source: Path, out: Path, **options: Any) -> list[str]:
    """Return the warnings of a run about ids that several documents share, without the output and the advice."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seampack.pack(source, out=out, overwrite=True, **options)
    found = [str(each.message) for each in caught if "the id of another" in str(each.message)]
    assert all(each.startswith(f"{out}: ") and "give another --id-column, or none" in each for each in found)
    return [each.removeprefix(f"{out}: ").partition(": unpack and")[0] for each in found]


@ALL_FORMATS
def test_ids_that_several_documents_share_are_named(tmp_path: Path, output_format: str) -> None:
    ids = ["a", "b", "a", "ä", "ä", "ä", "c", "c"]
    texts = ["seam", "pack " * 99, "x", "y", "z " * 50, "", "", ""]  # those without tokens are not in the rows
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in zip(ids, texts, strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    options: dict[str, Any] = {**SMALL, "output_format": output_format, "eos": "none"}
    (found,) = shared_ids(tmp_path / "a.jsonl", tmp_path / "out", id_column="id", **options)
    assert found.startswith("2 documents have the id of another one, such as '")
    assert found.endswith(("'a'", "'ä'"))
    assert shared_ids(tmp_path / "a.jsonl", tmp_path / "out", **options) == []
    (tmp_path / "a.jsonl").write_text("".join([lines[0], lines[1], lines[3], *lines[6:]]))
    assert shared_ids(tmp_path / "a.jsonl", tmp_path / "out", id_column="id", **options) == []


def test_ids_are_compared_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"id": f"d{n // 2}", "text": "seam"}) + "\n" for n in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    (tmp_path / "b.jsonl").write_text("".join(lines[::2]))
    options: dict[str, Any] = {**SMALL, "id_column": "id"}
    (found,) = shared_ids(tmp_path / "a.jsonl", tmp_path / "out", **options)
    assert found.startswith("100 documents have")
    monkeypatch.setattr("seampack.packer.shared_ids._MOST", 50)
    (found,) = shared_ids(tmp_path / "a.jsonl", tmp_path / "out", **options)
    assert 5 <= int(found.removeprefix("at least ").split()[0]) <= 50
    monkeypatch.setattr("seampack.packer.shared_ids.xxh3_64_intdigest", lambda name: 0)
    assert shared_ids(tmp_path / "b.jsonl", tmp_path / "out", **options) == []


@pytest.mark.parametrize("output_format", ["megatron", "mds"])
def test_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_format: str) -> None:
    (tmp_path / "corpus.txt").write_text("\n".join(texts()) + "\n")
    options = OPTIONS | {"output_format": output_format}
    seampack.pack(tmp_path / "corpus.txt", out=tmp_path / "whole", **options)
    pack_until_killed(monkeypatch, 2, tmp_path / "corpus.txt", **options)
    seampack.pack(tmp_path / "corpus.txt", out=tmp_path / "out", resume=True, **options)
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", OTHERS)
def test_damage_of_every_file_is_found_and_named(copied: Path, tmp_path: Path, output_format: str) -> None:
    folder = copied
    for name in OutputFormat(output_format).files(PackedFolder(folder).shards[1].file):
        file = folder / name
        whole = file.read_bytes()
        flip(file)
        for check in (PackedFolder(folder).verify, lambda: unpack(folder, tmp_path / "back.jsonl")):
            with pytest.raises(ShardError, match=rf"{name}: the checksum differs: it is damaged; pack again"):
                check()
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ShardError, match=rf"{name}: expected {len(whole)} bytes; got {len(whole) // 2}"):
            list(PackedFolder(folder).tables())
        file.unlink()
        with pytest.raises(ShardError, match=rf"{name}: the shard is missing; pack again"):
            PackedFolder(folder)
        file.write_bytes(whole)
    (folder / f"shard-00099.{OutputFormat(output_format).endings[-1]}").touch()
    with pytest.raises(ShardError, match=r"shard-00099\S+: the manifest does not list this file"):
        PackedFolder(folder).verify()


@pytest.mark.parametrize("output_format", OTHERS)
def test_a_damaged_row_never_ends_in_an_error_of_a_library(copied: Path, output_format: str) -> None:
    folder = copied
    chance = random.Random(5)
    for name in OutputFormat(output_format).files(PackedFolder(folder).shards[0].file):
        whole = (folder / name).read_bytes()
        for _ in range(25):
            damaged = bytearray(whole)
            for _ in range(chance.choice([1, 20])):
                damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
            (folder / name).write_bytes(damaged)
            try:
                PackedFolder(folder).row(0)
            except ShardError as error:
                assert str(error).startswith(f"{folder / 'shard-00000-00000'}.")  # noqa: PT017
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize("output_format", ["megatron"])
def test_files_of_a_shard_must_be_those_of_the_format(copied: Path, packed: Packed) -> None:
    entry, *others = PackedFolder(copied).manifest["shards"]
    for parts in ([], [*reversed(entry["parts"])], [{**entry["parts"][0], "file": "../x"}, entry["parts"][1]], None):
        edit_manifest(copied, shards=[{**entry, "parts": parts}, *others])
        with pytest.raises(ShardError, match=r"the manifest is damaged: shards\[0\]\.parts"):
            PackedFolder(copied)
    assert "parts" not in PackedFolder(packed("arrow", "named")[0]).manifest["shards"][0]


def test_a_shard_of_mds_has_a_limit(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mds, "_LIMIT", 1_000)
    with pytest.raises(ConfigError, match="shard_tokens: expected shards of less than 4 GiB, because the format mds"):
        seampack.pack(corpus, out=corpus.parent / "out", output_format="mds", **SMALL)
    assert not (corpus.parent / "out").exists()


# -- docs -------------------------------------------------------------------------------------------------------------


def test_the_page_has_every_format_with_its_files() -> None:
    page = (Path(seampack.__file__).parent.parent / "docs/formats.md").read_text("utf-8")
    for member in OutputFormat:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{member}` |"))
        for name in (*(f".{ending}" for ending in member.endings), *member.folder_files):
            assert f"`{name}`" in row
        assert len((Path(mds.__file__).parent / f"{member}.py").read_text("utf-8").splitlines()) < 150
    assert set(ADDED_COLUMNS) <= set(page.replace("`", " ").replace(",", " ").split())
