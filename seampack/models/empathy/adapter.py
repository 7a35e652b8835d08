"""The adapter: predicts emotions, knowledge weights and responses for dialogues with knowledge."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import AutoTokenizer

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Draw, Evaluation, Fitted, Row, with_results
from seampack.models.data import classes_of, named_rows, require, require_text, set_aside, with_labels
from seampack.models.empathy.config import EmpathyConfig, Selection
from seampack.models.empathy.inputs import (
    join_columns,
    knowledge_from_columns,
    relations_of,
    tails_by_row,
    utterances,
    with_knowledge,
)
from seampack.models.empathy.metrics import EmpathyMetrics
from seampack.models.empathy.model import EmpathyModel
from seampack.models.empathy.selection import MOST_PIECES
from seampack.models.empathy.training import Scores, model_and_tokenizer, score, train
from seampack.models.notes import at_chance, one_text
from seampack.models.training import load_part

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREPARED = ("context", "label", "target")


class EmpathyAdapter(Adapter[EmpathyConfig]):
    """Empathetic responses: emotion, knowledge weights and response of each dialogue."""

    name = "empathy"
    config = EmpathyConfig

    def prepare(self, dataset: Dataset, config: EmpathyConfig) -> Dataset:
        """Return rows with context (list of texts), label, target and knowledge (relation: list of texts).

        Other columns are kept; if their name is one of these and no option names them, they become ``NAME_given``.
        """
        if _is_prepared(dataset, config):
            require(dataset, PREPARED)
            return dataset
        require(dataset, [config.context_column, config.emotion_column, config.target_column])
        require_text(dataset, config.target_column)
        contexts = utterances(dataset, config.context_column)
        if empty := [row for row, target in enumerate(dataset[config.target_column][:]) if not target.strip()]:
            raise DataError(
                f"column {config.target_column!r}: the response of {named_rows(empty)} is empty; drop those rows first"
            )
        classes = classes_of(dataset, config.emotion_column)
        labels = with_labels(dataset, config.emotion_column, classes).select_columns(["label"])
        texts = Dataset.from_dict(
            {"context": contexts, "target": dataset[config.target_column][:]},
            features=Features({"context": List(Value("string")), "target": Value("string")}),
        )
        if config.selection == Selection.NONE:
            rest = _dropped(dataset, _sources(config))
        else:
            rest = _with_knowledge(dataset, config)
        return join_columns(set_aside(rest, PREPARED), join_columns(labels, texts))

    def fit(self, dataset: Dataset, config: EmpathyConfig) -> Fitted:
        """Train the model; the artifact's parts are the model and its tokenizer."""
        classes = list(dataset.features["label"].names)
        if len(classes) < 2:
            raise DataError(f"expected at least 2 emotions; got {', '.join(classes)}")
        relations = _relations(dataset, config)
        if config.selection == Selection.MINIMAX and len(relations) > MOST_PIECES:
            raise ConfigError(
                f"selection: minimax: expected at most {MOST_PIECES} relations; got {len(relations)}; "
                "choose some with the option relations"
            )
        model, tokenizer = model_and_tokenizer(_texts(dataset), len(classes), config)
        losses = train(model, tokenizer, dataset, relations, config)
        facts = {
            "classes": classes,
            "relations": relations,
            "parameters": sum(weights.numel() for weights in model.parameters()),
            "losses": losses,
        }
        return Fitted(facts=facts, parts={"model": model, "tokenizer": tokenizer})

    def measure(self, dataset: Dataset, artifact: Artifact, config: EmpathyConfig) -> Evaluation:
        """Measure emotion accuracy, perplexity of the targets, and the quality of generated responses.

        The rows get the columns ``emotion_pred``, ``emotion_probs``, ``relation_weights``, ``nll`` (nats) and
        ``tokens`` of the target, and ``response``, which is null after the first ``config.responses`` rows.
        """
        classes, relations = artifact.facts["classes"], artifact.facts["relations"]
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
            {"emotion": name, "rows": int(rows.sum()), "recall": float((predicted[rows] == label).mean())}
            for label, name in enumerate(classes)
            if (rows := truth == label).any()
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
            _with_scores(dataset, scores, classes, relations, predicted.tolist()),
            tables,
            pictures,
            [
                *at_chance(
                    "the emotion classifier",
                    float((predicted == truth).mean()),
                    truth.tolist(),
                    "raise epochs or emotion_weight, or use more rows",
                ),
                *one_text("responses", responses, dataset["context"][: len(responses)], "raise epochs, use more rows"),
            ],
        )


