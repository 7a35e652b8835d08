"""The adapter: the contract, the second descent on digits, options."""

from typing import Any, ClassVar

import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from sklearn.datasets import load_digits

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.double_descent import (
    DoubleDescentConfig,
)
from seampack.models.double_descent.adapter import ADAPTER
from seampack.models.double_descent.inputs import with_vectors
from tests.models.contract import AdapterContract
from tests.models.double_descent.helpers import digits

pytestmark = pytest.mark.xdist_group("double_descent_adapter")


class TestDoubleDescent(AdapterContract):
    method = "double_descent"
    taken = ("label_clean", "part")
    options: ClassVar[dict[str, Any]] = {"widths": [2, 4, 8, 16], "seeds": [0, 1], "epochs": 5}

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        features, labels = load_digits(return_X_y=True)
        return Dataset.from_dict({"features": features[:300].tolist(), "label": labels[:300].tolist()})

    def test_columns_with_reserved_names_are_kept(
        self, adapter: Any, dataset: Dataset, prepared: Dataset, config: Any
    ) -> None:
        own = dataset.rename_columns({"features": "pixels", "label": "digit"})
        own = own.add_column("features", ["edges"] * 300).add_column("label", ["scan"] * 300)
        found = adapter.prepare(own, config.replace(features_column="pixels", label_column="digit"))
        assert set(found["features_given"]) == {"edges"}
        assert set(found["label_given"]) == {"scan"}
        for name in prepared.column_names:
            assert found[name][:] == prepared[name][:]

    def test_prepared_columns(self, prepared: Dataset, evaluation: Evaluation) -> None:
        assert prepared.column_names == ["part", "label", "label_clean", "is_flipped", "features"]
        assert prepared.features["features"].length == 64
        assert prepared["part"][:].count("test") == 60
        flipped = np.array(prepared["is_flipped"][:])
        train = np.array(prepared["part"][:]) == "train"
        assert not flipped[~train].any()
        assert 30 <= flipped.sum() <= 48
        assert evaluation.metrics["noisy_rows"] == flipped.sum()

    def test_rows_have_the_votes_of_neighbours(self, evaluation: Evaluation) -> None:
        rows = evaluation.rows
        given = np.array(rows["is_flipped"][:])
        assert [vote is not None for vote in rows["neighbours"]] == given.tolist()
        assert set(rows["prediction"]) <= set(range(10))
        assert [row["test_loss_std"] is None for row in evaluation.tables["curve"]] == [False] * 4
        assert len(evaluation.tables["runs"]) == 8

    def test_evaluation_requires_the_rows_of_training(
        self, prepared: Dataset, artifact: Artifact, config: DoubleDescentConfig
    ) -> None:
        other = prepared.filter(lambda row: row["part"] == "test" or not row["is_flipped"])
        with pytest.raises(DataError, match="training rows are not the rows"):
            ADAPTER.evaluate(other, artifact, config)
        features = np.array(prepared["features"][:], np.float32)
        train = np.flatnonzero(np.array(prepared["part"][:]) == "train")
        features[train[0]], features[train[1]] = features[train[1]].copy(), features[train[0]].copy()
        with pytest.raises(DataError, match="training rows are not the rows"):
            ADAPTER.evaluate(with_vectors(prepared, "features", features), artifact, config)
        renamed = prepared
        for column in ("label", "label_clean"):
            renamed = renamed.cast_column(column, ClassLabel(names=list("abcdefghij")))
        with pytest.raises(DataError, match="classes differ"):
            ADAPTER.evaluate(renamed, artifact, config)

    def test_unprepared_data_is_rejected(
        self, dataset: Dataset, prepared: Dataset, artifact: Artifact, config: DoubleDescentConfig
    ) -> None:
        for wrong in (dataset, prepared.remove_columns("part")):
            with pytest.raises(DataError, match="prepare the dataset first"):
                ADAPTER.train(wrong, config)
            with pytest.raises(DataError, match="prepare the dataset first"):
                ADAPTER.evaluate(wrong, artifact, config)
        with pytest.raises(DataError, match="expected lists of float32"):
            ADAPTER.train(with_vectors(prepared, "features", np.zeros((300, 2))), config)


SWEEP = {"widths": (5, 10, 20, 40, 120), "seeds": (0,), "epochs": 150, "scaling": "standard"}


@pytest.mark.parametrize("noise", [0.2, 0.0])
def test_digits_have_a_second_descent_with_noise_alone(noise: float) -> None:
    config = ADAPTER.config().replace(noise=noise, **SWEEP)
    prepared = ADAPTER.prepare(digits(1000), config)
    metrics = ADAPTER.evaluate(prepared, ADAPTER.train(prepared, config), config).metrics
    if noise:
        assert metrics["ratio"] >= 1.15
        assert metrics["P_widest"] >= 0.9
        assert metrics["memorised_widest"] >= 0.95
    else:
        assert not metrics["found"]
        assert metrics["P_widest"] is metrics["memorised_widest"] is None


def test_a_curve_of_guesses_is_noted() -> None:
    """Labels that have nothing to do with the features, too few epochs and no noise."""
    rng = np.random.default_rng(0)
    columns = {"features": rng.random((120, 4)).tolist(), "label": rng.integers(0, 2, 120).tolist()}
    config = ADAPTER.config().replace(widths=[1, 2, 3], seeds=[0], epochs=1, noise=0.0)
    prepared = ADAPTER.prepare(Dataset.from_dict(columns), config)
    guesses, unfitted, noiseless = ADAPTER.evaluate(prepared, ADAPTER.train(prepared, config), config).notes
    assert guesses.startswith("the best network is right on")
    assert unfitted.startswith("no network fits its training rows")
    assert noiseless.startswith("no training row has a wrong label")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("widths", (5, 10)),
        ("widths", (5, 20, 10)),
        ("widths", (0, 1, 2)),
        ("widths", "5"),
        ("seeds", ()),
        ("seeds", (1, 1)),
        ("noise", 1.5),
        ("noise_kind", "loud"),
        ("test_share", 0),
        ("scaling", "log"),
        ("features_column", ""),
        ("epochs", 0),
        ("learning_rate", 0),
        ("neighbours", 0),
        ("metric", "hamming"),
        ("peak_ratio", 0.5),
    ],
)
def test_options_are_checked(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=option):
        DoubleDescentConfig(**{option: value})
