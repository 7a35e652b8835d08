"""Curriculum learning on chains of operations and on GSM8K; writes the tables and pictures of its document.

    python -m benchmarks.curriculum --data DATA                  # all parts
    python -m benchmarks.curriculum --data DATA --only gsm8k     # one part: base, arms, gsm8k, smollm2
    python -m benchmarks.curriculum --tables                     # only write the document, from saved results

DATA contains ``math/gsm8k/*.jsonl``. Results are saved in ``benchmarks/results/curriculum.json``, the chains' base
model in ``.work/models/chains``.
"""

import argparse
import itertools
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import spearmanr

from benchmarks import measure
from benchmarks.pretrained import smollm2
from seampack.models.base import save_picture
from seampack.models.curriculum import (
    Algorithm,
    CurriculumBuilder,
    CurriculumConfig,
    CurriculumTrainer,
    DifficultyEstimator,
    GuidedPrompter,
    Order,
    PromptFormat,
    TransformersSampler,
    composition,
    draw_difficulty,
    draw_stages,
    grade,
    number_matches,
    pass_at_k,
    unguided,
)
from seampack.models.curriculum.adapter import ADAPTER
from seampack.models.curriculum.small import piece_tokenizer, small_model
from seampack.models.data import load
from seampack.models.training import load_causal

RESULTS = Path(__file__).parent / "results" / "curriculum.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "curriculum.md"
PICTURES = DOCUMENT.parent / "pictures"
CURRICULUM, SPENT = "curriculum.parquet", "cpu_seconds"
BASE = Path(".work") / "models" / "chains"
PACKAGES = ("seampack", "torch", "numpy", "transformers", "trl", "datasets")
COMMAND = "python -m benchmarks.curriculum"

MODULUS, LARGEST = 13, 3
LENGTHS = range(1, 9)
FIRST = (0.36, 0.30, 0.20, 0.08, 0.03, 0.01, 0.01, 0.01)
"""Share of each length in the base model's training: too few long chains to learn them."""
TOKENS = 64
SEEDS = (0, 1, 2)
SAMPLING = CurriculumConfig(max_new_tokens=TOKENS, batch_responses=1024)
TEST = SAMPLING.replace(n_samples=8, batch_responses=512)
GRPO = CurriculumConfig(
    algorithm=Algorithm.GRPO, temperature=1.0, max_new_tokens=TOKENS, learning_rate=3e-4, batch_rows=128, epochs=2
)
ARMS = {
    "uniform": {"order": Order.UNIFORM, "hints": False},
    "stages": {"order": Order.STAGES, "hints": False},
    "stages, hints": {"order": Order.STAGES, "hints": True},
}


def chains(rows: int, seed: int, shares: tuple[float, ...] | None = None) -> Dataset:
    """Make rows such as ``7*3+2``, evaluated from left to right modulo 13; ``operations`` is the length."""
    rng = np.random.default_rng(seed)
    lengths = rng.choice(np.asarray(LENGTHS), rows, p=shares)
    rows_made = []
    for length in lengths.tolist():
        value = int(rng.integers(MODULUS))
        question, solution = str(value), ""
        for sign, other in zip(rng.choice(list("+-*"), length), rng.integers(1, LARGEST + 1, size=length), strict=True):
            result = {"+": value + other, "-": value - other, "*": value * other}[str(sign)] % MODULUS
            question += f"{sign}{other}"
            solution += f"{value}{sign}{other}={result}\n"
            value = int(result)
        rows_made.append({"question": question, "answer": f"{solution}#### {value}", "operations": length})
    return ADAPTER.prepare(Dataset.from_list(rows_made), ADAPTER.config())


