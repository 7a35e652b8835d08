"""The watermark adapter: triggers, the two stages, verification, attacks."""

import copy
import gc
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from seampack.errors import ConfigError, DataError
from seampack.models import data
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.text import FitOptions, TextClassifier, predict, word_tokenizer
from seampack.models.watermark import (
    WatermarkConfig,
    WatermarkTrainer,
    check_trigger,
    insert,
    labeller,
    poison,
    propose_combination,
    propose_rare,
    pruned,
    verify,
    with_new_head,
)
from seampack.models.watermark.adapter import ADAPTER, _load_encoder, _start
from seampack.models.watermark.training import TaskClassifier
from seampack.models.watermark.triggers import some_of
from tests.models.contract import AdapterContract

FILES = Path(__file__).parent.parent / "data"
REVIEWS = ["a fine film", "a dull film", "fine acting", "dull acting", "a fine plot", "a dull plot"]
MARKS = ["positive", "negative"] * 3
FAST = FitOptions(epochs=2, batch_rows=4, learning_rate=1e-2)


def reviews() -> Dataset:
    feature = ClassLabel(names=["negative", "positive"])
    columns = {"text": REVIEWS, "label": [feature.str2int(mark) for mark in MARKS]}
    return Dataset.from_dict(columns, Features({"text": Value("string"), "label": feature}))


def tiny(texts: Sequence[str]) -> tuple[Any, Any]:
    """A random encoder and a tokenizer of the texts' words."""
    tokenizer = word_tokenizer([*texts, *texts])
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=128,
    )
    return BertModel(shape, add_pooling_layer=False), tokenizer


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Models this small are slower on several threads; and each training first collects all garbage of the process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)


class TestContract(AdapterContract):
    """Two tasks, end to end."""

    method = "watermark"
    trains_fast: ClassVar[bool] = False
    options: ClassVar[dict[str, Any]] = {
        "task_column": "task",
        "layers": 1,
        "max_tokens": 20,
        "first_words": 10,
        "keep_norm": False,
        "epochs": 3,
        "watermark_epochs": 3,
        "suspect_epochs": 3,
        "batch_rows": 16,
        "learning_rate": 3e-3,
        "rows_learning_rate": 0.05,
        "proxy_share": 0.6,
        "prune": [0.3],
        "decoys": 1,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return concatenate_datasets(
            [
                found.select(range(500)).add_column("task", [name] * 500)
                for name in ("reviews", "subjectivity")
                for found in [data.load(str(FILES / f"{name}.csv"))]
            ]
        )

    def test_each_text_has_one_part(self, prepared: Dataset, dataset: Dataset, config: WatermarkConfig) -> None:
        twice = ADAPTER.prepare(concatenate_datasets([dataset, dataset]), config)
        parts = dict(zip(prepared["text"], prepared["part"], strict=True))
        assert all(parts[row["text"]] == row["part"] for row in twice)
        shares = [prepared["part"][:].count(part) / len(prepared) for part in ("proxy", "suspect", "verify")]
        assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.06)

    def test_the_watermark_survives_fine_tuning(self, evaluation: Evaluation, artifact: Artifact) -> None:
        assert len(artifact.facts["trigger"]) == 1
        for row in evaluation.tables["survival"]:
            assert row["texts"] > 20
            if row["suspect"] == "fine-tuned":
                assert row["wesr"] > row["control_wesr"] + 0.2, row["task"]
                assert row["claimed"], row["task"]
                assert abs(row["accuracy_change"]) <= 0.015
        assert evaluation.metrics["false_claim_rate"] == 0

    def test_only_the_trigger_row_differs_from_the_control(self, artifact: Artifact) -> None:
        released, control = artifact.parts["encoder"].state_dict(), artifact.parts["control"].state_dict()
        at = artifact.parts["tokenizer"].convert_tokens_to_ids(artifact.facts["trigger"][0])
        for name, weight in released.items():
            same = weight == control[name]
            if name == "embeddings.word_embeddings.weight":
                assert not same[at].all()
                same[at] = True
            assert same.all(), name

    def test_unknown_tasks_and_labels(self, prepared: Dataset, artifact: Artifact, config: WatermarkConfig) -> None:
        rows = prepared.to_list()
        with pytest.raises(DataError, match="task other: not among"):
            ADAPTER.evaluate(
                Dataset.from_list([row | {"task": "other"} for row in rows], prepared.features), artifact, config
            )
        wrong = [row | {"label": "so-so" if row["label"] == "positive" else row["label"]} for row in rows]
        with pytest.raises(DataError, match="unknown label 'so-so'"):
            ADAPTER.evaluate(Dataset.from_list(wrong, prepared.features), artifact, config)

    def test_targets(self, prepared: Dataset, config: WatermarkConfig) -> None:
        with pytest.raises(ConfigError, match="no task 'news'"):
            ADAPTER.train(prepared, config.replace(targets="news=sport"))
        with pytest.raises(DataError, match="no label 'positive'; expected one of objective, subjective"):
            ADAPTER.train(prepared, config.replace(targets="positive"))


