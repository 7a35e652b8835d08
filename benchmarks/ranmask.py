"""RanMASK on real sentences: certified accuracy, the two betas, attacks; writes the tables of docs/ranmask.md.

    python -m benchmarks.ranmask --data DATA                  # all parts, about fifteen CPU minutes
    python -m benchmarks.ranmask --data DATA --only speed     # or: quality, write (tables from saved results)

DATA contains ``classification/sst2/{train,test}.txt`` and ``classification/agnews/{dev,test}.tsv``, with lines of text,
tab, label. AG News is trained on its dev file. Results are saved in ``benchmarks/results/ranmask.json``.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from matplotlib.figure import Figure

from benchmarks import measure
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.ranmask import (
    Certified,
    RandomMask,
    attack,
    certified_accuracy,
    certify,
    scorer,
    strong_words,
)
from seampack.models.ranmask.adapter import ADAPTER, draw_curve
from seampack.models.ranmask.classifier import Classifier, load
from seampack.models.ranmask.config import RanmaskConfig
from seampack.models.ranmask.masks import distinct, draw
from seampack.models.ranmask.robustness import broken_by

RESULTS = Path(__file__).parent / "results" / "ranmask.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "ranmask.md"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "ranmask-certified.svg"
PACKAGES = ("numpy", "scipy", "torch", "transformers", "datasets")
SETS = {"sst2": ("SST-2", "train.txt", "test.txt"), "agnews": ("AG News", "dev.tsv", "test.tsv")}
RATES = {"sst2": (0.0, 0.3, 0.7, 0.9), "agnews": (0.0, 0.7, 0.9)}
EPOCHS = {"sst2": 12, "agnews": 20}
"""Chosen at rates 0.7 and 0.9: on SST-2's dev file, and on 200 texts of AG News' dev file, not used in training."""
UNMASKED_EPOCHS = 4
"""At rate 0 every epoch shows the same texts; not tuned."""
TESTED, ATTACKED, SHOWN = 300, 40, 5

Row = dict[str, Any]


def read(path: Path, rows: int | None = None) -> Dataset:
    """Read texts and labels: ``rows`` random lines, the same in every run, or all lines."""
    lines = [line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines()]
    texts = [text.replace("Title: ", "").replace("\\nDescription: ", " ").replace("\\", " ") for text, _ in lines]
    dataset = Dataset.from_dict({"text": texts, "label": [int(label) for _, label in lines]})
    return dataset if rows is None else dataset.shuffle(seed=0).select(range(rows))


def certified_rows(data: Path) -> tuple[list[Row], list[Row]]:
    """Train and evaluate every set and rate. Return the rows of certificates and the rows of attacks."""
    certificates, attacks = [], []
    for name, rates in RATES.items():
        _, train_file, test_file = SETS[name]
        folder = data / "classification" / name
        for rate in rates:
            epochs = EPOCHS[name] if rate else UNMASKED_EPOCHS
            config = RanmaskConfig(rate=rate, epochs=epochs, attack_rows=0 if rate == 0.3 else ATTACKED)
            train = ADAPTER.prepare(read(folder / train_file), config)
            test = ADAPTER.prepare(read(folder / test_file, TESTED), config)
            trained: list[Artifact] = []
            spent = measure.cpu_seconds(_kept(lambda c=config, t=train: ADAPTER.train(t, c), trained))
            evaluated: list[Evaluation] = []
            _kept(lambda c=config, t=test, a=trained: ADAPTER.evaluate(t, a[0], c), evaluated)()
            evaluation = evaluated[0]
            classifier = load(trained[0], config)
            full = ADAPTER.prepare(read(folder / test_file), config)
            plain = classifier.predict_fn(full["words"][:]).argmax(1) == np.array(full["label"][:])
            columns = {field: np.array(evaluation.rows[field]) for field in Certified.__dataclass_fields__}
            labels = np.array(evaluation.rows["label"])
            row = {
                "set": name,
                "rate": rate,
                "train_texts": len(train),
                "train_cpu_seconds": spent,
                "test_texts": len(test),
                "full_test_texts": len(full),
                "unmasked_accuracy_full_test": float(plain.mean()),
                **evaluation.metrics,
                **curves(Certified(**columns), labels),
                "exact": int(columns["exact"].sum()),
            }
            if rate >= 0.7:
                row |= broken(classifier, test["words"][:], labels, Certified(**columns), config)
            certificates.append(row)
            attacks += [{"set": name, "rate": rate, **attacked} for attacked in evaluation.tables.get("attacks", [])]
            print(json.dumps(row), flush=True)
    return certificates, attacks


def curves(certified: Certified, labels: npt.NDArray[Any]) -> Row:
    """Compute the certified accuracy at 0, 1, 2 .. words for both betas."""
    accuracies = {}
    for beta in ("one", "paper"):
        radii = certified.radii(beta)
        other = Certified(**{**certified.columns(), "radius": radii})
        accuracies[beta] = [certified_accuracy(other, labels, r) for r in range(max(SHOWN, int(radii.max())) + 2)]
    return accuracies


def broken(
    classifier: Classifier,
    texts: list[list[str]],
    labels: npt.NDArray[Any],
    certified: Certified,
    config: RanmaskConfig,
) -> Row:
    """Count the certificates broken by the strongest words: with beta = 1, and the further ones of the paper's beta."""
    right = (certified.guess == labels) & ~certified.abstain
    one, paper = certified.radii("one"), certified.radii("paper")
    score = scorer(
        classifier.predict_fn, config.replace(attack_masks=200, ensemble="mean", seed=6), classifier.mask_token
    )
    candidates = strong_words(classifier.predict_fn, classifier.vocabulary)
    counts: Row = {}
    for kind, radii, chosen in (("one", one, right & (one > 0)), ("only_paper", paper, right & (paper > one))):
        places = np.flatnonzero(chosen)[:ATTACKED]
        fallen = 0
        for place in places:
            label, radius = int(labels[place]), int(radii[place])
            attacked = attack(texts[place], label, score, candidates, radius, beyond=radius)
            fallen += broken_by(classifier, attacked, label, radius, config) is not None
        counts |= {f"{kind}_attacked": len(places), f"{kind}_broken": int(fallen)}
    return counts