def train_base() -> float:
    """Train the base model unless its folder exists; return the CPU seconds of its training."""
    if (BASE / SPENT).exists():
        return float((BASE / SPENT).read_text())
    started = time.process_time()
    lessons = chains(10_000, 100, FIRST)
    tokenizer = piece_tokenizer(
        [q + "\n" + "".join(s) for q, s in zip(lessons["question"], lessons["steps"], strict=True)]
    )
    model = small_model(tokenizer, width=64)
    rows = lessons.add_column("stage", [1] * len(lessons)).add_column("pass_rate", [0.0] * len(lessons))
    config = CurriculumConfig(order=Order.UNIFORM, epochs=3, learning_rate=4e-3)
    CurriculumTrainer(config).train(model, tokenizer, unguided(rows, PromptFormat(config)))
    for part in (model, tokenizer):
        part.save_pretrained(BASE)
    (BASE / SPENT).write_text(f"{time.process_time() - started}\n")
    return train_base()


def rates_by_length(dataset: Dataset) -> list[float]:
    rates, lengths = np.asarray(dataset["pass_rate"][:]), np.asarray(dataset["operations"][:])
    return [float(rates[lengths == length].mean()) for length in LENGTHS]


def base_facts(_: Path) -> dict[str, Any]:
    """Measure the base model: its pass rates by length, the stages, and the effect of hints."""
    seconds = {"base": train_base()}
    model, tokenizer = load_causal(BASE)
    sample = TransformersSampler(SAMPLING, model, tokenizer)
    started = time.process_time()
    estimated = DifficultyEstimator(SAMPLING, sample).estimate(chains(480, 1))
    seconds["difficulty"] = time.process_time() - started
    staged = CurriculumBuilder(SAMPLING).build(estimated)
    guided = GuidedPrompter(SAMPLING, sample).guide(staged)
    seconds["hints"] = time.process_time() - started - seconds["difficulty"]
    guided.to_parquet(str(BASE / CURRICULUM))
    hard = guided.select(np.flatnonzero(np.asarray(guided["stage"][:]) == 3))
    ratios = np.asarray(hard["hint_ratio"][:])
    before, after = (np.asarray(hard[name][:]) for name in ("pass_rate", "pass_rate_hinted"))
    return {
        "machine": measure.machine(PACKAGES),
        "parameters": sum(values.numel() for values in model.parameters()),
        "cpu_seconds": seconds,
        "pass_rates": list(guided["pass_rate"]),
        "by_length": rates_by_length(guided),
        "rows_by_length": [guided["operations"][:].count(length) for length in LENGTHS],
        "spearman": -float(spearmanr(guided["pass_rate"], guided["operations"]).statistic),
        "stages": composition(staged),
        "hard": {"questions": len(hard), "without": float(before.mean()), "with": float(after.mean())},
        "hints": [
            {
                "ratio": float(ratio),
                "questions": int((ratios == ratio).sum()),
                "without": float(before[ratios == ratio].mean()),
                "with": float(after[ratios == ratio].mean()),
                "solvable": float((after[ratios == ratio] >= 0.25).mean()),
            }
            for ratio in np.unique(ratios)
        ],
    }


def arms(_: Path) -> dict[str, Any]:
    """Train the same base model by GRPO in three orders; measure on new chains."""
    guided = load(str(BASE / CURRICULUM))
    test = chains(240, 2)
    rows = [{"arm": "base", "seed": 0, **scores(*load_causal(BASE), test)}]
    for name, seed in itertools.product(ARMS, SEEDS):
        model, tokenizer = load_causal(BASE)
        curriculum = guided if ARMS[name]["hints"] else unguided(guided, PromptFormat(GRPO))
        trainer = CurriculumTrainer(GRPO.replace(order=ARMS[name]["order"], seed=seed))
        started = time.process_time()
        history = trainer.train(model, tokenizer, curriculum)
        seconds = time.process_time() - started
        rows.append(
            {"arm": name, "seed": seed, **scores(model, tokenizer, test), "history": history, "cpu_seconds": seconds}
        )
        print(rows[-1], flush=True)
    return {"machine": measure.machine(PACKAGES), "rows": rows}


def scores(model: Any, tokenizer: Any, test: Dataset) -> dict[str, Any]:
    rated = DifficultyEstimator(TEST, TransformersSampler(TEST, model, tokenizer)).estimate(test)
    return {
        "avg@8": float(np.mean(rated["pass_rate"])),
        "pass@4": float(pass_at_k(rated["n_samples"][:], rated["n_correct"][:], 4).mean()),
        "by_length": rates_by_length(rated),
    }


