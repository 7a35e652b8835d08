"""Double descent: label noise, the sweep over widths, neighbours in features, the peak."""

import itertools
import math
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.data import load
from seampack.models.double_descent import (
    DoubleDescentConfig,
    FeatureKNN,
    NoisySet,
    Perceptron,
    WidthSweep,
    find_double_descent,
    flip_labels,
    inject_label_noise,
    measure,
    summarise,
)
from seampack.models.double_descent.adapter import ADAPTER
from seampack.models.double_descent.inputs import with_vectors
from seampack.models.double_descent.neighbours import hidden_and_logits
from tests.models.contract import AdapterContract

DATA = Path(__file__).parent.parent / "data"
KINDS = ("uniform", "symmetric", "pairwise")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    """Small networks lose time on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def digits(train_rows: int) -> Dataset:
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    part = ["train"] * train_rows + ["test"] * (len(labels) - train_rows)
    columns = {"features": features[order].tolist(), "label": labels[order].tolist(), "part": part}
    return Dataset.from_dict(columns)


# Noise


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
def test_share_that_really_flips(kind: str, share: float) -> None:
    """Of 10 classes, uniform noise leaves 1 label in 10 as it was."""
    clean = np.repeat(np.arange(10), 4000)
    noisy = flip_labels(clean, 10, 0.5, kind, np.random.default_rng(0))
    assert (noisy != clean).mean() == pytest.approx(0.5 * share, abs=0.01)
    wrong = np.bincount(noisy[noisy != clean], minlength=10) / (noisy != clean).sum()
    assert wrong == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_injected_noise_keeps_the_truth_beside_it() -> None:
    dataset = Dataset.from_dict({"kind": ["b", "a", "c", "a"] * 5, "id": list(range(20))})
    noisy = inject_label_noise(dataset, 0.5, 3, kind="symmetric", column="kind")
    assert noisy.column_names == ["id", "label", "label_clean", "is_flipped"]
    assert noisy.features["label"].names == noisy.features["label_clean"].names == ["a", "b", "c"]
    assert [noisy.features["label"].int2str(i) for i in noisy["label_clean"]] == ["b", "a", "c", "a"] * 5
    assert noisy["is_flipped"][:] == [a != b for a, b in zip(noisy["label"], noisy["label_clean"], strict=True)]
    assert sum(noisy["is_flipped"]) == 10
    assert inject_label_noise(dataset, 0.5, 3, kind="symmetric", column="kind").to_dict() == noisy.to_dict()
    assert inject_label_noise(dataset, 0.5, 4, kind="symmetric", column="kind").to_dict() != noisy.to_dict()
    with pytest.raises(DataError, match="noise was injected already"):
        inject_label_noise(noisy, 0.5, 0)


def test_noise_only_where_it_is_allowed() -> None:
    dataset = Dataset.from_dict({"label": [0, 1] * 10, "id": list(range(20))})
    rows = np.arange(20) < 8
    flipped = np.array(inject_label_noise(dataset, 1.0, 0, kind="pairwise", rows=rows)["is_flipped"][:])
    assert (flipped == rows).all()


def test_labels_that_cannot_be_flipped() -> None:
    with pytest.raises(DataError, match="at least two classes"):
        inject_label_noise(Dataset.from_dict({"label": ["a", "a"], "id": [0, 1]}), 0.1, 0)
    unlabelled = Dataset.from_dict({"label": [0, -1]}, datasets.Features({"label": ClassLabel(names=["a", "b"])}))
    with pytest.raises(DataError, match="1 rows have no label"):
        inject_label_noise(unlabelled, 0.1, 0)
    with pytest.raises(ConfigError, match="noise_kind"):
        flip_labels(np.zeros(3, np.int64), 2, 0.1, "loud", np.random.default_rng(0))


# The peak


def brute_force(loss: list[float]) -> tuple[float, set[int]]:
    """The largest ratio of an inner loss to the greater of the least losses on its sides, and where it is."""
    ratios = {i: loss[i] / max(min(loss[:i]), min(loss[i + 1 :])) for i in range(1, len(loss) - 1)}
    return max(ratios.values()), {i for i, ratio in ratios.items() if ratio == max(ratios.values())}


@given(st.lists(st.floats(0.01, 9), min_size=3, max_size=9))
def test_peak_against_brute_force(loss: list[float]) -> None:
    rows = [{"width": 2 * i + 1, "test_loss": each, "test_accuracy": 1 - each / 10} for i, each in enumerate(loss)]
    found = find_double_descent(rows[::-1])
    ratio, where = brute_force(loss)
    assert found.ratio == pytest.approx(ratio)
    at = (found.peak_width - 1) // 2
    assert at in where
    assert found.peak_loss == loss[at]
    assert found.early_loss == min(loss[:at])
    assert found.late_loss == min(loss[at + 1 :])
    assert found.depth == pytest.approx(loss[at] - max(found.early_loss, found.late_loss))
    assert found.found == (found.ratio >= 1.1)
    deepest = max(
        min(max(-x for x in loss[:i]), max(-x for x in loss[i + 1 :])) + loss[i] for i in range(1, len(loss) - 1)
    )
    assert found.dip_depth == pytest.approx(deepest / 10)


def test_peak_in_the_curve_that_the_authors_published() -> None:
    """MNIST, 20 % noise: early best at width 5, peak at 18, dip at 14, the widest best of all."""
    curve = {5: (0.929, 0.716), 14: (1.45, 0.686), 18: (1.543, 0.69), 1000: (0.529, 0.848)}
    found = find_double_descent([{"width": w, "test_loss": a, "test_accuracy": b} for w, (a, b) in curve.items()])
    assert found.found
    assert (found.early_width, found.peak_width, found.late_width, found.dip_width) == (5, 18, 1000, 14)
    assert found.ratio == pytest.approx(1.543 / 0.929)
    assert found.dip_depth == pytest.approx(0.716 - 0.686)


@pytest.mark.parametrize(("deviation", "found"), [(None, True), (0.1, True), (0.2, False)])
def test_peak_must_stand_out_of_the_spread(deviation: float | None, found: bool) -> None:
    """0.5 above the late side, whose deviation counts and not that of the lower early side."""
    rows = [
        {"width": 1, "test_loss": 0.1, "test_loss_std": 9.0, "test_accuracy": 0.5},
        {"width": 2, "test_loss": 1.0, "test_loss_std": deviation, "test_accuracy": 0.5},
        {"width": 4, "test_loss": 0.5, "test_loss_std": deviation, "test_accuracy": 0.5},
    ]
    peak = find_double_descent(rows)
    assert peak.found is found
    assert peak.spread == (None if deviation is None else pytest.approx(deviation * math.sqrt(2)))


def test_peak_needs_three_widths_once() -> None:
    rows = [{"width": width, "test_loss": 1.0, "test_accuracy": 0.5} for width in (1, 2, 2)]
    for wrong in (rows[:2], rows):
        with pytest.raises(DataError, match="three widths"):
            find_double_descent(wrong)


def test_summary_has_means_and_spread() -> None:
    base = dict.fromkeys(("train_loss", "train_accuracy", "test_accuracy", "memorised"), 0.5)
    runs = [{"width": w, "params": 10 * w, "test_loss": w + s, "P": None, **base} for s in (0, 1, 5) for w in (2, 1)]
    rows = summarise(runs)
    assert [row["width"] for row in rows] == [1, 2]
    assert rows[0]["test_loss"] == 3
    assert rows[0]["test_loss_std"] == pytest.approx(math.sqrt(7))
    assert rows[0]["P"] is rows[0]["P_std"] is None
    assert summarise(runs[:2])[0]["test_loss_std"] is None


# Neighbours


def naive_votes(features: Any, labels: Any, queries: Any, k: int) -> list[int]:
    votes = []
    for query in queries:
        distance = [1 - np.dot(row, query) / np.linalg.norm(row) / np.linalg.norm(query) for row in features]
        near = [labels[i] for i in np.argsort(distance)[:k]]
        votes.append(int(np.bincount(near).argmax()))
    return votes


def test_neighbours_against_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    clean = rng.integers(0, 3, 60)
    labels = flip_labels(clean, 3, 0.3, "symmetric", rng)
    flipped = labels != clean
    votes = naive_votes(features[~flipped], clean[~flipped], features[flipped], 5)
    knn = FeatureKNN(5)
    assert knn.noisy(features, labels, clean).tolist() == votes
    assert knn.recovered(features, labels, clean) == pytest.approx(np.mean(votes == clean[flipped]))


def test_neighbours_without_noise_or_with_too_little_else() -> None:
    features, labels = np.ones((3, 2), np.float32), np.array([0, 1, 0])
    assert FeatureKNN().recovered(features, labels, labels) is None
    with pytest.raises(DataError, match="2 clean training rows; expected at least neighbours = 5"):
        FeatureKNN(5).recovered(features, labels, np.array([1, 1, 0]))


def test_features_are_what_goes_into_the_last_layer() -> None:
    model = Perceptron(6, 5, 3)
    x = torch.rand(7, 2, 3)
    hidden, logits = hidden_and_logits(model, x, batch_rows=2)
    assert torch.allclose(hidden, torch.relu(model.hidden(x.flatten(1))))
    assert torch.allclose(logits, model(x), atol=1e-6)
    with pytest.raises(ConfigError, match=r"Flatten: has no nn\.Linear"):
        hidden_and_logits(nn.Flatten(), x)


def test_measured_by_hand() -> None:
    """A network that says the wrong label of row 1, the right one of row 2, and is wrong about the first test row."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    x = torch.tensor([[2.0, 0], [1, 0], [1, 0], [0, 3], [1, 0], [0, 1]])
    data = NoisySet(
        features=x,
        labels=torch.tensor([0, 0, 1, 1, 1, 1]),
        clean=torch.tensor([0, 1, 0, 1, 1, 1]),
        train=torch.tensor([True] * 4 + [False] * 2),
    )
    found = measure(model, data, FeatureKNN(1))
    assert found["params"] == 4
    assert found["train_accuracy"] == 3 / 4
    assert found["test_accuracy"] == found["memorised"] == 1 / 2
    assert found["P"] == 1 / 2
    near, far = math.log(1 + math.exp(-1)), math.log(1 + math.e)
    assert found["test_loss"] == pytest.approx((near + far) / 2)
    train = (math.log(1 + math.exp(-2)) + near + far + math.log(1 + math.exp(-3))) / 4
    assert found["train_loss"] == pytest.approx(train)


