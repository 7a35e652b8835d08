"""RanMASK: the certificate against every change, masks against chance, the adapter on real sentences."""

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations, product
from math import comb
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, chisquare
from transformers import AutoModel, OPTConfig, RobertaConfig

from seampack.errors import ConfigError, DataError
from seampack.models import text
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.data import load
from seampack.models.ranmask import (
    RandomMask,
    RanmaskConfig,
    attack,
    certified_accuracy,
    certified_radius,
    certify,
    character_bugs,
    delta,
    lower_bound,
    neighbours,
    scorer,
    smooth,
    smooth_and_certify,
    strong_words,
)
from seampack.models.ranmask.adapter import ADAPTER, broken_by
from seampack.models.ranmask.bag import BagPredictor
from seampack.models.ranmask.masks import distinct, draw, every
from tests.models.contract import AdapterContract

DATA = Path(__file__).parent.parent / "data"
Copies = list[list[str]]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small are slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def keeps(kept: int) -> RandomMask:
    """A mask that leaves ``kept`` words of any text."""
    return RandomMask(1, "_", min_keep=kept)


def voter(yes: Callable[[list[str]], bool]) -> Callable[[Copies], Any]:
    """A predict_fn of two classes: 1 where ``yes`` says so."""
    return lambda copies: np.array([[0.0, 1.0] if yes(copy) else [1.0, 0.0] for copy in copies])


# --- the certificate


@pytest.mark.parametrize("length", range(1, 8))
def test_delta_is_the_share_of_sets_that_meet_the_changed_words(length: int) -> None:
    for kept in range(1, length + 1):
        sets = list(combinations(range(length), kept))
        for changed in range(length + 1):
            meeting = sum(any(word < changed for word in kept_words) for kept_words in sets)
            assert delta(changed, length, kept) == Fraction(meeting, len(sets))