def _is_prepared(dataset: Dataset, config: EmpathyConfig) -> bool:
    """Return whether the dataset has the prepared columns and no source columns that the options name."""
    columns, sources = set(dataset.column_names), _sources(config)
    if not set(PREPARED) <= columns or sources <= set(PREPARED) or (sources - set(PREPARED)) & columns:
        return False
    features = dataset.features
    has_knowledge = config.selection == Selection.NONE or isinstance(features.get("knowledge"), dict)
    return has_knowledge and isinstance(features["label"], ClassLabel) and isinstance(features["context"], List)


def _with_knowledge(dataset: Dataset, config: EmpathyConfig) -> Dataset:
    """Return the dataset with a column ``knowledge``, from one column or from columns named after the relations.

    The source columns of the other options are dropped.
    """
    column = config.knowledge_column
    if column not in dataset.column_names and config.relations:
        dataset = knowledge_from_columns(dataset, {name: name for name in config.relations}, column)
    require(dataset, [column], "set knowledge_column or relations to your columns, or set selection=none")
    relations = relations_of(dataset, column, config.relations)
    tails = tails_by_row(dataset, column, relations)
    return with_knowledge(_dropped(dataset, {column, *_sources(config)}), tails, relations)


def _relations(dataset: Dataset, config: EmpathyConfig) -> list[str]:
    """Return the relations that the model uses."""
    return [] if config.selection == Selection.NONE else relations_of(dataset, "knowledge", config.relations)


def _texts(dataset: Dataset) -> list[str]:
    """Return contexts and targets for the vocabulary; without knowledge, so that all selections share a vocabulary."""
    return [utterance for context in dataset["context"][:] for utterance in context] + list(dataset["target"][:])


def _by_relation(relations: Sequence[str], scores: Scores) -> list[Row]:
    """Return, for each relation, its mean weight and the number of dialogues in which its weight is the largest."""
    weights = np.array(scores.weights)
    chosen = weights.argmax(1)[weights.any(1)]
    return [
        {"relation": name, "mean_weight": float(weights[:, column].mean()), "chosen": int((chosen == column).sum())}
        for column, name in enumerate(relations)
    ]


def _with_scores(
    dataset: Dataset, scores: Scores, classes: Sequence[str], relations: Sequence[str], predicted: Sequence[int]
) -> Dataset:
    """Return the rows with the scores as columns."""
    weights = [dict(zip(relations, row, strict=True)) for row in scores.weights]
    responses = [*scores.responses, *[None] * (len(dataset) - len(scores.responses))]
    results = {
        "emotion_pred": (predicted, ClassLabel(names=list(classes))),
        "emotion_probs": scores.probabilities,
        **({"relation_weights": weights} if relations else {}),
        "nll": scores.nll,
        "tokens": scores.tokens,
        "response": (responses, Value("string")),
    }
    return with_results(dataset, results)


def _sources(config: EmpathyConfig) -> set[str]:
    """Return the names of the columns that ``prepare`` replaces."""
    return {config.context_column, config.emotion_column, config.target_column}


def _dropped(dataset: Dataset, names: Collection[str]) -> Dataset:
    return dataset.remove_columns([name for name in dataset.column_names if name in names])


def _bars(names: Sequence[str], values: Sequence[float], label: str) -> Draw:
    """Return a function that draws a horizontal bar chart; ``label`` names the values."""

    def draw(axes: "Axes") -> None:
        axes.barh(range(len(names)), values)
        axes.set_yticks(range(len(names)), names, fontsize=9 if len(names) < 12 else 6)
        axes.invert_yaxis()
        axes.set_xlabel(label)

    return draw


ADAPTER = EmpathyAdapter()