@pytest.mark.parametrize("train", [[True, True], [False, False]])
def test_rows_of_both_parts_are_measured(train: list[bool]) -> None:
    data = NoisySet(
        features=torch.eye(2), labels=torch.tensor([0, 1]), clean=torch.tensor([0, 1]), train=torch.tensor(train)
    )
    with pytest.raises(DataError, match=f"both training and test; got {sum(train)} of 2 rows for training"):
        measure(nn.Linear(2, 2), data)


# The sweep


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(50, 6, generator=generator), torch.randint(0, 3, (50,), generator=generator)


def test_one_network_against_plain_steps() -> None:
    """The weights after two epochs, by the formulas of momentum and of the rate."""
    x, y = problem()
    sweep = WidthSweep(
        lambda width: Perceptron(6, width, 3), [4], epochs=2, batch_rows=20, learning_rate=0.3, decay_epochs=1
    )
    weights = [each.detach().clone().requires_grad_() for each in sweep._initial(4, 0).parameters()]
    velocity = [torch.zeros_like(each) for each in weights]
    order = torch.Generator().manual_seed(0)
    for rate in (0.3, 0.3 / math.sqrt(2)):
        for rows in torch.split(torch.randperm(50, generator=order), 20):
            logits = torch.relu(x[rows] @ weights[0].T + weights[1]) @ weights[2].T + weights[3]
            loss = -logits.log_softmax(1)[range(len(rows)), y[rows]].mean()
            for each, speed, slope in zip(weights, velocity, torch.autograd.grad(loss, weights), strict=True):
                speed.mul_(0.9).add_(slope)
                each.data.sub_(rate * speed)
    for trained, each in zip(sweep.fit(x, y)[0].model.parameters(), weights, strict=True):
        assert torch.allclose(trained, each, atol=1e-6)


