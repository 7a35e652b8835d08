"""The adapter on real sentences: certified accuracy, attacks, encoders, columns."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset

from seampack.errors import ConfigError, DataError
from seampack.models import text
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.data import load
from seampack.models.ranmask import (
    RanmaskConfig,
)
from seampack.models.ranmask.adapter import ADAPTER
from tests.models.contract import AdapterContract, scopes
from tests.models.ranmask.helpers import DATA, QUICK

pytestmark = pytest.mark.xdist_group("ranmask_adapter")


SCOPES = scopes(
    saved=(
        "text_column label_column rate min_keep max_words max_tokens seed ensemble guess_masks masks alpha "
        "beta attacks attack_rows attack_share attack_masks"
    ),
    fixed="encoder layers epochs batch_rows learning_rate weight_decay",
)
"""Scope of each option. ``rate``, ``min_keep``, ``max_words``, ``max_tokens`` and ``seed`` also apply to the smoothing
of a trained classifier."""


class TestContract(AdapterContract):
    method = "ranmask"
    scopes = SCOPES
    options: ClassVar[dict[str, Any]] = {**QUICK, "epochs": 1, "masks": 100, "attacks": ["bugs"]}

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return load(str(DATA / "subjectivity.csv")).select(range(80))


@pytest.fixture(scope="module")
def artifact(sentences: Dataset, config: RanmaskConfig) -> Artifact:
    return ADAPTER.train(ADAPTER.prepare(sentences.select(range(1000, 2000)), config), config)


@pytest.fixture(scope="module")
def evaluation(sentences: Dataset, artifact: Artifact, config: RanmaskConfig) -> Evaluation:
    return ADAPTER.evaluate(ADAPTER.prepare(sentences.select(range(80)), config), artifact, config)


def test_masked_training_certifies_sentences(evaluation: Evaluation, artifact: Artifact) -> None:
    losses = artifact.facts["losses"]
    assert losses[-1] < losses[0]
    assert evaluation.metrics["accuracy"] > 0.75
    assert evaluation.metrics["certified_accuracy_1"] > 0.2
    curve = [row["certified_accuracy"] for row in evaluation.tables["certified"]]
    assert curve == sorted(curve, reverse=True)
    assert curve[1] == evaluation.metrics["certified_accuracy_1"]
    assert curve[-1] == 0
    assert {row["attack"] for row in evaluation.tables["attacks"]} == {"bugs", "neighbours", "strong"}
    for row in evaluation.tables["attacks"]:
        assert row["broken"] == 0
        assert row["robust_accuracy"] <= row["clean_accuracy"]
    attacked = evaluation.rows["attacked_bugs"]
    assert [line is None for line in attacked] == [False] * 3 + [True] * 77


def test_rows_have_names_and_the_labels_of_the_user(
    sentences: Dataset, artifact: Artifact, config: RanmaskConfig, tmp_path: Path
) -> None:
    names = artifact.facts["classes"]
    own = sentences.select(range(12)).rename_column("label", "my label")
    options = config.replace(label_column="my label", attack_rows=0)
    prepared = ADAPTER.prepare(own, options)
    assert ADAPTER.prepare(prepared, options).to_dict() == prepared.to_dict()
    evaluation = ADAPTER.evaluate(prepared, artifact, options)
    evaluation.save(tmp_path)
    saved = pq.read_table(tmp_path / "rows.parquet").to_pydict()
    assert saved["my label"] == saved["label"] == own["my label"][:]
    assert saved["pred"] == [names[number] for number in evaluation.rows["pred"]]
    assert set(saved["guess"]) <= set(names)


def test_other_options_at_evaluation(sentences: Dataset, artifact: Artifact, config: RanmaskConfig) -> None:
    rows = ADAPTER.prepare(sentences.select(range(30)), config)
    options = config.replace(attack_rows=0, beta="paper", ensemble="mean")
    paper = ADAPTER.evaluate(rows, artifact, options)
    assert "attacks" not in paper.tables
    one = ADAPTER.evaluate(rows, artifact, options.replace(beta="one"))
    assert (np.array(one.rows["radius"]) <= np.array(paper.rows["radius"])).all()
    nothing = ADAPTER.evaluate(rows, artifact, options.replace(rate=0.0))
    assert nothing.metrics["accuracy"] == nothing.metrics["accuracy_unmasked"]
    assert nothing.metrics["certified_accuracy_1"] == 0
    assert nothing.notes == (
        "no right prediction is certified against a changed word; raise rate or masks, or use longer texts",
    )
    assert one.notes == ()
    names = rows.features["label"].names
    swapped = rows.cast_column("label", ClassLabel(names=names[::-1]))
    (note,) = ADAPTER.evaluate(swapped, artifact, options).notes[:1]
    assert note.startswith("the smoothed classifier is right on")


def test_an_attack_without_words_is_skipped(config: RanmaskConfig) -> None:
    """A vocabulary of numbers has no candidates for a word; the certificates are kept."""
    numbers = Dataset.from_dict({"text": ["1 2 3 4 5 6", "7 8 9 7 8 9"] * 10, "label": [0, 1] * 10})
    config = config.replace(epochs=1)
    rows = ADAPTER.prepare(numbers, config)
    found = ADAPTER.evaluate(rows, ADAPTER.train(rows, config), config)
    bugs, *others = found.tables["attacks"]
    assert (bugs["attack"], bugs["texts"], bugs["note"]) == ("bugs", 3, "")
    assert [(row["attack"], row["texts"], row["robust_accuracy"]) for row in others] == [
        ("neighbours", 0, None),
        ("strong", 0, None),
    ]
    assert all("vocabulary has no words" in row["note"] for row in others)
    assert "attacked_strong" not in found.rows.column_names


def test_a_share_of_zero_changes_no_word(sentences: Dataset, artifact: Artifact, config: RanmaskConfig) -> None:
    rows = ADAPTER.prepare(sentences.select(range(12)), config)
    options = config.replace(rate=0.0, attack_share=0.0, attack_rows=12, attacks=["strong"])
    found = ADAPTER.evaluate(rows, artifact, options)
    (row,) = found.tables["attacks"]
    assert row["robust_accuracy"] == row["clean_accuracy"] > 0
    assert [line.split() for line in found.rows["attacked_strong"]] == rows["words"][:]
    (some,) = ADAPTER.evaluate(rows, artifact, options.replace(attack_share=0.01)).tables["attacks"]
    assert some["robust_accuracy"] < row["robust_accuracy"]


def test_an_encoder_with_layers(sentences: Dataset) -> None:
    config = RanmaskConfig(**{**QUICK, "layers": 1, "epochs": 1, "masks": 30, "guess_masks": 10, "attack_rows": 0})
    rows = ADAPTER.prepare(sentences.select(range(20)), config)
    artifact = ADAPTER.train(rows, config)
    assert ADAPTER.evaluate(rows, artifact, config).rows["masks"]


def test_given_words_are_kept(config: RanmaskConfig) -> None:
    own = Dataset.from_dict({"words": [["New York", "is", "big"], ["so"]], "label": ["a", "b"]})
    prepared = ADAPTER.prepare(own, config.replace(max_words=2))
    assert prepared["words"][:] == [["New York", "is"], ["so"]]
    assert prepared["label"][:] == [0, 1]
    for words in ([["a"], ["b", None]], [["a"], ["", "b"]]):
        with pytest.raises(DataError, match="column 'words': a word is null or empty in row 2; remove such words"):
            ADAPTER.prepare(Dataset.from_dict({"words": words, "label": [0, 1]}), config)
    with pytest.raises(DataError, match="column 'words', row 2: no words"):
        ADAPTER.prepare(Dataset.from_dict({"words": [["a"], []], "label": [0, 1]}), config)
    with pytest.raises(DataError, match="expected lists of text"):
        ADAPTER.prepare(Dataset.from_dict({"words": ["a"], "label": [0]}), config)
    with pytest.raises(DataError, match="column 'text', row 1: no words"):
        ADAPTER.prepare(Dataset.from_dict({"text": [" "], "label": [0]}), config)
    renamed = Dataset.from_dict({"review": ["a b"], "stars": [3]})
    options = config.replace(text_column="review", label_column="stars")
    assert ADAPTER.prepare(ADAPTER.prepare(renamed, options), options)["words"][:] == [["a", "b"]]


def test_an_encoder_needs_a_mask_token(
    sentences: Dataset, config: RanmaskConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, tokenizer = text.encoder_and_tokenizer("small", sentences["text"][:9], layers=0)
    tokenizer.mask_token = None
    monkeypatch.setattr(text, "encoder_and_tokenizer", lambda *_, **__: (encoder, tokenizer))
    with pytest.raises(DataError, match="small: the tokenizer has no mask token"):
        ADAPTER.train(ADAPTER.prepare(sentences.select(range(9)), config), config)


def test_wrong_labels_and_encoders(sentences: Dataset, artifact: Artifact, config: RanmaskConfig) -> None:
    other = ADAPTER.prepare(Dataset.from_dict({"text": ["a b"], "label": ["neither"]}), config)
    with pytest.raises(DataError, match="unknown label 'neither'"):
        ADAPTER.evaluate(other, artifact, config)
    with pytest.raises(DataError, match="at least two classes; got neither"):
        ADAPTER.train(other, config)
    with pytest.raises(DataError, match="prepare the dataset first"):
        ADAPTER.train(sentences, config)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 2}, {"beta": "two"}, {"ensemble": "most"}, {"attacks": ["fire"]}, {"attacks": "bugs"}, {"masks": 0}],
)
def test_wrong_options_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RanmaskConfig(**wrong)
