"""An adapter that learns the most frequent label: all that the base does can be seen on it without training."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from seampack.config import Config, check_number, option
from seampack.models import data
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, Evaluation, with_results


@dataclass(frozen=True, slots=True, kw_only=True)
class MajorityConfig(Config):
    """Options of the majority."""

    text_column: str = option("text", "Column of the texts.")
    label_column: str = option("label", "Column of the labels.")
    share: float = option(1.0, "Share of the rows that vote.")

    def check_rules(self) -> None:
        check_number("share", self.share, 0, 1)


class Majority(Adapter[MajorityConfig]):
    """Says the label that most rows have."""

    name = "majority"
    config = MajorityConfig
    columns: Mapping[str, str] = {"text": "a text", "label": "its class"}

    def prepare(self, dataset: Dataset, config: MajorityConfig) -> Dataset:
        data.require(dataset, [config.text_column, config.label_column])
        classes = data.classes_of(dataset, config.label_column)
        return data.with_labels(dataset, config.label_column, classes)

    def train(self, dataset: Dataset, config: MajorityConfig) -> Artifact:
        votes = Counter(dataset["label"][: int(config.share * len(dataset))])
        facts: dict[str, Any] = {
            "classes": dataset.features["label"].names,
            "data": {"fingerprint": fingerprint(dataset), "rows": len(dataset)},
        }
        best = np.array([votes.most_common(1)[0][0]])
        return Artifact(self.name, config.to_dict(), {"best": best}, facts)

    def evaluate(self, dataset: Dataset, artifact: Artifact, config: MajorityConfig) -> Evaluation:
        dataset = data.with_labels(dataset, "label", artifact.facts["classes"])
        best = int(artifact.tensors["best"][0])
        correct = [label == best for label in dataset["label"]]
        accuracy = sum(correct) / len(correct)
        return Evaluation(
            {"accuracy": accuracy, "undefined": None, "even": accuracy == 0.5, "p": 1e-9},
            with_results(dataset, {"correct": correct}),
            {"accuracy": [{"class": artifact.facts["classes"][best], "accuracy": accuracy}]},
            {"accuracy": lambda axes: axes.bar(["accuracy"], [accuracy])},
        )


ADAPTER = Majority()