def test_together_is_one_after_another() -> None:
    x, y = problem()
    found = [
        WidthSweep(
            lambda width: Perceptron(6, width, 3), [1, 3, 8], (0, 1), epochs=20, batch_rows=16, together=together
        ).fit(x, y)
        for together in (True, False)
    ]
    assert [(each.seed, each.width) for each in found[0]] == list(itertools.product((0, 1), (1, 3, 8)))
    for ours, theirs in zip(*found, strict=True):
        for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-4)


def test_any_network_can_be_swept() -> None:
    """A convolution on images, as a model function of one's own."""
    x, y = torch.rand(40, 1, 6, 6), torch.arange(40) % 2
    x[y == 1, :, :3] += 1
    sweep = WidthSweep(
        lambda width: nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * width, 2)),
        [1, 2, 4],
        epochs=30,
    )
    data = NoisySet(features=x, labels=y, clean=y, train=torch.arange(40) < 30)
    rows = [{"width": each.width, **measure(each.model, data)} for each in sweep.fit(x[:30], y[:30])]
    assert rows[-1]["test_accuracy"] == 1
    assert rows[-1]["params"] == 4 * 10 + 64 * 2 + 2


def test_divergence_is_said() -> None:
    x, y = problem()
    with pytest.raises(ConfigError, match="width 2, seed 0: training diverged"):
        WidthSweep(lambda width: Perceptron(6, width, 3), [2], epochs=20, learning_rate=100).fit(x * 1e38, y)


