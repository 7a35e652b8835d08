"""Measure layer-wise rotary scaling of SmolLM2-135M on key-value retrieval; write tables and pictures of its page.

    python -m benchmarks.rope_scaling --data DATA                   # all parts
    python -m benchmarks.rope_scaling --data DATA --only cubic      # one part
    python -m benchmarks.rope_scaling --tables                      # only rewrite the page, from the saved results

DATA contains ``retrieval/kv-retrieval-75_keys.jsonl.gz`` (lost-in-the-middle) and ``corpora/sotu.jsonl.zst``. The
search uses the first rows of the file; held-out numbers are from later rows. Results are saved in
``benchmarks/results/rope_scaling.json``.
"""

import argparse
import contextlib
import json
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from benchmarks import measure
from benchmarks.pretrained import smollm2
from seampack.models.base import Draw, save_picture
from seampack.models.data import load
from seampack.models.rope_scaling import (
    BezierSearch,
    KVRetrieval,
    LayerwiseRope,
    RopeScalingConfig,
    Scores,
    perplexity,
)
from seampack.models.rope_scaling.adapter import load_model
from seampack.models.rope_scaling.metrics import by_position, gain
from seampack.models.rope_scaling.pictures import draw_convergence, draw_factors, draw_positions
from seampack.models.rope_scaling.scoring import score_rows

RESULTS = Path(__file__).parent / "results" / "rope_scaling.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "rope_scaling.md"
PICTURES = DOCUMENT.parent / "pictures"
PACKAGES = ("seampack", "torch", "transformers", "pygad", "numpy")
COMMAND = "python -m benchmarks.rope_scaling"

LAYERS = 30
PAIRS = 10
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEARCHED = 2  # rows; the search asks for each of their ten records
HELD_OUT, HELD_OUT_ROWS = 100, 8  # first row, rows
MOVED_ROWS = 3
WINDOWS, WINDOW_TOKENS = 2, 2048
KNOWN = {
    "no scaling": [1.0] * LAYERS,
    "uniform 1.5": [1.5] * LAYERS,
    "by thirds 1.75, 1, 1.75": [1.75] * 10 + [1.0] * 10 + [1.75] * 10,
}
SEARCH = RopeScalingConfig(low=0.7, high=1.3, step=0.05, population=8, generations=3, elite=2)
SEARCHES = {"cubic": 4, "line": 2}  # control points
PARTS = ("known", *SEARCHES, "moved", "perplexity")
AT_EQUAL_MEAN_NATS = 3.0


class Setting:
    """The model and the data, loaded once."""

    def __init__(self, data: Path) -> None:
        self.model, self.tokenizer = load_model(smollm2())
        self.file = load(str(data / "retrieval" / "kv-retrieval-75_keys.jsonl.gz"))
        self.speeches = data / "corpora" / "sotu.jsonl.zst"

    def prompts(self, first: int, rows: int, gold: str = "asked", positions: tuple[float, ...] = POSITIONS) -> Dataset:
        """Build prompts from a range of rows of the standard file."""
        config = RopeScalingConfig(pairs=PAIRS, positions=positions, gold=gold)
        return KVRetrieval(config).prompts(self.file.select(range(first, first + rows)))

    def scores(self, prompts: Dataset, factors: list[float]) -> dict[str, list[Any]]:
        """Score the prompts with the given factors, in the form of the saved results."""
        started = time.process_time()
        with LayerwiseRope(self.model, "pi", factors):
            scores = score_rows(self.model, self.tokenizer, prompts)
        spent = time.process_time() - started
        print(f"  {len(prompts)} prompts, {spent:.0f} CPU-s, {scores.log_prob.mean():.2f}", flush=True)
        return {"log_prob": scores.log_prob.tolist(), "correct": scores.correct.tolist()}


