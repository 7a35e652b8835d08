"""Measure knowledge selection on EmpatheticDialogues, for emotions and for responses; write the tables of its page.

    python -m benchmarks.empathy --data DATA                    # all parts
    python -m benchmarks.empathy --data DATA --only emotions    # one part
    python -m benchmarks.empathy --tables                       # only rewrite the page, from the saved results

DATA contains ``dialogue/empathetic_train.json.gz`` and ``dialogue/empathetic_test_cicero.json.gz``, which are CC BY-NC
4.0 and not part of this repository. Results are saved in ``benchmarks/results/empathy.json``.
"""

import argparse
import json
import random
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn

from benchmarks import measure
from seampack.models.base import save_picture
from seampack.models.data import with_labels
from seampack.models.empathy import (
    EmotionReader,
    EmpathyConfig,
    KnowledgeSelector,
    distinct,
    read_empathetic_dialogues,
)
from seampack.models.empathy.adapter import ADAPTER
from seampack.models.text import word_tokenizer

RESULTS = Path(__file__).parent / "results" / "empathy.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "empathy.md"
PICTURES = DOCUMENT.parent / "pictures"
PACKAGES = ("seampack", "torch", "transformers", "datasets", "sacrebleu", "rouge-score")
COMMAND = "python -m benchmarks.empathy"

SLOTS = 5
RELATIONS = tuple(f"slot{number}" for number in range(SLOTS))
SEEDS = (0, 1)
MODES = ("none", "uniform", "minimax", "label", "soft", "oracle")
UNGATED = ("uniform", "soft")
WORDS = 64


def slotted(dialogues: Dataset, rows: int, seed: int) -> Dataset:
    """Sample first turns with five pieces of knowledge each: one about the dialogue, four about other dialogues.

    A piece is the situation as a speaker described it, without the words that begin with the emotion's name. The slot
    of the right piece is random; the column ``right`` holds its index.
    """
    rng = random.Random(seed)
    first_turns = [number for number, context in enumerate(dialogues["context"][:]) if len(context) == 1]
    sample = dialogues.select(sorted(rng.sample(first_turns, rows))).to_list()
    rng.shuffle(sample)
    situations = [re.sub(rf"\b{row['emotion']}\w*", "", row["situation"], flags=re.IGNORECASE) for row in sample]
    slotted_rows = []
    for row, situation in zip(sample, situations, strict=True):
        pieces = []
        while len(pieces) < SLOTS - 1:
            other = rng.randrange(rows)
            if sample[other]["situation"] != row["situation"]:
                pieces.append(situations[other])
        right = rng.randrange(SLOTS)
        pieces.insert(right, situation)
        knowledge = {name: [piece] for name, piece in zip(RELATIONS, pieces, strict=True)}
        kept = {name: row[name] for name in ("context", "emotion", "target")}
        slotted_rows.append({**kept, "knowledge": knowledge, "right": right})
    return Dataset.from_list(slotted_rows)


class Oracle:
    """Selector that knows the right piece."""

    def __init__(self) -> None:
        self.right = torch.empty(0, dtype=torch.long)

    def __call__(self, logits: Tensor, *_: Any) -> Tensor:
        """Return weight 1 for the right piece."""
        return nn.functional.one_hot(self.right, logits.shape[1]).to(logits.dtype)


class Ungated(EmotionReader):
    """Emotion reader without a gate: it uses the mean of context and knowledge."""

    def take_in(self, context: Tensor, chosen: Tensor) -> Tensor:
        """Return the mean."""
        return (context + chosen) / 2


class Bag(nn.Module):
    """Mean embeddings of words under an ``EmotionReader``."""

    def __init__(self, words: int, emotions: int, selector: Any, reader: type[EmotionReader]) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(words, 128, mode="mean", padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.1)
        self.reader = reader(128, emotions, selector, dropout=0.3)

    def forward(self, context: Tensor, pieces: Tensor, label: Tensor | None = None) -> Any:
        """Return the reading of word ids, shapes (rows, words) and (rows, slots, words)."""
        vectors = self.words(pieces.flatten(0, 1)).unflatten(0, pieces.shape[:2])
        return self.reader(self.words(context), vectors, torch.ones(pieces.shape[:2], dtype=torch.bool), label)


def tensors(tokenizer: Any, dataset: Dataset) -> tuple[Tensor, ...]:
    """Return word ids of contexts (rows, words) and pieces (rows, slots, words), labels and right slots (rows,)."""

    def ids(texts: Sequence[str]) -> Tensor:
        options = {"padding": "max_length", "truncation": True, "max_length": WORDS, "return_tensors": "pt"}
        encoded: Tensor = tokenizer(list(texts), add_special_tokens=False, **options)["input_ids"]
        return encoded

    pieces = [row[name][0] for row in dataset["knowledge"][:] for name in RELATIONS]
    contexts = ids([context[-1] for context in dataset["context"][:]])
    labels, right = torch.tensor(dataset["label"][:]), torch.tensor(dataset["right"][:])
    return contexts, ids(pieces).view(-1, SLOTS, WORDS), labels, right


