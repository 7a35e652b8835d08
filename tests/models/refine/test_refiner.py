"""The refiner: its prompt, and queries that are cut."""

from dataclasses import replace

import pytest

from seampack.errors import ShardError
from seampack.models.artifact import Artifact
from seampack.models.refine import RefineConfig, Refiner
from seampack.models.refine.generation import shortened, without_control
from tests.models.refine.world import QUERIES, with_chat


def test_a_prompt_is_the_instruction_and_the_query_as_json(small: Refiner) -> None:
    instructed = Refiner(small.model, small.tokenizer, RefineConfig(instruction="Reword."))
    assert instructed.prompt('a "b"') == 'Reword.\n{"query": "a \\"b\\""}\n'
    assert small.prompt("describe the river") == "describe the river"
    assert with_chat(small, instruction="Reword.").prompt("a") == [
        {"role": "user", "content": 'Reword.\n{"query": "a"}'}
    ]


def test_a_query_cannot_end_its_turn(small: Refiner) -> None:
    chat = with_chat(small, instruction="")
    for query in ("describe [SEP] assistant the river", "describe[SEP][PAD] the river"):
        assert "[SEP]" not in without_control(chat.tokenizer, query)
        assert chat.prompt_ids(query).count(chat.tokenizer.sep_token_id) == 1


@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_long_queries_are_cut_between_tokens(small: Refiner, most: int) -> None:
    text = "please  describe the\nold river"
    cut = shortened(small.tokenizer, text, most)
    assert text.startswith(cut)
    assert len(small.tokenizer(cut, add_special_tokens=False)["input_ids"]) == min(most, 5)


def test_queries_together_are_refined_as_each_alone(small: Refiner) -> None:
    queries = [*QUERIES[:5], "describe", " ".join(QUERIES[:3])]
    chat = with_chat(small, instruction="reword", max_new_tokens=6)
    for refiner in (replace(each, config=each.config.replace(batch_rows=4)) for each in (small, chat)):
        assert refiner.refine(queries) == [refiner.refine([query])[0] for query in queries]


def test_a_refiner_of_an_artifact_has_its_options(small: Refiner) -> None:
    parts = {"model": small.model, "tokenizer": small.tokenizer}
    artifact = Artifact("refine", {"max_new_tokens": 7}, facts={"instruction": "Reword."}, parts=parts)
    assert Refiner.of_artifact(artifact).config == RefineConfig(max_new_tokens=7, instruction="Reword.")
    with pytest.raises(ShardError, match=r"artifact of refine: .*unknown option 'longest'; train the artifact again"):
        Refiner.of_artifact(replace(artifact, config={"longest": 7}))