def search(setting: Setting, name: str) -> dict[str, Any]:
    """Search for factors on the first rows, and score them on the held-out rows."""
    prompts = setting.prompts(0, SEARCHED, positions=tuple(record / (PAIRS - 1) for record in range(PAIRS)))

    def fitness(factors: Any) -> float:
        with LayerwiseRope(setting.model, "pi", factors.tolist()):
            return float(score_rows(setting.model, setting.tokenizer, prompts).log_prob.mean())

    engine = BezierSearch(fitness, SEARCH.replace(control_points=SEARCHES[name]), layers=LAYERS)
    started = time.process_time()
    best = engine.run(lambda row: print(f"  {row}", flush=True))
    return {
        "control_points": list(best.control_points),
        "factors": best.factors.tolist(),
        "fitness": best.fitness,
        "unscaled": best.unscaled,
        "convergence": best.convergence,
        "cpu_seconds": time.process_time() - started,
        "held_out": setting.scores(setting.prompts(HELD_OUT, HELD_OUT_ROWS), best.factors.tolist()),
    }


def run(setting: Setting, part: str, results: dict[str, Any]) -> dict[str, Any]:
    """Run one part."""
    if part in SEARCHES:
        return search(setting, part)
    if part == "known":
        prompts = setting.prompts(HELD_OUT, HELD_OUT_ROWS)
        scores = {name: setting.scores(prompts, factors) for name, factors in KNOWN.items()}
        return {"example": prompts["example"][:], "position": prompts["gold_position"][:], "scores": scores}
    cubic = results["cubic"]["factors"]
    if part == "moved":
        prompts = setting.prompts(HELD_OUT, MOVED_ROWS, gold="moved")
        named = {"no scaling": KNOWN["no scaling"], "searched cubic": cubic}
        scores = {name: setting.scores(prompts, factors) for name, factors in named.items()}
        return {"example": prompts["example"][:], "position": prompts["gold_position"][:], "scores": scores}
    longest = max(load(str(setting.speeches))["text"][:], key=len)
    perplexities = {}
    searched = {f"searched {name}": results[name]["factors"] for name in SEARCHES if name in results}
    for name, factors in (KNOWN | searched).items():
        with LayerwiseRope(setting.model, "pi", factors):
            perplexities[name] = perplexity(
                setting.model, setting.tokenizer, longest, window_tokens=WINDOW_TOKENS, windows=WINDOWS
            )
        print(f"  {name}: {perplexities[name]:.2f}", flush=True)
    return {"perplexity": perplexities}


def made(results: dict[str, Any], part: str) -> str:
    return f"Made by `{COMMAND}` on {results[part]['machine']}.\n\n"


def compared(part: dict[str, Any], scores: dict[str, Any]) -> list[list[str]]:
    """Return one row per configuration: mean, interval of the gain, accuracy, gap between positions."""
    prompts = prompts_of(part)
    plain = as_scores(scores["no scaling"])
    rows = []
    for name, saved in scores.items():
        scaled = as_scores(saved)
        means = [row["log_prob_scaled"] for row in by_position(prompts, {"scaled": scaled})]
        gains = gain(prompts, plain, scaled, seed=0)
        interval = f"{gains['log_prob_gain_low']:+.2f} .. {gains['log_prob_gain_high']:+.2f}"
        cells = [name, f"{scaled.log_prob.mean():.2f}", interval if name != "no scaling" else ""]
        rows.append([*cells, f"{scaled.correct.mean():.3f}", f"{max(means) - min(means):.2f}"])
    return rows


HEADER = ["factors", "log-probability, nats", "gain, 95 % interval", "accuracy", "best less worst position, nats"]


def as_scores(saved: dict[str, list[Any]]) -> Scores:
    return Scores(np.array(saved["log_prob"]), np.array(saved["correct"]), [])


def prompts_of(part: dict[str, Any]) -> Dataset:
    """Return the columns of the prompts that the metrics need, from saved results."""
    return Dataset.from_dict({"example": part["example"], "gold_position": part["position"]})