# The adapter


class TestDoubleDescent(AdapterContract):
    method = "double_descent"
    taken = ("label_clean", "part")
    options: ClassVar[dict[str, Any]] = {"widths": [2, 4, 8, 16], "seeds": [0, 1], "epochs": 5}

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        features, labels = load_digits(return_X_y=True)
        return Dataset.from_dict({"features": features[:300].tolist(), "label": labels[:300].tolist()})

    def test_columns_in_the_way_are_kept(self, adapter: Any, dataset: Dataset, prepared: Dataset, config: Any) -> None:
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

    def test_rows_say_where_noisy_rows_lie(self, evaluation: Evaluation) -> None:
        rows = evaluation.rows
        given = np.array(rows["is_flipped"][:])
        assert [vote is not None for vote in rows["neighbours"]] == given.tolist()
        assert set(rows["prediction"]) <= set(range(10))
        assert [row["test_loss_std"] is None for row in evaluation.tables["curve"]] == [False] * 4
        assert len(evaluation.tables["runs"]) == 8

    def test_evaluation_wants_the_rows_of_training(
        self, prepared: Dataset, artifact: Artifact, config: DoubleDescentConfig
    ) -> None:
        other = prepared.filter(lambda row: row["part"] == "test" or not row["is_flipped"])
        with pytest.raises(DataError, match="training rows are not those"):
            ADAPTER.evaluate(other, artifact, config)
        features = np.array(prepared["features"][:], np.float32)
        train = np.flatnonzero(np.array(prepared["part"][:]) == "train")
        features[train[0]], features[train[1]] = features[train[1]].copy(), features[train[0]].copy()
        with pytest.raises(DataError, match="training rows are not those"):
            ADAPTER.evaluate(with_vectors(prepared, "features", features), artifact, config)
        renamed = prepared
        for column in ("label", "label_clean"):
            renamed = renamed.cast_column(column, ClassLabel(names=list("abcdefghij")))
        with pytest.raises(DataError, match="classes differ"):
            ADAPTER.evaluate(renamed, artifact, config)

    def test_what_is_not_prepared_is_refused(
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


def test_noise_of_ones_own_is_kept() -> None:
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
        ({"features": [[1.0, 2], [1]]}, "expected rows of one size; got lists of 1 and 2"),
        ({"features": [[1.0, None], [1, 2]]}, "1 values inside the rows are null"),
        ({"features": [[1.0, math.nan], [1, 2]]}, "1 rows hold NaN or infinity"),
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