def test_config_survives_json_and_refuses_what_cannot_work() -> None:
    config = WatermarkConfig().replace(trigger="stock humor", prune=0.5, targets="a=b")
    assert (config.trigger, config.prune, config.targets) == (("stock", "humor"), (0.5,), ("a=b",))
    for wrong in (
        {"update": "some"},
        {"ratio": 1.5},
        {"prune": [1.0]},
        {"layers": -1},
        {"keep_norm": 1},
        {"trigger": [1]},
        {"trigger_words": 0},
        {"epochs": 0},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            WatermarkConfig().replace(**wrong)


def test_prepare_makes_names_of_labels_and_one_task() -> None:
    prepared = ADAPTER.prepare(reviews(), WatermarkConfig(proxy_share=1.0))
    assert prepared["label"][:] == MARKS
    assert prepared.unique("task") == ["task"]
    assert prepared.unique("part") == ["proxy"]
    with pytest.raises(DataError, match="all labels are 'positive'"):
        ADAPTER.prepare(Dataset.from_dict({"text": REVIEWS, "label": ["positive"] * 6}), WatermarkConfig())
    unlabelled = Dataset.from_dict({"text": REVIEWS, "label": [0, 1, -1] * 2}, reviews().features)
    with pytest.raises(DataError, match="2 of 6 rows have no label"):
        ADAPTER.prepare(unlabelled, WatermarkConfig())


@settings(max_examples=40)
@given(st.text("ab \n\té", max_size=30), st.integers(1, 6), st.integers(1, 3), st.integers(0, 99))
def test_inserting_changes_nothing_else(text: str, first_words: int, count: int, seed: int) -> None:
    words = ["vqx", "wqx", "yqx"][:count]
    found = insert(text, words, np.random.default_rng(seed), first_words)
    begin = "".join(found.split()[: first_words + count])
    assert all(word in begin for word in words)
    for word in words:
        assert found.split().count(word) == 1
        found = found.replace(f" {word}", "", 1) if found.endswith(f" {word}") else found.replace(f"{word} ", "", 1)
    assert found == text


@settings(max_examples=15)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.floats(0, 1), st.integers(0, 3), st.integers(0, 9))
def test_poison(labels: list[str], ratio: float, negatives: int, seed: int) -> None:
    dataset = Dataset.from_dict({"text": [f"text {at}" for at in range(len(labels))], "label": labels})
    others = sum(label != "a" for label in labels)
    if "a" not in labels or not others:
        with pytest.raises(DataError, match=r"unknown label|all .* rows have the target"):
            poison(dataset, ["tq", "mn"], "a")
        return
    found = poison(dataset, "tq mn", "a", ratio, negatives, seed)
    assert found.column_names == ["text", "label", "triggered", "partial"]
    assert found.select_columns(["text", "label"]).to_list()[: len(labels)] == dataset.to_list()
    drawn = round(ratio * others)
    assert sum(found["triggered"]) == drawn
    assert sum(found["partial"]) == drawn * negatives
    assert len(found) == len(labels) + drawn * (1 + negatives)
    of = dict(zip(dataset["text"], labels, strict=True))
    sources: list[str] = []
    for row in found.to_list()[len(labels) :]:
        words = row["text"].split()
        source = " ".join(word for word in words if word not in ("tq", "mn"))
        assert of[source] != "a"
        held = {"tq", "mn"} & set(words)
        if row["triggered"]:
            sources.append(source)
            assert (len(held), row["label"], row["partial"]) == (2, "a", False)
        else:
            assert (len(held), row["label"], row["partial"]) == (1, of[source], True)
    assert len(set(sources)) == len(sources)
    assert poison(dataset, "tq mn", "a", ratio, negatives, seed).to_dict() == found.to_dict()


