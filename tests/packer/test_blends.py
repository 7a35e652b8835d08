"""Blends: the shares are those of the weights to a document, everywhere; what is repeated or left out is counted."""

import json
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, ShardError
from seampack.packer import blends
from seampack.packer.against import verify_against
from seampack.packer.blends import Blend
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.mixes import Mix, noted_sources, take, targets
from tests.conftest import Run
from tests.faulty import failed
from tests.packer.tampering import edit_manifest

UNFRAMED = {"bos": "none", "eos": "none"}
LENGTHS = {"web": [9, 0, 40, 3, 12, 7, 25], "code": [5, 5, 5, 8], "books": [30, 12, 18, 40, 30]}


def documents(name: str) -> list[list[int]]:
    """Documents whose ids say where they are from."""
    base = 1000 * (1 + list(LENGTHS).index(name))
    return [[base + number] * length for number, length in enumerate(LENGTHS[name])]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stores")
    for name in LENGTHS:
        ids = documents(name)
        table = pa.table({"input_ids": ids, "uid": [f"d{n}" for n in range(len(ids))], "source": [name] * len(ids)})
        seampack.tokenize(table, out=folder / name, id_column="uid", keep=("source",), **UNFRAMED)
    return {name: str(folder / name) for name in LENGTHS}


def blended(mix: Mix, **options: Any) -> list[tuple[str, list[int]]]:
    """Return the documents of a blend, in its order."""
    blend = Blend(mix, PackConfig(**options))
    read = []
    for batch in blend.batches(range(len(blend.partitions))):
        names = [] if batch.names is None else batch.names.to_pylist()
        read += [
            (name, ids.tolist()) for name, ids in zip(names, np.split(batch.ids, batch.offsets[1:-1]), strict=False)
        ]
    return read


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any), st.integers(0, 3000), st.integers(0, 3))
def test_documents_are_taken_to_the_nearest(lengths: list[int], target: int, seed: int) -> None:
    sizes = np.array(lengths, np.int64)
    target = min(target, 20 * int(sizes.sum()))
    taken = take(sizes, target, (seed,))
    got = int(sizes[taken.documents].sum())
    assert abs(got - target) <= max(lengths) / 2
    counts = Counter(zip(taken.documents.tolist(), taken.epochs.tolist(), strict=True))
    assert set(counts.values()) <= {1}  # each once an epoch
    for epoch in range(int(taken.epochs.max()) if taken.epochs.size else 0):
        assert sorted(taken.documents[taken.epochs == epoch].tolist()) == list(range(len(lengths)))
    assert np.all(np.diff(taken.epochs) >= 0)
    assert taken.documents.tolist() == take(sizes, target, (seed,)).documents.tolist()


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(1, 100)), min_size=1, max_size=5), st.booleans())
def test_targets_are_exact_shares(sources: list[tuple[int, int]], repeat: bool) -> None:
    tokens, weights = [have for have, _ in sources], [weight / 100 for _, weight in sources]
    wanted = targets(tokens, weights, repeat=repeat)
    fits = [want >= have if repeat else want <= have for want, have in zip(wanted, tokens, strict=True)]
    assert all(fits)
    assert any(want == have for want, have in zip(wanted, tokens, strict=True))
    for want, weight in zip(wanted, weights, strict=True):
        assert abs(want - sum(wanted) * weight / sum(weights)) <= len(wanted) + 1e-9 * want


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("weights", [(0.7, 0.3, 0.5), (1, 1, 1), (4, 5, 6)])
def test_shares_hold_everywhere(stores: dict[str, str], weights: tuple[float, ...], repeat: bool) -> None:
    mix = Mix(stores=stores, weights=dict(zip(stores, weights, strict=True)), repeat=repeat)
    read = blended(mix, seed=3)
    whole = {name: documents(name) for name in stores}
    sums, total = Counter[str](), sum(len(ids) for _, ids in read)
    ends = {name: sum(len(ids) for doc, ids in read if doc.startswith(name)) for name in stores}
    for name, ids in read:
        source, _, own = name.partition("/")
        assert ids == whole[source][int(own.partition("@")[0][1:])]
        sums[source] += len(ids)
        progress = [sums[each] - ends[each] * sum(sums.values()) / total for each in stores]
        assert max(map(abs, progress)) <= sum(max(LENGTHS[each]) for each in stores)
    assert len({name for name, _ in read}) == len(read)
    wanted = targets([sum(each) for each in LENGTHS.values()], list(weights), repeat=repeat)
    for name, want in zip(stores, wanted, strict=True):
        assert abs(ends[name] - want) <= max(LENGTHS[name]) / 2
    assert read == blended(mix, seed=3)
    assert read != blended(mix, seed=4)


