"""The adapter: preparation, training, evaluation, errors."""

import csv
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BartForConditionalGeneration

from seampack.config import Config
from seampack.errors import ConfigError, DataError
from seampack.models import text, training
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Evaluation
from seampack.models.data import load
from seampack.models.empathy import EmpathyConfig
from seampack.models.empathy.adapter import ADAPTER
from seampack.models.empathy.tokens import byte_tokenizer, collate
from seampack.models.empathy.training import respond
from tests.models.contract import AdapterContract
from tests.models.empathy.helpers import OPTIONS, dialogues, tiny

pytestmark = pytest.mark.xdist_group("empathy")


class TestEmpathy(AdapterContract):
    method: ClassVar[str] = "empathy"
    options: ClassVar[dict[str, Any]] = OPTIONS
    tolerance: ClassVar[float] = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return dialogues()

    def test_learned_emotions_and_weights(self, evaluation: Evaluation, artifact: Artifact, prepared: Dataset) -> None:
        metrics, rows = evaluation.metrics, evaluation.rows
        assert metrics["emotion_accuracy"] == 1
        assert metrics["perplexity"] < 1.5
        assert metrics["responses"] == 6
        assert metrics["bleu_4"] > 60
        assert rows["response"][6:] == [None] * (len(prepared) - 6)
        assert rows["response"][0] == "That is wonderful, well done!"
        assert rows["response"][1] == "I am so sorry for your loss."
        assert rows["emotion_pred"][:] == prepared["label"][:]
        np.testing.assert_allclose(np.sum(rows["emotion_probs"][:], 1), 1, atol=1e-5)
        for weights, knowledge in zip(rows["relation_weights"][:], prepared["knowledge"][:], strict=True):
            assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
            assert (weights["xWant"] == 0) == (not knowledge["xWant"])
        by_relation = {row["relation"]: row["mean_weight"] for row in evaluation.tables["relations"]}
        assert by_relation["xReact"] > 0.6
        assert artifact.facts["losses"][-1] < artifact.facts["losses"][0] / 4

    def test_emotions_and_responses_that_mean_nothing_are_noted(
        self, adapter: "Adapter[Any]", evaluation: Evaluation, prepared: Dataset, config: Config
    ) -> None:
        assert evaluation.notes == ()
        untrained = config.replace(epochs=0.01, learning_rate=1e-8)
        notes = adapter.evaluate(prepared, adapter.train(prepared, untrained), untrained).notes
        assert notes[0].startswith("the emotion classifier is right on")

    def test_same_seed_same_model(self, adapter: "Adapter[Any]", prepared: Dataset, config: Config) -> None:
        short = config.replace(epochs=1.0)
        one, two = (text.tensors_of(adapter.train(prepared, short).parts["model"]) for _ in range(2))
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)

    def test_penalty_keeps_responses_from_repeating(self, artifact: Artifact, prepared: Dataset, config: Any) -> None:
        model, tokenizer = artifact.parts["model"], artifact.parts["tokenizer"]
        relations = artifact.facts["relations"]
        rows = collate(
            tokenizer,
            prepared.select(range(2)).to_list(),
            relations,
            config.replace(max_context_tokens=32, max_knowledge_tokens=16),
        )
        with torch.no_grad():
            given = model.understand(*(rows[name].to(model.device) for name in list(rows)[:4])).inputs
            free = respond(model, tokenizer, given, config.replace(repetition_penalty=1.0))
            assert respond(model, tokenizer, given, config.replace(repetition_penalty=10.0)) != [""] * 2
        assert free == ["That is wonderful, well done!", "I am so sorry for your loss."]

    def test_options_of_training_are_fixed(
        self, adapter: "Adapter[Any]", artifact: Artifact, prepared: Dataset, config: Config
    ) -> None:
        message = "selection: fixed by training; expected 'soft', as in the artifact; got 'uniform'"
        with pytest.raises(ConfigError, match=message):
            adapter.evaluate(prepared, artifact, config.replace(selection="uniform"))

    def test_unknown_emotions_and_lost_relations_are_named(
        self, adapter: "Adapter[Any]", artifact: Artifact, dataset: Dataset, config: Config
    ) -> None:
        other = adapter.prepare(dataset.map(lambda row: {"emotion": "angry"}), config)
        with pytest.raises(DataError, match="unknown label 'angry'"):
            adapter.evaluate(other, artifact, config)
        less = Dataset.from_list([{**row, "knowledge": {"xReact": ["sad"]}} for row in dataset.to_list()])
        with pytest.raises(DataError, match="no relation 'xWant'"):
            adapter.evaluate(adapter.prepare(less, config), artifact, config)


