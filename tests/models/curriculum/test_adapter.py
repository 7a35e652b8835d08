"""The adapter: prepare, train, evaluate, and its options."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset, List, Value

from seampack.commands.models import models
from seampack.errors import ConfigError, DataError
from seampack.models import data
from seampack.models.artifact import Artifact
from seampack.models.curriculum import (
    CurriculumBuilder,
    DifficultyEstimator,
    GuidedPrompter,
    grade,
    gsm8k_matches,
)
from seampack.models.curriculum.adapter import curriculum_of
from seampack.models.curriculum.difficulty import COUNT
from tests.models.contract import AdapterContract
from tests.models.curriculum.world import Oracle, chains

pytestmark = pytest.mark.xdist_group("curriculum")  # its fixtures are expensive


class TestCurriculum(AdapterContract):
    method = "curriculum"
    trains_fast = False
    taken = ("steps", "final")
    options = {  # noqa: RUF012
        "n_samples": 4,
        "max_new_tokens": 20,
        "warm_epochs": 4,
        "batch_rows": 32,
        "pass_ks": (1, 2, 9),
        "learning_rate": 1e-3,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return chains(30, lengths=(1, 2))

    def test_facts_and_tables(self, artifact: Artifact, evaluation: Any) -> None:
        assert [row["stage"] for row in artifact.facts["stages"]] == [1, 2, 3]
        assert sum(row["questions"] for row in artifact.facts["hints"]) == 30
        assert {row["stage"] for row in artifact.facts["history"]} == {1, 2, 3}
        metrics = evaluation.metrics
        assert metrics["base_pass@1"] == pytest.approx(metrics["base_avg@4"])
        assert metrics["base_pass@2"] >= metrics["base_pass@1"]
        assert "base_pass@9" not in metrics
        for row in evaluation.tables["by_difficulty"]:  # both are of the half that did not say how hard a question is
            assert row["base_pass@1"] == pytest.approx(row["base_avg"])
            assert "base_pass@4" not in row
        assert sum(row["questions"] for row in evaluation.tables["by_difficulty"]) == 30
        assert {"base_pass_rate", "trained_pass_rate"} <= set(evaluation.rows.column_names)

    def test_stages_of_a_single_step_train(self, artifact: Artifact) -> None:
        assert [row["step"] for row in artifact.facts["history"]] == [1, 1, 1]
        before, after = (artifact.parts[name].state_dict() for name in ("base", "model"))
        assert any(not torch.equal(before[name], after[name]) for name in before)

    def test_the_curriculum_is_kept(self, artifact: Artifact, tmp_path: Path) -> None:
        artifact.save(tmp_path)
        curriculum = curriculum_of(Artifact.load(tmp_path))
        assert curriculum.to_dict() == curriculum_of(artifact).to_dict()
        assert {"pass_rate", "stage", "hint", "prompt", "target"} <= set(curriculum.column_names)

    def test_only_the_curriculum(self, adapter: Any, prepared: Dataset, tmp_path: Path) -> None:
        small = prepared.select(range(12))
        config = adapter.config(
            algorithm="none",
            n_samples=2,
            max_new_tokens=12,
            warm_epochs=0,
            guide=False,
            checkpoint=str(tmp_path / "kept"),
        )
        artifact = adapter.train(small, config)
        assert set(artifact.parts) == {"tokenizer", "base", "curriculum"}
        again = adapter.train(small, config)
        assert curriculum_of(again).to_dict() == curriculum_of(artifact).to_dict()
        evaluation = adapter.evaluate(small, artifact, config)
        assert not any(name.startswith("trained") for name in evaluation.metrics)
        stages, responses = evaluation.notes
        assert stages.startswith("in training: all 12 pass rates are 0, so the stages are random; use a stronger model")
        assert responses.startswith("no response of any model is right")
        assert len(list((tmp_path / "kept").iterdir())) == 3

    def test_the_base_model_may_have_moved(self, adapter: Any, prepared: Dataset, tmp_path: Path) -> None:
        """For example, if its folder was moved."""
        small, options = prepared.select(range(6)), {"n_samples": 2, "max_new_tokens": 4, "pass_ks": (1,)}
        config = adapter.config(algorithm="none", warm_epochs=0, guide=False, **options)
        artifact = adapter.train(small, config)
        for name in ("base", "tokenizer"):
            artifact.parts[name].save_pretrained(tmp_path)
        elsewhere = replace(artifact, parts={name: artifact.parts[name] for name in ("curriculum", "tokenizer")})
        evaluation = adapter.evaluate(small, elsewhere, config.replace(model=str(tmp_path)))
        assert evaluation.metrics == adapter.evaluate(small, artifact, config).metrics
        with pytest.raises(ConfigError, match=r"model: expected .*, from which the artifact was trained"):
            adapter.evaluate(small, elsewhere, config)

    def test_evaluation_leaves_the_samples_of_training_alone(self, artifact: Artifact, tmp_path: Path) -> None:
        kept = tmp_path / "kept"
        (tmp_path / "artifact").mkdir()
        replace(artifact, config=artifact.config | {"checkpoint": str(kept)}).save(tmp_path / "artifact")
        chains(4).to_json(tmp_path / "test.jsonl")
        command = ["evaluate", "curriculum", "--artifact", str(tmp_path / "artifact")]
        command += ["--data", str(tmp_path / "test.jsonl")]
        for out, more in (("first", []), ("second", ["--set", f"checkpoint={tmp_path / 'own'}"])):
            result = CliRunner().invoke(models, [*command, "-o", str(tmp_path / out), *more], catch_exceptions=False)
            assert result.exit_code == 0
        assert not kept.exists()
        assert list((tmp_path / "own").iterdir())

    def test_user_columns_and_solutions(self, adapter: Any) -> None:
        config = adapter.config(question_column="ask", answer_column="solve", answers="math")
        rows = Dataset.from_dict({"ask": ["1+1?"], "solve": [r"Count. \boxed{2}"], "id": [7]})
        prepared = adapter.prepare(rows, config)
        assert prepared[0] == {"question": "1+1?", "solve": r"Count. \boxed{2}", "id": 7} | {
            "steps": ["Count. ", r"\boxed{2}"],
            "final": "2",
        }
        with pytest.raises(DataError, match=r"'solve', row 1.*option answers"):
            adapter.prepare(rows, config.replace(answers="gsm8k"))
        split = Dataset.from_dict({"question": ["q"], "steps": [["a", "b"]], "final": ["b"]})
        assert adapter.prepare(split, adapter.config(checker="text")).to_dict() == split.to_dict()
        for wrong, features in ((["a"], Value("string")), ([[]], List(Value("string")))):
            bad = split.remove_columns("steps").add_column("steps", wrong, feature=features)
            with pytest.raises(DataError, match="'steps'"):
                adapter.prepare(bad, adapter.config())

    def test_columns_with_reserved_names_are_kept(self, adapter: Any) -> None:
        rows = Dataset.from_dict(
            {"prompt": ["1+1?"], "question": [7], "target": ["Count.\n#### 2"], "steps": [9], "stage": ["primary"]}
        )
        config = adapter.config(question_column="prompt", answer_column="target")
        prepared = adapter.prepare(rows, config)
        assert prepared[0] == {
            "question": "1+1?",
            "steps": ["Count.\n#### 2"],
            "final": "2",
            "question_given": 7,
            "steps_given": 9,
            "target_given": "Count.\n#### 2",
            "stage_given": "primary",
        }
        assert adapter.prepare(prepared, config).to_dict() == prepared.to_dict()

    def test_steps_replace_columns_that_steps_wrote(self, adapter: Any) -> None:
        given = (
            chains(12)
            .add_column("responses", [["#### 1"] * 4] * 12)
            .add_column("pass_rate", [i / 12 for i in range(12)])
        )
        config = adapter.config()
        rows = adapter.prepare(given, config)
        assert CurriculumBuilder(config).build(rows)["pass_rate"][0] == 11 / 12
        graded = grade(rows, gsm8k_matches)
        assert graded["pass_rate_given"][:] == given["pass_rate"][:]
        assert grade(graded, gsm8k_matches).to_dict() == graded.to_dict()
        estimator = DifficultyEstimator(config, Oracle())
        prompter = GuidedPrompter(config, Oracle())
        estimated = estimator.estimate(rows)
        assert estimated["responses_given"][:] == given["responses"][:]
        assert estimated["pass_rate_given"][:] == given["pass_rate"][:]
        guided = prompter.guide(CurriculumBuilder(config).build(estimated))
        again = prompter.guide(CurriculumBuilder(config).build(estimator.estimate(guided)))
        assert set(again.column_names) == set(guided.column_names)
        assert sorted(again["prompt"]) == sorted(guided["prompt"])

    def test_a_curriculum_prepared_again_is_replaced(self, adapter: Any, tmp_path: Path) -> None:
        """Like the command line with the rows of an artifact."""
        config = adapter.config()
        rows = adapter.prepare(chains(12), config)
        estimator = DifficultyEstimator(config, Oracle())
        prompter = GuidedPrompter(config, Oracle())
        estimated = estimator.estimate(rows)
        guided = prompter.guide(CurriculumBuilder(config).build(estimated))
        guided.to_parquet(str(tmp_path / "rows.parquet"))
        loaded = data.load(str(tmp_path / "rows.parquet"))
        for made in (grade(estimated, gsm8k_matches), estimated, guided, loaded):
            prepared = adapter.prepare(made, config.replace(question_column="ask"))
            assert prepared.to_dict() == adapter.prepare(made, config).to_dict() == made.to_dict()
            again = prompter.guide(CurriculumBuilder(config).build(estimator.estimate(prepared)))
            assert set(again.column_names) == set(guided.column_names)
        given = chains(12).add_column("n_samples", [3] * 12).add_column("n_correct", [1] * 12)
        for made in (given, given.cast_column("n_samples", COUNT).cast_column("n_correct", COUNT)):
            prepared = adapter.prepare(made, config)
            assert prepared["n_samples_given"][:] == [3] * 12
            assert adapter.prepare(prepared, config).to_dict() == prepared.to_dict()

    def test_own_responses_are_kept_next_to_the_curriculum(self, adapter: Any, prepared: Dataset) -> None:
        small = prepared.select(range(6)).add_column("responses", [["mine"]] * 6)
        config = adapter.config(algorithm="none", n_samples=2, max_new_tokens=4, warm_epochs=0, guide=False)
        rows = curriculum_of(adapter.train(small, config))
        assert rows["responses_given"][:] == [["mine"]] * 6
        assert {len(texts) for texts in rows["responses"]} == {2}

    @pytest.mark.parametrize("final", ["Paris", "10:30", "7 or 8", "1,8"])
    def test_final_answers_that_are_not_numbers_are_rejected(self, adapter: Any, final: str) -> None:
        rows = Dataset.from_dict({"question": ["a?", "b?"], "answer": ["#### 1,800", f"So.\n#### {final}"]})
        message = (
            rf"'answer', row 2: the checker gsm8k cannot compare .*: expected one number.*got '{final}'.*set checker"
        )
        with pytest.raises(DataError, match=message):
            adapter.prepare(rows, adapter.config())
        prepared = adapter.prepare(rows, adapter.config(checker="text"))
        assert prepared["final"][:] == ["1,800", final]
        assert adapter.prepare(prepared, adapter.config(checker="math")).to_dict() == prepared.to_dict()
        with pytest.raises(DataError, match=r"'final', row 2: .*checker number"):
            adapter.prepare(prepared, adapter.config(checker="number"))

    @pytest.mark.parametrize(
        "wrong",
        [
            *(
                {name: "x"}
                for name in ("answers", "checker", "placement", "algorithm", "order", "template", "threshold")
            ),
            *({"ratios": ()}, {"ratios": (2,)}, {"pass_ks": (0,)}, {"pass_ks": 3}),
            *({"n_samples": 1}, {"temperature": 0}, {"chat": True}, {"algorithm": "grpo", "batch_rows": 9}),
        ],
    )
    def test_wrong_options_are_named(self, adapter: Any, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(reversed(wrong))):
            adapter.config(**wrong)

    def test_options_survive_json(self, adapter: Any) -> None:
        config = adapter.config(ratios=(0.1,), pass_ks=(2,))
        assert adapter.config().replace(**json.loads(json.dumps(config.to_dict()))) == config

    def test_a_folder_without_a_model_raises_a_clear_error(
        self, adapter: Any, prepared: Dataset, tmp_path: Path
    ) -> None:
        with pytest.raises(DataError, match="the causal language model cannot be loaded"):
            adapter.train(prepared, adapter.config(model=str(tmp_path)))