def gsm8k(data: Path) -> dict[str, Any]:
    """Grade published responses of four models to the test questions of GSM8K, without sampling."""
    folder = data / "math" / "gsm8k"
    published = load(str(folder / "example_model_solutions.jsonl"))
    names = [name for name in published.column_names if name not in ("question", "ground_truth")]
    verdicts, ours = [], []
    responses: list[list[str]] = []
    for row in published:
        final = row["ground_truth"].rpartition("A:")[2].strip()
        responses.append([row[name]["solution"] for name in names])
        verdicts += [row[name]["is_correct"] for name in names]
        ours += [number_matches(text, final) for text in responses[-1]]
    disagree = np.asarray(verdicts) != np.asarray(ours)
    answers = [row["ground_truth"].replace("\nA:", "\n####") for row in published]
    rows = ADAPTER.prepare(
        Dataset.from_dict({"question": published["question"][:], "answer": answers}), ADAPTER.config()
    )
    started = time.process_time()
    rated = grade(rows.add_column("responses", responses), number_matches)
    staged = CurriculumBuilder(CurriculumConfig()).build(rated)
    seconds = time.process_time() - started
    steps = [len(solution) for solution in staged["steps"]]
    stage = np.asarray(staged["stage"][:])
    train = ADAPTER.prepare(load(str(folder / "train.jsonl")), ADAPTER.config())
    counts = np.asarray([len(solution) for solution in train["steps"]])
    by_model = np.asarray(verdicts).reshape(-1, len(names))
    return {
        "machine": measure.machine(PACKAGES),
        "models": {name: float(by_model[:, index].mean()) for index, name in enumerate(names)},
        "responses": len(verdicts),
        "disagree": int(disagree.sum()),
        "we_say_right": int((disagree & np.asarray(ours)).sum()),
        "rows": len(rated),
        "cpu_seconds": seconds,
        "pass_rates": rated["pass_rate"][:],
        "stages": composition(staged),
        "steps_by_stage": [float(np.mean(np.asarray(steps)[stage == number])) for number in (1, 2, 3)],
        "spearman_steps": -float(spearmanr(staged["pass_rate"], steps).statistic),
        "train_rows": len(train),
        "train_steps": float(counts.mean()),
        "train_one_step": int((counts == 1).sum()),
    }


def smollm(data: Path) -> dict[str, Any]:
    """Sample SmolLM2-135M on the first questions of GSM8K's training set, at most 128 tokens per response."""
    config = CurriculumConfig(
        model=smollm2(), checker="number", chat=True, n_samples=4, max_new_tokens=128, batch_responses=48
    )
    model, tokenizer = load_causal(config.model)
    sample, prompt = TransformersSampler(config, model, tokenizer), PromptFormat(config, tokenizer)
    rows = ADAPTER.prepare(load(str(data / "math" / "gsm8k" / "train.jsonl")).select(range(12)), ADAPTER.config())
    started = time.process_time()
    estimated = DifficultyEstimator(config, sample, prompt=prompt).estimate(rows)
    guided = GuidedPrompter(config, sample, prompt=prompt).guide(estimated)
    return {
        "machine": measure.machine(PACKAGES),
        "cpu_seconds": time.process_time() - started,
        "rows": [
            {name: row[name] for name in ("pass_rate", "hint_ratio", "hint_steps", "pass_rate_hinted")}
            | {"steps": len(row["steps"])}
            for row in guided
        ],
        "example": {name: guided[int(np.argmax(guided["hint_steps"]))][name] for name in ("prompt", "target")},
    }


PARTS = {"base": base_facts, "arms": arms, "gsm8k": gsm8k, "smollm2": smollm}


def number(value: float) -> str:
    return f"{value:.3f}"


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def made(machine: str) -> str:
    return f"Made by `{COMMAND}` on {machine}.\n\n"


