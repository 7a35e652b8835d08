"""Lexicons: the lattice against every possible cut, the words of segmenters that have one, and their making."""

import itertools
import json
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from seampack.cli import main
from seampack.errors import DataError, ShardError
from seampack.segmenter import _kernels as kernels
from seampack.segmenter.config import DistillConfig, LexiconConfig
from seampack.segmenter.decoders import IMPOSSIBLE, Lattices
from seampack.segmenter.dictionary import Dictionary
from seampack.segmenter.lexicon import Lexicon, words_of
from seampack.segmenter.lexicon_counts import build_lexicon
from seampack.segmenter.model import Segmenter
from seampack.segmenter.units import Alphabet
from tests.segmenter import tiny

ALPHABET = Alphabet("zh")
MIXED = ["研究2001年在OK公司，生命。研究", "研 究生命", "", "。", "生命的起源研究生命" * 9]
WORDS = {"研究": 50, "生命": 40, "的": 90, "起源": 5}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    return Segmenter.load(tiny.save(tmp_path_factory.mktemp("models") / "known", lexicon=WORDS))


def word_score(word: str, counts: dict[str, int], factor: float) -> float:
    """Score of a word: known, a single unit, or spelled by the units of the different known words."""
    if word in counts or len(word) == 1:
        return math.log(counts.get(word, 0.5) / sum(counts.values()))
    ended = [unit for known in counts for unit in (*known, "end")]
    return math.log(factor) + sum(math.log((ended.count(unit) or 0.5) / len(ended)) for unit in (*word, "end"))


counted = st.dictionaries(st.text("研究生", min_size=1, max_size=3), st.integers(1, 99), min_size=1)


@given(
    counts=counted,
    text=st.text("研究生命", min_size=1, max_size=8),
    longest=st.integers(1, 5),
    data=st.data(),
)
def test_the_lattice_scores_each_segment(counts: dict[str, int], text: str, longest: int, data: st.DataObject) -> None:
    odds = st.one_of(st.floats(-9, 9, width=32), st.just(np.inf))
    log_odds = np.array(
        [*data.draw(st.lists(odds, min_size=len(text) - 1, max_size=len(text) - 1)), np.inf], np.float32
    )
    units, _ = ALPHABET.units([text])
    lexicon = Lexicon.of(ALPHABET, [*counts], np.array([*counts.values()]), longest)
    lattices = lexicon.with_student(units, log_odds)
    assert lattices.offsets.tolist() == [0, *(np.flatnonzero(np.isinf(log_odds)) + 1).tolist()]
    with np.errstate(over="ignore"):
        ends = 1 / (1 + np.exp(-log_odds.astype(float)))
    for begin, stop in itertools.pairwise(lattices.offsets.tolist()):
        for start in range(begin, stop):
            for end in range(start + 1, min(stop, start + longest) + 1):
                student = np.log(1 - ends[start : end - 1]).sum() + np.log(ends[end - 1])
                expected = 0.5 * student + word_score(text[start:end], counts, 2)
                assert lattices.forward[start, end - start - 1] == pytest.approx(expected, abs=1e-3)


