"""Export to the columns of trl, verl and axolotl."""

import pytest
from datasets import Dataset

from seampack.errors import DataError
from seampack.models.curriculum import (
    CurriculumBuilder,
    CurriculumConfig,
    GuidedPrompter,
    PromptFormat,
    for_axolotl,
    for_trl,
    for_verl,
)
from tests.models.curriculum.world import Oracle, prepared


@pytest.fixture(scope="module")
def rows() -> Dataset:
    base = prepared(6, lengths=(4,)).add_column("pass_rate", [0.0, 1.0] * 3)
    config = CurriculumConfig(stages=2, placement="prompt", n_samples=8)
    staged = CurriculumBuilder(config).build(base)
    return GuidedPrompter(config, Oracle()).guide(staged)


def test_trl(rows: Dataset) -> None:
    exported = for_trl(rows)
    assert exported["prompt"][:] == rows["prompt"][:]
    assert exported["completion"][:] == rows["target"][:]
    chat = for_trl(rows, prompt=PromptFormat(CurriculumConfig(placement="prompt")))
    assert rows["hint"][5].strip() in chat[5]["prompt"][0]["content"]
    assert chat[5]["completion"] == [{"role": "assistant", "content": rows["target"][5]}]
    begun = for_trl(rows, prompt=PromptFormat(CurriculumConfig()))
    assert [message["role"] for message in begun[0]["prompt"]] == ["user"]
    assert begun[5]["prompt"][1] == {"role": "assistant", "content": rows["hint"][5]}


def test_verl(rows: Dataset) -> None:
    exported = for_verl(rows, "chains")
    assert set(exported.column_names) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
    assert exported[5]["reward_model"] == {"style": "rule", "ground_truth": rows["final"][5]}
    assert exported[5]["extra_info"]["stage"] == 2
    assert exported[5]["prompt"][0]["role"] == "user"
    with pytest.raises(DataError, match="placement='prompt'"):
        for_verl(rows, "chains", prompt=PromptFormat(CurriculumConfig()))


def test_axolotl(rows: Dataset) -> None:
    first = for_axolotl(rows, "</s>")[0]
    assert first["segments"] == [
        {"label": False, "text": rows["prompt"][0]},
        {"label": True, "text": rows["target"][0] + "</s>"},
    ]
    assert first["stage"] == 1
