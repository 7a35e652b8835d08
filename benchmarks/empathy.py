"""Chosen knowledge on EmpatheticDialogues: emotions read, responses written; writes the tables of its document.

    python -m benchmarks.empathy --data DATA                    # all of it
    python -m benchmarks.empathy --data DATA --only emotions    # one part
    python -m benchmarks.empathy --tables                       # the document again, from the kept rows

DATA holds ``dialogue/empathetic_train.json.gz`` and ``dialogue/empathetic_test_cicero.json.gz``, which are CC BY-NC 4.0
and not part of this repository. Rows are kept in ``benchmarks/results/empathy.json``.
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
RELATIONS = tuple(f"slot{at}" for at in range(SLOTS))
SEEDS = (0, 1)
MODES = ("none", "uniform", "minimax", "label", "soft", "oracle")
UNGATED = ("uniform", "soft")
WORDS = 64


def slotted(dialogues: Dataset, rows: int, seed: int) -> Dataset:
    """First turns, drawn at random, with five pieces of knowledge: one about the dialogue, four about others.

    A piece is the situation that a speaker described, without the words that begin with the emotion's name. The place
    of the right one is drawn, too, and kept in the column ``right``.
    """
    draw = random.Random(seed)
    first = [at for at, context in enumerate(dialogues["context"][:]) if len(context) == 1]
    chosen = dialogues.select(sorted(draw.sample(first, rows))).to_list()
    draw.shuffle(chosen)
    known = [re.sub(rf"\b{row['emotion']}\w*", "", row["situation"], flags=re.IGNORECASE) for row in chosen]
    found = []
    for at, row in enumerate(chosen):
        pieces = []
        while len(pieces) < SLOTS - 1:
            other = draw.randrange(rows)
            if chosen[other]["situation"] != row["situation"]:
                pieces.append(known[other])
        right = draw.randrange(SLOTS)
        pieces.insert(right, known[at])
        knowledge = {name: [piece] for name, piece in zip(RELATIONS, pieces, strict=True)}
        kept = {name: row[name] for name in ("context", "emotion", "target")}
        found.append({**kept, "knowledge": knowledge, "right": right})
    return Dataset.from_list(found)


class Oracle:
    """Knows which piece is about the dialogue."""

    def __init__(self) -> None:
        self.right = torch.empty(0, dtype=torch.long)

    def __call__(self, logits: Tensor, *_: Any) -> Tensor:
        """Weight 1 for the right piece."""
        return nn.functional.one_hot(self.right, logits.shape[1]).to(logits.dtype)


class Ungated(EmotionReader):
    """Takes in the mean of context and knowledge, whatever they are."""

    def take_in(self, context: Tensor, chosen: Tensor) -> Tensor:
        """The mean."""
        return (context + chosen) / 2


class Bag(nn.Module):
    """Mean embeddings of words under an ``EmotionReader``."""

    def __init__(self, words: int, emotions: int, selector: Any, reader: type[EmotionReader]) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(words, 128, mode="mean", padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.1)
        self.reader = reader(128, emotions, selector, dropout=0.3)

    def forward(self, context: Tensor, pieces: Tensor, label: Tensor | None = None) -> Any:
        """What the reader says of word ids, shapes (rows, words) and (rows, slots, words)."""
        vectors = self.words(pieces.flatten(0, 1)).unflatten(0, pieces.shape[:2])
        return self.reader(self.words(context), vectors, torch.ones(pieces.shape[:2], dtype=torch.bool), label)


def tensors(tokenizer: Any, dataset: Dataset) -> tuple[Tensor, ...]:
    """Word ids of contexts (rows, words) and pieces (rows, slots, words), labels and right slots (rows,)."""

    def ids(texts: Sequence[str]) -> Tensor:
        options = {"padding": "max_length", "truncation": True, "max_length": WORDS, "return_tensors": "pt"}
        found: Tensor = tokenizer(list(texts), add_special_tokens=False, **options)["input_ids"]
        return found

    pieces = [row[name][0] for row in dataset["knowledge"][:] for name in RELATIONS]
    contexts = ids([context[-1] for context in dataset["context"][:]])
    labels, right = torch.tensor(dataset["label"][:]), torch.tensor(dataset["right"][:])
    return contexts, ids(pieces).view(-1, SLOTS, WORDS), labels, right


def read_emotions(
    mode: str, seed: int, train: Dataset, test: Dataset, reader: type[EmotionReader] = EmotionReader
) -> dict[str, Any]:
    """Train a bag of words with one way to choose knowledge, and count what it gets right."""
    known = [text for row in train["knowledge"][:] for pieces in row.values() for text in pieces]
    tokenizer = word_tokenizer(known + [context[-1] for context in train["context"][:]])
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
    """Every way to choose, 12,000 dialogues for training and 2,000 for the test."""
    return read_all(data, [(mode, EmotionReader) for mode in MODES])


def ungated(data: Path) -> dict[str, Any]:
    """The same without the gate."""
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
    """The small encoder-decoder without knowledge, with all of it, and with what it chooses; one training each."""
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
            found = ADAPTER.evaluate(prepared[1], artifact, config)
            row = {"mode": mode, "seed": seed, **found.metrics, "train_cpu_seconds": trained - started}
            sums[mode] = np.array(found.rows["nll"][:]), np.array(found.rows["tokens"][:])
            if mode != "none":
                weights = np.array([list(each.values()) for each in found.rows["relation_weights"][:]])
                row["picked"] = float((weights.argmax(1) == np.array(found.rows["right"][:])).mean())
                row |= against(*sums["none"], *sums[mode], seed)
            row["true_dist_1"], row["true_dist_2"] = (distinct(found.rows["target"][:200], n) for n in (1, 2))
            rows.append(row)
            print(row, flush=True)
    return {"machine": measure.machine(PACKAGES), "options": GENERATOR, "rows": rows}


def against(nll: Any, tokens: Any, other: Any, other_tokens: Any, seed: int) -> dict[str, float]:
    """Change of the log of the perplexity of a word piece, with the interval of 2,000 bootstraps of the dialogues."""
    difference = other - nll
    draws = np.random.default_rng(seed).integers(0, len(nll), (2_000, len(nll)))
    changes = difference[draws].sum(1) / tokens[draws].sum(1)
    low, high = np.quantile(changes, [0.025, 0.975])
    return {"change": float(difference.sum() / tokens.sum()), "change_low": float(low), "change_high": float(high)}


def made(found: dict[str, Any]) -> str:
    return f"Made by `{COMMAND}` on {found['machine']}.\n\n"


def both(rows: Sequence[dict[str, Any]], name: str, digits: int = 1, factor: float = 1) -> str:
    return " / ".join(f"{factor * row[name]:.{digits}f}" for row in rows if row.get(name) is not None)


def by_mode(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    modes = dict.fromkeys(row["mode"] for row in found["rows"])
    return {mode: [row for row in found["rows"] if row["mode"] == mode] for mode in modes}


def emotion_table(found: dict[str, Any]) -> str:
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
            for mode, rows in by_mode(found).items()
        ],
    )


def picks(mode: str) -> bool:
    return mode.partition(",")[0] not in ("none", "uniform")


def generator_table(found: dict[str, Any]) -> str:
    header = [
        *("selection", "perplexity", "mean of the sentences'", "log-perplexity against none (95 %)"),
        *("emotion accuracy, %", "picks the right piece, %", "Dist-1", "Dist-2", "BLEU-1", "BLEU-2", "BLEU-4"),
        *("ROUGE-L", "training, CPU-s"),
    ]
    lines = []
    for mode, rows in by_mode(found).items():
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
    truth = by_mode(found)["none"]
    lines.append(["the true responses", *[""] * 5, both(truth, "true_dist_1"), both(truth, "true_dist_2"), *[""] * 5])
    return measure.table(header, lines)


def draw(found: dict[str, Any]) -> Any:
    def axes_of(axes: Any) -> None:
        for at, (mode, rows) in enumerate(by_mode(found).items()):
            values = [100 * row["accuracy"] for row in rows]
            axes.bar(at, np.mean(values), color="C1" if mode in ("none", "oracle") else "C0")
            axes.plot([at] * len(values), values, "k.")
            if picks(mode):
                axes.text(
                    at, 1, f"picks\n{100 * np.mean([row['picked'] for row in rows]):.0f} %", ha="center", color="w"
                )
        axes.set_xticks(range(len(by_mode(found))), list(by_mode(found)))
        axes.set_ylabel("emotion accuracy of 32, %")

    return axes_of


def write(results: dict[str, Any]) -> None:
    """The document's tables and picture."""
    PICTURES.mkdir(exist_ok=True)
    if "emotions" in results:
        found = results["emotions"]
        if "ungated" in results:
            found = {**found, "rows": found["rows"] + results["ungated"]["rows"]}
        with tempfile.TemporaryDirectory() as folder:
            save_picture(Path(folder) / "emotions", draw(found))
            shutil.copy(Path(folder) / "emotions.svg", PICTURES / "empathy-emotions.svg")
        picture = "\n\n![Emotion accuracy by the way to choose](pictures/empathy-emotions.svg)"
        measure.write_between(DOCUMENT, "emotions", made(found) + emotion_table(found) + picture)
    if "generator" in results:
        found = results["generator"]
        measure.write_between(DOCUMENT, "generator", made(found) + generator_table(found))


PARTS = {"emotions": emotions, "ungated": ungated, "generator": generator}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with dialogue/")
    parser.add_argument("--only", choices=[*PARTS], action="append", help="parts to run, all by default")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the document from the kept rows")
    options = parser.parse_args()
    if options.data is None and not options.tables:
        parser.error("--data is needed")
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for name in [] if options.tables else options.only or PARTS:
        results[name] = PARTS[name](options.data)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    write(results)


if __name__ == "__main__":
    main()