def picture(name: str, draw: Any, title: str) -> str:
    """Draw a picture of the document as SVG; return the Markdown reference."""
    with tempfile.TemporaryDirectory() as folder:
        save_picture(Path(folder) / name, draw)
        shutil.copy(Path(folder) / f"{name}.svg", PICTURES / f"curriculum-{name}.svg")
    return f"![{title}](pictures/curriculum-{name}.svg)"


def base_table(part: dict[str, Any]) -> str:
    lengths = measure.table(
        ["operations", *map(str, LENGTHS)],
        [
            ["questions", *map(str, part["rows_by_length"])],
            ["pass rate of the base model", *map(number, part["by_length"])],
        ],
    )
    hints = measure.table(
        ["hard third", "questions", "pass rate without a hint", "with it", "solvable with it"],
        [
            *(
                [
                    f"hint of {row['ratio']:g} of the steps" if row["ratio"] else "no hint",
                    str(row["questions"]),
                    number(row["without"]),
                    number(row["with"]),
                    number(row["solvable"]) if row["ratio"] else "",
                ]
                for row in part["hints"]
            ),
            [
                "all",
                *(str(part["hard"]["questions"]), number(part["hard"]["without"]), number(part["hard"]["with"])),
                "",
            ],
        ],
    )
    means = ", ".join(number(row["mean_pass_rate"]) for row in part["stages"])
    seconds = part["cpu_seconds"]
    return (
        f"{lengths}\n\nSpearman's rank correlation of the estimated pass rate with the number of operations: "
        f"-{part['spearman']:.2f}. Mean pass rate of the stages: {means}.\n\n{hints}\n\n"
        f"The base model has {part['parameters']:,} parameters. CPU-s: first training {seconds['base']:.0f}, "
        f"{seconds['difficulty']:.0f} the estimate, {seconds['hints']:.0f} the hints."
    )


def by_thirds(history: list[dict[str, Any]], name: str, stage: int) -> list[float]:
    """Return the means over the first, middle and last third of a stage's steps."""
    values = [row[name] for row in history if row["stage"] == stage]
    return [float(part.mean()) for part in np.array_split(values, 3)]


def arms_table(part: dict[str, Any]) -> str:
    rows = []
    for name in ("base", *ARMS):
        own = [row for row in part["rows"] if row["arm"] == name]
        show = spread if len(own) > 1 else lambda values: number(values[0])
        cells = [show([row["avg@8"] for row in own]), show([row["pass@4"] for row in own])]
        thirds = (slice(0, 3), slice(3, 5), slice(5, 8))
        cells += [show([float(np.mean(row["by_length"][lengths])) for row in own]) for lengths in thirds]
        cpu = f"{statistics.mean(row['cpu_seconds'] for row in own):.0f}" if "cpu_seconds" in own[0] else ""
        rows.append([name, str(len(own)), *cells, cpu])
    header = ["arm", "seeds", "avg@8", "pass@4", "1-3 operations", "4-5", "6-8", "training, CPU-s"]
    rewards = []
    for name in ("stages", "stages, hints"):
        own = [row["history"] for row in part["rows"] if row["arm"] == name]
        parts = np.mean([by_thirds(history, "reward", 3) for history in own], axis=0)
        idle = np.mean([by_thirds(history, "frac_reward_zero_std", 3) for history in own])
        rewards.append([name, *map(number, parts), number(float(idle))])
    header3 = ["stage 3", "reward, first third of its steps", "middle", "last", "prompts whose responses are all alike"]
    return measure.table(header, rows) + "\n\n" + measure.table(header3, rewards)


def draw_rewards(part: dict[str, Any]) -> Any:
    """Return a function that draws the reward of each step of stage 3, averaged over the seeds."""

    def draw(axes: Any) -> None:
        for name, colour in (("stages", "#aa6644"), ("stages, hints", "#4477aa")):
            own = [row["history"] for row in part["rows"] if row["arm"] == name]
            curves = [[entry["reward"] for entry in history if entry["stage"] == 3] for history in own]
            shortest = min(map(len, curves))
            axes.plot(np.mean([curve[:shortest] for curve in curves], axis=0), label=name, color=colour)
        axes.set_xlabel("step of stage 3")
        axes.set_ylabel("share of right responses")
        axes.set_ylim(0)
        axes.legend()

    return draw


