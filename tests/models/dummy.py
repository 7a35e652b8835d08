"""An adapter that learns the most frequent label, to test the base and the commands without slow training."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from datasets import Dataset

from seampack.config import option
from seampack.models import data
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Evaluation, Fitted, with_results
from seampack.models.options import MethodConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MajorityConfig(MethodConfig):
    """Options of the majority."""

    columns: ClassVar[Mapping[str, str]] = {"text": "a text", "label": "its class"}
    fixed: ClassVar[tuple[str, ...]] = ("share",)
    per_run: ClassVar[tuple[str, ...]] = ("digits",)

    text_column: str = option("text", "Column of the texts.")
    label_column: str = option("label", "Column of the labels.")
    share: float = option(1.0, "Share of the rows that vote.", low=0, high=1)
    digits: int = option(6, "Digits of the accuracy.", low=0, high=15)


class Majority(Adapter[MajorityConfig]):
    """Predicts the most frequent label."""

    name = "majority"
    config = MajorityConfig

    def prepare(self, dataset: Dataset, config: MajorityConfig) -> Dataset:
        data.require(dataset, [config.text_column, config.label_column])
        classes = data.classes_of(dataset, config.label_column)
        return data.with_labels(dataset, config.label_column, classes)

    def fit(self, dataset: Dataset, config: MajorityConfig) -> Fitted:
        votes = Counter(dataset["label"][: int(config.share * len(dataset))])
        facts = {"classes": dataset.features["label"].names, "data": {"votes": votes.total()}}
        notes = [] if len(votes) > 1 else ["one label alone; use more rows"]
        return Fitted({"best": np.array([votes.most_common(1)[0][0]])}, facts, notes=notes)

    def measure(self, dataset: Dataset, artifact: Artifact, config: MajorityConfig) -> Evaluation:
        dataset = data.with_labels(dataset, "label", artifact.facts["classes"])
        best = int(artifact.tensors["best"][0])
        correct = [label == best for label in dataset["label"]]
        accuracy = round(sum(correct) / len(correct), config.digits)
        return Evaluation(
            {"accuracy": accuracy, "undefined": None, "even": accuracy == 0.5, "p": 1e-9},
            with_results(dataset, {"correct": correct}),
            {"accuracy": [{"class": artifact.facts["classes"][best], "accuracy": accuracy}]},
            {"accuracy": lambda axes: axes.bar(["accuracy"], [accuracy])},
            [f"every label is given as {artifact.facts['classes'][best]}; use another method"],
        )


ADAPTER = Majority()
