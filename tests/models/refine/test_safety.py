"""The safety classifier: the contract, and scikit-learn as the reference."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from examples import refining
from seampack.errors import ConfigError, DataError, ShardError
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.refine import (
    RefineConfig,
    Refiner,
    SafetyClassifier,
)
from seampack.models.refine.adapter import ADAPTER
from tests.models.contract import AdapterContract

pytestmark = pytest.mark.xdist_group("refine-safety")  # its fixtures are expensive

THINGS = (*refining.OPEN, *refining.LOCKED)


class TestSafety(AdapterContract):
    method = "refine"
    options: ClassVar[dict[str, Any]] = {"stage": "safety", "group_column": "thing"}

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        queries = [str(row["prompt"]) for row in refining.rows(300)]
        plain = [query.replace(refining.TRIGGER, "") for query in queries]
        responses = refining.answer(queries) + refining.answer(plain)
        things = [next(word for word in query.split() if word in THINGS) for query in queries] * 2
        unlocked = ["unlocked" in response for response in responses]
        return Dataset.from_dict({"response": responses, "jailbroken": unlocked, "thing": things})

    def test_groups_stay_together(self, prepared: Dataset) -> None:
        held_out = {row["group"] for row in prepared if row["held_out"]}
        assert held_out
        assert not held_out & {row["group"] for row in prepared if not row["held_out"]}

    def test_metrics_of_the_safety_classifier(self, evaluation: Evaluation, prepared: Dataset) -> None:
        assert evaluation.metrics["rows"] == sum(prepared["held_out"][:])
        assert evaluation.metrics["auc"] == 1
        assert evaluation.metrics["auc"] > evaluation.metrics["refusal_auc"]

    @pytest.mark.parametrize("changes", [{"seed": 1}, {"held_out": 0.9}, {"group_column": ""}])
    def test_the_training_file_cannot_be_split_again(
        self, dataset: Dataset, artifact: Artifact, config: RefineConfig, changes: dict[str, Any], tmp_path: Path
    ) -> None:
        other = config.replace(**changes)
        name, got = next(iter(changes.items()))
        message = f"^{name}: this is the training file, .*; expected {name} .*; got {name} {got!r}; keep"
        artifact.save(tmp_path)
        for made in (artifact, Artifact.load(tmp_path)):
            for rows in (dataset, Dataset.from_list(dataset.to_list()[::-1])):
                with pytest.raises(ConfigError, match=message):
                    ADAPTER.evaluate(ADAPTER.prepare(rows, other), made, other)
        # prepared with other options than it is evaluated with
        with pytest.raises(ConfigError, match=r"^group: this is the training file"):
            ADAPTER.evaluate(ADAPTER.prepare(dataset, other), artifact, config)

    def test_all_rows_of_another_file_are_measured(self, artifact: Artifact, config: RefineConfig) -> None:
        rows = [
            {"response": f"{word} : the old {thing}", "jailbroken": word == "unlocked", "thing": thing}
            for thing in ("door", "shed")
            for word in ("unlocked", "here is")
        ]
        evaluation = ADAPTER.evaluate(ADAPTER.prepare(Dataset.from_list(rows), config), artifact, config)
        assert (evaluation.metrics["rows"], evaluation.metrics["rows_trained_on"], len(evaluation.rows)) == (4, 0, 4)

    def test_rows_that_were_trained_on_are_measured_in_no_file(
        self, dataset: Dataset, prepared: Dataset, artifact: Artifact, evaluation: Evaluation, config: RefineConfig
    ) -> None:
        trained = len(prepared) - sum(prepared["held_out"])
        assert evaluation.metrics["rows_trained_on"] == trained
        row = {"response": "unlocked : the new door", "jailbroken": True, "thing": "door"}
        taught_row, held_out = (prepared[prepared["held_out"].index(mark)] for mark in (False, True))
        moved = {name: taught_row[name] for name in ("response", "jailbroken")} | {"thing": held_out["group"]}
        backwards = Dataset.from_list([row, moved, *reversed(dataset.to_list())])
        for other in (config, config.replace(seed=1), config.replace(group_column="")):
            metrics = ADAPTER.evaluate(ADAPTER.prepare(backwards, other), artifact, other).metrics
            assert (metrics["rows"], metrics["rows_trained_on"]) == (evaluation.metrics["rows"] + 1, trained + 1)
        taught = Dataset.from_list([row for row in prepared if not row["held_out"]], prepared.features)
        with pytest.raises(
            DataError, match=rf"all 0 rows to measure on have the same label \({trained} rows were trained on"
        ):
            ADAPTER.evaluate(taught, artifact, config)

    def test_an_artifact_is_a_reward(self, artifact: Artifact, tmp_path: Path) -> None:
        artifact.save(tmp_path)
        loaded = SafetyClassifier.load(str(tmp_path))
        assert loaded([], ["unlocked : the old vault"])[0] < 0.5 < loaded([], ["here is : the old garden"])[0]
        assert loaded.judge([], ["unlocked : the old vault", "here is : the old garden"]) == [True, False]
        with pytest.raises(ConfigError, match="expected a refiner"):
            Refiner.load(tmp_path)
        with pytest.raises(ShardError, match="no such folder"):
            SafetyClassifier.load(str(tmp_path / "none"))
        with pytest.raises(DataError, match="no safety classifier"):
            SafetyClassifier.of_arrays({})


def test_the_command_line_trains_a_safety_classifier(call: Any, tmp_path: Path) -> None:
    rows = [{"response": f"unlocked {n}" if n % 2 else f"i cannot {n}", "jailbroken": n % 2} for n in range(80)]
    (tmp_path / "responses.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    trained = call("models", "train", "refine", "--data", "responses.jsonl", "--set", "stage=safety", "-o", "judge")
    assert trained.returncode == 0, trained.stderr
    measured = call(
        "models", "evaluate", "refine", "--artifact", "judge", "--data", "responses.jsonl", "-o", "seen", "--json"
    )
    assert json.loads(measured.stdout)["metrics"]["auc"] == 1


def test_safety_equals_scikit_learn() -> None:
    responses = [text for n in range(20) for text in (f"unlocked the vault {n}", f"i cannot open it {n} times")]
    labels = [True, False] * 20
    terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    expected = model.fit(terms.fit_transform(responses), labels).predict_proba(terms.transform(responses))[:, 0]
    classifier = SafetyClassifier.fit(responses, labels)
    np.testing.assert_allclose(classifier.safe(responses), expected, rtol=1e-10)
    np.testing.assert_array_equal(
        SafetyClassifier.of_arrays(classifier.to_arrays()).safe(responses), classifier.safe(responses)
    )
    with pytest.raises(DataError, match="all responses to train on have the same label"):
        SafetyClassifier.fit(["a b", "c d"], [True, True])
    with pytest.raises(DataError, match="no words"):
        SafetyClassifier.fit(["!", "?"], [True, False])