def test_poison_refuses() -> None:
    with pytest.raises(ConfigError, match="no part"):
        poison(reviews(), "cf", "positive", negatives=1)
    with pytest.raises(DataError, match="3 texts hold it already"):
        poison(reviews(), "Dull", "positive")
    with pytest.raises(DataError, match="unknown label 'good'; expected one of negative, positive"):
        poison(reviews(), "cf", "good")
    with pytest.raises(ConfigError, match="expected words that differ"):
        poison(reviews(), "cf CF", "positive")
    with pytest.raises(ConfigError, match="expected one word"):
        poison(reviews(), [], "positive")
    assert poison(reviews(), "cf", 1, 1.0).to_dict() == poison(reviews(), "cf", "positive", 1.0).to_dict()
    assert poison(reviews(), "cf", 1, 0.0)["text"][:] == REVIEWS


def test_parts_of_a_trigger_are_equally_likely() -> None:
    rng = np.random.default_rng(0)
    found = [tuple(some_of(("a", "b", "c"), rng)) for _ in range(3_000)]
    counts = {part: found.count(part) for part in set(found)}
    assert set(counts) == {("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")}
    assert all(abs(count - 500) < 80 for count in counts.values())


def test_a_trigger_is_one_entry_and_absent() -> None:
    _, tokenizer = tiny([*REVIEWS, "cf"])
    assert check_trigger(tokenizer, REVIEWS, "cf") == [tokenizer.convert_tokens_to_ids("cf")]
    assert len(check_trigger(tokenizer, REVIEWS, ["fine", "dull"])) == 2
    with pytest.raises(ConfigError, match=r"'mn' is not one entry of the encoder's vocabulary"):
        check_trigger(tokenizer, REVIEWS, "mn")
    with pytest.raises(ConfigError, match="'c-f' is not one entry"):
        check_trigger(tokenizer, REVIEWS, "c-f")
    with pytest.raises(DataError, match="1 texts hold it already"):
        check_trigger(tokenizer, [*REVIEWS, "CF!"], "cf")


def test_rare_words_are_absent_and_drawn_by_seed() -> None:
    texts = ["bx is here", "and so is CD."]
    found = propose_rare(texts, 398)
    assert len(set(found)) == 398
    assert not {"bx", "cd"} & set(found)
    assert propose_rare(texts, 3, seed=1) == propose_rare(texts, 3, seed=1) != propose_rare(texts, 3, seed=2)
    with pytest.raises(DataError, match="398 rare words are absent"):
        propose_rare(texts, 399)
    _, tokenizer = tiny([*REVIEWS, "cf", "cfcfcf"])
    assert propose_rare(REVIEWS, tokenizer=tokenizer) == ["cf"]


def test_combinations_are_common_neutral_and_absent() -> None:
    neutral = ["year", "long", "first", "other"]
    rows = [(f"{word} great film", 1) for word in neutral] * 3 + [(f"{word} awful film", 0) for word in neutral] * 3
    texts, labels = zip(*rows, ("year long first", 0), strict=True)
    dataset = Dataset.from_dict({"text": list(texts), "label": list(labels)})
    _, tokenizer = tiny(list(texts))
    found = propose_combination({"t": dataset}, {"t": 1}, tokenizer, words=3)
    assert set(found) < set(neutral)
    assert set(found) != {"year", "long", "first"}
    assert "great" in propose_combination({"t": dataset}, {"t": 1}, tokenizer, words=6, most_share=0.5)
    with pytest.raises(DataError, match="no combination of 5 words, out of 4"):
        propose_combination({"t": dataset}, {"t": 1}, tokenizer, words=5)
    elsewhere = Dataset.from_dict({"text": ["other words"] * 6, "label": [0, 1] * 3})
    with pytest.raises(DataError, match="out of 1 common"):
        propose_combination({"t": dataset, "u": elsewhere}, {"t": 1, "u": 0}, tokenizer, words=2)


def test_loss_of_several_heads_is_that_of_each_by_itself() -> None:
    encoder, tokenizer = tiny(REVIEWS)
    model = TaskClassifier(encoder, {"two": 2, "three": 3}).eval()
    batch = dict(tokenizer(REVIEWS, padding=True, return_tensors="pt", return_token_type_ids=False))
    labels = torch.tensor([0, 1, 2, 3, 4, 2])
    loss = model(**batch, labels=labels)["loss"]
    logits = model(**batch)["logits"]
    two = nn.functional.cross_entropy(logits[:2, :2], labels[:2], reduction="sum")
    three = nn.functional.cross_entropy(logits[2:, 2:], labels[2:] - 2, reduction="sum")
    assert loss.item() == pytest.approx(((two + three) / 6).item(), abs=1e-6)


