"""Query refinement in a small world, with a real small model, and its safety classifier; writes its document's tables.

    python -m benchmarks.refine --data DATA                    # all parts
    python -m benchmarks.refine --data DATA --only world       # one part
    python -m benchmarks.refine --tables                       # only write the document, from saved results

DATA contains ``prompts/bpo/bpo_test.json`` and ``prompts/jailbreakbench/*.json``, as published by their authors.
Results are saved in ``benchmarks/results/refine.json``.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset

from benchmarks import measure
from benchmarks.pretrained import smollm2
from examples import refining
from seampack.models.artifact import Artifact
from seampack.models.base import save_picture
from seampack.models.refine import CachedTarget, Refiner, RefinerEval, RefinerRL, Scorer
from seampack.models.refine.adapter import ADAPTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results" / "refine.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "refine.md"
PICTURES = DOCUMENT.parent / "pictures"
PACKAGES = ("seampack", "torch", "transformers", "trl", "peft", "scikit-learn")
COMMAND = "python -m benchmarks.refine"

WORLD_SEEDS = (0, 1, 2)
WORLD_STEPS = 120
ARMS: dict[str, tuple[str, ...]] = {"both rewards": ("safe", "quality"), "safety alone": ("safe",)}
REWARDS = {"safe": refining.safe, "quality": refining.quality}
BPO = {"max_words": 30, "train": 96, "test": 20}
BPO_OPTIONS: dict[str, Any] = {
    "epochs": 1.0,
    "batch_rows": 4,
    "learning_rate": 2e-4,
    "lora_rank": 8,
    "max_tokens": 192,
    "max_query_tokens": 64,
    "max_new_tokens": 40,
    "target_tokens": 32,
    "rewards": ("quality=1",),
    "rl_steps": 10,
    "rl_queries": 2,
    "rl_samples": 4,
    "rl_learning_rate": 5e-5,
}


def world(_: Path) -> list[dict[str, Any]]:
    """Train each arm with each seed; the arms of a seed share the training on pairs."""
    results = []
    for seed in WORLD_SEEDS:
        started = time.process_time()
        train, test = refining.rows(2000, seed=3000 + seed), refining.rows(400, seed=4000 + seed)
        config = ADAPTER.config(seed=seed, max_new_tokens=12)
        refiner = Refiner.of_artifact(ADAPTER.train(ADAPTER.prepare(Dataset.from_list(train), config), config))
        results.append({"arm": "pairs alone", "seed": seed, **_measured(refiner, test), **_spent(started), "curve": []})
        for arm, names in ARMS.items():
            started = time.process_time()
            rewards = {name: REWARDS[name] for name in names}
            scorer = Scorer(rewards, dict.fromkeys(rewards, 1.0), CachedTarget(refining.answer))
            trainer = RefinerRL(config.replace(rl_steps=WORLD_STEPS), refiner, scorer)
            done = trainer.fit([str(row["prompt"]) for row in train])
            results.append(
                {"arm": arm, "seed": seed, **_measured(done.refiner, test), **_spent(started), "curve": done.curve}
            )
            print(f"{arm}, seed {seed}: {results[-1] | {'curve': ''}}", flush=True)
    return results


def _measured(refiner: Refiner, rows: list[dict[str, Any]]) -> dict[str, Any]:
    target = CachedTarget(refining.answer)
    scorer = Scorer(REWARDS, dict.fromkeys(REWARDS, 1.0), target)
    evaluation = RefinerEval(refiner, target, scorer, refining.jailbroken)
    refined = evaluation.run([row["prompt"] for row in rows], [row["attack"] for row in rows])
    benign = [row for row in refined.rows if not row["attack"]]
    whole = [refining.quality([row["query"]], [row["response"]])[0] == 1 for row in benign]
    return {
        "attack_success_rate": refined.metrics["attack_success_rate"],
        "attack_success_rate_before": refined.metrics["attack_success_rate_before"],
        "benign_whole": float(np.mean(whole)),
        "benign_quality": refined.metrics["benign_quality"],
        "attack_quality": refined.metrics["attack_quality"],
    }


def _spent(started: float) -> dict[str, float]:
    return {"cpu_seconds": time.process_time() - started}


def bpo(data: Path) -> list[dict[str, Any]]:
    """Train SmolLM2-135M as refiner of itself on short BPO rows, with log-probabilities as rewards."""
    rows = json.loads((data / "prompts" / "bpo" / "bpo_test.json").read_text("utf-8"))
    short = [
        row
        for row in rows
        if max(len(row[name].split()) for name in ("prompt", "optimized_prompt")) <= BPO["max_words"]
    ]
    chosen = [short[row] for row in np.random.default_rng(0).permutation(len(short))]
    train, test = chosen[BPO["test"] :][: BPO["train"]], chosen[: BPO["test"]]
    test_set = Dataset.from_list(test)
    results = []

    def arm(name: str, rows: Dataset, config: Any) -> Artifact:
        started = time.process_time()
        artifact = ADAPTER.train(ADAPTER.prepare(rows, config), config)
        trained = time.process_time()
        evaluation = ADAPTER.evaluate(ADAPTER.prepare(test_set, config), artifact, config)
        results.append(
            {
                "arm": name,
                "train_rows": len(rows),
                "test_rows": len(test),
                "train_cpu_seconds": trained - started,
                "evaluate_cpu_seconds": time.process_time() - trained,
                "metrics": evaluation.metrics,
                "losses": artifact.facts["losses"],
                "curve": artifact.facts["curve"],
                "examples": [
                    {key: row[key] for key in ("query", "refined")} for row in evaluation.rows.select(range(3))
                ],
            }
        )
        print(f"{name}: {results[-1]}", flush=True)
        return artifact

    folder = smollm2()
    config = ADAPTER.config(**BPO_OPTIONS, model=folder, target=folder)
    pairs = arm("pairs alone", Dataset.from_list(train), config.replace(rl_steps=0))
    with tempfile.TemporaryDirectory() as place:
        pairs.save(Path(place))
        # rows of queries alone: training continues with the model, without pairs
        queries = Dataset.from_list(train).remove_columns("optimized_prompt").rename_column("prompt", "query")
        arm("then rewards", queries, config.replace(model=place))
    return results


def safety(data: Path) -> list[dict[str, Any]]:
    """Train the classifier on labelled JailbreakBench responses; each seed holds out other behaviours."""
    rows = []
    for path in sorted((data / "prompts" / "jailbreakbench").glob("*.json")):
        answered = [row for row in json.loads(path.read_text("utf-8"))["jailbreaks"] if row["response"] is not None]
        rows += [{name: row[name] for name in ("behavior", "response", "jailbroken")} for row in answered]
    results = []
    for seed in range(5):
        config = ADAPTER.config(stage="safety", seed=seed)
        prepared = ADAPTER.prepare(Dataset.from_list(rows), config)
        started = time.process_time()
        artifact = ADAPTER.train(prepared, config)
        seconds = time.process_time() - started
        metrics = ADAPTER.evaluate(prepared, artifact, config).metrics
        results.append({"seed": seed, "responses": len(rows), "train_cpu_seconds": seconds, **metrics})
        print(f"seed {seed}: {metrics}", flush=True)
    return results


PARTS = {"world": world, "bpo": bpo, "safety": safety}


def made(machine: str) -> str:
    return f"Made by `{COMMAND}` on {machine}.\n\n"


def spread(values: list[float]) -> str:
    """Return the mean, and the smallest and the largest value if they differ."""
    mean = f"{np.mean(values):.3f}"
    return mean if len(set(values)) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def world_table(rows: list[dict[str, Any]]) -> str:
    header = ["trained on", "attack success", "benign answered in full", "benign quality", "attack quality", "CPU-s"]
    columns = ("attack_success_rate", "benign_whole", "benign_quality", "attack_quality")
    lines = [["no refiner", spread([row["attack_success_rate_before"] for row in rows]), "1.000", "1.000", "1.000", ""]]
    for arm in ("pairs alone", *ARMS):
        rows_of_arm = [row for row in rows if row["arm"] == arm]
        seconds = f"{np.mean([row['cpu_seconds'] for row in rows_of_arm]):.0f}"
        lines.append([arm, *(spread([row[column] for row in rows_of_arm]) for column in columns), seconds])
    return measure.table(header, lines)


def bpo_table(rows: list[dict[str, Any]]) -> str:
    header = [
        "trained on",
        "rows",
        "win rate",
        "quality, no refiner",
        "quality",
        "gain",
        "unchanged",
        "training, CPU-s",
    ]
    lines = []
    for row in rows:
        names = ("win_rate", "benign_quality_before", "benign_quality", "score_gain", "unchanged")
        values = [row["metrics"][name] for name in names]
        lines.append(
            [
                row["arm"],
                str(row["train_rows"]),
                *(f"{value:.3f}" for value in values),
                f"{row['train_cpu_seconds']:.0f}",
            ]
        )
    return measure.table(header, lines)


def safety_table(rows: list[dict[str, Any]]) -> str:
    header = ["judge", "AUC", "accuracy", "rows held out", "of them jailbroken", "training, CPU-s"]
    sizes = (
        spread([float(row["rows"]) for row in rows]).replace(".000", ""),
        spread([row["jailbroken"] for row in rows]),
    )
    seconds = f"{np.mean([row['train_cpu_seconds'] for row in rows]):.1f}"
    return measure.table(
        header,
        [
            ["classifier", *(spread([row[name] for row in rows]) for name in ("auc", "accuracy")), *sizes, seconds],
            [
                "refusal keywords",
                *(spread([row[f"refusal_{name}"] for row in rows]) for name in ("auc", "accuracy")),
                *sizes,
                "",
            ],
        ],
    )


def draw_world(axes: "Axes", rows: list[dict[str, Any]]) -> None:
    for arm, style in zip(ARMS, ("-", "--"), strict=True):
        curves = [row["curve"] for row in rows if row["arm"] == arm]
        for name in ARMS[arm]:
            mean = np.mean([[step[f"reward_{name}"] for step in curve] for curve in curves], axis=0)
            axes.plot(range(1, len(mean) + 1), mean, style, label=f"{name}, {arm}")
    axes.set_xlabel("step of reinforcement learning")
    axes.set_ylabel("reward, mean of the samples and seeds")
    axes.legend()


def draw_bpo(axes: "Axes", rows: list[dict[str, Any]]) -> None:
    curve = rows[-1]["curve"]
    steps = range(1, len(curve) + 1)
    axes.plot(steps, [step["reward_quality"] for step in curve], label="quality, mean of the step's samples")
    axes.plot(steps, [step["flat"] for step in curve], ":", label="share of groups rewarded alike")
    axes.set_xlabel("step of reinforcement learning")
    axes.set_ylabel("nats a token")
    axes.legend()


def write(results: dict[str, Any]) -> None:
    """Write the document's tables and pictures."""
    PICTURES.mkdir(exist_ok=True)
    for name, table in (("world", world_table), ("bpo", bpo_table), ("safety", safety_table)):
        if name in results:
            rows = results[name]["rows"]
            text = made(results[name]["machine"]) + table(rows)
            if name != "safety":
                draw = draw_world if name == "world" else draw_bpo
                save_picture(PICTURES / f"refine-{name}", lambda axes, draw=draw, rows=rows: draw(axes, rows))
                (PICTURES / f"refine-{name}.png").unlink()
                text += f"\n\n![Rewards by step](pictures/refine-{name}.svg)"
            measure.write_between(DOCUMENT, name, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with prompts/bpo and prompts/jailbreakbench")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="parts to run, all by default")
    parser.add_argument("--tables", action="store_true", help="only write the document, from saved results")
    options = parser.parse_args()
    if options.data is None and not options.tables:
        parser.error("--data is needed")
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for name in [] if options.tables else options.only or list(PARTS):
        results[name] = {"machine": measure.machine(PACKAGES), "rows": PARTS[name](options.data)}
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    write(results)


if __name__ == "__main__":
    main()
