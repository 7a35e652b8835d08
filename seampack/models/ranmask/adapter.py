"""The adapter: trains a classifier on masked text, certifies it and attacks it."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Value

from seampack.errors import DataError
from seampack.models import text
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Draw, Evaluation, Fitted, Row, with_results
from seampack.models.data import classes_of, named_rows, require, require_text, set_aside, with_labels
from seampack.models.notes import at_chance
from seampack.models.ranmask.classifier import load, mask_token_of
from seampack.models.ranmask.config import RanmaskConfig
from seampack.models.ranmask.masks import RandomMask
from seampack.models.ranmask.robustness import ATTACK_NUMBERS, under_attack
from seampack.models.ranmask.smoothing import certified_accuracy, smooth_and_certify

_NO_WORDS = "not tried: the encoder's vocabulary has no words"


class RanmaskAdapter(Adapter[RanmaskConfig]):
    """Text classifiers with certified robustness to word substitutions."""

    name: ClassVar[str] = "ranmask"
    config = RanmaskConfig

    def prepare(self, dataset: Dataset, config: RanmaskConfig) -> Dataset:
        """Add ``words``, lists of at most ``max_words`` words, and convert ``label`` to class ids."""
        given = "words" in dataset.column_names and (
            config.text_column not in dataset.column_names or _is_list(dataset.data.column("words").type)
        )
        source = "words" if given else config.text_column
        label = "label" if given and config.label_column not in dataset.column_names else config.label_column
        require(dataset, [source, label])
        if given:
            _require_words(dataset)
        else:
            require_text(dataset, source)
        cells = dataset[source][:]
        words = [(cell if given else cell.split())[: config.max_words] for cell in cells]
        if empty := [number for number, row_words in enumerate(words, 1) if not row_words]:
            raise DataError(f"column {source!r}, row {empty[0]}: no words; expected at least one; drop such rows")
        labelled = with_labels(dataset, label, classes_of(dataset, label))
        if given and words == cells:
            return labelled
        rest = labelled.remove_columns("words") if given else set_aside(labelled, ["words"])
        return rest.add_column("words", pa.array(words, pa.list_(pa.string())))

    def fit(self, dataset: Dataset, config: RanmaskConfig) -> Fitted:
        """Train a classifier; each text gets a new mask each time it is drawn."""
        classes = _declared(dataset)
        if len(classes) < 2:
            raise DataError(f"column 'label': expected at least two classes; got {', '.join(classes)}")
        layers = None if config.layers < 0 else config.layers
        plain = [" ".join(words) for words in dataset["words"]]
        encoder, tokenizer = text.encoder_and_tokenizer(config.encoder, plain, layers=layers, seed=config.seed)
        model = text.TextClassifier(encoder, len(classes))
        options = text.FitOptions(
            epochs=config.epochs,
            batch_rows=config.batch_rows,
            learning_rate=config.learning_rate,
            seed=config.seed,
            weight_decay=config.weight_decay,
        )
        mask = RandomMask(config, mask_token_of(tokenizer, config.encoder))
        used = dataset.select_columns(["words", "label"])
        losses = text.fit(model, tokenizer, used, options, column="words", max_tokens=config.max_tokens, change=mask)
        facts = {"classes": classes, "losses": losses}
        return Fitted(text.tensors_of(model.head), facts, {"encoder": encoder, "tokenizer": tokenizer})

    def measure(self, dataset: Dataset, artifact: Artifact, config: RanmaskConfig) -> Evaluation:
        """Measure the accuracy with and without masks and under attack, and the certified accuracy by radius."""
        dataset = with_labels(dataset, "label", artifact.facts["classes"])
        classifier = load(artifact, config)
        words, labels = dataset["words"][:], np.array(dataset["label"][:])
        attacked = min(config.attack_rows, len(words))
        # before the certificates, which take longest, so that errors in the candidates are raised early
        attacks = {kind: classifier.candidates(kind) for kind in config.attacks if attacked}
        plain = np.asarray(classifier.predict_fn(words)).argmax(1)
        smoothed, certified = smooth_and_certify(classifier.predict_fn, words, config, classifier.mask_token)
        right = certified.radius[(certified.guess == labels) & ~certified.abstain]
        curve = [
            {"words": radius, "certified_accuracy": certified_accuracy(certified, labels, radius)}
            for radius in range(int(certified.radius.max()) + 2)
        ]
        accuracy = float((smoothed.pred == labels).mean())
        metrics = {
            "accuracy": accuracy,
            "accuracy_unmasked": float((plain == labels).mean()),
            "abstained": float(certified.abstain.mean()),
            "certified_accuracy_1": certified_accuracy(certified, labels, 1),
            "median_radius_of_right": float(np.median(right)) if right.size else None,
            "mean_radius_of_right": float(right.mean()) if right.size else None,
        }
        named = {
            "pred": (smoothed.pred, dataset.features["label"]),
            "guess": (certified.guess, dataset.features["label"]),
        }
        results: dict[str, Any] = {"p_hat": smoothed.p_hat, **certified.columns(), **named}
        attack_rows: list[Row] = []
        for kind, candidates in attacks.items():
            if candidates is None:
                attack_rows.append({"attack": kind, "texts": 0, **dict.fromkeys(ATTACK_NUMBERS), "note": _NO_WORDS})
                continue
            row, texts = under_attack(classifier, words[:attacked], labels[:attacked], certified, candidates, config)
            attack_rows.append({"attack": kind, "texts": attacked, **row, "note": ""})
            results[f"attacked_{kind}"] = texts + [None] * (len(words) - attacked), Value("string")
        tables = {"certified": curve} | ({"attacks": attack_rows} if attack_rows else {})
        rows = with_results(dataset, results)
        remedy = "raise epochs, lower rate, or use more rows"
        notes = at_chance("the smoothed classifier", accuracy, labels.tolist(), remedy)
        if not right.any():
            notes.append(
                "no right prediction is certified against a changed word; raise rate or masks, or use longer texts"
            )
        pictures: dict[str, Draw] = {"certified": partial(draw_curve, curves={str(config.beta): curve})}
        return Evaluation(metrics, rows, tables, pictures, notes)


def draw_curve(axes: Any, curves: dict[str, Sequence[Row]]) -> None:
    """Draw the certified accuracy over the number of changed words, one line per curve."""
    for name, curve in curves.items():
        axes.step(
            [row["words"] for row in curve],
            [100 * row["certified_accuracy"] for row in curve],
            where="post",
            label=name,
        )
    axes.set(xlabel="words changed", ylabel="certified accuracy, %", ylim=(0, 100))
    axes.legend()


def _declared(dataset: Dataset) -> list[str]:
    feature = dataset.features["label"]
    if not isinstance(feature, ClassLabel):
        raise DataError("column 'label': expected class ids; prepare the dataset first")
    return list(feature.names)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _require_words(dataset: Dataset) -> None:
    column = dataset.data.column("words")
    kind = column.type
    if not _is_list(kind) or not (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
        raise DataError(f"column 'words': expected lists of text; got {kind}")
    column = dataset.with_format("arrow")["words"][:]
    words = pc.list_flatten(column)
    missing = pc.or_kleene(pc.is_null(words), pc.equal(words, ""))
    if pc.any(missing).as_py():
        rows = np.unique(pc.list_parent_indices(column).filter(missing).to_numpy())
        raise DataError(f"column 'words': a word is null or empty in {named_rows(rows)}; remove such words")


ADAPTER = RanmaskAdapter()
