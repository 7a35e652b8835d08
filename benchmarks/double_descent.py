"""Double descent on MNIST, scikit-learn's digits and film reviews; writes the tables and pictures of its document.

    python -m benchmarks.double_descent --data DATA                      # all parts
    python -m benchmarks.double_descent --data DATA --only mnist-20      # one part
    python -m benchmarks.double_descent --tables                         # only write the document, from saved results

DATA contains ``images/*.gz`` (MNIST in IDX files) and ``classification/sentence_polarity.zip``. Results are saved in
``benchmarks/results/double_descent.json``.
"""

import argparse
import dataclasses
import gzip
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from sklearn.datasets import load_digits

from benchmarks import measure
from benchmarks.pretrained import minilm
from seampack.models.base import save_picture
from seampack.models.double_descent import Perceptron, WidthSweep, draw_curve, find_double_descent
from seampack.models.double_descent.adapter import ADAPTER

RESULTS = Path(__file__).parent / "results" / "double_descent.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "double_descent.md"
PICTURES = DOCUMENT.parent / "pictures"
PACKAGES = ("seampack", "torch", "numpy", "scikit-learn", "transformers", "datasets")
COMMAND = "python -m benchmarks.double_descent"

AUTHORS = {5: (0.929, 0.716), 14: (None, 0.686), 18: (1.543, None), 1000: (0.529, 0.848)}
"""Test loss and accuracy that the paper's authors published for MNIST at 20 % noise, by width."""


def idx(path: Path) -> Any:
    """Read an IDX file of bytes, shape (items, values)."""
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape[0], -1)


def vectors(features: Any, labels: Any, train_rows: int) -> Dataset:
    """Make a dataset whose first rows are marked for training."""
    part = ["train"] * train_rows + ["test"] * (len(labels) - train_rows)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    return Dataset(pa.table({"features": lists, "label": pa.array(labels), "part": part}))


def mnist(data: Path) -> Dataset:
    """Return the first 4,000 images for training, as in the paper, and all 10,000 of the test set."""
    folder = data / "images"
    features = [idx(folder / f"{name}-images-idx3-ubyte.gz") for name in ("train", "t10k")]
    labels = [idx(folder / f"{name}-labels-idx1-ubyte.gz").ravel() for name in ("train", "t10k")]
    together = np.concatenate([features[0][:4000], features[1]])
    return vectors(together, np.concatenate([labels[0][:4000], labels[1]]).astype(np.int64), 4000)


def digits(_: Path) -> Dataset:
    """Return 1,000 random images of 8 x 8 for training, and the other 797."""
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return vectors(features[order].astype(np.float32), labels[order].astype(np.int64), 1000)


def reviews(data: Path) -> Dataset:
    """Return 2,000 random sentences of film reviews (Pang and Lee) for training and 2,000 others."""
    rows = []
    with zipfile.ZipFile(data / "classification" / "sentence_polarity.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.endswith((".pos", ".neg")):
                label = "positive" if name.endswith(".pos") else "negative"
                rows += [(line, label) for line in archive.read(name).decode("latin-1").splitlines()]
    chosen = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:4000]]
    columns = {"text": [text for text, _ in chosen], "label": [label for _, label in chosen]}
    return Dataset.from_dict(columns | {"part": ["train"] * 2000 + ["test"] * 2000})