def test_pretrained_bart_is_trained_further(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(["well done well done"], 300)
    shape = tiny(vocab_size=len(tokenizer)).config
    tokenizer.save_pretrained(tmp_path)
    with training.quiet():
        BartForConditionalGeneration(shape).save_pretrained(tmp_path)
    lengths = {"max_context_tokens": 32, "max_knowledge_tokens": 32, "max_target_tokens": 32}
    config = EmpathyConfig(base_model=str(tmp_path), epochs=1.0, responses=0, **lengths)
    prepared = ADAPTER.prepare(dialogues(), config)
    artifact = ADAPTER.train(prepared, config)
    assert artifact.parts["model"].config.d_model == 16
    assert ADAPTER.evaluate(prepared, artifact, config).metrics["dist_1"] is None
    for name in lengths:
        long = config.replace(**{name: 33})
        for run in (lambda c=long: ADAPTER.train(prepared, c), lambda c=long: ADAPTER.evaluate(prepared, artifact, c)):
            with pytest.raises(
                ConfigError, match=f"{name}: expected at most 32, the model's number of positions; got 33"
            ):
                run()
    with pytest.raises(DataError, match="the BART cannot be loaded"):
        ADAPTER.train(prepared, config.replace(base_model=str(tmp_path / "nothing")))


def test_prepare_takes_plain_columns(tmp_path: Path) -> None:
    """A CSV with one text as the context, and a column for each relation."""
    path = tmp_path / "own.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["said", "mood", "answer", "xReact", "xWant"])
        writer.writerows([["I won.", "glad", "Great!", "proud", "to party"], ["I lost.", "low", "Oh no.", "sad", ""]])
    own = load(str(path))
    columns = {"context_column": "said", "emotion_column": "mood", "target_column": "answer"}
    config = EmpathyConfig(**columns, relations=["xReact", "xWant"])
    prepared = ADAPTER.prepare(own, config)
    assert prepared["context"][:] == [["I won."], ["I lost."]]
    assert prepared["knowledge"][1] == {"xReact": ["sad"], "xWant": []}
    assert prepared.features["label"].names == ["glad", "low"]
    assert ADAPTER.prepare(prepared, config).to_dict() == prepared.to_dict()
    without = ADAPTER.prepare(own, EmpathyConfig(**columns, selection="none"))
    assert "knowledge" not in without.column_names
    with pytest.raises(DataError, match="selection=none"):
        ADAPTER.prepare(own, EmpathyConfig(**columns))


def test_columns_with_reserved_names_are_kept() -> None:
    rows = {"context": ["my context"], "target": [["I won."]], "label": ["Great!"], "emotion": [3], "mood": ["glad"]}
    own = Dataset.from_dict(rows | {"knowledge": ["mine"], "facts": [{"xReact": ["proud"]}]})
    columns = {"context_column": "target", "emotion_column": "mood", "target_column": "label"}
    config = EmpathyConfig(**columns, knowledge_column="facts")
    wanted = {"context": ["I won."], "target": "Great!", "label": 0, "context_given": "my context", "emotion": 3}
    prepared = ADAPTER.prepare(own, config)
    assert prepared[0] == wanted | {"knowledge": {"xReact": ["proud"]}, "knowledge_given": "mine"}
    without = ADAPTER.prepare(own.remove_columns("facts"), config.replace(selection="none"))
    assert without[0] == wanted | {"knowledge": "mine"}
    only = ADAPTER.prepare(own.select_columns(["target", "mood", "label"]), config.replace(selection="none"))
    assert only[0] == {name: wanted[name] for name in ("context", "target", "label")}


def test_bad_values_are_named() -> None:
    good = dialogues()
    config = EmpathyConfig()
    for change, message in (
        ({"context": []}, "row 1: all utterances are empty"),
        ({"context": 3}, "expected a list of texts; got 3"),
        ({"target": " "}, "the response of rows 1, 2, 3, 4, 5 and 11 others is empty"),
        ({"knowledge": "sad"}, "expected a mapping from relations to lists of texts"),
        ({"knowledge": {"xReact": 3}}, "knowledge 'xReact': expected a list of texts"),
    ):
        rows = [row | change for row in good.to_list()]
        with pytest.raises(DataError, match=message):
            ADAPTER.prepare(Dataset.from_list(rows), config)
    with pytest.raises(DataError, match="no relation 'xNeed'; it has: xReact, xWant"):
        ADAPTER.prepare(good, config.replace(relations=("xNeed",)))
    one = ADAPTER.prepare(good.filter(lambda row: row["emotion"] == "sad"), config)
    with pytest.raises(DataError, match="at least 2 emotions"):
        ADAPTER.train(one, config)