@given(
    counts=counted,
    text=st.text("研究生命", min_size=1, max_size=9),
    longest=st.integers(1, 5),
    widest=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_likely_segments(counts: dict[str, int], text: str, longest: int, widest: int, seed: int) -> None:
    """The likely ones, and a whole segmentation of each stretch; longer ones are there in pieces."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 9, len(text)).astype(np.float32)
    log_odds[rng.random(len(text)) < 0.2] = np.inf
    log_odds[-1] = np.inf
    units, _ = ALPHABET.units([text])
    lexicon = Lexicon.of(ALPHABET, [*counts], np.array([*counts.values()]), longest)
    lattices = lexicon.with_student(units, log_odds)
    posteriors = lattices.posteriors()
    found = lexicon.likely_segments(units, log_odds, widest)
    ends = [0, *(np.flatnonzero(lattices.ends(posteriors)) + 1).tolist()]
    words = {*itertools.pairwise(ends)}
    words |= {(start, start + column + 1) for start, column in np.argwhere(posteriors >= 0.001).tolist()}
    expected = {word for word in words if word[1] - word[0] <= widest}
    for start, end in words - expected:
        pieces = itertools.combinations(range(start, end + 1), 2)
        expected |= {piece for piece in pieces if piece[1] - piece[0] <= widest}
    assert found.shape == (len(text), widest)
    assert {(start, start + column + 1) for start, column in np.argwhere(found).tolist()} == expected


def model_score(scores: np.ndarray, start: int, end: int) -> float:
    """Score of a segment in a lattice; of a longer one, that of its best cut."""
    widest = scores.shape[1]
    if end - start <= widest:
        return float(scores[start, end - start - 1])
    return max(float(scores[start, size - 1]) + model_score(scores, start + size, end) for size in range(1, widest + 1))


@given(
    counts=counted,
    text=st.text("研究生命1，", min_size=1, max_size=8),
    longest=st.integers(1, 5),
    widest=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_the_lattices_of_language_models_with_a_lexicon(
    counts: dict[str, int], text: str, longest: int, widest: int, seed: int
) -> None:
    units, _ = ALPHABET.units([text])
    text = "".join(text[begin] for begin in units.begin)  # a run of digits is one unit
    rng = np.random.default_rng(seed)
    offsets = np.unique([0, *rng.integers(0, len(text) + 1, 2), len(text)])
    forward, backward = rng.normal(-3, 2, (2, len(text), widest)).astype(np.float32)
    for scores in (forward, backward):
        for start, end in itertools.combinations(range(len(text) + 1), 2):
            if 1 < end - start <= widest and units.single[start:end].any():
                scores[start, end - start - 1] = IMPOSSIBLE
    lexicon = Lexicon.of(ALPHABET, [*counts], np.array([*counts.values()]), longest)
    combined = lexicon.with_models(units, Lattices(forward, backward, offsets, weight=0.3))
    assert combined.offsets is offsets
    assert combined.weight == 0.3
    for begin, stop in itertools.pairwise(offsets.tolist()):
        for start, end in itertools.combinations(range(begin, stop + 1), 2):
            if end - start > max(longest, widest):
                continue
            word = text[start:end]
            has_single = len(word) > 1 and units.single[start:end].any()
            is_possible = not has_single and (len(word) <= widest or word in counts)
            for model, found in ((forward, combined.forward), (backward, combined.backward)):
                expected = IMPOSSIBLE
                if is_possible:
                    expected = 0.5 * model_score(model, start, end) + 0.3 * word_score(word, counts, 0.1)
                assert found[start, end - start - 1] == pytest.approx(expected, abs=1e-3)


@given(st.lists(st.text("研究生命的起源a1，。 \n", max_size=30), max_size=4))
def test_nothing_is_lost_and_batches_change_nothing(known: Segmenter, texts: list[str]) -> None:
    words = known.segment(texts)
    assert ["".join(parts) for parts in words] == ["".join(text.split()) for text in texts]
    assert words == [known.segment([text])[0] for text in texts]
    for text, ends in zip(texts, known.end_probabilities(texts), strict=True):
        assert ends.shape == (len(text),)
        assert ((ends >= 0) & (ends <= 1)).all()
    units, _ = ALPHABET.units(["\n".join(texts)])
    sizes = [len(word) for words in known.segment(texts, threshold=0) for word in words]
    assert sizes == (units.end - units.begin).tolist()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (WORDS, ["研究", "生命", "的", "起源"]),
        ({"究生": 50, "命的": 40, "研": 9, "起": 50, "源": 50}, ["研", "究生", "命的", "起", "源"]),
        ({"研究生命": 5, "研究": 90, "生": 10, "命": 10, "的": 90}, ["研究生命", "的", "起源"]),
    ],
)
def test_known_words_are_found_where_the_student_is_undecided(
    words: dict[str, int], found: list[str], tmp_path: Path
) -> None:
    folder = tiny.save(tmp_path / "m", lexicon=words)
    arrays = load_file(folder / "student.safetensors")
    save_file({**arrays, "output": np.zeros_like(arrays["output"])}, folder / "student.safetensors")
    assert Segmenter.load(folder).segment(["研究生命的起源"]) == [found]


@pytest.mark.parametrize("decoder", [None, "product", "mean", "merge", "boundary", "forward"])
def test_the_language_models_use_the_lexicon(decoder: str | None, tmp_path: Path) -> None:
    """Also for words longer than theirs, in each decoder, and in the n best."""
    pytest.importorskip("torch")
    words = {"研究生命": 10**6, "的起源": 10**6, "研": 1}
    folder = tiny.save(tmp_path / "m", teacher=True, lexicon=words)
    segmenter, found = Segmenter.load(folder), ["研究生命", "的起源"]
    assert segmenter.segment([tiny.TEXT], exact=True, decoder=decoder) == [found]
    assert segmenter.n_best([tiny.TEXT], 2, exact=True)[0][0][1] == found
    ends = segmenter.end_probabilities([tiny.TEXT], exact=True)[0]
    assert (ends >= 0.5).tolist() == [False, False, False, True, False, False, True]
    without = Segmenter.load(tiny.save(tmp_path / "without", teacher=True))
    for text in ([tiny.TEXT], MIXED):
        options = {"exact": True, "decoder": decoder}
        assert segmenter.segment(text, **options, lexicon=False) == without.segment(text, **options)
        assert ["".join(parts) for parts in segmenter.segment(text, **options)] == ["".join(t.split()) for t in text]
    assert segmenter.n_best([tiny.TEXT], 2, lexicon=False) == without.n_best([tiny.TEXT], 2)


def test_the_language_models_score_only_likely_segments(tmp_path: Path) -> None:
    """The words that student and lexicon exclude are not found, whatever the language models say; nothing is lost."""
    pytest.importorskip("torch")
    words = {"研究": 10**6, "生命": 10**6, "究生": 1}
    texts = [*MIXED, tiny.TEXT * 90, "，", ""]  # chunks are cut at 400 units
    for end_bias in (-100, 0, 100):
        segmenter = Segmenter.load(tiny.save(tmp_path / f"{end_bias}", teacher=True, lexicon=words, end_bias=end_bias))
        units, _ = segmenter.units(texts)
        every, likely = (segmenter.model_lattices(units, likely=flag) for flag in (False, True))
        scored = likely.forward > IMPOSSIBLE / 2
        np.testing.assert_allclose(likely.forward[scored], every.forward[scored], atol=1e-3)
        assert (every.forward[~scored] <= IMPOSSIBLE / 2).mean() < 1
        ends = likely.ends(likely.posteriors())
        totals = kernels.total_scores(likely.forward, likely.offsets, ends)
        assert (totals > IMPOSSIBLE / 2).all()  # each chunk has a possible segmentation
        for decoder in ("posterior", "product", "boundary"):
            found = segmenter.segment(texts, decoder=decoder)
            assert ["".join(parts) for parts in found] == ["".join(text.split()) for text in texts]


def test_the_student_decides_about_words_that_the_lexicon_lacks(tmp_path: Path) -> None:
    text = "机器学习"
    joining = Segmenter.load(tiny.save(tmp_path / "joining", lexicon=WORDS, end_bias=-100))
    assert joining.segment([text]) == [[text]]
    cutting = Segmenter.load(tiny.save(tmp_path / "cutting", lexicon=WORDS, end_bias=100))
    assert cutting.segment([text]) == [[*text]]


@pytest.mark.parametrize("text", MIXED)
def test_ends_that_are_certain_stay_with_a_lexicon(known: Segmenter, text: str) -> None:
    with_it, without = (known.spans([text], threshold=1, lexicon=use).end.tolist() for use in (True, False))
    assert with_it == without
    assert set(known.spans([text]).end.tolist()) >= set(with_it)


def test_a_dictionary_overrides_the_lexicon(known: Segmenter) -> None:
    dictionary = Dictionary.of(["究生", "起 源"])
    assert known.segment(["研究生命的起源"], dictionary=dictionary) == [["研", "究生", "命", "的", "起", "源"]]


def test_thai_never_ends_a_word_where_spelling_forbids_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = tiny.save(tmp_path / "m", teacher=True, lexicon={"เ": 500, "า": 500, "ก": 5}, script="th")
    path = folder / "segmenter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"script": "th"}))
    segmenter = Segmenter.load(folder)
    for text in ("เกา" * 5, "เ" * 20 + "กา", "กา"):
        for options in ({}, {"threshold": 0}, {"exact": True}):
            words = segmenter.segment([text], **options)[0]
            assert "".join(words) == text
            assert all(not word.startswith("า") and not word.endswith("เ") for word in words)


# making


def test_the_words_of_a_text_are_counted(tmp_path: Path) -> None:
    cutting = Segmenter.load(tiny.save(tmp_path / "m", end_bias=1e4))
    description = build_lexicon(cutting, [["研究研究"], ["研，12究生"]], tmp_path / "out", LexiconConfig(least_count=2))
    assert description["parts"] == ["lexicon", "student"]
    assert description["lexicon"] == {
        "format_version": 1,
        "config": LexiconConfig(least_count=2).to_dict(),
        "characters": 10,
        "words": 2,
        "longest": 1,
        "unknown": pytest.approx(1 / 7),
    }
    lexicon = Segmenter.load(tmp_path / "out").lexicon
    assert np.exp(lexicon.values[lexicon.slots != 0]) == pytest.approx(np.array([[0.5, 0.25], [0.5, 0.25]]))


def test_words_seen_once_stand_for_words_not_seen(tmp_path: Path) -> None:
    """Also where every word is kept, some words of other text will be unknown."""
    cutting = Segmenter.load(tiny.save(tmp_path / "m", end_bias=1e4))
    facts = build_lexicon(cutting, [["研究研究生"]], tmp_path / "out", LexiconConfig(least_count=1))["lexicon"]
    assert (facts["words"], facts["unknown"]) == (3, pytest.approx(1 / 5))
    facts = build_lexicon(cutting, [["研究研究"]], tmp_path / "all", LexiconConfig(least_count=1))["lexicon"]
    assert facts["unknown"] == pytest.approx(1 / 5)


@pytest.mark.parametrize("exact", [False, True])
def test_words_are_counted_as_they_are_found(exact: bool, tmp_path: Path) -> None:
    if exact:
        pytest.importorskip("torch")
    earlier = {"研究生命": 10**6, "的起源": 10**6, "研": 1}
    segmenter = Segmenter.load(tiny.save(tmp_path / "m", teacher=True, lexicon=earlier))
    for lexicon in (False, True):
        folder, config = tmp_path / f"{lexicon}", LexiconConfig(exact=exact, lexicon=lexicon, longest=4)
        build_lexicon(segmenter, [[tiny.TEXT] * 3], folder, config)
        counted = words_of(load_file(folder / "lexicon.safetensors"))
        (found,) = segmenter.segment([tiny.TEXT], exact=exact, lexicon=lexicon)
        assert sorted(counted) == sorted({word for word in found if len(word) <= 4})
    assert sorted(counted) == ["的起源", "研究生命"]


def test_a_lexicon_replaces_the_earlier_one(tmp_path: Path) -> None:
    segmenter = Segmenter.load(tiny.save(tmp_path / "m", lexicon={"生命": 500}, end_bias=1e4))
    with pytest.raises(ShardError, match="holds a segmenter; replace it with --overwrite"):
        build_lexicon(segmenter, [[tiny.TEXT] * 3], tmp_path / "m")
    description = build_lexicon(segmenter, [[tiny.TEXT] * 3], tmp_path / "m", overwrite=True)
    assert description["lexicon"]["words"] == len(set(tiny.TEXT))
    assert Segmenter.load(tmp_path / "m").segment(["生命"], lexicon=False) == [["生", "命"]]


@pytest.mark.parametrize(("repeats", "warns"), [(9, True), (10, False)])
def test_a_lexicon_of_far_less_text_is_warned_of(repeats: int, warns: bool, tmp_path: Path) -> None:
    cutting = Segmenter.load(tiny.save(tmp_path / "m", end_bias=1e4))
    build_lexicon(cutting, [[tiny.TEXT] * 100], tmp_path / "large")
    message = r"new: a lexicon of 63 characters replaces one of 700, and will probably be worse; count this text"
    with pytest.warns(UserWarning, match=message) if warns else nullcontext():
        build_lexicon(Segmenter.load(tmp_path / "large"), [[tiny.TEXT] * repeats], tmp_path / "new")


def test_a_lexicon_needs_words_of_the_script(tmp_path: Path) -> None:
    segmenter = Segmenter.load(tiny.save(tmp_path / "m"))
    for texts in ([], [["12 abc，。"]], [[tiny.TEXT]]):
        with pytest.raises(DataError, match="no word is left for the lexicon"):
            build_lexicon(segmenter, texts, tmp_path / "out")
    assert not (tmp_path / "out" / "segmenter.json").exists()


def test_the_command_makes_a_segmenter_that_apply_uses(tmp_path: Path) -> None:
    tiny.save(tmp_path / "m", end_bias=-100)
    (tmp_path / "raw.txt").write_text("研究，研究，生命，生命。\n", "utf-8")
    arguments = [str(tmp_path / "raw.txt"), "-m", str(tmp_path / "m"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["segment", "lexicon", *arguments])
    assert result.exit_code == 0, result.output
    assert "a lexicon of 2 words, from 12 characters" in result.stdout
    result = CliRunner().invoke(main, ["segment", "lexicon", *arguments])
    assert result.exit_code != 0
    (tmp_path / "text").write_text("研究生命", "utf-8")
    for options, expected in (([], "研究 生命"), (["--no-lexicon"], "研究生命")):
        applied = [
            "segment",
            "apply",
            str(tmp_path / "text"),
            "-m",
            str(tmp_path / "out"),
            "-o",
            str(tmp_path / "words"),
        ]
        result = CliRunner().invoke(main, [*applied, *options])
        assert result.exit_code == 0, result.output
        assert (tmp_path / "words").read_text("utf-8") == expected


def test_a_new_student_learns_from_the_lexicon_and_has_none(tmp_path: Path) -> None:
    """The lexicon was counted by the old one."""
    pytest.importorskip("torch")
    from seampack.segmenter.training import distill

    config = DistillConfig(table_bits=8, width=4, epochs=20, drop_features=0)
    others = {chr(point): 1 for point in range(ord("一"), ord("一") + 500)}
    for word in ("研究生命", "生命的起"):
        teacher = Segmenter.load(tiny.save(tmp_path / "m", teacher=True, lexicon={word: 10**6, **others}))
        distill([teacher], [[tiny.TEXT] * 50], tmp_path / word, config=config)
        student = Segmenter.load(tmp_path / word)
        assert student.segment([tiny.TEXT]) == teacher.segment([tiny.TEXT], exact=True)
        assert word in student.segment([tiny.TEXT])[0]
    description = distill([teacher], [[tiny.TEXT]], tmp_path / "out", config=config, keep_teacher=True)
    assert description["parts"] == ["student", "teacher"]
    assert "lexicon" not in description
    assert Segmenter.load(tmp_path / "out").segment([tiny.TEXT])
