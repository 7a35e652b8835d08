"""Label noise."""

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.models.double_descent import (
    DoubleDescentConfig,
    flip_labels,
    inject_label_noise,
)
from tests.models.double_descent.helpers import KINDS


@given(
    labels=st.lists(st.integers(0, 4), max_size=60),
    share=st.floats(0, 1),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
)
def test_noise_chooses_the_share_and_keeps_to_its_kind(labels: list[int], share: float, kind: str, seed: int) -> None:
    clean = np.array(labels, np.int64)
    noisy = flip_labels(clean, 5, share, kind, np.random.default_rng(seed))
    changed = noisy != clean
    assert clean.tolist() == labels
    assert set(noisy.tolist()) <= set(range(5))
    chosen = int(share * len(labels))
    assert changed.sum() <= chosen if kind == "uniform" else changed.sum() == chosen
    if kind == "pairwise":
        assert (noisy[changed] == (clean[changed] + 1) % 5).all()


@pytest.mark.parametrize(("kind", "share"), [("uniform", 0.9), ("symmetric", 1.0), ("pairwise", 1.0)])
def test_share_of_labels_that_change(kind: str, share: float) -> None:
    """With 10 classes, uniform noise does not change 1 label in 10."""
    clean = np.repeat(np.arange(10), 4000)
    noisy = flip_labels(clean, 10, 0.5, kind, np.random.default_rng(0))
    assert (noisy != clean).mean() == pytest.approx(0.5 * share, abs=0.01)
    wrong = np.bincount(noisy[noisy != clean], minlength=10) / (noisy != clean).sum()
    assert wrong == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_injected_noise_keeps_the_true_labels() -> None:
    dataset = Dataset.from_dict({"kind": ["b", "a", "c", "a"] * 5, "id": list(range(20))})
    config = DoubleDescentConfig(noise=0.5, seed=3, noise_kind="symmetric", label_column="kind")
    noisy = inject_label_noise(dataset, config)
    assert noisy.column_names == ["kind", "id", "label", "label_clean", "is_flipped"]
    assert noisy.features["label"].names == noisy.features["label_clean"].names == ["a", "b", "c"]
    assert [noisy.features["label"].int2str(i) for i in noisy["label_clean"]] == ["b", "a", "c", "a"] * 5
    assert noisy["is_flipped"][:] == [a != b for a, b in zip(noisy["label"], noisy["label_clean"], strict=True)]
    assert sum(noisy["is_flipped"]) == 10
    assert inject_label_noise(dataset, config).to_dict() == noisy.to_dict()
    assert inject_label_noise(dataset, config.replace(seed=4)).to_dict() != noisy.to_dict()
    with pytest.raises(DataError, match="so it already has noise"):
        inject_label_noise(noisy, DoubleDescentConfig())


def test_noise_only_where_it_is_allowed() -> None:
    dataset = Dataset.from_dict({"label": [0, 1] * 10, "id": list(range(20))})
    rows = np.arange(20) < 8
    config = DoubleDescentConfig(noise=1.0, noise_kind="pairwise")
    flipped = np.array(inject_label_noise(dataset, config, rows)["is_flipped"][:])
    assert (flipped == rows).all()


def test_labels_that_cannot_be_flipped() -> None:
    with pytest.raises(DataError, match="at least two classes"):
        inject_label_noise(Dataset.from_dict({"label": ["a", "a"], "id": [0, 1]}), DoubleDescentConfig())
    unlabelled = Dataset.from_dict({"label": [0, -1]}, datasets.Features({"label": ClassLabel(names=["a", "b"])}))
    with pytest.raises(DataError, match=r"labels are missing \(-1\), in row"):
        inject_label_noise(unlabelled, DoubleDescentConfig())
    with pytest.raises(ConfigError, match="noise_kind"):
        flip_labels(np.zeros(3, np.int64), 2, 0.1, "loud", np.random.default_rng(0))
