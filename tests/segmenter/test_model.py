"""Segmenters: forced ends of words, options, offsets, bad input; with random parameters, and the bundled models."""

import itertools
import json
import re
import threading
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, DataError, ShardError
from seampack.segmenter import _kernels, decoders, formats
from seampack.segmenter._unit_kernels import KIND_SCRIPT
from seampack.segmenter.dictionary import Dictionary
from seampack.segmenter.model import Segmenter
from seampack.segmenter.spans import Spans
from seampack.segmenter.units import Alphabet
from tests.segmenter import tiny
from tests.segmenter.language import sentences

ALPHABET = Alphabet("zh")
MIXED = ["研究2001年在OK公司，生命。", "12.5研，，究ab 的12", "。", "", " "]


@pytest.fixture(scope="module")
def joining(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """A student that joins all units that may be joined."""
    return Segmenter.load(tiny.save(tmp_path_factory.mktemp("models") / "joining", end_bias=-1e4))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """A student and language models."""
    pytest.importorskip("torch")
    return Segmenter.load(tiny.save(tmp_path_factory.mktemp("models") / "both", teacher=True))


@pytest.fixture(scope="module")
def zh() -> Segmenter:
    """The bundled segmenter for Chinese."""
    pytest.importorskip("torch")
    return Segmenter.load("zh")


def runs(text: str) -> list[str]:
    """A plain version of a segmenter that joins all units it may: stretches of the script without white space."""
    units, _ = ALPHABET.units([text])
    words: list[str] = []
    last = None
    for begin, end, kind, spaced in zip(units.begin, units.end, units.kind, units.spaced, strict=True):
        if last == kind == KIND_SCRIPT and not spaced:
            words[-1] += text[begin:end]
        else:
            words.append(text[begin:end])
        last = kind
    return words


@given(st.lists(st.text("研究生e\u0301aB12.，。 \u3000", max_size=20), max_size=3))
def test_units_that_are_words_by_themselves_are_never_joined(joining: Segmenter, texts: list[str]) -> None:
    for threshold in (None, 0.5, 1):
        assert joining.segment(texts, threshold=threshold) == list(map(runs, texts))


@pytest.mark.parametrize("threshold", [None, 0.5, 1])
def test_student_and_language_models_end_words_there_alike(both: Segmenter, threshold: float | None) -> None:
    units, _ = ALPHABET.units(MIXED)
    for exact in (False, True):
        probabilities = np.concatenate(both.end_probabilities(MIXED, exact=exact))
        assert np.all(probabilities[units.end - 1][units.forced_ends] == 1)
        for words, text in zip(both.segment(MIXED, exact=exact, threshold=threshold), MIXED, strict=True):
            joined, at = "".join(text.split()), 0
            for word in words:
                assert joined.startswith(word, at)
                at += len(word)
                assert len(runs(word)) == 1
    assert both.segment(MIXED, exact=True, threshold=1) == list(map(runs, MIXED))


def test_threads_change_the_time_only(both: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own threads wait actively for each other: on a busy machine, two of them take eight times as long."""
    torch = pytest.importorskip("torch")
    from seampack.segmenter.scoring import Scorer

    seen: list[tuple[int, int]] = []
    scores = Scorer.scores

    def watched(*arguments: Any) -> Any:
        seen.append((torch.get_num_threads(), threading.get_ident()))
        return scores(*arguments)

    monkeypatch.setattr(Scorer, "scores", watched)
    before = torch.get_num_threads()
    expected = both.segment(MIXED, exact=True)
    for threads, each in ((1, 1), (2, 1), (3, 1), (4, 2)):
        seen.clear()
        assert Segmenter.load(both.folder, threads=threads).segment(MIXED, exact=True) == expected
        assert {count for count, _ in seen} == {each}
        assert len({thread for _, thread in seen}) <= threads
        assert torch.get_num_threads() == before
    with pytest.raises(ConfigError, match="threads: expected"):
        Segmenter.load(both.folder, threads=0)


def test_no_n_best_segmentation_joins_them(both: Segmenter) -> None:
    (found,) = both.n_best(["在OK，"], 5)
    assert [words for _, words in found] == [["在", "OK", "，"]]


@given(st.text("研ab \ufeff\u200b\u3000", max_size=12))
def test_zero_width_spaces_belong_to_no_word(joining: Segmenter, text: str) -> None:
    found = joining.spans([text])
    assert not {"\ufeff", "\u200b"} & set("".join(found.words([text])[0]))
    assert formats.unspaced(formats.spaced(text, found.begin.tolist(), found.end.tolist())) == text


def test_entries_of_the_dictionary_hold_across_them(joining: Segmenter) -> None:
    dictionary = Dictionary.of(["2001年", "，生"])
    assert joining.segment(["研究2001年在，生命"], dictionary=dictionary) == [["研究", "2001年", "在", "，生", "命"]]
    (found,) = joining.end_probabilities(["研究2001年在，生命"], dictionary=dictionary)
    assert found.tolist() == [0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 1]


def test_a_dictionary_is_a_path_entries_or_an_object(joining: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("研 究\n", "utf-8")
    for words in (path, str(path), ["研 究"], ("研 究",), {"研 究"}, Dictionary.load(path)):
        assert joining.segment(["研究生"], dictionary=words) == [["研", "究", "生"]]
        assert joining.end_probabilities(["研究生"], dictionary=words)[0].tolist() == [1, 1, 1]
    assert joining.segment(["研究生"], dictionary=[]) == joining.segment(["研究生"])
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        joining.segment(["研"], dictionary="none.txt")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (5, ConfigError, "dictionary: expected the path of a file, a list of entries or a Dictionary; got int"),
        (["研", 5], ConfigError, "dictionary: expected entries that are texts; got 5"),
        ([" "], DataError, "dictionary: the dictionary has no entry"),
        (["研 究", "研究"], DataError, "dictionary: lines 1 and 2: two entries cut"),
    ],
)
def test_what_is_no_dictionary(joining: Segmenter, words: Any, error: type[Exception], message: str) -> None:
    for call in (joining.segment, joining.spans, joining.end_probabilities):
        with pytest.raises(error, match=f"^{message}"):
            call(["研"], dictionary=words)


def test_half_a_surrogate_pair_is_refused_with_its_index(joining: Segmenter) -> None:
    for call in (joining.segment, joining.spans, joining.end_probabilities, joining.pieces):
        with pytest.raises(DataError, match=r"^texts\[2\]: a string with half a surrogate pair, .*; remove it"):
            call(["研究", "", "研\ud800究", "\ud800"])


def test_threshold_moves_the_boundary(both: Segmenter) -> None:
    for threshold in (0.0, 0.4, 1.0):
        moved = both.segment([tiny.TEXT], decoder="boundary", threshold=threshold)
        assert moved == both.segment([tiny.TEXT], exact=True, threshold=threshold)
    assert both.segment([tiny.TEXT], decoder="boundary", threshold=0.5) == both.segment([tiny.TEXT], decoder="boundary")
    with pytest.raises(ConfigError, match="threshold: only the decoder boundary uses it; got decoder 'product'"):
        both.segment([tiny.TEXT], decoder="product", threshold=0.5)


@pytest.mark.parametrize("threshold", [float("nan"), -0.1, 1.1, "0.5"])
def test_thresholds_are_probabilities(joining: Segmenter, threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold: expected a number from 0 to 1; got "):
        joining.segment([tiny.TEXT], threshold=threshold)


@pytest.mark.parametrize(("texts", "message"), [
    ([None], r"texts\[0\]: expected text; got NoneType"),
    (["研", 5], r"texts\[1\]: expected text; got int"),
    (["研", b"ab"], r"texts\[1\]: expected text; got bytes"),
    (["研", ["究"]], r"texts\[1\]: expected text; got list"),
    ("研究", r"expected a list of texts; got one string"),
    (None, r"expected a list of texts; got NoneType"),
    (7.5, r"expected a list of texts; got float"),
])  # fmt: skip
def test_items_that_are_not_text(joining: Segmenter, texts: list[str], message: str) -> None:
    for call in (joining.segment, joining.spans, joining.end_probabilities, joining.pieces):
        with pytest.raises(DataError, match=message):
            call(texts)


def test_null_stays_null_in_a_dataset(joining: Segmenter) -> None:
    found = joining.map_batch({"text": ["研究", None, ""], "id": [1, 2, 3]})
    assert found == {"text": ["研究", None, ""], "id": [1, 2, 3], "words": [["研究"], None, []]}
    found = joining.map_batch({"body": ["研究"], "words": [1]}, "body", "split", dictionary=["研 究"])
    assert found == {"body": ["研究"], "words": [1], "split": [["研", "究"]]}


@pytest.mark.parametrize(("batch", "message"), [
    ({"text": "研究"}, "column 'text': expected a list of texts; got one text; use batched=True"),
    ({"text": None}, "column 'text': expected a list of texts; got null; use batched=True"),
    ({"body": ["研究"], "id": [1]}, "no field 'text'; the record has 'body', 'id'; name another with column"),
    ({"text": ["研究"], "words": [1]}, "the batch already has a column 'words'; choose another name with words"),
    ({"text": [5]}, r"texts\[0\]: expected text; got int"),
])  # fmt: skip
def test_batches_that_cannot_be_split(joining: Segmenter, batch: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        joining.map_batch(batch)


def test_a_dataset_of_single_records_is_refused(joining: Segmenter) -> None:
    dataset = datasets.Dataset.from_dict({"text": ["研究", None]})
    assert dataset.map(joining.map_batch, batched=True)["words"][:] == [["研究"], None]
    with pytest.raises(DataError, match="use batched=True"):
        dataset.map(joining.map_batch)


def test_a_model_without_language_models(joining: Segmenter) -> None:
    for call in (lambda: joining.segment(["研"], exact=True), lambda: joining.n_best(["研"], 1, exact=True)):
        with pytest.raises(ShardError, match="has no language models; its parts: student; use its student"):
            call()
    with pytest.raises(
        ShardError, match="n best segmentations need a lexicon or language models; use the lexicon, or c"
    ):
        joining.n_best(["研"], 1)


def test_it_is_exported() -> None:
    assert seampack.Segmenter is Segmenter


def test_offsets_and_mixed_text(both: Segmenter) -> None:
    texts = ["  研究 OK 12.5\t👩\u200d👧。\x00e\u0301 學習", "", " ", "研" * 1000]
    found = both.spans(texts)
    for text, first, last in zip(texts, found.offsets, found.offsets[1:], strict=False):
        covered = [0] * len(text)
        for begin, end in zip(found.begin[first:last], found.end[first:last], strict=True):
            for at in range(begin, end):
                covered[at] += 1
        assert covered == [int(not c.isspace()) for c in text]
    words = both.segment(texts)[0]
    assert {"OK", "12.5", "👩\u200d👧", "e\u0301"} <= set(words)


def test_probabilities_and_threshold(zh: Segmenter) -> None:
    text = "研究 生命的起源"
    for exact in (False, True):
        (probabilities,) = zh.end_probabilities([text], exact=exact)
        assert probabilities.shape == (8,)
        assert np.all((probabilities >= 0) & (probabilities <= 1.0001))
        assert probabilities[[1, 2, 7]] == pytest.approx(1, abs=1e-4)
        counts = [len(zh.segment([text], threshold=t, exact=exact)[0]) for t in (0.0, 0.5, 1.0)]
        assert counts[0] == 7
        assert counts[0] > counts[1] > counts[2] >= 2
    with pytest.raises(ConfigError, match="only the decoder boundary uses it"):
        zh.segment([text], threshold=0.5, decoder="product")


def test_dictionary(zh: Segmenter) -> None:
    dictionary = Dictionary.of(["研究生", "起 源", "的 起源是"])
    assert zh.segment(["我研究生命的起源"], dictionary=dictionary)[0][-3:] == ["的", "起", "源"]
    assert "研究生" in zh.segment(["我研究生命的起源"], dictionary=dictionary)[0]
    assert zh.segment(["生命的起源是好"], dictionary=dictionary)[0][-3:] == ["的", "起源是", "好"]
    with pytest.raises(DataError, match="no entry"):
        Dictionary.of(["", " "])


@pytest.mark.parametrize("model", ["ja", "zh", "th"])
def test_the_n_best_of_student_and_lexicon(model: str) -> None:
    """Without the language models, which ja lacks. The first one has the highest score."""
    text = {"ja": "今日は東京へ行きます", "zh": "研究生命的起源", "th": "ประเทศไทย"}[model]
    segmenter = Segmenter.load(model)
    empty, found, _ = segmenter.n_best(["", text, "OK, 12。"], 5)
    assert empty == [(0.0, [])]
    assert len(found) == 5
    assert len({tuple(words) for _, words in found}) == 5
    assert all("".join(words) == text for _, words in found)
    units, starts = segmenter.units([text])
    lattices = segmenter.lexicon.with_student(units, segmenter.student.end_log_odds(units))
    for rank, (score, words) in enumerate(found):
        ends = np.isin(units.end, np.cumsum([len(word) for word in words])).astype(np.uint8)
        totals = _kernels.total_scores(lattices.forward, lattices.offsets, ends)
        assert score == pytest.approx(2 * totals.sum(), abs=1e-3)
        assert rank == 0 or score <= found[rank - 1][0]
    assert found[0][1] == Spans.of_ends(decoders.product(lattices), units, starts).words([text])[0]


def test_n_best_of_the_language_models(zh: Segmenter) -> None:
    (found,) = zh.n_best(["研究生命的起源"], 4, exact=True)
    scores = [score for score, _ in found]
    assert len(found) == 4
    assert scores == sorted(scores, reverse=True)
    assert all("".join(words) == "研究生命的起源" for _, words in found)
    assert found[0][1] == zh.segment(["研究生命的起源"], decoder="product")[0]


def test_language_models_read_longer_chunks_than_in_training(zh: Segmenter) -> None:
    assert zh.description["config"]["chunk_units"] == 40
    units, _ = zh.units(["研究生命的起源" * 20])
    assert zh.teacher.lattices(units).offsets.tolist() == [0, 140]


@pytest.mark.parametrize(
    ("name", "words"), [("zh", ["研究", "生命", "的", "起源", "。"]), ("th", ["ก่อน", "ใน", "การ", "เปลี่ยน", "ไป", "ใช้"])]
)
@pytest.mark.parametrize("exact", [False, True])
def test_the_bundled_models(name: str, words: list[str], exact: bool) -> None:
    if exact:
        pytest.importorskip("torch")
    assert Segmenter.load(name).segment(["".join(words)], exact=exact) == [words]


@pytest.mark.parametrize(
    "options",
    [{}, {"threshold": 0.0}, {"exact": True, "threshold": 0.0}, *({"decoder": name} for name in decoders.DECODERS)],
    ids=str,
)
def test_no_word_ends_where_thai_allows_none(options: dict[str, Any]) -> None:
    if options.keys() != {"threshold"} and options:
        pytest.importorskip("torch")
    th = Segmenter.load("th")
    texts = ["โรงเรียนอยู่ไกลเกินไปสำหรับเขา", "วันจันทร์เขาซื้อหนังสือวิทยาศาสตร์"]
    words = th.segment(texts, dictionary=Dictionary.of(["วั", "ไ", "หรับเ"]), **options)
    assert not [word for split in words for word in split if re.search("^[ะาำๅ]|^.์|[เ-ไ]$|[ัื][่-๋]?$", word)]
    units, _ = th.units(texts)
    probabilities = np.concatenate(th.end_probabilities(texts, exact="exact" in options))
    assert not probabilities[units.end - 1][units.bonds == 1].any()


@pytest.mark.parametrize("exact", [False, True])
def test_none_of_the_best_ends_where_thai_allows_none(exact: bool) -> None:
    if exact:
        pytest.importorskip("torch")
    th = Segmenter.load("th")
    found = [words for _, words in th.n_best(["ไปซื้อมา"], 50, exact=exact)[0]]
    assert len(found) > 3
    assert {word for words in found for word in words} <= {"ไป", "ซื้อ", "มา", "ไปซื้อ", "ซื้อมา", "ไปซื้อมา"}


def test_pieces_for_the_packer(zh: Segmenter, tmp_path: Path) -> None:
    """Tokens never cross a word, and the packed tokens decode to the text."""
    from seampack.packer.folder import PackedFolder
    from seampack.packer.packing import pack
    from seampack.packer.tokenizing import TextTokenizer
    from seampack.packer.train_tokenizer import train_tokenizer

    texts = [*sentences(50, seed=3)[0], " 研究  生命 ", "", "\n"]
    pieces, firsts = zh.pieces(texts)
    assert ["".join(pieces[a:b]) for a, b in itertools.pairwise(firsts.tolist())] == texts
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    train_tokenizer(source, tmp_path / "t.json", vocab_size=400, split=zh.pieces)
    pack(source, out=tmp_path / "out", tokenizer=tmp_path / "t.json", seq_len=4096, eos="none", split=zh.pieces)
    tokenizer = TextTokenizer(tmp_path / "t.json")
    unpacked = PackedFolder(tmp_path / "out").unpack().to_pylist()
    assert [tokenizer.decode(row["input_ids"]) for row in unpacked] == [text for text in texts if text]
    for row, text in zip(unpacked, [text for text in texts if text], strict=True):
        whole = [i for piece in zh.pieces([text])[0] for i in tokenizer.reference.encode(piece).ids]
        assert row["input_ids"] == whole
