"""Features from inputs of every kind."""

import math
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from PIL import Image

from seampack.errors import DataError
from seampack.models.data import load
from seampack.models.double_descent.adapter import ADAPTER
from tests.models.double_descent.helpers import DATA


def test_inputs_of_every_kind_give_the_same_features() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 4)).astype(np.uint8)
    label = [0, 1] * 5
    part = ["train"] * 8 + ["test"] * 2
    images = Dataset.from_dict(
        {"image": [Image.fromarray(each) for each in pixels], "label": label, "part": part},
        datasets.Features(
            {"image": datasets.Image(), "label": datasets.Value("int64"), "part": datasets.Value("string")}
        ),
    )
    nested = Dataset.from_dict({"image": pixels.tolist(), "label": label, "part": part})
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), 12)
    flat = Dataset(pa.table({"image": fixed, "label": label, "part": part}))
    shaped = nested.cast_column("image", datasets.Array2D((3, 4), "uint8"))
    backwards = Dataset.from_dict({"image": pixels[::-1].tolist(), "label": label[::-1], "part": part}).select(
        range(10)
    )
    config = ADAPTER.config().replace(features_column="image", noise=0.0)
    wanted = pixels.reshape(10, 12) / np.float32(pixels[:8].max())
    for dataset in (images, nested, flat, shaped):
        found = ADAPTER.prepare(dataset, config)
        np.testing.assert_allclose(np.array(found["features"][:]), wanted, rtol=1e-6)
    chosen = ADAPTER.prepare(backwards.select([9, 2]).add_column("id", [0, 1]), config.replace(scaling="none"))
    np.testing.assert_array_equal(np.array(chosen["features"][:]), pixels[[0, 7]].reshape(2, 12))


def test_images_of_another_size_are_named() -> None:
    pixels = [np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.uint8), np.zeros((4, 3), np.uint8)]
    rows = {
        "features": [Image.fromarray(each) for each in pixels],
        "label": [0, 1, 0],
        "part": ["train"] * 2 + ["test"],
    }
    dataset = Dataset.from_dict(rows).cast_column("features", datasets.Image())
    with pytest.raises(DataError, match=r"one size, \(3, 4\) as in row 1; got other sizes in row 3; resize"):
        ADAPTER.prepare(dataset, ADAPTER.config())


def test_standard_scaling_learns_from_the_training_rows() -> None:
    rows = {"features": [[1.0, 5], [3, 5], [7, 5]], "label": [0, 1, 0], "part": ["train", "train", "test"]}
    found = ADAPTER.prepare(Dataset.from_dict(rows), ADAPTER.config().replace(scaling="standard"))
    assert found["features"][:] == [[-1, 0], [1, 0], [5, 0]]


def test_text_becomes_features() -> None:
    dataset = load(str(DATA / "reviews.csv")).select(range(120))
    config = ADAPTER.config().replace(features_column="text", noise_kind="symmetric", widths=(2, 4, 8), epochs=3)
    prepared = ADAPTER.prepare(dataset, config)
    assert prepared.features["features"].length == 128
    assert prepared["text"][:] == dataset["text"][:]
    assert ADAPTER.evaluate(prepared, ADAPTER.train(prepared, config), config).metrics["noisy_rows"] == 19


def test_given_noise_is_kept() -> None:
    rows = {
        "features": [[0.0], [1], [2], [3]],
        "kind": ["b", "b", "a", "a"],
        "label_clean": ["a", "b", "a", "b"],
        "part": ["train", "train", "test", "train"],
    }
    found = ADAPTER.prepare(Dataset.from_dict(rows), ADAPTER.config().replace(label_column="kind"))
    assert found["is_flipped"][:] == [True, False, False, True]
    rows["kind"][0] = "c"
    with pytest.raises(DataError, match="unknown label 'c'"):
        ADAPTER.prepare(Dataset.from_dict(rows), ADAPTER.config().replace(label_column="kind"))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"features": [[1.0, 2], [1]]}, "rows of one size, lists of 2 as in row 1; got other lists in row 2; correct"),
        ({"features": [[[1.0], [2.0]], [[1], [2, 3]]]}, "lists of 1 as in row 1; got other lists in row 2; correct"),
        ({"features": [[1.0, None], [1, 2]]}, "a value is null in row 1; correct"),
        ({"features": [[[1.0], [2.0]], [[1], [None]]]}, "a value is null in row 2; correct"),
        ({"features": [[[1.0], None], [[1], [2]]]}, "a value is null in row 1; correct"),
        ({"features": [[1.0, math.nan], [1, 2]]}, "NaN or infinity in row 1; correct"),
        ({"features": [[True], [False]]}, "expected numbers, images or text"),
        ({"label": [0.5, 1]}, "expected labels as text or whole numbers"),
        ({"part": ["train", "dev"]}, "expected rows of both train and test"),
        ({"part": ["train", "train"]}, "expected rows of both train and test"),
        ({"part": ["test", "test"]}, "expected rows of both train and test"),
        ({"part": ["train", None]}, "column 'part': 1 of 2 values are null"),
    ],
)
def test_data_that_cannot_be_used(columns: dict[str, list[Any]], message: str) -> None:
    rows = {"features": [[1.0, 2], [3, 4]], "label": [0, 1], "part": ["train", "test"]} | columns
    with pytest.raises(DataError, match=message):
        ADAPTER.prepare(Dataset.from_dict(rows), ADAPTER.config())
