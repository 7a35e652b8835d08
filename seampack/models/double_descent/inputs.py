"""Features of fixed length from vectors, images, nested lists or text, and the tensors for training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset, Image, concatenate_datasets
from torch import Tensor

from seampack.errors import DataError
from seampack.models.data import named_rows
from seampack.models.double_descent.config import DoubleDescentConfig, Scaling
from seampack.models.options import SMALL
from seampack.models.text import TextClassifier, encoder_and_tokenizer, predict
from seampack.models.training import device

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisySet:
    """A dataset with label noise. The features have any shape (rows, ...) that the model accepts."""

    features: Tensor
    """float32, shape (rows, ...)"""
    labels: Tensor
    """int64, shape (rows,): the labels for training"""
    clean: Tensor
    """int64, shape (rows,): the true labels"""
    train: Tensor
    """bool, shape (rows,): True for training rows, False for held-out rows"""

    @classmethod
    def of(cls, dataset: Dataset) -> "NoisySet":
        """Copy a prepared dataset to tensors on the device of all models."""
        place = device()
        return cls(
            features=torch.tensor(numbers(dataset, "features"), device=place),
            labels=torch.tensor(dataset["label"][:], device=place),
            clean=torch.tensor(dataset["label_clean"][:], device=place),
            train=torch.tensor(np.asarray(dataset["part"][:]) == "train", device=place),
        )


def vectors(dataset: Dataset, train: Bools, config: DoubleDescentConfig) -> Floats:
    """Return the rows' scaled features, shape (rows, inputs).

    ``train``, shape (rows,), marks the rows from which the scaling and a small encoder are computed. Raise DataError
    for rows of different sizes, values that are not finite numbers, or an encoder that cannot be loaded.
    """
    column = config.features_column
    kind = dataset.data.column(column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        features = _encoded(dataset[column][:], train, config)
    elif isinstance(dataset.features[column], Image):
        features = _pixels(dataset, column)
    else:
        features = numbers(dataset, column)
    infinite = np.flatnonzero(~np.isfinite(features).all(1))
    if infinite.size:
        raise DataError(f"column {column!r}: NaN or infinity in {named_rows(infinite)}; correct or drop those rows")
    return _scaled(features, train, config.scaling)


def with_vectors(dataset: Dataset, column: str, values: Floats) -> Dataset:
    """Add ``values``, shape (rows, inputs), to a dataset as lists of fixed length in ``column``."""
    kept = dataset.remove_columns(column) if column in dataset.column_names else dataset
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    added = Dataset(pa.table({column: flat}))
    return concatenate_datasets([kept, added], axis=1) if kept.column_names else added


def numbers(dataset: Dataset, column: str) -> Floats:
    """Flatten a column of numbers or nested lists of numbers, row by row, to shape (rows, inputs)."""
    table = dataset.data.table if dataset._indices is None else dataset.with_format("arrow")[:]
    array: Any = table.column(column).combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    while True:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        per_row = max(1, len(array) // len(dataset))
        if array.null_count:
            rows = np.unique(np.flatnonzero(array.is_null()) // per_row)
            raise DataError(f"column {column!r}: a value is null in {named_rows(rows)}; correct or drop those rows")
        if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or _fixed(array.type)):
            break
        sizes = pc.list_value_length(array).to_numpy()
        others = np.unique(np.flatnonzero(sizes != sizes[:1]) // per_row)
        if others.size:
            raise DataError(
                f"column {column!r}: expected rows of one size, lists of {sizes[0]} as in row 1; got other lists in "
                f"{named_rows(others)}; correct or drop those rows"
            )
        array = array.flatten()
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)) or not len(array):
        raise DataError(f"column {column!r}: expected numbers, images or text; got {table.column(column).type}")
    values: Floats = array.to_numpy(zero_copy_only=False).astype(np.float32)
    return values.reshape(len(dataset), -1)


def _fixed(kind: pa.DataType) -> bool:
    fixed: bool = pa.types.is_fixed_size_list(kind)
    return fixed


def _pixels(dataset: Dataset, column: str) -> Floats:
    images = [np.asarray(image, np.float32) for image in dataset[column]]
    others = [row for row, image in enumerate(images) if image.shape != images[0].shape]
    if others:
        raise DataError(
            f"column {column!r}: expected images of one size, {images[0].shape} as in row 1; got other sizes in "
            f"{named_rows(others)}; resize or drop those rows"
        )
    return np.stack(images).reshape(len(images), -1)


def _encoded(texts: list[str], train: Bools, config: DoubleDescentConfig) -> Floats:
    train_texts = [text for text, is_train in zip(texts, train, strict=True) if is_train]
    layers = 0 if config.encoder == SMALL else None
    encoder, tokenizer = encoder_and_tokenizer(config.encoder, train_texts, layers=layers, seed=config.seed)
    return predict(TextClassifier(encoder, classes=2), tokenizer, texts, max_tokens=config.max_tokens, features=True)


def _scaled(values: Floats, train: Bools, scaling: str) -> Floats:
    scale: dict[str, Callable[[Floats], Floats]] = {
        Scaling.LARGEST: lambda rows: values / (np.abs(rows).max() or 1),
        Scaling.STANDARD: lambda rows: (values - rows.mean(0)) / np.where(rows.std(0) > 0, rows.std(0), 1),
        Scaling.NONE: lambda _: values,
    }
    return scale[scaling](values[train]).astype(np.float32)