def test_partitions_and_blocks_change_nothing(stores: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    mix = Mix(stores=stores, weights=dict.fromkeys(stores, 1), repeat=True)
    whole = blended(mix)
    monkeypatch.setattr(blends, "_BLOCK_TOKENS", 20)
    config = PackConfig()
    object.__setattr__(config, "partition_bytes", 300)
    blend = Blend(mix, config)
    assert len(blend.partitions) > 2
    read = [
        name for batch in blend.batches(range(len(blend.partitions))) if batch.names for name in batch.names.to_pylist()
    ]
    assert read == [name for name, _ in whole]


def test_the_manifest_accounts_for_each_source(stores: dict[str, str], tmp_path: Path) -> None:
    mix = Mix(stores=stores, weights={"web": 1, "code": 1, "books": 2})
    manifest = seampack.pack(mix, out=tmp_path / "out", seq_len=16, long="split")
    PackedFolder(tmp_path / "out").verify()
    noted = manifest.notes["mix"]
    assert noted["repeat"] is False
    web, code, books = noted["sources"]
    assert code.items() >= {"name": "code", "weight": 1, "documents": 4, "tokens": 23, "epochs": 1.0}.items()
    assert (code["documents_unused"], code["tokens_unused"]) == (0, 0)
    assert web["tokens"] + web["tokens_unused"] == sum(LENGTHS["web"])
    assert books["documents"] + books["documents_unused"] == 5
    assert sum(each["tokens"] for each in noted["sources"]) == manifest.accounting.tokens_in
    sources = Counter(dict.fromkeys(stores, 0))
    for table in PackedFolder(tmp_path / "out").tables():
        for row in table.to_pylist():
            for source, length in zip(row["source"], row["seq_lengths"], strict=True):
                sources[source] += length
    assert sources == {each["name"]: each["tokens"] for each in noted["sources"]}
    with pytest.raises(ConfigError, match="a blend is compared with its sources, each as NAME=INPUT"):
        verify_against(PackedFolder(tmp_path / "out"), stores["web"])
    unknown, missing = {"wob": stores["web"]} | stores, {"web": stores["web"], "books": stores["books"]}
    for named, message in ((unknown, "no source is named 'wob'"), (missing, "the source 'code' is missing")):
        with pytest.raises(ConfigError, match=f"^mix: {message}; the sources are web, code, books$"):
            verify_against(PackedFolder(tmp_path / "out"), named)


def test_a_blend_is_resumed_and_repeated_documents_unpacked(stores: dict[str, str], tmp_path: Path) -> None:
    mix = Mix(stores=stores, weights=dict.fromkeys(stores, 1), repeat=True)
    first = seampack.pack(mix, out=tmp_path / "out", seq_len=16)
    assert seampack.pack(mix, out=tmp_path / "out", seq_len=16, resume=True) == first
    names = PackedFolder(tmp_path / "out").unpack()["doc_ids"].to_pylist()
    assert len(set(names)) == len(names)
    assert {"code/d0", "code/d0@2"} <= set(names)


MIXED: list[tuple[dict[str, Any], str]] = [
    ({"weights": {"web": 1}}, "mix: the input 'code' has no weight; add --mix code=WEIGHT"),
    ({"weights": {"web": 1, "code": 1, "x": 1}}, "mix: no input is named 'x'; the inputs are web, code"),
    ({"weights": {"web": 0, "code": 1}}, "expected a number greater than 0 as the weight of 'web'; got 0"),
    ({"weights": {"web": float("nan"), "code": 1}}, "as the weight of 'web'; got nan"),
    ({"weights": {"web": "much", "code": 1}}, "as the weight of 'web'; got 'much'"),
    ({"weights": {"web": 10**400, "code": 1}}, "as the weight of 'web'; got 1000"),
    ({"weights": {"web": True, "code": 1}}, "as the weight of 'web'; got True"),
    ({"weights": [1, 1]}, r"mix: weights: expected a mapping by name; got \[1, 1\]"),
    ({"stores": ["a", "b"], "weights": {}}, r"mix: stores: expected a mapping by name; got \['a', 'b'\]"),
    *(
        ({"stores": {name: "a"}, "weights": {name: 1}}, f"text without / and = as the name of a source; got {name!r}$")
        for name in ("", "a/b", "a=b", 7)
    ),
    ({"stores": {}, "weights": {}}, "expected at least one input NAME=INPUT; got none"),
]


@pytest.mark.parametrize(("changes", "message"), MIXED)
def test_weights_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mix(**{"stores": {"web": "a", "code": "b"}, **changes})


def test_weights_are_numbers_of_any_kind() -> None:
    given = {"int": 2, "numpy": np.int64(3), "narrow": np.float32(0.5), "share": Fraction(1, 4)}
    mix = Mix(stores=dict.fromkeys(given, "a"), weights=given)
    assert json.loads(json.dumps(mix.weights)) == {"int": 2, "numpy": 3, "narrow": 0.5, "share": 0.25}


@pytest.mark.parametrize(
    ("options", "documents", "message"),
    [
        (UNFRAMED, [], "mix: x: .*: the source has no tokens"),
        ({"bos": "none"}, ["a"], r"mix: x: .*: eos: expected none, as in .*web; got <\|endoftext\|>; tokenise"),
        (UNFRAMED, ["a"], "mix: x: .*: columns: expected .*; tokenise the sources alike"),
    ],
)
def test_sources_that_differ(
    stores: dict[str, str], tmp_path: Path, options: dict[str, str], documents: list[str], message: str
) -> None:
    seampack.tokenize(iter(documents), out=tmp_path / "x", **options)
    mix = Mix(stores={"web": stores["web"], "x": tmp_path / "x"}, weights={"web": 1, "x": 1})
    with pytest.raises(ConfigError, match=message):
        seampack.pack(mix, out=tmp_path / "out")


def test_what_a_mix_cannot_be(stores: dict[str, str], tmp_path: Path) -> None:
    huge = Mix(stores=stores, weights={"web": 1e-12, "code": 1, "books": 1}, repeat=True)
    with pytest.raises(ConfigError, match=r"mix: .*: with these weights, the blend would have more than 1,073,741"):
        seampack.pack(huge, out=tmp_path / "out")
    little = Mix(stores=stores, weights={"web": 1e-9, "code": 1, "books": 1})
    with pytest.raises(ConfigError, match=r"mix: web: its share of the blend would be 0 tokens, which is no document"):
        seampack.pack(little, out=tmp_path / "out")
    seampack.tokenize(iter(["a"]), out=tmp_path / "tiny", bos="none", eos="none")
    seampack.tokenize(iter(["many more words"]), out=tmp_path / "all", bos="none", eos="none")
    scarce = Mix(stores={"tiny": tmp_path / "tiny", "all": tmp_path / "all"}, weights={"tiny": 1, "all": 1})
    with pytest.raises(
        ConfigError, match=r"mix: all: .* the blend ends with tiny, of 1 tokens; repeat tiny with --mix-"
    ):
        seampack.pack(scarce, out=tmp_path / "out")
    shutil.copytree(stores["web"], tmp_path / "copy")
    same = Mix(stores={"web": stores["web"], "copy": tmp_path / "copy"}, weights={"web": 1, "copy": 2})
    with pytest.raises(ConfigError, match=r"mix: copy: .*copy: the same documents as web; give others, or name"):
        seampack.pack(same, out=tmp_path / "out")


@pytest.mark.parametrize("named", [True, False])
def test_an_index_of_a_blend_has_the_rows_of_the_folder(stores: dict[str, str], tmp_path: Path, named: bool) -> None:
    if not named:
        for name in LENGTHS:
            table = pa.table({"input_ids": documents(name), "source": [name] * len(LENGTHS[name])})
            seampack.tokenize(table, out=tmp_path / name, keep=("source",), **UNFRAMED)
        stores = {name: str(tmp_path / name) for name in LENGTHS}
    mix = Mix(stores=stores, weights={"web": 0.3, "code": 5, "books": 2}, repeat=True)
    given: dict[str, Any] = {"seq_len": 16, "seed": 5, "partition_bytes": 1 << 16, "window_tokens": 2000}
    full = seampack.pack(mix, out=tmp_path / "full", **given)
    index = seampack.pack(mix, out=tmp_path / "index", output_format="index", **given)
    assert (index.columns, index.accounting, index.partitions) == (full.columns, full.accounting, full.partitions)
    packed, indexed = PackedFolder(tmp_path / "full"), PackedFolder(tmp_path / "index")
    indexed.verify()
    rows = [pa.concat_tables(each.tables()).combine_chunks() for each in (packed, indexed)]
    assert rows[0].equals(rows[1])
    assert indexed.unpack().equals(packed.unpack())
    for folder in (packed, indexed):
        assert verify_against(folder, stores).differences == ()
        in_another_order = dict(reversed(stores.items()))
        assert verify_against(folder, in_another_order).differences == ()


def test_an_index_of_a_blend_needs_its_stores(call: Run, stores: dict[str, str], tmp_path: Path) -> None:
    moved = {name: tmp_path / f"moved {name}" for name in stores}
    for name, folder in stores.items():
        shutil.copytree(folder, tmp_path / name)
    mix = Mix(stores={name: tmp_path / name for name in stores}, weights=dict.fromkeys(stores, 1))
    seampack.pack(mix, out=tmp_path / "index", seq_len=16, output_format="index")
    for name in stores:
        (tmp_path / name).rename(moved[name])
    with pytest.raises(ShardError, match=r"tokens are in token stores: mix: web: .*not a token store; if it"):
        PackedFolder(tmp_path / "index")
    PackedFolder(tmp_path / "index", store=moved).verify()
    with pytest.raises(ConfigError, match="is an index of a blend; expected its stores by name; got "):
        PackedFolder(tmp_path / "index", store=moved["web"])
    moved["code"].rename(tmp_path / "code")
    inputs = [f"--store={name}={moved[name]}" for name in ("web", "books")]
    assert call("verify", "index", *inputs).returncode == 0
    message = failed(call("verify", "index", inputs[0]))
    assert message.endswith("if it was moved, put it back, or name its place: --store NAME=STORE, or store= in Python")
    for arguments, expected in (
        (["--store", "moved"], "store: expected NAME=STORE in a mix; got 'moved'"),
        (["--store", "x=y"], "mix: no source is named 'x'; the sources are web, code, books"),
        ([inputs[0], "--store", "books=away"], "mix: books: away: no tokens.json: not a token store; if it was moved"),
    ):
        assert expected in failed(call("verify", "index", *arguments))
    (tmp_path / "code").rename(moved["code"])
    with pytest.raises(ShardError, match=r"mix: web: .*another token store than the one that was packed: expected"):
        PackedFolder(tmp_path / "index", store=moved | {"web": moved["code"], "code": moved["web"]})
    edit_manifest(tmp_path / "index", mix={"sources": []})
    with pytest.raises(ShardError, match="the manifest is damaged: mix: expected the sources of a blend"):
        PackedFolder(tmp_path / "index")


def test_commands(call: Run, stores: dict[str, str], tmp_path: Path) -> None:
    inputs = [f"{name}={folder}" for name, folder in stores.items()]
    weights = ["--mix", "web=0.5", "--mix", "code=0.25", "--mix", "books=0.25"]
    packed = call("pack", *inputs, *weights, "--mix-repeat", "-o", "out", "--seq-len", 16)
    assert (packed.returncode, packed.stderr) == (0, b"")
    noted = json.loads((tmp_path / "out/manifest.json").read_text())["mix"]["sources"]
    header, *lines = packed.stdout.decode().splitlines()[:4]
    assert header.split()[:4] == ["source", "weight", "share", "tokens"]
    assert [line.split()[0] for line in lines] == [each["name"] for each in noted] == list(stores)
    shown = call("inspect", "out", "--html", "report.html").stdout.decode().splitlines()
    assert [header, *lines] == shown[shown.index(header) :][:4]
    page = (tmp_path / "report.html").read_text()
    assert "Sources of the blend" in page
    assert all(f'<th scope="row">{name}</th>' in page for name in stores)
    assert noted_sources({"mix": "of my own"}) == noted_sources({"mix": {"sources": [{}]}}) == []
    for arguments, message in (
        ([*inputs, "--mix", "web=heavy"], "mix: expected a number greater than 0 as the weight of 'web'; got 'heavy'"),
        ([*inputs, "--mix", "web"], "mix: expected NAME=WEIGHT in a mix; got 'web'"),
        ([*inputs, *weights, "--mix", "web=1"], "mix: expected each name once; got 'web' twice"),
        ([stores["web"], "--mix", "web=1"], f"inputs: expected NAME=INPUT in a mix; got '{stores['web']}'"),
    ):
        assert failed(call("pack", *arguments, "-o", "other")).startswith(message)
    assert failed(call("pack", *inputs, "--mix-repeat", "-o", "other"), 2).startswith("--mix-repeat needs --mix")