def write(results: dict[str, Any]) -> None:
    """Write the page's tables and pictures, for the parts that were run."""
    known = results["known"]
    searches = [name for name in SEARCHES if name in results]
    scores = known["scores"] | {f"searched {name}": results[name]["held_out"] for name in searches}
    text = made(results, "known") + measure.table(HEADER, compared(known, scores))
    measure.write_between(DOCUMENT, "held-out", text)
    header = ["curve", "control points", "fitness unscaled", "fitness found", "curves measured", "CPU-s"]
    rows = []
    for name in searches:
        result = results[name]
        points = ", ".join(f"{point:g}" for point in result["control_points"])
        numbers = [f"{result['unscaled']:.2f}", f"{result['fitness']:.2f}"]
        evaluations = str(result["convergence"][-1]["evaluations"])
        rows.append([name, points, *numbers, evaluations, f"{result['cpu_seconds']:,.0f}"])
    measure.write_between(DOCUMENT, "searches", made(results, searches[0]) + measure.table(header, rows))
    shown = {
        name: as_scores(saved) for name, saved in scores.items() if name == "no scaling" or name.startswith("searched")
    }
    positions = by_position(prompts_of(known), shown)
    header = ["position", *(f"{name}: {kind}" for name in shown for kind in ("nats", "accuracy"))]
    rows = [
        [f"{row['position']:g}"]
        + [cell for name in shown for cell in (f"{row[f'log_prob_{name}']:.2f}", f"{row[f'accuracy_{name}']:.2f}")]
        for row in positions
    ]
    measure.write_between(DOCUMENT, "positions", made(results, "known") + measure.table(header, rows))
    if "moved" in results:
        text = made(results, "moved") + measure.table(HEADER, compared(results["moved"], results["moved"]["scores"]))
        measure.write_between(DOCUMENT, "moved", text)
    if "perplexity" in results:
        rows = [[name, f"{value:.2f}"] for name, value in results["perplexity"]["perplexity"].items()]
        text = made(results, "perplexity") + measure.table(["factors", "perplexity"], rows)
        measure.write_between(DOCUMENT, "perplexity", text)
    curves = {name: results[name]["factors"] for name in searches} | {"by thirds": KNOWN["by thirds 1.75, 1, 1.75"]}
    pictures: dict[str, Draw] = {
        "accuracy": partial(draw_positions, positions, "accuracy"),
        "log_prob": partial(draw_positions, positions, "log_prob"),
        "convergence": partial(draw_convergence, {name: results[name]["convergence"] for name in searches}),
        "factors": partial(draw_factors, curves),
    }
    PICTURES.mkdir(exist_ok=True)
    for name, draw in pictures.items():
        with tempfile.TemporaryDirectory() as folder:
            save_picture(Path(folder) / name, draw)
            shutil.copy(Path(folder) / f"{name}.svg", PICTURES / f"rope_scaling-{name}.svg")
    links = [f"![{name}](pictures/rope_scaling-{name}.svg)" for name in pictures]
    measure.write_between(DOCUMENT, "pictures", "\n".join(links))


def check(results: dict[str, Any]) -> None:
    """Assert the paper's claim that is tested here: layer-wise factors beat a uniform factor of the same mean."""
    names = ("by thirds 1.75, 1, 1.75", "uniform 1.5")
    assert np.mean(KNOWN[names[0]]) == np.mean(KNOWN[names[1]])
    thirds, uniform = (float(np.mean(results["known"]["scores"][name]["log_prob"])) for name in names)
    assert thirds > uniform + AT_EQUAL_MEAN_NATS, (thirds, uniform)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder that contains retrieval/ and corpora/")
    parser.add_argument("--only", choices=PARTS, action="append", help="part to run; repeatable; all by default")
    parser.add_argument("--tables", action="store_true", help="only rewrite the page, from the saved results")
    options = parser.parse_args()
    if options.data is None and not options.tables:
        parser.error("--data is required unless --tables is given")
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        results = json.loads(RESULTS.read_text("utf-8"))
    if not options.tables:
        setting = Setting(options.data)
        for part in options.only or PARTS:
            print(part, flush=True)
            results[part] = run(setting, part, results) | {"machine": measure.machine(PACKAGES)}
            RESULTS.write_text(json.dumps(results) + "\n", "utf-8")
    if missing := [part for part in ("known", "cubic") if part not in results]:
        raise SystemExit(f"the page needs parts that have not been run yet: {', '.join(missing)}")
    check(results)
    write(results)


if __name__ == "__main__":
    main()