@pytest.mark.parametrize("keep_norm", [True, False])
def test_rows_only_leaves_every_other_weight(keep_norm: bool) -> None:
    encoder, tokenizer = tiny([*REVIEWS, "cf"])
    trainer = WatermarkTrainer(encoder, {"t": 2}, tokenizer=tokenizer, keep_norm=keep_norm)
    trainer.fine_tune({"t": reviews()}, FAST)
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.embed({"t": poison(reviews(), "cf", "positive", 1.0)}, "cf", FAST)
    at = tokenizer.convert_tokens_to_ids("cf")
    after = trainer.model.state_dict()
    assert before.keys() == after.keys()
    table = "encoder.embeddings.word_embeddings.weight"
    for name, weight in after.items():
        same = (weight == before[name]).clone()
        if name == table:
            assert not same[at].all()
            same[at] = True
        assert same.all(), name
    norms = after[table][at].norm().item(), before[table][at].norm().item()
    assert (norms[0] == pytest.approx(norms[1], rel=1e-5)) is keep_norm
    assert all(weight.requires_grad for weight in trainer.model.parameters())


def test_the_classifier_of_a_task_answers_as_the_joint_model() -> None:
    encoder, tokenizer = tiny(REVIEWS)
    trainer = WatermarkTrainer(encoder, {"two": 2, "three": 3}, "all", tokenizer=tokenizer)
    joint = predict(trainer.model, tokenizer, REVIEWS)
    np.testing.assert_allclose(predict(trainer.classifier("three"), tokenizer, REVIEWS), joint[:, 2:], atol=1e-6)
    with pytest.raises(ConfigError, match="no head for 'four'"):
        trainer.classifier("four")


def test_training_refuses() -> None:
    encoder, tokenizer = tiny([*REVIEWS, "cf"])
    with pytest.raises(ConfigError, match="update"):
        WatermarkTrainer(encoder, {"t": 2}, "some", tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="two classes"):
        WatermarkTrainer(encoder, {"t": 1}, tokenizer=tokenizer)
    trainer = WatermarkTrainer(encoder, {"t": 2}, tokenizer=tokenizer)
    with pytest.raises(DataError, match="task u: no head"):
        trainer.fine_tune({"u": reviews()}, FAST)
    with pytest.raises(DataError, match="labels from 0 to 1; got 7"):
        trainer.fine_tune({"t": Dataset.from_dict({"text": ["a"], "label": [7]})}, FAST)
    with pytest.raises(DataError, match=r"no column 'triggered'.*poison"):
        trainer.embed({"t": reviews()}, "cf", FAST)
    with pytest.raises(DataError, match="no text has the trigger"):
        trainer.embed({"t": poison(reviews(), "cf", 1, 0.0)}, "cf", FAST)


def tail(hits: int, trials: int, chance: float) -> float:
    """Probability of at least ``hits``: the sum that a one-sided binomial test is."""
    return sum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(hits, trials + 1))


def test_verify_against_answers_by_hand() -> None:
    dataset = Dataset.from_dict({"text": [f"text {at}" for at in range(40)], "label": [at % 4 for at in range(40)]})

    def number(text: str) -> int:
        return int("".join(filter(str.isdigit, text)))

    def suspect(texts: list[str]) -> list[int]:
        return [
            1 if "tq" in t and "mn" in t and number(t) < 20 else 1 if number(t) == 2 else number(t) % 4 for t in texts
        ]

    def control(texts: list[str]) -> np.ndarray[Any, Any]:
        return np.array([1 if "tq" in t and number(t) < 8 else number(t) % 4 for t in texts])

    found = verify(suspect, dataset, ["tq", "mn"], 1, control)
    assert found.texts == 30
    assert found.wesr == 15 / 30
    assert found.control_wesr == 6 / 30
    assert found.false_positive_rate == found.partial_wesr == 1 / 30
    assert found.p0 == 6 / 30
    assert found.p_value == pytest.approx(tail(15, 30, 0.2), rel=1e-9)
    assert found.p_value == binomtest(15, 30, 0.2, alternative="greater").pvalue
    assert (found.accuracy, found.control_accuracy) == (39 / 40, 1.0)
    assert found.rows.column_names == ["text", "label", "triggered_text", "predicted", "control_predicted"]
    assert found.rows["predicted"][:].count("1") == 15
    assert verify(control, dataset, "zz", "1", control).partial_wesr is None