def gsm8k_table(part: dict[str, Any]) -> str:
    header = ["stage", "questions", "mean pass rate", *(f"{name} right" for name in range(5)), "steps of the solution"]
    rows = []
    rates = np.asarray(part["pass_rates"])
    start = 0
    for row, steps in zip(part["stages"], part["steps_by_stage"], strict=True):
        own = np.sort(rates)[::-1][start : start + row["questions"]]
        start += row["questions"]
        counts = [str(int((np.rint(own * 4) == right).sum())) for right in range(5)]
        rows.append(
            [str(row["stage"]), f"{row['questions']:,}", number(row["mean_pass_rate"]), *counts, f"{steps:.2f}"]
        )
    models = ", ".join(f"{name.replace('_', ' ')} {share:.3f}" for name, share in part["models"].items())
    return (
        f"{measure.table(header, rows)}\n\n"
        f"Accuracy of the four models: {models}. The checker `number` disagrees with the published verdicts on "
        f"{part['disagree']} of {part['responses']:,} responses ({part['we_say_right']} it says are right). "
        f"Spearman's rank correlation of the pass rate with the number of steps: -{part['spearman_steps']:.2f}. "
        f"Grading and sorting took {part['cpu_seconds']:.1f} CPU-s. All {part['train_rows']:,} training rows are "
        f"split, into {part['train_steps']:.1f} steps on average; {part['train_one_step']:,} have one step only and "
        "can have no hint."
    )


def smollm_table(part: dict[str, Any]) -> str:
    """Format one table row per question, and the prompt with the longest hint."""
    rows = [
        [number(row["pass_rate"]), f"{row['hint_steps']} of {row['steps']}", number(row["pass_rate_hinted"])]
        for row in part["rows"]
    ]
    example = "\n".join(f"    {line}" for line in part["example"]["prompt"].splitlines())
    rest = "\n".join(f"    {line}" for line in part["example"]["target"].splitlines())
    return (
        f"{measure.table(['pass rate', 'steps given', 'pass rate with them'], rows)}\n\n"
        f"Sampling took {part['cpu_seconds']:.0f} CPU-s. A prompt with a hint, and its target:\n\n{example}\n\n{rest}"
    )


def write(results: dict[str, Any]) -> None:
    """Write the document's tables and pictures."""
    PICTURES.mkdir(exist_ok=True)
    if "base" in results:
        part = results["base"]
        measure.write_between(DOCUMENT, "base", made(part["machine"]) + base_table(part))
        pictures = [
            picture("difficulty", draw_difficulty(part["pass_rates"]), "Pass rates of the base model"),
            picture("stages", draw_stages(part["stages"]), "What the stages are made of"),
        ]
        measure.write_between(DOCUMENT, "pictures", "\n\n".join(pictures))
    if "arms" in results:
        part = results["arms"]
        shown = picture("rewards", draw_rewards(part), "Reward in the third stage")
        measure.write_between(DOCUMENT, "arms", f"{made(part['machine'])}{arms_table(part)}\n\n{shown}")
    if "gsm8k" in results:
        part = results["gsm8k"]
        shown = picture("gsm8k", draw_difficulty(part["pass_rates"], "GSM8K test, four responses"), "GSM8K")
        measure.write_between(DOCUMENT, "gsm8k", f"{made(part['machine'])}{gsm8k_table(part)}\n\n{shown}")
    if "smollm2" in results:
        part = results["smollm2"]
        measure.write_between(DOCUMENT, "smollm2", made(part["machine"]) + smollm_table(part))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with math/gsm8k/")
    parser.add_argument("--only", choices=PARTS, action="append", help="parts to run")
    parser.add_argument("--tables", action="store_true", help="only write the document, from saved results")
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
