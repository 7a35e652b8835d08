"""The method as an adapter: dialogues with knowledge in, emotions, weights and responses out."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import AutoTokenizer

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, Draw, Evaluation, Row, with_results
from seampack.models.data import classes_of, require, require_text, set_aside, with_labels
from seampack.models.empathy.config import EmpathyConfig, Selection
from seampack.models.empathy.inputs import (
    beside,
    knowledge_from_columns,
    relations_of,
    tails_by_row,
    utterances,
    with_knowledge,
)
from seampack.models.empathy.metrics import EmpathyMetrics
from seampack.models.empathy.model import EmpathyModel
from seampack.models.empathy.selection import MOST_PIECES
from seampack.models.empathy.training import Scores, fit, model_and_tokenizer, score
from seampack.models.text import load_part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREPARED = ("context", "label", "target")
TRAINED = ("base_model", "selection", "temperature", "relations", "hidden_size", "layers", "vocabulary")
"""Options that a trained model cannot change."""


class EmpathyAdapter(Adapter[EmpathyConfig]):
    """Reads the speaker's emotion, weighs the knowledge about the dialogue, and responds."""

    name = "empathy"
    config = EmpathyConfig
    columns: ClassVar[Mapping[str, str]] = {
        "context": "what has been said so far: a list of utterances, the last one the speaker's, or one text",
        "emotion": "the speaker's emotion, as text, whole number or ClassLabel",
        "target": "the response",
        "knowledge": "relation: list of texts, such as those of ATOMIC; not needed with selection=none",
    }

    def prepare(self, dataset: Dataset, config: EmpathyConfig) -> Dataset:
        """Rows of context (list of texts), label, target and knowledge (each relation a list of texts).

        Others stay; one that has such a name, and is not what the options name, as ``NAME_given``.
        """
        if _is_prepared(dataset, config):
            require(dataset, PREPARED)
            return dataset
        require(dataset, [config.context_column, config.emotion_column, config.target_column])
        require_text(dataset, config.target_column)
        contexts = utterances(dataset, config.context_column)
        if empty := sum(not target.strip() for target in dataset[config.target_column][:]):
            raise DataError(f"column {config.target_column!r}: {empty:,} responses are empty; drop those rows first")
        classes = classes_of(dataset, config.emotion_column)
        labels = with_labels(dataset.select_columns([config.emotion_column]), config.emotion_column, classes)
        said = Dataset.from_dict(
            {"context": contexts, "target": dataset[config.target_column][:]},
            features=Features({"context": List(Value("string")), "target": Value("string")}),
        )
        known = config.selection != Selection.NONE
        rest = _with_knowledge(dataset, config) if known else _dropped(dataset, _sources(config))
        return beside(set_aside(rest, PREPARED), beside(labels, said))

    def train(self, dataset: Dataset, config: EmpathyConfig) -> Artifact:
        """Train the model; the artifact keeps it and its tokenizer as parts."""
        classes = list(dataset.features["label"].names)
        if len(classes) < 2:
            raise DataError(f"expected at least 2 emotions; got {', '.join(classes)}")
        relations = _relations(dataset, config)
        if config.selection == Selection.MINIMAX and len(relations) > MOST_PIECES:
            raise ConfigError(f"minimax: at most {MOST_PIECES} relations; got {len(relations)}; name some in relations")
        model, tokenizer = model_and_tokenizer(_texts(dataset), len(classes), config)
        losses = fit(model, tokenizer, dataset, relations, config)
        facts = {
            "data": {"fingerprint": fingerprint(dataset), "rows": len(dataset)},
            "classes": classes,
            "relations": relations,
            "parameters": sum(each.numel() for each in model.parameters()),
            "losses": losses,
        }
        parts = {"model": model, "tokenizer": tokenizer}
        return Artifact(self.name, json.loads(json.dumps(config.to_dict())), {}, facts, parts)

    def evaluate(self, dataset: Dataset, artifact: Artifact, config: EmpathyConfig) -> Evaluation:
        """Perplexity of the targets, emotions, and responses.

        Rows get ``emotion_pred``, ``emotion_probs``, ``relation_weights``, the target's ``nll`` (nats) and ``tokens``,
        and ``response``, which is null behind the first ``config.responses`` rows.
        Raises ConfigError for an option that training has fixed.
        """
        classes, relations = artifact.facts["classes"], artifact.facts["relations"]
        for name in TRAINED:
            wanted = json.loads(json.dumps(getattr(config, name)))
            if wanted != artifact.config[name]:
                raise ConfigError(
                    f"{name}: the model was trained with {artifact.config[name]!r}; got {wanted!r}; train anew"
                )
        if relations:
            relations_of(dataset, "knowledge", relations)
        dataset = with_labels(dataset, "label", classes)
        model = artifact.part("model", load_part(EmpathyModel))
        tokenizer = artifact.part("tokenizer", load_part(AutoTokenizer))
        scores = score(model, tokenizer, dataset, relations, config)
        predicted = np.argmax(scores.probabilities, 1)
        truth = np.asarray(dataset["label"][:])
        responses = scores.responses
        metrics = EmpathyMetrics.of(
            scores.nll,
            scores.tokens,
            correct=(predicted == truth).tolist(),
            responses=responses,
            references=dataset["target"][: len(responses)],
        )
        by_emotion = [
            {"emotion": name, "rows": int((truth == at).sum()), "recall": float((predicted[truth == at] == at).mean())}
            for at, name in enumerate(classes)
            if (truth == at).any()
        ]
        tables = {"emotions": by_emotion}
        pictures = {
            "emotions": _bars([row["emotion"] for row in by_emotion], [row["recall"] for row in by_emotion], "recall")
        }
        if relations:
            tables["relations"] = _by_relation(relations, scores)
            means = [row["mean_weight"] for row in tables["relations"]]
            pictures["relations"] = _bars(relations, means, "mean weight")
        return Evaluation(
            {"rows": len(dataset), "responses": len(responses), **metrics.to_dict()},
            _with_said(dataset, scores, classes, relations, predicted.tolist()),
            tables,
            pictures,
        )