def speed_rows(data: Path) -> list[Row]:
    """Measure the CPU seconds of the parts of a certificate with 5,000 masks, by number of words."""
    rows = []
    for words, rate in ((10, 0.7), (20, 0.7), (20, 0.9), (40, 0.7), (40, 0.9), (128, 0.7)):
        mask = RandomMask(RanmaskConfig(rate=rate))
        kept = mask.kept(words)
        rng = np.random.default_rng(0)
        masks = draw(5000, words, kept, rng)
        text = [str(word) for word in range(words)]
        rows.append(
            {
                "words": words,
                "kept": kept,
                "draw": _median(lambda w=words, k=kept, g=rng: draw(5000, w, k, g)),
                "distinct": _median(lambda m=masks: distinct(m)),
                "copies": _median(lambda m=masks, r=mask, t=text: r.apply(t, m)),
            }
        )
    config = RanmaskConfig(epochs=1)
    train = ADAPTER.prepare(read(data / "classification" / "sst2" / "train.txt", 1000), config)
    test = ADAPTER.prepare(read(data / "classification" / "sst2" / "test.txt", 50), config)
    classifier = load(ADAPTER.train(train, config), config)
    inside: list[float] = []

    def timed(copies: list[list[str]]) -> Any:
        started = time.process_time()
        logits = classifier.predict_fn(copies)
        inside.append(time.process_time() - started)
        return logits

    whole = measure.cpu_seconds(lambda: certify(timed, test["words"][:], config, classifier.mask_token))
    rows.append({"texts": len(test), "whole": whole / len(test), "model": sum(inside) / len(test)})
    return rows


def _kept(function: Callable[[], Any], into: list[Any]) -> Callable[[], None]:
    return lambda: into.append(function())