MNIST = {"epochs": 200}
DIGITS = {"epochs": 500, "widths": (5, 7, 10, 14, 20, 25, 30, 35, 40, 60, 80, 120, 200, 400)}
REVIEWS = {
    "features_column": "text",
    "noise_kind": "symmetric",
    "scaling": "standard",
    "widths": (1, 2, 3, 5, 7, 10, 14, 20, 30, 40, 60, 120, 200),
}
EXPERIMENTS: dict[str, tuple[str, Callable[[Path], Dataset], dict[str, Any]]] = {
    "mnist-20": ("MNIST, 20 % uniform noise", mnist, {"noise": 0.2, **MNIST}),
    "mnist-0": ("MNIST, no noise", mnist, {"noise": 0.0, "seeds": (0,), **MNIST}),
    "digits-20": ("digits, 20 % uniform, scaling largest", digits, {"noise": 0.2, **DIGITS}),
    "digits-20-standard": (
        "digits, 20 % uniform, scaling standard",
        digits,
        {"noise": 0.2, "scaling": "standard", **DIGITS},
    ),
    "digits-0-standard": (
        "digits, no noise, scaling standard",
        digits,
        {"noise": 0.0, "scaling": "standard", **DIGITS},
    ),
    "reviews-20": ("reviews by MiniLM, 20 % symmetric", reviews, {"noise": 0.2, **REVIEWS}),
    "reviews-0": ("reviews by MiniLM, no noise", reviews, {"noise": 0.0, **REVIEWS}),
}
KEPT = ("train_rows", "test_rows", "noisy_rows", "widest", "test_accuracy_widest", "memorised_widest", "P_widest")
"""Metrics outside the curve."""
PICTURED = ("mnist-20", "mnist-0", "digits-20-standard", "reviews-20")


def experiment(name: str, data: Path) -> dict[str, Any]:
    """Run one sweep: load the data, train, and measure the curve."""
    title, load, changes = EXPERIMENTS[name]
    config = ADAPTER.config().replace(**changes)
    if load is reviews:
        config = config.replace(encoder=minilm())
    prepared = ADAPTER.prepare(load(data), config)
    started = time.process_time()
    artifact = ADAPTER.train(prepared, config)
    trained = time.process_time()
    evaluation = ADAPTER.evaluate(prepared, artifact, config)
    return {
        "title": title,
        "machine": measure.machine(PACKAGES),
        "seeds": len(config.seeds),
        "train_cpu_seconds": trained - started,
        "evaluate_cpu_seconds": time.process_time() - trained,
        "metrics": {name: evaluation.metrics[name] for name in KEPT},
        "curve": evaluation.tables["curve"],
    }


def speed(data: Path) -> dict[str, Any]:
    """Measure the CPU seconds of an epoch in alternating runs: all widths together, and one after another."""
    rows = []
    for name in ("mnist-20", "digits-20"):
        title, load, changes = EXPERIMENTS[name]
        config = ADAPTER.config().replace(**changes)
        dataset = load(data)
        train = int(np.sum(np.asarray(dataset["part"][:]) == "train"))
        features = torch.tensor(np.asarray(dataset.with_format("numpy")["features"][:train], np.float32) / 255)
        labels = torch.tensor(dataset["label"][:train])
        for widths in (config.widths, tuple(width for width in config.widths if width <= 120)):
            seconds = []
            epochs = 2 if name.startswith("mnist") else 10
            for together in (True, False):
                sweep = WidthSweep(
                    lambda width, inputs=features.shape[1]: Perceptron(inputs, width, 10),  # type: ignore[misc]
                    config.replace(widths=widths, seeds=(0,), epochs=epochs),
                    together=together,
                )
                seconds.append(lambda sweep=sweep, x=features, y=labels: sweep.fit(x, y))
            ours, theirs, ratio = measure.paired(*seconds, runs=5)
            rows.append(
                {
                    "data": title.split(",")[0],
                    "widths": f"{len(widths)}, {widths[0]} to {widths[-1]}",
                    "together": ours / epochs,
                    "alone": theirs / epochs,
                    "ratio": ratio,
                }
            )
    return {"machine": measure.machine(PACKAGES), "rows": rows}


