"""The adapter: injects label noise, trains networks of increasing width, and measures the curve by width."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from datasets import ClassLabel, Dataset

from seampack.errors import DataError
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, Evaluation, Fitted, Row, with_results
from seampack.models.data import classes_of, require, set_aside
from seampack.models.double_descent.config import DoubleDescentConfig
from seampack.models.double_descent.curve import draw_curve, find_double_descent, summarise
from seampack.models.double_descent.inputs import NoisySet, vectors, with_vectors
from seampack.models.double_descent.neighbours import FeatureKNN, hidden_and_logits, measure
from seampack.models.double_descent.noise import as_classes, inject_label_noise
from seampack.models.double_descent.sweep import Perceptron, Trained, WidthSweep
from seampack.models.notes import at_chance
from seampack.models.progress import progress
from seampack.models.text import load_tensors, tensors_of
from seampack.models.training import place

_FITTED = 0.99
"""Share of the training rows that a network which fits them predicts."""
PREPARED = ("features", "label", "label_clean", "is_flipped", "part")


class DoubleDescentAdapter(Adapter[DoubleDescentConfig]):
    """Label noise, a sweep over widths, and the effect of the width on the noisy rows."""

    name: ClassVar[str] = "double_descent"
    config = DoubleDescentConfig

    def prepare(self, dataset: Dataset, config: DoubleDescentConfig) -> Dataset:
        """Return rows of features (float32), label, label_clean, is_flipped and part (train or test).

        A column ``part`` of the dataset is kept. If the dataset has a column ``label_clean``, no noise is added.
        """
        if set(PREPARED) <= set(dataset.column_names):
            require(dataset, PREPARED)
            _check(dataset)
            return dataset
        require(dataset, [config.features_column, config.label_column])
        if "part" in dataset.column_names:
            require(dataset, ["part"])
        else:
            part = np.full(len(dataset), "train", object)
            held_out = max(1, round(config.test_share * len(dataset)))
            part[np.random.default_rng(config.seed).permutation(len(dataset))[:held_out]] = "test"
            dataset = dataset.add_column("part", part.tolist())
        train = np.asarray(dataset["part"][:]) == "train"
        values = vectors(dataset, train, config) if train.any() else np.zeros((len(dataset), 1), np.float32)
        if "label_clean" in dataset.column_names:
            dataset = _given_noise(dataset, config.label_column)
        else:
            dataset = inject_label_noise(dataset, config, train)
        if config.features_column != "features":
            dataset = set_aside(dataset, ["features"])
        dataset = with_vectors(dataset, "features", values)
        _check(dataset)
        return dataset

    def fit(self, dataset: Dataset, config: DoubleDescentConfig) -> Fitted:
        """Train one network for each width and seed; the artifact holds their weights."""
        _require_prepared(dataset)
        data = NoisySet.of(dataset)
        inputs, classes = data.features.shape[1], list(dataset.features["label"].names)
        sweep = WidthSweep(lambda width: Perceptron(inputs, width, len(classes)), config)
        networks = sweep.fit(data.features[data.train], data.labels[data.train])
        return Fitted(
            {
                f"{_name(network.width, network.seed)}/{name}": array
                for network in networks
                for name, array in tensors_of(network.model).items()
            },
            {
                "training_rows": _training_rows(dataset),
                "training_features": _trace(data)[0],
                "classes": classes,
                "inputs": inputs,
                "networks": [[network.width, network.seed] for network in networks],
            },
        )

    def measure(self, dataset: Dataset, artifact: Artifact, config: DoubleDescentConfig) -> Evaluation:
        """Measure losses, accuracies, memorised share and P by width, and find the peak.

        Rows get the widest network's ``prediction``; for a noisy training row, ``neighbours`` is the class that its
        neighbours vote for. Raises DataError if the rows marked train are not the rows of training.
        """
        _require_prepared(dataset)
        facts = artifact.facts
        if list(dataset.features["label"].names) != facts["classes"]:
            expected, got = ", ".join(facts["classes"]), ", ".join(dataset.features["label"].names)
            raise DataError(f"the classes differ from those of training: expected {expected}; got {got}")
        data = NoisySet.of(dataset)
        if data.features.shape[1] != facts["inputs"]:
            raise DataError(f"features of size {data.features.shape[1]}; expected {facts['inputs']}, as in training")
        trace, size = _trace(data)
        if _training_rows(dataset) != facts["training_rows"] or abs(trace - facts["training_features"]) > 1e-3 * size:
            raise DataError(
                "the training rows are not the rows that the networks were trained on, so memorised and P cannot be "
                "measured; use the same dataset, seed, noise and scaling as in training"
            )
        networks = [_restored(artifact, width, seed) for width, seed in facts["networks"]]
        runs = []
        with progress("evaluation", len(networks), "network") as advance:
            for network in networks:
                runs.append({"width": network.width, "seed": network.seed, **measure(network.model, data, config)})
                advance(1)
        curve = summarise(runs)
        peak = find_double_descent(curve, config.peak_ratio)
        widest = curve[-1]
        flipped = data.labels != data.clean
        return Evaluation(
            metrics={
                "train_rows": int(data.train.sum()),
                "test_rows": int((~data.train).sum()),
                "noisy_rows": int((flipped & data.train).sum()),
                "widest": widest["width"],
                **{f"{name}_widest": widest[name] for name in ("test_loss", "test_accuracy", "memorised", "P")},
                **dataclasses.asdict(peak),
            },
            rows=_with_predictions(dataset, data, next(n for n in networks if n.width == widest["width"]), config),
            tables={"curve": curve, "runs": runs},
            pictures={"curve": draw_curve(curve)},
            notes=_notes(data, curve, int((flipped & data.train).sum())),
        )


def _notes(data: NoisySet, curve: Sequence[Row], noisy: int) -> list[str]:
    """Return the notes: networks guess, none fits its training rows, there is no noise."""
    best, fitted = (max(row[name] for row in curve) for name in ("test_accuracy", "train_accuracy"))
    labels = data.clean[~data.train].tolist()
    notes = at_chance("the best network", best, labels, "raise epochs or widths, or use other features or more rows")
    if fitted < _FITTED:
        notes.append(
            f"no network fits its training rows (at most {fitted:.1%}), so the curve ends before the width at which a "
            "second descent can begin; raise epochs or widths"
        )
    if not noisy:
        notes.append("no training row has a wrong label, so memorised and P are undefined; set noise above 0")
    return notes


def _given_noise(dataset: Dataset, column: str) -> Dataset:
    """Give both columns of labels the same classes, and add ``is_flipped``: whether the labels differ."""
    require(dataset, ["label_clean"])
    classes = classes_of(dataset, "label_clean")
    clean = as_classes(dataset, "label_clean", classes)
    dataset = as_classes(dataset.remove_columns("label_clean"), column, classes)
    ids: npt.NDArray[np.int64] = np.asarray(clean["label"][:])
    dataset = set_aside(dataset, ["is_flipped"])
    dataset = dataset.add_column("label_clean", ids, feature=clean.features["label"])
    return dataset.add_column("is_flipped", np.asarray(dataset["label"][:]) != ids)


def _require_prepared(dataset: Dataset) -> None:
    require(dataset, PREPARED, "prepare the dataset first: ADAPTER.prepare(dataset, config)")
    _check(dataset)


def _check(dataset: Dataset) -> None:
    """Raise DataError unless the prepared columns have the right types and values."""
    parts = set(dataset.unique("part"))
    if parts != {"train", "test"}:
        raise DataError(
            f"column 'part': expected rows of both train and test and no others; got {sorted(map(str, parts))}"
        )
    names = dataset.features["label"], dataset.features["label_clean"]
    if not all(isinstance(feature, ClassLabel) for feature in names) or names[0].names != names[1].names:
        raise DataError("columns 'label' and 'label_clean': expected ClassLabel of the same classes; drop 'is_flipped'")
    kind = dataset.features["features"]
    if getattr(kind, "length", -1) < 1 or getattr(kind.feature, "dtype", "") != "float32":
        raise DataError(f"column 'features': expected lists of float32 of fixed length; got {kind}; drop 'is_flipped'")


def _training_rows(dataset: Dataset) -> str:
    rows = np.flatnonzero(np.asarray(dataset["part"][:]) == "train")
    return fingerprint(dataset.select_columns(["label", "label_clean"]).select(rows))


def _trace(data: NoisySet) -> tuple[float, float]:
    """Return a random projection of the training features, which identifies them, and its expected size.

    A hash would not work: the features of an encoder differ by rounding between machines.
    """
    generator = np.random.default_rng(0)
    features = data.features[data.train].cpu().numpy().astype(np.float64)
    lengths = features @ generator.standard_normal(features.shape[1])
    return float(generator.standard_normal(len(lengths)) @ lengths), float(np.linalg.norm(lengths))


def _name(width: int, seed: int) -> str:
    return f"width-{width}/seed-{seed}"


def _restored(artifact: Artifact, width: int, seed: int) -> Trained:
    model = Perceptron(artifact.facts["inputs"], width, len(artifact.facts["classes"]))
    prefix = _name(width, seed) + "/"
    tensors = {name.removeprefix(prefix): a for name, a in artifact.tensors.items() if name.startswith(prefix)}
    load_tensors(model, tensors)
    return Trained(width, seed, place(model))


def _with_predictions(dataset: Dataset, data: NoisySet, widest: Trained, config: DoubleDescentConfig) -> Dataset:
    """Add the widest network's predictions, and its neighbours' votes for the noisy training rows."""
    hidden, logits = hidden_and_logits(widest.model, data.features)
    labels, clean = data.labels[data.train].cpu().numpy(), data.clean[data.train].cpu().numpy()
    votes: list[Any] = [None] * len(dataset)
    noisy = torch.nonzero(data.train)[:, 0].cpu().numpy()[labels != clean]
    classes = FeatureKNN(config).noisy(hidden[data.train].cpu().numpy(), labels, clean)
    for row, vote in zip(noisy, classes, strict=True):
        votes[row] = int(vote)
    feature = dataset.features["label"]
    predicted = logits.argmax(1).cpu().numpy()
    return with_results(dataset, {"prediction": (predicted, feature), "neighbours": (votes, feature)})


ADAPTER = DoubleDescentAdapter()
