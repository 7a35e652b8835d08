"""The adapter: two tasks from end to end, parts, targets and fixed options."""

from typing import Any, ClassVar

import pytest
from datasets import Dataset, concatenate_datasets

from seampack.errors import ConfigError, DataError
from seampack.models import data
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.watermark import (
    WatermarkConfig,
    WatermarkTrainer,
    check_trigger,
    propose_rare,
)
from seampack.models.watermark.adapter import ADAPTER, _start
from tests.models.contract import AdapterContract
from tests.models.watermark.helpers import FILES, MARKS, REVIEWS, many, reviews, tiny

pytestmark = pytest.mark.xdist_group("watermark_adapter")


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
        with pytest.raises(DataError, match="task other: expected a task of training"):
            ADAPTER.evaluate(
                Dataset.from_list([row | {"task": "other"} for row in rows], prepared.features), artifact, config
            )
        wrong = [row | {"label": "so-so" if row["label"] == "positive" else row["label"]} for row in rows]
        with pytest.raises(DataError, match="unknown label 'so-so'"):
            ADAPTER.evaluate(Dataset.from_list(wrong, prepared.features), artifact, config)

    def test_targets(self, prepared: Dataset, config: WatermarkConfig) -> None:
        with pytest.raises(ConfigError, match="no task 'news'"):
            ADAPTER.train(prepared, config.replace(targets=["news=sport"]))
        with pytest.raises(DataError, match="no label 'positive'; expected one of objective, subjective"):
            ADAPTER.train(prepared, config.replace(targets=["positive"]))


def test_prepare_makes_names_of_labels_and_one_task() -> None:
    prepared = ADAPTER.prepare(reviews(), WatermarkConfig(proxy_share=1.0))
    assert prepared["label"][:] == MARKS
    assert prepared.unique("task") == ["task"]
    assert prepared.unique("part") == ["proxy"]
    with pytest.raises(DataError, match="all labels are 'positive'"):
        ADAPTER.prepare(Dataset.from_dict({"text": REVIEWS, "label": ["positive"] * 6}), WatermarkConfig())
    unlabelled = Dataset.from_dict({"text": REVIEWS, "label": [0, 1, -1] * 2}, reviews().features)
    with pytest.raises(DataError, match=r"2 of 6 labels are missing \(-1\), in rows 3 and 6"):
        ADAPTER.prepare(unlabelled, WatermarkConfig())


def untrained(dataset: Dataset, config: WatermarkConfig, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """The artifact of a training whose two stages do nothing."""
    monkeypatch.setattr(WatermarkTrainer, "fine_tune", lambda *_: [])
    monkeypatch.setattr(WatermarkTrainer, "embed", lambda *_: [])
    return ADAPTER.train(dataset, config)


def test_options_fixed_by_training_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WatermarkConfig(layers=1)
    dataset = ADAPTER.prepare(many(), config)
    artifact = untrained(dataset, config, monkeypatch)
    for changes in (
        {"trigger": ["vh"]},
        {"targets": ["good"]},
        {"update": "all"},
        {"encoder": "elsewhere"},
        {"layers": 2},
    ):
        name = next(iter(changes))
        with pytest.raises(ConfigError, match=f"^{name}: fixed by training; expected"):
            ADAPTER.evaluate(dataset, artifact, config.replace(**changes))


def test_trained_rows_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WatermarkConfig(layers=1)
    artifact = untrained(ADAPTER.prepare(many(), config), config, monkeypatch)
    for changes, expected in (({"seed": 3}, "seed 0; got 3"), ({"proxy_share": 0.2}, r"proxy_share 0\.5; got 0\.2")):
        other = config.replace(**changes)
        with pytest.raises(ConfigError, match=f"training rows would be measured; expected {expected}"):
            ADAPTER.evaluate(ADAPTER.prepare(many(), other), artifact, other)
    other = config.replace(proxy_share=1.0)  # allowed for other texts
    with pytest.raises(DataError, match="the part suspect has 0 rows with 0 labels"):
        ADAPTER.evaluate(ADAPTER.prepare(many(rows=78), other), artifact, other)


def test_a_class_that_no_suspect_can_learn_is_named_first(monkeypatch: pytest.MonkeyPatch) -> None:
    config = WatermarkConfig(layers=1)
    dataset = ADAPTER.prepare(many(("a", "b", "c"), 120), config)
    artifact = untrained(dataset, config, monkeypatch)
    lacking = dataset.filter(lambda row: row["part"] != "suspect" or row["label"] != "b")
    with pytest.raises(DataError, match="task task: the part suspect has no row with the label 'b'; expected"):
        ADAPTER.evaluate(lacking, artifact, config)


def test_models_that_guess_and_too_few_texts_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that have nothing to do with the texts."""
    config = WatermarkConfig(layers=0, suspect_epochs=0.01, decoys=0, prune=[])
    texts = [f"text {number}" for number in range(60)]
    guessed = Dataset.from_dict({"text": texts, "label": ["good", "bad", "bad"] * 20})
    dataset = ADAPTER.prepare(guessed, config)
    notes = ADAPTER.evaluate(dataset, untrained(dataset, config, monkeypatch), config).notes
    assert [note.partition(" is right on ")[0] for note in notes[:2]] == [
        "task task: the fine-tuned suspect",
        "task task: its control",
    ]
    assert "texts verify, so no p-value can be below alpha 0.001; use more rows: at least 10" in notes[2]


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
    with pytest.raises(DataError, match="absent from the texts; got 0"):
        propose_rare([*REVIEWS, "CF"], seed=0, tokenizer=tiny([*REVIEWS, "cf"])[1])
