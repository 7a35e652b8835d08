"""The adapter: the contract for refiners, artifacts in use, and the data and options that it refuses."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from datasets import Dataset

from examples import refining
from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.refine import (
    RefineConfig,
    Refiner,
)
from seampack.models.refine.adapter import ADAPTER, RefineAdapter
from tests.models.contract import AdapterContract
from tests.models.refine.world import QUERIES

pytestmark = pytest.mark.xdist_group("refine")  # its fixtures are expensive


class TestRefine(AdapterContract):
    method = "refine"
    options: ClassVar[dict[str, Any]] = {
        "attack_column": "attack",
        "epochs": 1.0,
        "max_new_tokens": 8,
        "target": "examples.refining:answer",
        "judge": "examples.refining:jailbroken",
        "rewards": ("examples.refining:safe=1", "examples.refining:quality=1", "refusal=0.5"),
        "rl_steps": 2,
        "rl_queries": 2,
        "rl_samples": 4,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return Dataset.from_list(refining.rows(100))

    def test_bad_data_raises_a_clear_error(
        self, adapter: RefineAdapter, dataset: Dataset, config: RefineConfig
    ) -> None:
        with pytest.raises(DataError, match="prompt"):
            adapter.prepare(dataset.remove_columns("prompt"), config)
        queries = dataset.remove_columns("optimized_prompt")  # without pairs, prompts are queries
        super().test_bad_data_raises_a_clear_error(adapter, queries, config)

    def test_rows_report_the_measurements(self, evaluation: Evaluation, artifact: Artifact) -> None:
        rows = evaluation.rows
        assert {"query", "refined", "response", "score", "is_jailbroken"} <= set(rows.column_names)
        answers = refining.answer(rows["refined"][:])
        assert rows["response"][:] == [a if text else "" for a, text in zip(answers, rows["refined"], strict=True)]
        attacks = [row for row in rows if row["attack"]]
        rate = np.mean([row["is_jailbroken"] for row in attacks])
        assert evaluation.metrics["attack_success_rate"] == pytest.approx(rate)
        assert evaluation.metrics["attack_success_rate_before"] == 1
        assert evaluation.metrics["benign_quality_before"] == 1
        assert {row["is_jailbroken"] for row in rows if not row["attack"]} == {None}
        assert [set(step) for step in artifact.facts["curve"]] == 2 * [
            {"reward", "reward_safe", "reward_quality", "reward_refusal", "kl", "flat"}
        ]
        assert len(artifact.facts["losses"]) == 4

    def test_without_a_target_it_only_refines(
        self, prepared: Dataset, artifact: Artifact, config: RefineConfig
    ) -> None:
        evaluation = ADAPTER.evaluate(prepared.select(range(4)), artifact, config.replace(target=""))
        assert evaluation.metrics["attack_success_rate"] is None
        assert evaluation.metrics["unchanged"] is not None
        assert evaluation.rows["response"][:] == [None] * 4

    def test_an_artifact_refines_and_learns_on(self, artifact: Artifact, config: RefineConfig, tmp_path: Path) -> None:
        """Loaded from its folder: used, and trained further by rewards on queries alone."""
        artifact.save(tmp_path)
        refiner = Refiner.load(tmp_path)
        assert (refiner.config.instruction, refiner.config.max_new_tokens) == ("", 8)
        assert refiner.refine(QUERIES[:3]) == Refiner.of_artifact(artifact).refine(QUERIES[:3])
        assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text("utf-8")
        more = config.replace(model=str(tmp_path), attack_column="", rl_steps=1)
        again = ADAPTER.train(ADAPTER.prepare(Dataset.from_dict({"query": QUERIES}), more), more)
        assert again.facts["losses"] == []
        assert again.facts["instruction"] == ""
        assert len(again.facts["curve"]) == 1

    def test_nothing_to_evaluate_on(self, artifact: Artifact, config: RefineConfig) -> None:
        rows = [{"prompt": "a", "optimized_prompt": "b", "query": None, "attack": "no"}]
        with pytest.raises(DataError, match="no row has a query"):
            ADAPTER.evaluate(ADAPTER.prepare(Dataset.from_list(rows), config), artifact, config)

    def test_stages_are_not_mixed_up(self, prepared: Dataset, artifact: Artifact, config: RefineConfig) -> None:
        with pytest.raises(ConfigError, match="stage: fixed by training; expected 'refiner'"):
            ADAPTER.evaluate(prepared, artifact, config.replace(stage="safety"))


def test_cut_rows_are_reported_in_the_artifact_and_the_metrics() -> None:
    rows = [{"prompt": "describe the river", "optimized_prompt": "river"}, {"prompt": "river", "optimized_prompt": "a"}]
    options: dict[str, Any] = {"rl_steps": 1, "rl_queries": 1, "rl_samples": 2, "rewards": ("refusal=1",)}
    config = RefineConfig(
        epochs=1.0, max_query_tokens=2, max_new_tokens=3, target="examples.refining:answer", **options
    )
    prepared = ADAPTER.prepare(Dataset.from_list(rows), config)
    with pytest.warns(UserWarning, match="are cut") as caught:
        artifact = ADAPTER.train(prepared, config)
    cut = [str(warning.message) for warning in caught if "are cut" in str(warning.message)]
    assert [text.partition(":")[0] for text in cut] == ["1 of 2 pairs are cut", "1 of 2 queries are cut"]
    assert (artifact.facts["cut_pairs"], artifact.facts["cut_queries"]) == (1, 1)
    assert artifact.facts["notes"][0].startswith("in 1 steps, 100% of the groups had the same rewards")
    assert ADAPTER.evaluate(prepared, artifact, config).metrics["cut_queries"] == 1
    assert ADAPTER.evaluate(prepared, artifact, config.replace(max_query_tokens=3)).metrics["cut_queries"] == 0


def test_nothing_to_learn_from() -> None:
    prepared = ADAPTER.prepare(Dataset.from_dict({"query": ["q"]}), RefineConfig())
    with pytest.raises(DataError, match="no row has a prompt and an optimized_prompt"):
        ADAPTER.train(prepared, RefineConfig())


def test_rewards_need_a_target() -> None:
    prepared = ADAPTER.prepare(Dataset.from_list(refining.rows(4)), RefineConfig())
    with pytest.raises(ConfigError, match="target: reinforcement learning needs a target"):
        ADAPTER.train(prepared, RefineConfig(rl_steps=1))


def test_rewordings_that_are_all_one_phrase_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RefineConfig(epochs=1.0, max_new_tokens=3)
    prepared = ADAPTER.prepare(Dataset.from_list(refining.rows(6)), config)
    artifact = ADAPTER.train(prepared, config)
    monkeypatch.setattr(Refiner, "refine", lambda self, queries: ["be kind"] * len(queries))
    (note,) = ADAPTER.evaluate(prepared, artifact, config).notes
    assert "rewordings are the same text, 'be kind'" in note
