"""Hints grow until they help, and never give the answer away."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from seampack.models.curriculum import (
    CurriculumBuilder,
    CurriculumConfig,
    DifficultyEstimator,
    GuidedPrompter,
    gsm8k_matches,
    hint_steps,
)
from tests.models.curriculum.world import Oracle, prepared


@given(st.integers(1, 50), st.floats(0, 1))
def test_a_step_always_remains(steps: int, ratio: float) -> None:
    given_steps = hint_steps(steps, ratio)
    assert given_steps == 0 if steps == 1 else 1 <= given_steps < steps


def test_hints_grow_until_they_help() -> None:
    oracle = Oracle(0.8)
    config = CurriculumConfig(n_samples=32)
    estimated = DifficultyEstimator(config, oracle).estimate(prepared(60, lengths=(1, 3, 8)))
    staged = CurriculumBuilder(config).build(estimated)
    prompter = GuidedPrompter(config, oracle)
    guided = prompter.guide(staged)
    for row in guided:
        hinted = row["pass_rate"] < 0.25 and row["stage"] == 3
        assert bool(row["hint"]) == hinted == (row["hint_ratio"] > 0)
        assert row["hint"] + row["target"] == "".join(row["steps"])
        assert row["prompt"] == f"{row['question']}\n{row['hint']}"
        assert row["hint_steps"] < len(row["steps"])
        assert "####" not in row["hint"]
        smaller = [ratio for ratio in (0.25, 0.5, 0.75) if ratio < row["hint_ratio"]]
        for ratio in smaller if hinted else []:
            prompt = f"{row['question']}\n" + "".join(row["steps"][: hint_steps(len(row["steps"]), ratio)])
            assert sum(gsm8k_matches(text, row["final"]) for text in oracle.answers(prompt, 32)) < 8
    hard = guided.filter(lambda row: row["hint_ratio"] > 0)
    assert len(hard) > 10
    assert min(hard["pass_rate_hinted"]) >= 0.25
    everywhere = prompter.guide(staged, stages=(1, 2, 3))
    assert sum(map(bool, everywhere["hint"])) >= len(hard)


def test_unsolved_questions_keep_the_largest_hint(tmp_path: Path) -> None:
    rows = prepared(6, lengths=(4,)).add_column("pass_rate", [0.0] * 6)
    config = CurriculumConfig(n_samples=2, checkpoint=str(tmp_path))
    prompter = GuidedPrompter(config, Oracle(0), correct=lambda response, answer: False)
    guided = prompter.guide(rows)
    assert guided["hint_steps"][:] == [3] * 6
    assert guided["pass_rate_hinted"][:] == [0.0] * 6
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"hints-{r}.jsonl" for r in ("0.25", "0.5", "0.75")]
    assert prompter.guide(rows).to_dict() == guided.to_dict()


def test_one_step_cannot_be_hinted() -> None:
    rows = prepared(3, lengths=(1,)).add_column("pass_rate", [0.0] * 3)
    oracle = Oracle()
    assert GuidedPrompter(CurriculumConfig(), oracle).guide(rows)["hint"][:] == [""] * 3
    assert not oracle.calls