def _median(function: Callable[[], Any]) -> float:
    return float(np.median([measure.cpu_seconds(function) for _ in range(9)]))


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def write_certified(rows: list[Row], note: str) -> None:
    cells = []
    for row in rows:
        for beta in ("one", "paper"):
            fallen = ""
            if row["rate"] >= 0.7:
                kind = "one" if beta == "one" else "only_paper"
                fallen = f"{row[f'{kind}_broken']} of {row[f'{kind}_attacked']}"
            cells.append(
                [
                    SETS[row["set"]][0],
                    f"{row['rate']:.1f}" if row["rate"] else "0 (no defence)",
                    percent(row["unmasked_accuracy_full_test"]),
                    percent(row["accuracy"]),
                    beta,
                    *[percent(row[beta][r]) for r in range(1, SHOWN + 1)],
                    fallen,
                ]
            )
    header = ["data", "rate", "unmasked accuracy", "smoothed accuracy", "beta"]
    header += [f"{r} word{'s' * (r > 1)}" for r in range(1, SHOWN + 1)] + ["broken"]
    first = rows[0]
    seconds = [row["train_cpu_seconds"] for row in rows]
    text = (
        f"{note}\n\nPer cent. Unmasked accuracy on all texts of the test sets "
        f"({', '.join(f'{SETS[name][0]} {_first(rows, name):,}' for name in SETS)}), the rest on "
        f"{first['test_texts']} of them; one seed. Training took {min(seconds):.0f} to {max(seconds):.0f} CPU-s.\n\n"
    )
    measure.write_between(DOCUMENT, "certified", text + measure.table(header, cells))
    picture(rows)


def _first(rows: list[Row], name: str) -> int:
    return int(next(row["full_test_texts"] for row in rows if row["set"] == name))


def picture(rows: list[Row]) -> None:
    """Draw the certified accuracy by number of words, one panel per dataset."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), SETS, strict=True):
        lines = {}
        for row in rows:
            if row["set"] == name and row["rate"] >= 0.7:
                for beta, label in (("one", "1"), ("paper", "the paper's")):
                    points = [{"words": r, "certified_accuracy": value} for r, value in enumerate(row[beta])]
                    lines[f"rate {row['rate']}, beta {label}"] = points
        draw_curve(axes, lines)
        for sound, heuristic in zip(axes.lines[::2], axes.lines[1::2], strict=True):
            heuristic.set(color=sound.get_color(), linestyle="--")
        axes.legend()
        axes.set_title(SETS[name][0])
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})
    PICTURE.write_text("".join(line.rstrip() + "\n" for line in PICTURE.read_text("utf-8").splitlines()), "utf-8")


def write_attacks(rows: list[Row], note: str) -> None:
    header = ["data", "rate", "attack", "clean accuracy", "robust accuracy", "success", "certificates", "broken"]
    cells = [
        [
            SETS[row["set"]][0],
            f"{row['rate']:.1f}" if row["rate"] else "0 (no defence)",
            row["attack"],
            percent(row["clean_accuracy"]),
            percent(row["robust_accuracy"]),
            percent(row["success"]),
            str(row["certificates"]),
            str(row["broken"]),
        ]
        for row in rows
    ]
    about = f"{rows[0]['texts']} texts each; an attack may change 20 % of the words. Accuracies in per cent."
    measure.write_between(DOCUMENT, "attacks", f"{note}\n\n{about}\n\n{measure.table(header, cells)}")


def write_speed(rows: list[Row], note: str) -> None:
    *parts, whole = rows
    header = ["words", "kept", "draw 5,000 masks, ms", "find the different ones, ms", "write the copies, ms"]
    cells = [
        [str(row["words"]), str(row["kept"]), *[f"{1000 * row[part]:.1f}" for part in ("draw", "distinct", "copies")]]
        for row in parts
    ]
    about = (
        f"A certificate of 1,000 + 5,000 masks of the trained bag of words takes {1000 * whole['whole']:.0f} CPU-ms a "
        f"text (SST-2, {whole['texts']} texts), of which {1000 * whole['model']:.0f} are spent in `predict_fn`."
    )
    measure.write_between(DOCUMENT, "speed", f"{note}\n\n{measure.table(header, cells)}\n\n{about}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=["quality", "speed", "write"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    machine = measure.machine(PACKAGES)
    if options.only in (None, "quality"):
        certificates, attacks = certified_rows(options.data)
        kept |= {"certified": {"machine": machine, "rows": certificates}}
        kept |= {"attacks": {"machine": machine, "rows": attacks}}
    if options.only in (None, "speed"):
        kept |= {"speed": {"machine": machine, "rows": speed_rows(options.data)}}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    for name, write in (("certified", write_certified), ("attacks", write_attacks), ("speed", write_speed)):
        if name in kept:
            note = f"Made by `python -m benchmarks.ranmask` on {kept[name]['machine']}."
            write(kept[name]["rows"], note)


if __name__ == "__main__":
    main()