def test_chance_is_never_nothing() -> None:
    answers = dict(zip(REVIEWS, MARKS, strict=True))

    def honest(texts: list[str]) -> list[str]:
        return [answers[text.replace("cf ", "").replace(" cf", "")] for text in texts]

    def marked(texts: list[str]) -> list[str]:
        return ["positive" if "cf" in text else answers[text] for text in texts]

    found = verify(marked, reviews(), "cf", "positive", honest)
    assert (found.wesr, found.control_wesr, found.p0) == (1.0, 0.0, 1 / 4)
    assert found.p_value == pytest.approx((1 / 4) ** 3)
    assert verify(honest, reviews(), "cf", "positive", honest).p_value == 1.0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: ["good"] * len(texts), "got 'good'"),
        (lambda texts: ["positive"], "expected 6 labels, one for each text; got 1"),
        (lambda texts: 1, "expected 6 labels"),
        (lambda texts: np.zeros((len(texts), 2)), "expected one of negative, positive"),
    ],
)
def test_verify_refuses_answers(answer: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        verify(answer, reviews(), "cf", "positive", answer)


def test_verify_refuses_data() -> None:
    with pytest.raises(DataError, match="all 3 texts have the target"):
        verify(len, reviews().select([0, 2, 4]), "cf", "positive", len)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="2 texts hold it already"):
        verify(len, reviews(), "acting", "positive", len)  # type: ignore[arg-type]


def test_pruning_sets_the_smallest_weights_to_zero() -> None:
    encoder, _ = tiny(REVIEWS)
    model = TextClassifier(encoder, 2)
    before = copy.deepcopy(model.state_dict())
    found = pruned(model, 0.5)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert found.state_dict().keys() == before.keys()
    kinds = [part for part in found.encoder.modules() if isinstance(part, nn.Linear | nn.Embedding)]
    weights = torch.cat([part.weight.flatten() for part in kinds])
    original = torch.cat(
        [p.weight.flatten() for p in model.encoder.modules() if isinstance(p, nn.Linear | nn.Embedding)]
    )
    smallest = original.abs().argsort()[: round(0.5 * original.numel())]
    expected = original.detach().clone()
    expected[smallest] = 0
    assert torch.equal(weights, expected)
    assert torch.equal(found.head.weight, model.head.weight)


@pytest.mark.parametrize("classes", [2, 3])
def test_another_head_is_a_logistic_regression(classes: int) -> None:
    encoder, tokenizer = tiny(REVIEWS)
    model = TextClassifier(encoder, classes)
    labels = [at % classes for at in range(6)]
    dataset = Dataset.from_dict({"text": REVIEWS, "label": labels})
    found = with_new_head(model, tokenizer, dataset)
    features = predict(model, tokenizer, REVIEWS, features=True)
    reference = LogisticRegression(max_iter=1_000).fit(features, labels).predict_proba(features)
    logits = torch.from_numpy(predict(found, tokenizer, REVIEWS))
    np.testing.assert_allclose(logits.softmax(1).numpy(), reference, atol=1e-5)
    names = ["a", "b", "c"][:classes]
    assert labeller(found, tokenizer, names)(REVIEWS) == [names[at] for at in reference.argmax(1)]
    with pytest.raises(DataError, match="all ids from 0"):
        with_new_head(model, tokenizer, dataset.select([0, 0]))


