"""Label noise: wrong labels, with the true labels kept in another column."""

import numpy as np
import numpy.typing as npt
from datasets import ClassLabel, Dataset

from seampack.config import check_choice, check_number
from seampack.errors import DataError
from seampack.models.data import classes_of, require, set_aside, with_labels
from seampack.models.double_descent.config import DoubleDescentConfig, Noise

Ints = npt.NDArray[np.int64]


def flip_labels(labels: Ints, classes: int, share: float, kind: str, rng: np.random.Generator) -> Ints:
    """Draw ``int(share * rows)`` labels, chosen at random, anew and return all labels, shape (rows,).

    With uniform noise, some of the chosen rows keep their label. Raise ConfigError if ``share`` or ``kind`` is invalid.
    """
    check_number("noise", share, 0, 1)
    check_choice("noise_kind", kind, Noise)
    chosen = rng.permutation(labels.size)[: int(share * labels.size)]
    if kind == Noise.UNIFORM:
        wrong = rng.integers(classes, size=chosen.size)
    elif kind == Noise.SYMMETRIC:
        wrong = (labels[chosen] + rng.integers(1, classes, size=chosen.size)) % classes
    else:
        wrong = (labels[chosen] + 1) % classes
    result = labels.copy()
    result[chosen] = wrong
    return result


def inject_label_noise(
    dataset: Dataset, config: DoubleDescentConfig, rows: npt.NDArray[np.bool_] | None = None
) -> Dataset:
    """Add the columns ``label`` (noisy), ``label_clean`` (true) and ``is_flipped`` (whether they differ).

    Existing columns with these names are kept as ``NAME_given``.

    Args:
        dataset: Rows with labels in ``config.label_column``.
        config: ``noise``, ``noise_kind`` and ``seed`` set the noise.
        rows: Rows that may get noise, shape (len(dataset),); None for all.

    Raises:
        DataError: The column is missing, there are fewer than two classes, or the labels already have noise.
    """
    column = config.label_column
    require(dataset, [column])
    if "label_clean" in dataset.column_names:
        raise DataError("the dataset has a column 'label_clean', so it already has noise; start from clean labels")
    named = as_classes(dataset, column, classes_of(dataset, column))
    feature: ClassLabel = named.features["label"]
    clean = np.asarray(named["label"][:], np.int64)
    allowed = np.flatnonzero(np.ones(clean.size, np.bool_) if rows is None else rows)
    noisy = clean.copy()
    rng = np.random.default_rng(config.seed)
    noisy[allowed] = flip_labels(clean[allowed], len(feature.names), config.noise, config.noise_kind, rng)
    kept = set_aside(named, ["is_flipped"])
    others = [name for name in kept.column_names if name != "label"]
    kept = kept.rename_column("label", "label_clean").add_column("label", noisy, feature=feature)
    kept = kept.add_column("is_flipped", noisy != clean)
    return kept.select_columns([*others, "label", "label_clean", "is_flipped"])


def as_classes(dataset: Dataset, column: str, classes: list[str]) -> Dataset:
    """Apply ``with_labels``. Raise DataError if there are fewer than two classes, or rows without a label."""
    if len(classes) < 2:
        raise DataError(f"column {column!r}: expected at least two classes; got {', '.join(classes)}")
    return with_labels(dataset, column, classes)
