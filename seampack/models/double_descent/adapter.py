"""The method as an adapter: features and noisy labels in, the curve by width out."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from datasets import ClassLabel, Dataset

from seampack.errors import DataError
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, Evaluation, with_results
from seampack.models.data import classes_of, require, set_aside
from seampack.models.double_descent.config import DoubleDescentConfig
from seampack.models.double_descent.curve import draw_curve, find_double_descent, summarise
from seampack.models.double_descent.inputs import NoisySet, vectors, with_vectors
from seampack.models.double_descent.neighbours import FeatureKNN, hidden_and_logits, measure
from seampack.models.double_descent.noise import as_classes, inject_label_noise
from seampack.models.double_descent.sweep import Perceptron, Trained, WidthSweep
from seampack.models.text import load_tensors, tensors_of

PREPARED = ("features", "label", "label_clean", "is_flipped", "part")


class DoubleDescentAdapter(Adapter[DoubleDescentConfig]):
    """Label noise, a sweep over widths, and what the widths make of the noise."""

    name = "double_descent"
    config = DoubleDescentConfig
    columns: ClassVar[Mapping[str, str]] = {
        "features": "vectors, images, nested lists of numbers, or text: each row of the same size, but for text",
        "label": "the class, as text, whole number or ClassLabel",
    }

    def prepare(self, dataset: Dataset, config: DoubleDescentConfig) -> Dataset:
        """Rows of features (float32), label, label_clean, is_flipped and part (train or test).

        Where the dataset has a column ``part``, it is kept; where it has ``label_clean``, no noise is added.
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
            dataset = _own_noise(dataset, config.label_column)
        else:
            dataset = inject_label_noise(
                dataset, config.noise, config.seed, kind=config.noise_kind, column=config.label_column, rows=train
            )
        if config.features_column != "features":
            dataset = set_aside(dataset, ["features"])
        dataset = with_vectors(dataset, "features", values)
        _check(dataset)
        return dataset

    def train(self, dataset: Dataset, config: DoubleDescentConfig) -> Artifact:
        """Train a network of each width and seed; the artifact keeps their weights."""
        _require_prepared(dataset)
        data = NoisySet.of(dataset, _device())
        inputs, classes = data.features.shape[1], list(dataset.features["label"].names)
        sweep = WidthSweep(
            lambda width: Perceptron(inputs, width, len(classes)),
            config.widths,
            config.seeds,
            epochs=config.epochs,
            batch_rows=config.batch_rows,
            learning_rate=config.learning_rate,
            momentum=config.momentum,
            decay_epochs=config.decay_epochs,
        )
        trained = sweep.fit(data.features[data.train], data.labels[data.train])
        return Artifact(
            self.name,
            json.loads(json.dumps(config.to_dict())),
            {
                f"{_name(each.width, each.seed)}/{name}": array
                for each in trained
                for name, array in tensors_of(each.model).items()
            },
            {
                "data": {"fingerprint": fingerprint(dataset), "rows": len(dataset)},
                "training_rows": _training_rows(dataset),
                "training_features": _trace(data)[0],
                "classes": classes,
                "inputs": inputs,
                "networks": [[each.width, each.seed] for each in trained],
            },
        )

    def evaluate(self, dataset: Dataset, artifact: Artifact, config: DoubleDescentConfig) -> Evaluation:
        """Losses, accuracies, memorised share and P by width; the peak. Rows get the widest network's ``prediction``.

        A noisy training row's ``neighbours`` is the class that its neighbours give it. Raises DataError where the
        training rows are not those of training.
        """
        _require_prepared(dataset)
        facts = artifact.facts
        if list(dataset.features["label"].names) != facts["classes"]:
            expected, got = ", ".join(facts["classes"]), ", ".join(dataset.features["label"].names)
            raise DataError(f"the classes differ from those of training: expected {expected}; got {got}")
        data = NoisySet.of(dataset, _device())
        if data.features.shape[1] != facts["inputs"]:
            raise DataError(f"features of size {data.features.shape[1]}; expected {facts['inputs']}, as in training")
        trace, size = _trace(data)
        if _training_rows(dataset) != facts["training_rows"] or abs(trace - facts["training_features"]) > 1e-3 * size:
            raise DataError(
                "the training rows are not those that the networks were trained on; memorised rows and P are about "
                "these; give the dataset of training, with the same seed, noise and scaling"
            )
        knn = FeatureKNN(config.neighbours, config.metric)
        networks = [_restored(artifact, width, seed) for width, seed in facts["networks"]]
        runs = [{"width": each.width, "seed": each.seed, **measure(each.model, data, knn)} for each in networks]
        curve = summarise(runs)
        found = find_double_descent(curve, config.peak_ratio)
        widest = curve[-1]
        flipped = data.labels != data.clean
        return Evaluation(
            metrics={
                "train_rows": int(data.train.sum()),
                "test_rows": int((~data.train).sum()),
                "noisy_rows": int((flipped & data.train).sum()),
                "widest": widest["width"],
                **{f"{name}_widest": widest[name] for name in ("test_loss", "test_accuracy", "memorised", "P")},
                **dataclasses.asdict(found),
            },
            rows=_judged(dataset, data, next(each for each in networks if each.width == widest["width"]), knn),
            tables={"curve": curve, "runs": runs},
            pictures={"curve": draw_curve(curve)},
        )


def _own_noise(dataset: Dataset, column: str) -> Dataset:
    """A dataset that came with both labels: the same classes in both, and where they differ."""
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
    """Raise DataError unless a dataset with the prepared columns can be trained on."""
    parts = set(dataset.unique("part"))
    if parts != {"train", "test"}:
        raise DataError(
            f"column 'part': expected rows of both train and test and no others; got {sorted(map(str, parts))}"
        )
    names = dataset.features["label"], dataset.features["label_clean"]
    if not all(isinstance(each, ClassLabel) for each in names) or names[0].names != names[1].names:
        raise DataError("columns 'label' and 'label_clean': expected ClassLabel of the same classes; drop 'is_flipped'")
    kind = dataset.features["features"]
    if getattr(kind, "length", -1) < 1 or getattr(kind.feature, "dtype", "") != "float32":
        raise DataError(f"column 'features': expected lists of float32 of fixed length; got {kind}; drop 'is_flipped'")


def _training_rows(dataset: Dataset) -> str:
    rows = np.flatnonzero(np.asarray(dataset["part"][:]) == "train")
    return fingerprint(dataset.select_columns(["label", "label_clean"]).select(rows))


def _trace(data: NoisySet) -> tuple[float, float]:
    """A random projection of the training features and its usual size: other features have another.

    An encoder's features differ by rounding from machine to machine, so they cannot be hashed.
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
    return Trained(width, seed, model.to(_device()))


def _judged(dataset: Dataset, data: NoisySet, widest: Trained, knn: FeatureKNN) -> Dataset:
    hidden, logits = hidden_and_logits(widest.model, data.features)
    labels, clean = data.labels[data.train].cpu().numpy(), data.clean[data.train].cpu().numpy()
    votes: list[Any] = [None] * len(dataset)
    noisy = torch.nonzero(data.train)[:, 0].cpu().numpy()[labels != clean]
    for row, vote in zip(noisy, knn.noisy(hidden[data.train].cpu().numpy(), labels, clean), strict=True):
        votes[row] = int(vote)
    feature = dataset.features["label"]
    said = logits.argmax(1).cpu().numpy()
    return with_results(dataset, {"prediction": (said, feature), "neighbours": (votes, feature)})


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


ADAPTER = DoubleDescentAdapter()