def read_emotions(
    mode: str, seed: int, train: Dataset, test: Dataset, reader: type[EmotionReader] = EmotionReader
) -> dict[str, Any]:
    """Train a bag of words with one selection of knowledge, and measure its accuracy."""
    knowledge = [text for row in train["knowledge"][:] for pieces in row.values() for text in pieces]
    tokenizer = word_tokenizer(knowledge + [context[-1] for context in train["context"][:]])
    torch.manual_seed(seed)
    selector: Any = (
        Oracle() if mode == "oracle" else None if mode == "none" else KnowledgeSelector(EmpathyConfig(selection=mode))
    )
    emotions = len(train.features["label"].names)
    model = Bag(len(tokenizer), emotions, selector, reader)
    contexts, pieces, labels, right = tensors(tokenizer, train)
    epochs, batch, rate = 12, 128, 3e-3
    steps = epochs * (len(labels) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
    started = time.process_time()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels))[: steps // epochs * batch].view(-1, batch):
            if isinstance(selector, Oracle):
                selector.right = right[rows]
            loss = model(contexts[rows], pieces[rows], labels[rows]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    spent = time.process_time() - started
    model.eval()
    contexts, pieces, labels, right = tensors(tokenizer, test)
    if isinstance(selector, Oracle):
        selector.right = right
    with torch.inference_mode():
        reading = model(contexts, pieces)
    return {
        "mode": mode if reader is EmotionReader else f"{mode}, no gate",
        "seed": seed,
        "accuracy": float((reading.logits.argmax(1) == labels).float().mean()),
        "picked": float((reading.weights.argmax(1) == right).float().mean()),
        "right_weight": float(reading.weights.gather(1, right[:, None]).mean()),
        "train_cpu_seconds": spent,
    }


def dialogues(data: Path) -> tuple[Dataset, Dataset]:
    folder = data / "dialogue"
    names = "empathetic_train.json.gz", "empathetic_test_cicero.json.gz"
    train, test = (read_empathetic_dialogues(folder / name) for name in names)
    return train, test


def emotions(data: Path) -> dict[str, Any]:
    """Measure every selection, with 12,000 dialogues for training and 2,000 for the test."""
    return read_all(data, [(mode, EmotionReader) for mode in MODES])


def ungated(data: Path) -> dict[str, Any]:
    """Measure selections of knowledge without the gate."""
    return read_all(data, [(mode, Ungated) for mode in UNGATED])


def read_all(data: Path, readers: Sequence[tuple[str, type[EmotionReader]]]) -> dict[str, Any]:
    train, test = dialogues(data)
    classes = sorted(train.unique("emotion"))
    rows = []
    for seed in SEEDS:
        drawn = slotted(train, 12_000, seed), slotted(test, 2_000, seed)
        parts = [with_labels(part, "emotion", classes) for part in drawn]
        for mode, reader in readers:
            rows.append(read_emotions(mode, seed, *parts, reader))
            print(rows[-1], flush=True)
    return {"machine": measure.machine(PACKAGES), "rows": rows}


GENERATOR: dict[str, Any] = {
    "layers": 1,
    "vocabulary": 6_000,
    "epochs": 4.0,
    "batch_rows": 32,
    "learning_rate": 2e-3,
    "max_context_tokens": 48,
    "max_knowledge_tokens": 24,
    "max_target_tokens": 32,
    "responses": 200,
}


def generator(data: Path) -> dict[str, Any]:
    """Train and measure the small encoder-decoder without knowledge, with uniform and with selected knowledge."""
    train, test = dialogues(data)
    rows = []
    for seed in SEEDS:
        parts = slotted(train, 6_000, seed), slotted(test, 1_000, seed)
        sums: dict[str, Any] = {}
        for mode in ("none", "uniform", "soft"):
            config = ADAPTER.config().replace(selection=mode, seed=seed, **GENERATOR)
            prepared = [ADAPTER.prepare(part, config) for part in parts]
            started = time.process_time()
            artifact = ADAPTER.train(prepared[0], config)
            trained = time.process_time()
            evaluation = ADAPTER.evaluate(prepared[1], artifact, config)
            scored = evaluation.rows
            row = {"mode": mode, "seed": seed, **evaluation.metrics, "train_cpu_seconds": trained - started}
            sums[mode] = np.array(scored["nll"][:]), np.array(scored["tokens"][:])
            if mode != "none":
                weights = np.array([list(weights.values()) for weights in scored["relation_weights"][:]])
                row["picked"] = float((weights.argmax(1) == np.array(scored["right"][:])).mean())
                row |= against(*sums["none"], *sums[mode], seed)
            row["true_dist_1"], row["true_dist_2"] = (distinct(scored["target"][:200], n) for n in (1, 2))
            rows.append(row)
            print(row, flush=True)
    return {"machine": measure.machine(PACKAGES), "options": GENERATOR, "rows": rows}


def against(nll: Any, tokens: Any, other: Any, other_tokens: Any, seed: int) -> dict[str, float]:
    """Return the change of the log-perplexity, with its 95 % interval from 2,000 bootstraps of the dialogues."""
    difference = other - nll
    draws = np.random.default_rng(seed).integers(0, len(nll), (2_000, len(nll)))
    changes = difference[draws].sum(1) / tokens[draws].sum(1)
    low, high = np.quantile(changes, [0.025, 0.975])
    return {"change": float(difference.sum() / tokens.sum()), "change_low": float(low), "change_high": float(high)}


def made(part: dict[str, Any]) -> str:
    return f"Made by `{COMMAND}` on {part['machine']}.\n\n"


def both(rows: Sequence[dict[str, Any]], name: str, digits: int = 1, factor: float = 1) -> str:
    return " / ".join(f"{factor * row[name]:.{digits}f}" for row in rows if row.get(name) is not None)


def by_mode(part: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    modes = dict.fromkeys(row["mode"] for row in part["rows"])
    return {mode: [row for row in part["rows"] if row["mode"] == mode] for mode in modes}


def emotion_table(part: dict[str, Any]) -> str:
    header = ["selection", "emotion accuracy, %", "picks the right piece, %", "its weight, %", "training, CPU-s"]
    return measure.table(
        header,
        [
            [
                mode,
                both(rows, "accuracy", factor=100),
                *([both(rows, name, factor=100) for name in ("picked", "right_weight")] if picks(mode) else ["", ""]),
                both(rows, "train_cpu_seconds", 0),
            ]
            for mode, rows in by_mode(part).items()
        ],
    )


def picks(mode: str) -> bool:
    return mode.partition(",")[0] not in ("none", "uniform")


def generator_table(part: dict[str, Any]) -> str:
    header = [
        *("selection", "perplexity", "mean of the sentences'", "log-perplexity against none (95 %)"),
        *("emotion accuracy, %", "picks the right piece, %", "Dist-1", "Dist-2", "BLEU-1", "BLEU-2", "BLEU-4"),
        *("ROUGE-L", "training, CPU-s"),
    ]
    lines = []
    for mode, rows in by_mode(part).items():
        changes = [
            f"{r['change']:+.4f} ({r['change_low']:+.4f} to {r['change_high']:+.4f})" for r in rows if "change" in r
        ]
        lines.append(
            [
                *(mode, both(rows, "perplexity", 2), both(rows, "perplexity_sentence_mean", 1), " / ".join(changes)),
                both(rows, "emotion_accuracy", factor=100),
                both(rows, "picked", factor=100) if picks(mode) else "",
                *(both(rows, name) for name in ("dist_1", "dist_2")),
                *(both(rows, name, 2) for name in ("bleu_1", "bleu_2", "bleu_4", "rouge_l")),
                both(rows, "train_cpu_seconds", 0),
            ]
        )
    truth = by_mode(part)["none"]
    lines.append(["the true responses", *[""] * 5, both(truth, "true_dist_1"), both(truth, "true_dist_2"), *[""] * 5])
    return measure.table(header, lines)


def draw(part: dict[str, Any]) -> Any:
    def axes_of(axes: Any) -> None:
        for number, (mode, rows) in enumerate(by_mode(part).items()):
            values = [100 * row["accuracy"] for row in rows]
            axes.bar(number, np.mean(values), color="C1" if mode in ("none", "oracle") else "C0")
            axes.plot([number] * len(values), values, "k.")
            if picks(mode):
                picked = 100 * np.mean([row["picked"] for row in rows])
                axes.text(number, 1, f"picks\n{picked:.0f} %", ha="center", color="w")
        axes.set_xticks(range(len(by_mode(part))), list(by_mode(part)))
        axes.set_ylabel("emotion accuracy of 32, %")

    return axes_of


def write(results: dict[str, Any]) -> None:
    """Write the page's tables and picture."""
    PICTURES.mkdir(exist_ok=True)
    if "emotions" in results:
        part = results["emotions"]
        if "ungated" in results:
            part = {**part, "rows": part["rows"] + results["ungated"]["rows"]}
        with tempfile.TemporaryDirectory() as folder:
            save_picture(Path(folder) / "emotions", draw(part))
            shutil.copy(Path(folder) / "emotions.svg", PICTURES / "empathy-emotions.svg")
        picture = "\n\n![Emotion accuracy by the way to choose](pictures/empathy-emotions.svg)"
        measure.write_between(DOCUMENT, "emotions", made(part) + emotion_table(part) + picture)
    if "generator" in results:
        part = results["generator"]
        measure.write_between(DOCUMENT, "generator", made(part) + generator_table(part))


PARTS = {"emotions": emotions, "ungated": ungated, "generator": generator}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that contains dialogue/")
    parser.add_argument("--only", choices=[*PARTS], action="append", help="part to run; repeatable; all by default")
    parser.add_argument("--tables", action="store_true", help="only rewrite the page, from the saved results")
    options = parser.parse_args()
    if options.data is None and not options.tables:
        parser.error("--data is required unless --tables is given")
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for name in [] if options.tables else options.only or PARTS:
        results[name] = PARTS[name](options.data)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    write(results)


if __name__ == "__main__":
    main()