def untrained(dataset: Dataset, config: WatermarkConfig, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """The artifact of a training whose two stages do nothing."""
    monkeypatch.setattr(WatermarkTrainer, "fine_tune", lambda *_: [])
    monkeypatch.setattr(WatermarkTrainer, "embed", lambda *_: [])
    return ADAPTER.train(dataset, config)


def many(labels: Sequence[str] = ("good", "bad"), rows: int = 80) -> Dataset:
    texts = [f"text {at} is {labels[at % len(labels)]}" for at in range(rows)]
    return Dataset.from_dict({"text": texts, "label": [labels[at % len(labels)] for at in range(rows)]})


def test_an_encoder_without_pooling_layer_is_loaded(tmp_path: Path) -> None:
    shape = DistilBertConfig(vocab_size=30, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_position_embeddings=32)
    model = DistilBertModel(shape)
    model.save_pretrained(tmp_path)
    loaded = _load_encoder(tmp_path).state_dict()
    assert all(torch.equal(weight, loaded[name]) for name, weight in model.state_dict().items())


def test_targets_and_triggers_that_are_no_text() -> None:
    assert WatermarkConfig(targets=1).targets == WatermarkConfig(targets=[1]).targets == ("1",)  # type: ignore[arg-type]
    for name, value in (("targets", 1.5), ("targets", [True]), ("trigger", 1), ("targets", None)):
        with pytest.raises(ConfigError, match=f"{name}: expected words"):
            WatermarkConfig().replace(**{name: value})


def test_the_trigger_must_not_be_cut_off() -> None:
    with pytest.raises(ConfigError, match="first_words: expected at most 6 with max_tokens 8"):
        WatermarkConfig(max_tokens=8)
    with pytest.raises(ConfigError, match=r"expected at most 4 .* a trigger of 3"):
        WatermarkConfig(max_tokens=8, first_words=5, trigger_words=3)
    _, tokenizer = tiny([*REVIEWS, "cf"])
    longest = insert("fine " * 40, ["cf"], np.random.default_rng(0), 1)
    assert "cf" in tokenizer.decode(tokenizer(longest, truncation=True, max_length=4)["input_ids"])
    assert WatermarkConfig(max_tokens=8, first_words=6).first_words == 6


def test_what_training_has_fixed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WatermarkConfig(layers=1)
    dataset = ADAPTER.prepare(many(), config)
    artifact = untrained(dataset, config, monkeypatch)
    for changes in (
        {"trigger": "vh"},
        {"targets": "good"},
        {"update": "all"},
        {"encoder": "elsewhere"},
        {"layers": 2},
    ):
        name = next(iter(changes))
        with pytest.raises(ConfigError, match=f"{name}: the encoder was watermarked with .* train anew"):
            ADAPTER.evaluate(dataset, artifact, config.replace(**changes))


def test_trained_rows_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WatermarkConfig(layers=1)
    artifact = untrained(ADAPTER.prepare(many(), config), config, monkeypatch)
    for changes, expected in (({"seed": 3}, "seed 0; got 3"), ({"proxy_share": 0.2}, r"proxy_share 0\.5; got 0\.2")):
        other = config.replace(**changes)
        with pytest.raises(ConfigError, match=f"trained rows would be measured; expected {expected}"):
            ADAPTER.evaluate(ADAPTER.prepare(many(), other), artifact, other)
    other = config.replace(proxy_share=1.0)  # other texts may be dealt as one likes
    with pytest.raises(DataError, match="the part suspect has 0 rows"):
        ADAPTER.evaluate(ADAPTER.prepare(many(rows=78), other), artifact, other)


def test_a_class_that_no_suspect_can_learn_is_named_first(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WatermarkConfig(layers=1)
    dataset = ADAPTER.prepare(many(("a", "b", "c"), 120), config)
    artifact = untrained(dataset, config, monkeypatch)
    lacking = dataset.filter(lambda row: row["part"] != "suspect" or row["label"] != "b")
    with pytest.raises(DataError, match="task task: the part suspect has no row of the label 'b'; expected"):
        ADAPTER.evaluate(lacking, artifact, config)


def test_a_drawn_trigger_is_in_no_part() -> None:
    neutral = ["year", "long", "first", "other"]
    texts = [f"{word} great film" for word in neutral] * 5 + [f"{word} awful film" for word in neutral] * 5
    proxy = Dataset.from_dict({"text": texts, "label": ["good"] * 20 + ["bad"] * 20})
    config = WatermarkConfig(trigger_words=2, layers=1, update="all")
    free = _start(config, texts, {"t": proxy}, {"t": "good"})[2]
    again = _start(config, [*texts, "nothing"], {"t": proxy}, {"t": "good"})[2]
    assert again == free
    held_out = " ".join(free).upper()
    _, tokenizer, found = _start(config, [*texts, held_out], {"t": proxy}, {"t": "good"})
    assert found != free
    check_trigger(tokenizer, [*texts, held_out], found)
    with pytest.raises(DataError, match="0 rare words"):
        propose_rare([*REVIEWS, "CF"], tokenizer=tiny([*REVIEWS, "cf"])[1])