def number(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"


def made(machine: str) -> str:
    return f"Made by `{COMMAND}` on {machine}.\n\n"


def summary(results: dict[str, Any]) -> str:
    """Make the table with one line per experiment."""
    header = [
        *("data", "seeds", "noisy rows", "early optimum (width)", "peak loss (width)", "least loss after (width)"),
        *("peak by both sides", "accuracy in the dip (width)", "accuracy, widest", "P, widest", "memorised, widest"),
        "training, CPU-s",
    ]
    rows = []
    for name in EXPERIMENTS:
        if name in results:
            result = results[name]
            m = result["metrics"] | dataclasses.asdict(
                find_double_descent(result["curve"], ADAPTER.config().peak_ratio)
            )
            rows.append(
                [
                    *(result["title"], str(result["seeds"]), f"{m['noisy_rows']:,}"),
                    *(f"{m[f'{place}_loss']:.3f} ({m[f'{place}_width']})" for place in ("early", "peak", "late")),
                    f"{m['ratio']:.2f} {'peak' if m['found'] else 'no clear peak'}",
                    f"{m['dip_accuracy']:.3f} ({m['dip_width']})" if m["dip_depth"] > 0 else "no dip",
                    number(m["test_accuracy_widest"]),
                    number(m["P_widest"]),
                    number(m["memorised_widest"]),
                    f"{result['train_cpu_seconds']:,.0f}",
                ]
            )
    return measure.table(header, rows)


def curve(result: dict[str, Any]) -> str:
    """Make the table of a sweep by width, with the published numbers of the authors."""
    header = ["width", "training loss", "test loss", "test accuracy", "memorised", "P", "the authors' loss / accuracy"]
    columns = ("train_loss", "test_loss", "test_accuracy", "memorised", "P")
    rows = []
    for row in result["curve"]:
        theirs = AUTHORS.get(row["width"])
        cell = " / ".join(number(value) or "-" for value in theirs) if theirs else ""
        rows.append([str(row["width"]), *(number(row[name], row[f"{name}_std"]) for name in columns), cell])
    widest = " / ".join(number(value) or "-" for value in AUTHORS[1000])
    return measure.table(header, [*rows, ["1000", "", "", "", "", "", widest]])


def write(results: dict[str, Any]) -> None:
    """Write the document's tables and pictures."""
    PICTURES.mkdir(exist_ok=True)
    shown = []
    for name in PICTURED:
        if name in results:
            with tempfile.TemporaryDirectory() as folder, mpl.rc_context({"svg.fonttype": "none"}):
                save_picture(Path(folder) / name, draw_curve(results[name]["curve"]))
                shutil.copy(Path(folder) / f"{name}.svg", PICTURES / f"double_descent-{name}.svg")
            shown.append(f"![{results[name]['title']}](pictures/double_descent-{name}.svg)\n*{results[name]['title']}*")
    swept = [results[name] for name in EXPERIMENTS if name in results]
    if swept:
        measure.write_between(DOCUMENT, "sweeps", made(swept[0]["machine"]) + summary(results))
        measure.write_between(DOCUMENT, "pictures", "\n\n".join(shown))
    if "mnist-20" in results:
        result = results["mnist-20"]
        measure.write_between(DOCUMENT, "mnist", made(result["machine"]) + curve(result))
    if "speed" in results:
        header = ["data", "widths", "all at once, CPU-s an epoch", "one after another", "share of the time"]
        rows = [
            [row["data"], row["widths"], number(row["together"]), number(row["alone"]), f"{row['ratio']:.2f}"]
            for row in results["speed"]["rows"]
        ]
        measure.write_between(DOCUMENT, "speed", made(results["speed"]["machine"]) + measure.table(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with images/ and classification/")
    parser.add_argument("--only", choices=[*EXPERIMENTS, "speed"], action="append", help="parts to run, all by default")
    parser.add_argument("--tables", action="store_true", help="only write the document, from saved results")
    options = parser.parse_args()
    if options.data is None and not options.tables:
        parser.error("--data is needed")
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for name in [] if options.tables else options.only or [*EXPERIMENTS, "speed"]:
        results[name] = speed(options.data) if name == "speed" else experiment(name, options.data)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        print(f"{name}: {results[name].get('metrics', results[name])}", flush=True)
    write(results)


if __name__ == "__main__":
    main()
