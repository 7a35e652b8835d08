"""Prompts of key-value retrieval."""

import json
from typing import Any

import pytest
from datasets import Dataset

from seampack.errors import ConfigError, DataError
from seampack.models.rope_scaling import KVRetrieval, RopeScalingConfig
from tests.models.rope_scaling.helpers import retrieval


class TestRetrieval:
    def test_gold_is_moved(self) -> None:
        data = KVRetrieval.generate(3, 8, seed=4)
        prompts = retrieval(pairs=5).prompts(data)
        assert len(prompts) == 15
        for prompt in prompts:
            row = data[prompt["example"]]
            shown = json.loads(prompt["prompt"].split("object:\n")[1].split("\n\nKey")[0])
            assert len(shown) == 5
            assert list(shown).index(row["key"]) == round(prompt["gold_position"] * 4)
            assert prompt["answer"] == row["value"] == shown[row["key"]]
            assert prompt["prompt"].endswith(f'Key: "{row["key"]}"\nValue: "')
            assert shown.items() <= dict(row["ordered_kv_records"]).items()

    def test_prompts_ask_for_the_records_in_place(self) -> None:
        data = KVRetrieval.generate(3, 8, seed=4)
        prompts = retrieval(pairs=5, gold="asked").prompts(data)
        contexts = [text.split("\n\nKey")[0] for text in prompts["prompt"]]
        assert len(set(contexts)) == 3
        for prompt, context in zip(prompts, contexts, strict=True):
            shown = json.loads(context.split("object:\n")[1])
            assert data[prompt["example"]]["key"] in shown
            asked = list(shown)[round(prompt["gold_position"] * 4)]
            assert f'Key: "{asked}"' in prompt["prompt"]
            assert prompt["answer"] == shown[asked]

    def test_generated_rows(self) -> None:
        one, same, other = (KVRetrieval.generate(2, 6, seed) for seed in (1, 1, 2))
        assert one.to_dict() == same.to_dict()
        assert one.to_dict() != other.to_dict()
        cells = [cell for row in one for pair in row["ordered_kv_records"] for cell in pair]
        assert len(set(cells)) == 24
        assert all(len(cell) == 36 for cell in cells)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"key": "zz"}, "row 1: key 'zz'"),
            ({"value": "zz"}, "expected the value 'zz'; its record has 'b'"),
            ({"ordered_kv_records": [["a", "b"]]}, "row 1: 1 records; expected at least 2"),
            ({"ordered_kv_records": [["a", "b"], ["a", "c"]]}, "a key is repeated"),
            ({"ordered_kv_records": [["a", "b", "c"]]}, r"expected a list of \[key, value\]"),
            ({"key": 7}, "expected text"),
        ],
    )
    def test_bad_rows(self, change: dict[str, Any], message: str) -> None:
        row = {"ordered_kv_records": [["a", "b"], ["c", "d"]], "key": "a", "value": "b"} | change
        with pytest.raises(DataError, match=message):
            retrieval(pairs=2, positions=(0.0, 1.0)).prompts(Dataset.from_list([row]))

    def test_another_template(self) -> None:
        config = RopeScalingConfig(pairs=2, positions=(1.0,))
        prompts = KVRetrieval(config, template="<{key}>{records}=").prompts(KVRetrieval.generate(1, 2))
        key = KVRetrieval.generate(1, 2)[0]["key"]
        assert prompts[0]["prompt"].startswith(f"<{key}>" + "{")
        with pytest.raises(ConfigError, match=r"template: expected text with \{key\}"):
            KVRetrieval(config, template="{records}")

    def test_positions_on_one_record_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"positions: .* got 0 and 0\.25, both record 1 of 3; raise pairs"):
            retrieval(pairs=3)
        assert len(set(retrieval(pairs=5).prompts(KVRetrieval.generate(1, 5))["prompt"])) == 5

    def test_records_of_any_text(self) -> None:
        """Quotes are escaped; other letters, and template fields within a record, are unchanged."""
        records = [['x"y', "{key}"], ["é", 'a\\"b'], ["{records}", "z"]]
        data = Dataset.from_list([{"ordered_kv_records": records, "key": 'x"y', "value": "{key}"}])
        prompts = retrieval(pairs=3, positions=(0.0, 0.5, 1.0), gold="asked").prompts(data)
        for prompt, (key, value) in zip(prompts, records, strict=True):
            context, question = prompt["prompt"].split("object:\n")[1].split("\n\nKey: ")
            assert json.loads(context) == dict(records)
            assert json.loads(question.split("\n")[0]) == key
            assert json.loads(f'"{prompt["answer"]}"') == value
        assert '"é": ' in prompts[0]["prompt"]