@given(st.integers(3, 7), st.data())
@settings(max_examples=40)
def test_no_change_breaks_a_certificate(length: int, data: st.DataObject) -> None:
    """The worst classifier there is: any changed word in sight makes it vote against."""
    kept = data.draw(st.integers(1, length - 1))
    sets = [frozenset(s) for s in combinations(range(length), kept)]
    against = data.draw(st.sets(st.sampled_from(range(len(sets))), max_size=len(sets) // 2))
    voting = {s for at, s in enumerate(sets) if at not in against}
    seen = voter(lambda copy: frozenset(i for i, word in enumerate(copy) if word != "_") in voting and "x" not in copy)
    found = certify(seen, [["a"] * length], keeps(kept))
    assert found.exact.all()
    assert found.count[0] == len(voting) or found.abstain[0]
    for r in range(1, int(found.radius[0]) + 1):
        for places in combinations(range(length), r):
            words = ["x" if i in places else "a" for i in range(length)]
            assert smooth(seen, [words], keeps(kept)).p_hat[0] > 0.5
            assert smooth(seen, [words], keeps(kept)).pred[0] == 1


@pytest.mark.parametrize("seed", range(8))
def test_random_classifiers_keep_their_certified_class_for_every_text(seed: int) -> None:
    rng = np.random.default_rng(seed)
    memory: dict[tuple[str, ...], bool] = {}
    seen = voter(lambda copy: memory.setdefault(tuple(copy), bool(rng.random() < 0.9)))
    texts = [list(words) for words in product("ab", repeat=6)]
    mask = keeps(1 + seed % 2)
    found = certify(seen, texts, mask)
    assert found.radius.max() > 0
    preds = smooth(seen, texts, mask).pred
    for at, radius in enumerate(found.radius):
        for other, words in enumerate(texts):
            if sum(a != b for a, b in zip(texts[at], words, strict=True)) <= radius:
                assert preds[other] == preds[at]


@given(st.integers(2, 40), st.data())
def test_a_unanimous_certificate_cannot_be_larger(length: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, length - 1))
    radius = certified_radius(1.0, length, kept)
    assert 1 - delta(radius, length, kept) > Fraction(1, 2) or radius == 0
    assert 1 - delta(radius + 1, length, kept) <= Fraction(1, 2)


def test_the_counter_example_of_the_heuristic() -> None:
    """12 words, 5 kept, 90 % of the votes: one changed word takes the majority, yet the heuristic certifies it."""
    sets = list(combinations(range(12), 5))
    against = {s for s in sets if 0 not in s}
    against = set(sorted(against)[: round(0.1 * len(sets))])
    seen = voter(lambda c: tuple(i for i, w in enumerate(c) if w != "_") not in against and "x" not in c)
    text_words = list("abcdefghijkl")
    found = certify(seen, [text_words], keeps(5))
    assert found.p_lower[0] == pytest.approx(0.900, abs=0.001)
    assert found.radius[0] == 0
    assert found.radii("paper")[0] == 1
    assert certify(seen, [text_words], keeps(5), beta="paper").radius[0] == 1
    broken = smooth(seen, [["x", *text_words[1:]]], keeps(5))
    assert broken.pred[0] == 0
    assert 1 - broken.p_hat[0] == pytest.approx(0.484, abs=0.001)


def test_hard_limits() -> None:
    for length in range(1, 120):
        assert certified_radius(1.0, length, RandomMask(0.3).kept(length)) == 0
        assert certified_radius(1.0, 2 * length, RandomMask(0.5).kept(2 * length)) == 0
        assert certified_radius(1.0, length, length) == 0
    assert RandomMask(0.9).kept(20) == 2
    assert certified_radius(0.99, 20, 2) == 5
    assert certified_radius(0.5, 20, 2) == 0
    assert certified_radius(Fraction(3, 4), 4, 1) == 0  # exactly one half is no majority
    with pytest.raises(ConfigError, match="kept: expected 1 to 3"):
        delta(1, 3, 4)
    with pytest.raises(ConfigError, match="changed: expected 0 to 3"):
        delta(4, 3, 1)


def test_bounds_of_unanimous_votes() -> None:
    n = np.array([100, 300, 1000, 5000])
    np.testing.assert_allclose(lower_bound(n, n, 0.05), [0.970, 0.990, 0.997, 0.9994], atol=5e-4)
    assert lower_bound(0, 10, 0.05) == 0
    for count in (1, 7, 19, 20):
        reference = binomtest(count, 20, alternative="greater").proportion_ci(0.95, "exact").low
        assert lower_bound(count, 20, 0.05) == pytest.approx(reference)
    with pytest.raises(ConfigError, match="count: expected 0 to 5"):
        lower_bound(6, 5, 0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_bound_fails_no_more_often_than_said(alpha: float) -> None:
    n = 200
    bounds = lower_bound(np.arange(n + 1), n, alpha)
    for p in np.linspace(0.01, 0.99, 99):
        assert binom.pmf(np.arange(n + 1), n, p)[bounds > p].sum() <= alpha + 1e-9


def test_sampled_bounds_stay_below_the_true_probability() -> None:
    words = list("abcdefghij")
    seen = voter(lambda copy: copy[0] == "_" or copy[1] == "_")
    true = certify(seen, [words], keeps(5), n=1000)
    assert true.exact[0]
    assert true.p_lower[0] == 1 - comb(8, 3) / comb(10, 5)
    sampled = certify(seen, [words] * 300, keeps(5), n0=20, n=200, seed=3)
    assert not sampled.exact.any()
    assert (sampled.p_lower > true.p_lower[0]).mean() <= 0.08
    assert 0 < sampled.p_lower.mean() < true.p_lower[0]


# --- masks


@pytest.mark.parametrize(("length", "kept"), [(6, 2), (6, 4), (7, 3), (5, 1), (4, 4)])
def test_every_set_is_drawn_equally_often(length: int, kept: int) -> None:
    masks = draw(20_000, length, kept, np.random.default_rng(1))
    assert (masks.sum(1) == kept).all()
    found = Counter(map(bytes, masks))
    assert len(found) == comb(length, kept)
    assert len(found) == 1 or chisquare(list(found.values())).pvalue > 0.001
    assert {bytes(mask) for mask in every(length, kept)} == set(found)


def test_distinct_masks_make_up_all() -> None:
    masks = draw(500, 9, 2, np.random.default_rng(2))
    once, which = distinct(masks)
    assert len({bytes(mask) for mask in once}) == len(once) <= 36
    np.testing.assert_array_equal(once[which], masks)


def test_masks_are_new_at_every_call_and_the_same_from_one_seed() -> None:
    words = [str(at) for at in range(30)]
    mask = RandomMask(0.7, seed=4)
    first, second = mask([words]), mask([words])
    assert first != second
    again = RandomMask(0.7, seed=4)
    assert [again([" ".join(words)]), again([words])] == [first, second]
    assert sum(word != "[MASK]" for word in first[0]) == mask.kept(30) == 9
    assert all(word in (own, "[MASK]") for word, own in zip(first[0], words, strict=True))


def test_the_same_words_stay_in_sampling_and_in_the_certificate() -> None:
    shown = []

    def seen(copies: Copies) -> Any:
        shown.extend((len(copy), sum(word != "[MASK]" for word in copy)) for copy in copies)
        return np.zeros((len(copies), 2))

    found = certify(seen, [["w"] * length for length in range(1, 30)], RandomMask(0.9), n0=10, n=20)
    assert set(shown) == set(zip(found.length.tolist(), found.kept.tolist(), strict=True))
    assert (found.radius[found.length <= found.kept] == 0).all()


def test_a_dataset_that_is_masked_anew_at_every_look() -> None:
    dataset = Dataset.from_dict({"text": ["a b c d e f g h"], "words": [list("abcdefgh")]})
    dataset.set_transform(RandomMask(0.5).on("text"))
    looks = {dataset[0]["text"] for _ in range(10)}
    assert len(looks) > 1
    assert all(look.split().count("[MASK]") == 4 for look in looks)
    dataset.set_transform(RandomMask(0.5).on("words"))
    assert dataset[0]["words"].count("[MASK]") == 4


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"rate": 1.5}, "rate"),
        ({"rate": "abc"}, "rate"),
        ({"min_keep": 0}, "min_keep"),
        ({"min_keep": 2.5}, "min_keep"),
        ({"mask_token": "a b"}, "mask_token"),
        ({"mask_token": None}, "mask_token"),
    ],
)
def test_masks_that_cannot_be(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        RandomMask(**wrong)


# --- smoothing


@pytest.mark.parametrize("ensemble", ["votes", "mean", "ref_logit"])
def test_ensembles_by_hand(ensemble: str) -> None:
    words = list("abcde")
    rng = np.random.default_rng(0)
    logits = {copy: rng.normal(0, 2, 3) for copy in product(*[[word, "_"] for word in words])}
    found = smooth(lambda copies: [logits[tuple(copy)] for copy in copies], [words], keeps(2), ensemble=ensemble)
    expected = np.zeros(3)
    for kept in combinations(range(5), 2):
        own = logits[tuple(word if at in kept else "_" for at, word in enumerate(words))]
        if ensemble == "votes":
            expected[own.argmax()] += 1
        elif ensemble == "mean":
            expected += np.exp(own) / np.exp(own).sum()
        else:
            expected += own / np.sqrt((own**2).sum())
    np.testing.assert_allclose(found.scores[0], expected / 10)
    assert found.pred[0] == expected.argmax()
    assert found.counts.sum() == 10


def test_close_votes_abstain() -> None:
    words = [str(at) for at in range(40)]
    tie = smooth(voter(lambda copy: copy[0] == "_"), [words] * 25, keeps(20), n=200)
    assert tie.abstain.mean() > 0.85
    clear = smooth(voter(lambda copy: copy[0] == "_"), [words], keeps(10), n=400)
    assert not clear.abstain[0]
    assert clear.p_hat[0] == pytest.approx(0.75, abs=0.08)
    assert certify(voter(lambda copy: copy[0] == "_"), [words] * 25, keeps(20), n0=50, n=200).abstain.mean() > 0.85


def test_the_masks_that_certify_are_not_those_that_guess() -> None:
    """Each copy votes for any of 12 classes. Votes that chose the guess would count for more than a twelfth."""

    def any_class(copies: Copies) -> Any:
        chosen = [crc32(" ".join(copy).encode()) // 7 % 12 for copy in copies]
        return np.eye(12)[chosen]

    texts = [[f"{at}.{word}" for word in range(30)] for at in range(300)]
    found = certify(any_class, texts, keeps(10), n0=60, n=60)
    assert not found.exact.any()
    error = np.sqrt(11 / 12**2 / found.masks.sum())
    assert found.count.sum() / found.masks.sum() == pytest.approx(1 / 12, abs=3 * error)


@pytest.mark.parametrize("ensemble", ["votes", "mean"])
def test_what_is_said_and_what_is_certified_are_of_one_draw(ensemble: str) -> None:
    """Near ties, of which two draws would often say different classes."""

    def near_tie(copies: Copies) -> Any:
        return np.array([[crc32(" ".join(copy).encode()) % 1001, 500] for copy in copies]) / 1000

    texts = [[f"{at}.{word}" for word in range(30)] for at in range(60)]
    smoothed, certified = smooth_and_certify(near_tie, texts, keeps(10), n0=50, n=60, ensemble=ensemble)
    if ensemble == "votes":
        np.testing.assert_array_equal(smoothed.pred, certified.guess)
    assert (smoothed.counts.sum(1) == 50).all()
    np.testing.assert_array_equal(smoothed.counts.argmax(1), certified.guess)
    again = certify(near_tie, texts, keeps(10), n0=50, n=60)
    for name, column in certified.columns().items():
        np.testing.assert_array_equal(column, again.columns()[name])


def test_a_copy_is_predicted_once() -> None:
    calls: list[list[tuple[str, ...]]] = []

    def seen(copies: Copies) -> Any:
        calls.append([tuple(copy) for copy in copies])
        return np.ones((len(copies), 2))

    few, many = [str(at) for at in range(4)], [str(at) for at in range(60)]
    certify(seen, [few, many], keeps(2), n0=50, n=1500)
    (copies,) = calls
    assert len(set(copies)) == len(copies)
    assert sum(len(copy) == 4 for copy in copies) == 6
    assert 800 < sum(len(copy) == 60 for copy in copies) < 1400


def test_certified_accuracy_counts_the_right_and_certain() -> None:
    seen = voter(lambda copy: "no" not in copy)
    found = certify(seen, [["yes"] * 10, ["yes"] * 9 + ["no"], ["no", "yes"]], keeps(2))
    assert found.radius.tolist() == [2, 1, 0]
    assert [certified_accuracy(found, [1, 1, 0], r) for r in range(4)] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert certified_accuracy(found, [0, 0, 1], 0) == 0
    assert set(found.columns()) >= {"radius", "p_lower", "guess", "abstain"}


@pytest.mark.parametrize(
    ("predict_fn", "message"),
    [
        (lambda copies: np.zeros(len(copies)), r"expected logits of shape \(6, classes\)"),
        (lambda copies: np.zeros((1, 2)), r"got shape \(1, 2\)"),
        (lambda copies: np.full((len(copies), 2), np.nan), "got NaN or .inf in 6 of 6 rows"),
        (lambda copies: [[np.inf, 0]] * len(copies), "got NaN or .inf in 6 of 6 rows"),
        (lambda copies: [[-np.inf, -np.inf]] * len(copies), "got -inf for all in 6 rows"),
        (lambda copies: [["a", "b"]] * len(copies), "expected logits that are numbers"),
        (lambda copies: [[0, 1], [0, 1, 2]] * (len(copies) // 2), r"shape \(6, classes\); got no array"),
    ],
)
def test_wrong_logits_are_named(predict_fn: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        smooth(predict_fn, ["a b c d"], keeps(2))
    copies = ["so", "no", "go", "to", "do", "lo"]
    with pytest.raises(DataError, match=message):
        strong_words(predict_fn, copies)


def test_classes_may_be_ruled_out() -> None:
    """-inf is the log of 0."""
    certain = smooth(lambda copies: [[0.0, -np.inf]] * len(copies), ["a b c d"], keeps(2), ensemble="mean")
    np.testing.assert_array_equal(certain.scores, [[1, 0]])
    assert certify(lambda copies: [[-np.inf, 0.0]] * len(copies), ["a b c d e f"], keeps(1)).guess[0] == 1
    with pytest.raises(DataError, match="ref_logit needs finite logits"):
        smooth(lambda copies: [[0.0, -np.inf]] * len(copies), ["a b"], keeps(1), ensemble="ref_logit")


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_tensors_with_a_gradient_are_logits(kind: torch.dtype) -> None:
    weight = torch.ones(2, dtype=kind, requires_grad=True)
    found = smooth(lambda copies: weight * torch.tensor([[0, 1]] * len(copies)), ["a b c"], keeps(1))
    assert found.pred[0] == 1


def test_no_text_and_no_words() -> None:
    with pytest.raises(DataError, match="no text"):
        certify(voter(lambda copy: True), [], keeps(2))
    with pytest.raises(DataError, match="got the text 'good film'; put it into a list"):
        smooth(voter(lambda copy: True), "good film", keeps(2))
    with pytest.raises(DataError, match="got the text 'good film'; put it into a list"):
        RandomMask()("good film")
    with pytest.raises(DataError, match="without words"):
        smooth(voter(lambda copy: True), ["  "], keeps(2))
    with pytest.raises(ConfigError, match="beta: expected one of one, paper"):
        certify(voter(lambda copy: True), ["a"], keeps(2), beta="two")


# --- attacks

WEIGHTS = {"good": 2.0, "fine": 1.0, "bad": -3.0, "poor": -0.5}


def linear(copies: Copies) -> Any:
    """Class 1 by the sum of the words' weights."""
    return np.array([[0.0, 0.1 + sum(WEIGHTS.get(word, 0) for word in copy)] for copy in copies])


@given(st.lists(st.sampled_from(["good", "fine", "bad", "poor", "so"]), min_size=1, max_size=6), st.integers(0, 3))
def test_greedy_finds_what_there_is_to_find(words: list[str], budget: int) -> None:
    """Of a linear classifier with one candidate a word, the greedy attack is the best attack."""
    label = int(linear([words])[0].argmax())
    found = attack(words, label, linear, lambda word, label: ["bad" if label else "good"], budget)
    other = "bad" if label else "good"
    possible = any(
        linear([[other if at in places else word for at, word in enumerate(words)]])[0].argmax() != label
        for r in range(budget + 1)
        for places in combinations(range(len(words)), min(r, len(words)))
    )
    assert found.flipped == possible
    assert len(found.words) == len(words)
    assert len(set(found.changed)) == len(found.changed) <= budget
    assert [at for at in range(len(words)) if found.words[at] != words[at]] == sorted(found.changed)
    assert found.flipped == (linear([found.words])[0].argmax() != label)


def test_what_is_wrong_already_is_left_alone() -> None:
    found = attack(["bad"], 1, linear, lambda word, label: ["poor"], 5)
    assert found.first_flip == 0
    assert found.changed == ()
    with pytest.raises(ConfigError, match="label: expected 0 to 1"):
        attack(["bad"], 2, linear, lambda word, label: [], 1)


def test_an_attack_goes_on_beyond_the_flip() -> None:
    words = ["good", "fine", "fine", "so"]
    found = attack(words, 1, linear, lambda word, label: ["poor"], 4, beyond=3)
    assert found.first_flip == 3
    assert attack(words, 1, linear, lambda word, label: ["poor"], 4) == found
    further = attack(words, 1, linear, lambda word, label: ["poor"], 4, beyond=4)
    assert further.first_flip == 3
    assert further.changed[:3] == found.changed
    assert len(further.changed) == 4
    assert further.after(3) == found.words
    assert further.after(0) == further.given == words
    assert further.after(9) == further.words == ["poor"] * 4
    assert len(attack(["bad", "good"], 1, linear, lambda word, label: ["bad"], 2, beyond=1).changed) == 1


def test_a_certificate_that_first_flips_too_little_is_broken_by_the_end(config: RanmaskConfig) -> None:
    """Of few masks the scores flip at the first word; the classifier, which asks all, falls at the second."""

    def falls_at(few: float) -> Callable[[Copies], Any]:
        return lambda copies: np.array([[copy.count("x"), few] for copy in copies])

    words, mask, says = list("abcdefghij"), keeps(10), falls_at(1.5)
    early = attack(words, 1, falls_at(0.5), lambda word, label: ["x"], 3, beyond=3)
    assert early.first_flip == 1
    assert smooth(says, [early.after(1)], mask).pred[0] == 1
    assert broken_by(says, mask, early, 1, 1, config) is None
    assert broken_by(says, mask, early, 1, 2, config) == early.after(2)
    assert broken_by(says, mask, early, 1, 3, config) == early.words
    assert broken_by(says, mask, early, 1, 0, config) is None


@given(st.text("abeios", min_size=1, max_size=9))
def test_bugs_stay_one_word(word: str) -> None:
    bugs = character_bugs(word, 0)
    assert bugs
    for bug in bugs:
        assert bug != word
        assert len(bug.split()) == 1
        assert abs(len(bug) - len(word)) <= 1
    assert character_bugs("film", 0) == ["fillm", "flim", "fim", "fi1m"]


def test_nearest_and_strongest_words() -> None:
    near = neighbours(["hot", "warm", "cold", "ice"], [[1, 0], [2, 0.5], [0, 1], [-0.1, 1]], top=2)
    assert near("Hot", 0) == ["warm", "cold"]
    assert near("cold", 0)[0] == "ice"
    assert near("unknown", 0) == []
    strong = strong_words(linear, [*WEIGHTS, "so"], top=2)
    assert strong("any", 1) == ["bad", "poor"]
    assert strong("any", 0) == ["good", "fine"]
    with pytest.raises(DataError, match=r"expected shape \(2, width\)"):
        neighbours(["a", "b"], [[1.0]])
    with pytest.raises(DataError, match="at least one word"):
        strong_words(linear, [])


def test_texts_of_a_length_are_scored_with_the_same_masks() -> None:
    words = [str(at) for at in range(40)]
    score = scorer(voter(lambda copy: copy[3] != "_"), keeps(10), n=50, ensemble="votes")
    first, second = score([words, ["x", *words[1:]]])
    np.testing.assert_array_equal(first, second)


# --- the classifier and the adapter


@pytest.fixture(scope="module")
def sentences() -> Dataset:
    """Held-out rows first."""
    return load(str(DATA / "subjectivity.csv")).shuffle(seed=0)


QUICK = {
    "epochs": 4,
    "batch_rows": 64,
    "learning_rate": 0.02,
    "guess_masks": 100,
    "masks": 400,
    "attack_rows": 3,
    "attack_masks": 20,
}


@pytest.mark.parametrize("max_tokens", [64, 9])
def test_the_fast_bag_is_the_classifier(sentences: Dataset, max_tokens: int) -> None:
    lines = sentences["text"][:40]
    encoder, tokenizer = text.encoder_and_tokenizer("small", lines, layers=0)
    model = text.TextClassifier(encoder, 3)
    assert BagPredictor.fits(model)
    copies = RandomMask(0.5, tokenizer.mask_token)(lines)
    bag = BagPredictor(model, tokenizer, max_tokens)
    expected = text.predict(model, tokenizer, copies, max_tokens=max_tokens)
    np.testing.assert_allclose(bag(copies), expected, atol=1e-5)
    np.testing.assert_allclose(bag(copies[:3]), expected[:3], atol=1e-5)


class TestContract(AdapterContract):
    method = "ranmask"
    options: ClassVar[dict[str, Any]] = {**QUICK, "epochs": 1, "masks": 100, "attacks": ["bugs"]}

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return load(str(DATA / "subjectivity.csv")).select(range(80))


@pytest.fixture(scope="module")
def config() -> RanmaskConfig:
    return RanmaskConfig(**QUICK)


@pytest.fixture(scope="module")
def artifact(sentences: Dataset, config: RanmaskConfig) -> Artifact:
    return ADAPTER.train(ADAPTER.prepare(sentences.select(range(1000, 2000)), config), config)


@pytest.fixture(scope="module")
def evaluation(sentences: Dataset, artifact: Artifact, config: RanmaskConfig) -> Evaluation:
    return ADAPTER.evaluate(ADAPTER.prepare(sentences.select(range(80)), config), artifact, config)


def test_masked_training_certifies_sentences(evaluation: Evaluation, artifact: Artifact) -> None:
    losses = artifact.facts["losses"]
    assert losses[-1] < losses[0]
    assert evaluation.metrics["accuracy"] > 0.75
    assert evaluation.metrics["certified_accuracy_1"] > 0.2
    curve = [row["certified_accuracy"] for row in evaluation.tables["certified"]]
    assert curve == sorted(curve, reverse=True)
    assert curve[1] == evaluation.metrics["certified_accuracy_1"]
    assert curve[-1] == 0
    assert {row["attack"] for row in evaluation.tables["attacks"]} == {"bugs", "neighbours", "strong"}
    for row in evaluation.tables["attacks"]:
        assert row["broken"] == 0
        assert row["robust_accuracy"] <= row["clean_accuracy"]
    attacked = evaluation.rows["attacked_bugs"]
    assert [line is None for line in attacked] == [False] * 3 + [True] * 77


def test_other_options_at_evaluation(sentences: Dataset, artifact: Artifact, config: RanmaskConfig) -> None:
    rows = ADAPTER.prepare(sentences.select(range(30)), config)
    options = config.replace(attack_rows=0, beta="paper", ensemble="mean")
    paper = ADAPTER.evaluate(rows, artifact, options)
    assert "attacks" not in paper.tables
    one = ADAPTER.evaluate(rows, artifact, options.replace(beta="one"))
    assert (np.array(one.rows["radius"]) <= np.array(paper.rows["radius"])).all()
    nothing = ADAPTER.evaluate(rows, artifact, options.replace(rate=0.0))
    assert nothing.metrics["accuracy"] == nothing.metrics["accuracy_unmasked"]
    assert nothing.metrics["certified_accuracy_1"] == 0


def test_an_attack_without_words_is_left_out(config: RanmaskConfig) -> None:
    """A vocabulary of numbers: nothing to replace a word by; the certificates are not lost."""
    numbers = Dataset.from_dict({"text": ["1 2 3 4 5 6", "7 8 9 7 8 9"] * 10, "label": [0, 1] * 10})
    rows = ADAPTER.prepare(numbers, config)
    found = ADAPTER.evaluate(rows, ADAPTER.train(rows, config.replace(epochs=1)), config)
    bugs, *others = found.tables["attacks"]
    assert (bugs["attack"], bugs["texts"], bugs["note"]) == ("bugs", 3, "")
    assert [(row["attack"], row["texts"], row["robust_accuracy"]) for row in others] == [
        ("neighbours", 0, None),
        ("strong", 0, None),
    ]
    assert all("vocabulary has no words" in row["note"] for row in others)
    assert "attacked_strong" not in found.rows.column_names


def test_no_share_of_words_is_no_word(sentences: Dataset, artifact: Artifact, config: RanmaskConfig) -> None:
    rows = ADAPTER.prepare(sentences.select(range(12)), config)
    options = config.replace(rate=0.0, attack_share=0.0, attack_rows=12, attacks=["strong"])
    found = ADAPTER.evaluate(rows, artifact, options)
    (row,) = found.tables["attacks"]
    assert row["robust_accuracy"] == row["clean_accuracy"] > 0
    assert [line.split() for line in found.rows["attacked_strong"]] == rows["words"][:]
    (some,) = ADAPTER.evaluate(rows, artifact, options.replace(attack_share=0.01)).tables["attacks"]
    assert some["robust_accuracy"] < row["robust_accuracy"]


@pytest.mark.parametrize("layers", [0, 1])
def test_more_tokens_than_positions(sentences: Dataset, layers: int, config: RanmaskConfig) -> None:
    rows = ADAPTER.prepare(sentences.select(range(4)), config)
    with pytest.raises(ConfigError, match="max_tokens: expected at most 512, the positions that the encoder has"):
        ADAPTER.train(rows, config.replace(layers=layers, max_tokens=513))
    encoder, tokenizer = text.encoder_and_tokenizer("small", sentences["text"][:9], layers=layers)
    model = text.TextClassifier(encoder, 2)
    with pytest.raises(ConfigError, match="max_tokens"):
        text.predict(model, tokenizer, ["so"], max_tokens=513)
    assert text.predict(model, tokenizer, ["so " * 900], max_tokens=512).shape == (1, 2)
    with pytest.raises(ConfigError, match="max_tokens"):
        BagPredictor(model, tokenizer, 513)


TINY = {"vocab_size": 20, "max_position_embeddings": 12, "hidden_size": 4, "num_hidden_layers": 1}
TINY |= {"num_attention_heads": 1, "intermediate_size": 4, "pad_token_id": 1}
TINY_OPT = {"ffn_dim": 4, "word_embed_proj_dim": 4}


@pytest.mark.parametrize(("shape", "most"), [(RobertaConfig(**TINY), 10), (OPTConfig(**TINY, **TINY_OPT), 12)])
def test_positions_that_are_counted_from_elsewhere(shape: Any, most: int) -> None:
    """Padding's number, or places that are left free, before the first position."""
    encoder = AutoModel.from_config(shape)
    text.check_max_tokens(encoder, most)
    encoder(input_ids=torch.full((1, most), 5))
    with pytest.raises(ConfigError, match=f"expected at most {most}"):
        text.check_max_tokens(encoder, most + 1)
    with pytest.raises((IndexError, RuntimeError)):
        encoder(input_ids=torch.full((1, most + 1), 5))


def test_an_encoder_with_layers(sentences: Dataset) -> None:
    config = RanmaskConfig(**{**QUICK, "layers": 1, "epochs": 1, "masks": 30, "guess_masks": 10, "attack_rows": 0})
    rows = ADAPTER.prepare(sentences.select(range(20)), config)
    artifact = ADAPTER.train(rows, config)
    assert ADAPTER.evaluate(rows, artifact, config).rows["masks"]


def test_words_of_ones_own(config: RanmaskConfig) -> None:
    own = Dataset.from_dict({"words": [["New York", "is", "big"], ["so"]], "label": ["a", "b"]})
    prepared = ADAPTER.prepare(own, config.replace(max_words=2))
    assert prepared["words"][:] == [["New York", "is"], ["so"]]
    assert prepared["label"][:] == [0, 1]
    with pytest.raises(DataError, match="column 'words', row 2: no words"):
        ADAPTER.prepare(Dataset.from_dict({"words": [["a"], []], "label": [0, 1]}), config)
    with pytest.raises(DataError, match="expected lists of text"):
        ADAPTER.prepare(Dataset.from_dict({"words": ["a"], "label": [0]}), config)
    with pytest.raises(DataError, match="column 'text', row 1: no words"):
        ADAPTER.prepare(Dataset.from_dict({"text": [" "], "label": [0]}), config)
    renamed = Dataset.from_dict({"review": ["a b"], "stars": [3]})
    options = config.replace(text_column="review", label_column="stars")
    assert ADAPTER.prepare(ADAPTER.prepare(renamed, options), options)["words"][:] == [["a", "b"]]


def test_wrong_labels_and_encoders(sentences: Dataset, artifact: Artifact, config: RanmaskConfig) -> None:
    other = ADAPTER.prepare(Dataset.from_dict({"text": ["a b"], "label": ["neither"]}), config)
    with pytest.raises(DataError, match="unknown label 'neither'"):
        ADAPTER.evaluate(other, artifact, config)
    with pytest.raises(DataError, match="at least two classes; got neither"):
        ADAPTER.train(other, config)
    with pytest.raises(DataError, match="prepare the dataset first"):
        ADAPTER.train(sentences, config)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 2}, {"beta": "two"}, {"ensemble": "most"}, {"attacks": ["fire"]}, {"attacks": "bugs"}, {"masks": 0}],
)
def test_wrong_options_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RanmaskConfig(**wrong)