def _is_prepared(dataset: Dataset, config: EmpathyConfig) -> bool:
    have, asked = set(dataset.column_names), _sources(config)
    if not set(PREPARED) <= have or asked <= set(PREPARED) or (asked - set(PREPARED)) & have:
        return False
    known = config.selection == Selection.NONE or isinstance(dataset.features.get("knowledge"), dict)
    return known and isinstance(dataset.features["label"], ClassLabel) and isinstance(dataset.features["context"], List)


def _with_knowledge(dataset: Dataset, config: EmpathyConfig) -> Dataset:
    """Complete knowledge in the column ``knowledge``, from one column or from columns named as the relations.

    What the other options name is left out.
    """
    column = config.knowledge_column
    if column not in dataset.column_names and config.relations:
        dataset = knowledge_from_columns(dataset, {name: name for name in config.relations}, column)
    require(dataset, [column], "name yours in knowledge_column, its columns in relations, or set selection=none")
    relations = relations_of(dataset, column, config.relations)
    tails = tails_by_row(dataset, column, relations)
    return with_knowledge(_dropped(dataset, {column, *_sources(config)}), tails, relations)


def _relations(dataset: Dataset, config: EmpathyConfig) -> list[str]:
    return [] if config.selection == Selection.NONE else relations_of(dataset, "knowledge", config.relations)


def _texts(dataset: Dataset) -> list[str]:
    """All that is said, for the vocabulary: whatever is known, so that models with and without it share theirs."""
    return [utterance for context in dataset["context"][:] for utterance in context] + list(dataset["target"][:])


def _by_relation(relations: Sequence[str], scores: Scores) -> list[Row]:
    weights = np.array(scores.weights)
    chosen = weights.argmax(1)[weights.any(1)]
    return [
        {"relation": name, "mean_weight": float(weights[:, at].mean()), "chosen": int((chosen == at).sum())}
        for at, name in enumerate(relations)
    ]


def _with_said(
    dataset: Dataset, scores: Scores, classes: Sequence[str], relations: Sequence[str], predicted: Sequence[int]
) -> Dataset:
    weights = [dict(zip(relations, row, strict=True)) for row in scores.weights]
    responses = [*scores.responses, *[None] * (len(dataset) - len(scores.responses))]
    said = {
        "emotion_pred": (predicted, ClassLabel(names=list(classes))),
        "emotion_probs": scores.probabilities,
        **({"relation_weights": weights} if relations else {}),
        "nll": scores.nll,
        "tokens": scores.tokens,
        "response": (responses, Value("string")),
    }
    return with_results(dataset, said)


def _sources(config: EmpathyConfig) -> set[str]:
    return {config.context_column, config.emotion_column, config.target_column}


def _dropped(dataset: Dataset, names: Collection[str]) -> Dataset:
    return dataset.remove_columns([name for name in dataset.column_names if name in names])


def _bars(names: Sequence[str], values: Sequence[float], what: str) -> Draw:
    def draw(axes: "Axes") -> None:
        axes.barh(range(len(names)), values)
        axes.set_yticks(range(len(names)), names, fontsize=9 if len(names) < 12 else 6)
        axes.invert_yaxis()
        axes.set_xlabel(what)

    return draw


ADAPTER = EmpathyAdapter()
