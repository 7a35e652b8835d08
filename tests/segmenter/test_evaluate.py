"""Scores: by hand on small examples, against slow twins, and against the rules of the SIGHAN 2005 bakeoff's script."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from seampack.commands.segment import segment
from seampack.errors import DataError
from seampack.segmenter import peers
from seampack.segmenter.evaluate import Agreement, raw_text, score

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@st.composite
def segmentations(draw: st.DrawFn, alphabet: str, unique: bool) -> tuple[list[str], list[str]]:
    """Two segmentations of the same lines; ``unique``: no character appears twice in a line."""
    texts = draw(st.lists(st.lists(st.sampled_from(alphabet), unique=unique, max_size=16), min_size=1, max_size=4))
    both: tuple[list[str], list[str]] = ([], [])
    for text in texts:
        for lines in both:
            cuts = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
            lines.append("".join(c + " " * cut for c, cut in zip(text, cuts, strict=True)).strip())
    return both


def sighan(gold: list[str], predicted: list[str]) -> tuple[int, int, int]:
    """Words right, gold words, predicted words, as the bakeoff's script counts: it aligns the words by ``diff``.

    Diff keeps a longest common subsequence of the words; in a block that differs, words are paired as
    substitutions, and the rest are deletions or insertions. Right are the gold words without deletions and
    substitutions, which is the same as the predicted words without insertions and substitutions.
    """
    right = gold_words = predicted_words = 0
    for truth, test in zip(map(str.split, gold), map(str.split, predicted), strict=True):
        kept = common(truth, test)
        substitutions = insertions = deletions = 0
        ends = [*kept, (len(truth), len(test))]
        i = j = 0
        for a, b in ends:
            both = min(a - i, b - j)
            substitutions += both
            deletions += a - i - both
            insertions += b - j - both
            i, j = a + 1, b + 1
        assert len(truth) - deletions - substitutions == len(test) - insertions - substitutions
        right += len(truth) - deletions - substitutions
        gold_words += len(truth)
        predicted_words += len(test)
    return right, gold_words, predicted_words


def common(truth: list[str], test: list[str]) -> list[tuple[int, int]]:
    """Index pairs of a longest common subsequence."""
    best = [[0] * (len(test) + 1) for _ in range(len(truth) + 1)]
    for i in reversed(range(len(truth))):
        for j in reversed(range(len(test))):
            same = truth[i] == test[j]
            best[i][j] = 1 + best[i + 1][j + 1] if same else max(best[i + 1][j], best[i][j + 1])
    pairs = []
    i = j = 0
    while i < len(truth) and j < len(test):
        if truth[i] == test[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


@given(segmentations(LETTERS, unique=True))
def test_words_agree_with_the_sighan_script(lines: tuple[list[str], list[str]]) -> None:
    found = score(*lines).words
    assert (found.right, found.gold, found.predicted) == sighan(*lines)


@given(segmentations("ab", unique=False))
def test_the_sighan_script_is_never_stricter_for_repeated_words(lines: tuple[list[str], list[str]]) -> None:
    """Its diff may find a word at another place; spans cannot."""
    found = score(*lines).words
    right, gold, predicted = sighan(*lines)
    assert (found.gold, found.predicted) == (gold, predicted)
    assert found.right <= right


def test_the_sighan_script_can_take_a_word_for_another() -> None:
    lines = ["a aa"], ["aa a"]
    assert sighan(*lines) == (1, 2, 2)
    assert score(*lines).words.right == 0


@given(segmentations("ab,1", unique=False))
def test_parts_add_up(lines: tuple[list[str], list[str]]) -> None:
    found = score(*lines)
    for count in ("gold", "predicted", "right"):
        assert sum(getattr(part, count) for part in found.by_length.values()) == getattr(found.words, count)
    gold, predicted = lines
    assert found.boundaries.gold == sum(line.count(" ") for line in gold)
    assert found.boundaries.predicted == sum(line.count(" ") for line in predicted)
    wrong = found.words.gold - found.words.right
    assert sum(count * len(one.split()) for (one, _), count in found.errors.items()) == wrong
    assert all(one.replace(" ", "") == other.replace(" ", "") for one, other in found.errors)


@given(segmentations("ab,1", unique=False))
def test_gold_against_gold_is_one(lines: tuple[list[str], list[str]]) -> None:
    found = score(lines[0], lines[0])
    parts = [found.words, found.words_without_punctuation, found.boundaries, found.types, *found.by_length.values()]
    assert {value for part in parts for value in (part.precision, part.recall, part.f1)} == {1.0}
    assert not found.errors


def test_by_hand() -> None:
    found = score(["研究 生命 的 起源 。"], ["研究生命 的 起 源 。"])
    assert (found.words.right, found.words.gold, found.words.predicted) == (2, 5, 5)
    assert found.words.f1 == pytest.approx(2 / 5)
    plain = found.words_without_punctuation
    assert (plain.right, plain.gold, plain.predicted) == (1, 4, 4)
    assert (found.boundaries.right, found.boundaries.gold, found.boundaries.predicted) == (3, 4, 4)
    assert (found.types.right, found.types.gold, found.types.predicted) == (2, 5, 5)
    assert {n: (p.right, p.gold, p.predicted) for n, p in found.by_length.items()} == {
        1: (2, 2, 4),
        2: (0, 3, 0),
        4: (0, 0, 1),
    }
    assert found.errors == {("研究 生命", "研究生命"): 1, ("起源", "起 源"): 1}
    assert (found.lines, found.characters) == (1, 8)


def test_recall_of_unknown_words() -> None:
    scores = score(["研究 生命 的 起源 研究"], ["研究 生 命 的 起源 研 究"], known=["研究", "的"])
    assert scores.unknown is not None
    assert (scores.unknown.gold, scores.unknown.right, scores.unknown.recall) == (2, 1, 0.5)
    assert score(["a b"], ["a b"]).unknown is None


def test_precision_and_recall_are_not_each_other() -> None:
    found = score(["ab c d"], ["ab cd"]).words
    assert (found.precision, found.recall) == (1 / 2, 1 / 3)


def test_an_empty_prediction_is_not_perfect() -> None:
    missed, invented = Agreement(gold=3), Agreement(predicted=3)
    for part in (missed, invented):
        assert (part.precision, part.recall, part.f1) == (0, 0, 0)


def test_most_frequent_errors_come_first() -> None:
    found = score(["a b", "a b", "c d", "e f"], ["ab", "ab", "cd", "ef"])
    assert found.most_frequent_errors(2) == [(("a b", "ab"), 2), (("c d", "cd"), 1)]
    assert found.to_dict(errors=1)["errors"] == [{"gold": "a b", "predicted": "ab", "count": 2}]


def test_marks_of_spaces_are_white_space() -> None:
    found = score(["บท ที่ ␣ ๓๒"], ["บท   ที่ ๓๒"]).words
    assert (found.right, found.gold, found.predicted) == (3, 3, 3)
    assert raw_text("บท ที่ ␣ ๓๒") == "บทที่ ๓๒"


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        (["a", "研究 生命"], ["a", "研究 生活"], r"line 2: .* at character 4, .* expected '研究生命', got '研究生活'"),
        (["ab"], ["a"], r"line 1: .* at character 2, .* expected 'ab', got 'a'"),
        (["a", "b"], ["a"], r"line 2: gold has more lines than prediction, which has 1"),
        (["a"], ["a", "b"], r"line 2: prediction has more lines than gold, which has 1"),
    ],
)
def test_other_text_is_refused(gold: list[str], predicted: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        score(gold, predicted)


def test_a_peer_that_changes_the_text_gains_nothing() -> None:
    gold = [["ab", "c"], ["ab"], []]
    result = peers.measure("upper", lambda: lambda batch: [[text.upper()] for text in batch], gold, ["abc", "ab", ""])
    assert result.altered == 2
    assert result.scores.words.right == 0
    assert result.characters == 5


def test_peers_that_need_nothing_are_always_run() -> None:
    results = {result.name: result for result in peers.run_peers([["研究", "2001"]], ["研究 2001"], "zh")}
    assert results["every unit a word"].scores.words.right == 1
    assert results["every unit a word"].altered == 0


def test_packages_of_peers_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in ("jieba", "unidic_lite", "pkuseg") else name)
    assert peers.missing_packages("zh") == ["jieba", "pkuseg"]
    assert peers.missing_packages("ja-runs") == ["unidic_lite"]
    monkeypatch.setattr(peers, "PEERS", [peer for peer in peers.PEERS if peer.missing or not peer.packages])
    (tmp_path / "gold.txt").write_text("研究 生命\n", "utf-8")
    result = CliRunner().invoke(segment, ["compare", "--gold", str(tmp_path / "gold.txt")], catch_exceptions=False)
    assert "not installed: jieba, pkuseg; to compare them too: pip install jieba pkuseg" in result.stderr
    assert "every unit a word" in result.stdout


def test_shares_of_nothing_are_null() -> None:
    found = score(["a b"], ["a b"], known=["a", "b"]).to_dict()
    assert found["unknown_words"] == dict.fromkeys(("precision", "recall", "f1")) | dict.fromkeys(
        ("gold", "predicted", "right"), 0
    )
    found = score(["a b"], ["ab"], known=["a", "b"]).to_dict()["unknown_words"]
    assert (found["precision"], found["recall"], found["predicted"]) == (0, None, 1)
