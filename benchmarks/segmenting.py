"""Measure the segmenter's quality and speed; write the tables of docs/segmenter.md.

    python -m benchmarks.segmenting --data DATA --models models                   # every model in the folder
    python -m benchmarks.segmenting --data DATA --models models --only speed      # one section

DATA has ``NAME/raw.txt`` and ``NAME/gold.txt``. First train the models with ``seampack segment``; the other seeds of a
test are trained with ``--seed 1`` and ``--seed 2``:

    train DATA/sighan_pku_test/raw.txt -o models/pku-0
    distill DATA/sighan_pku_test/raw.txt --teacher models/pku-0 .. --teacher models/pku-2 -o models/pku-vote
    train DATA/sighan_as_test/raw.txt -o models/as-0
    train DATA/best_test100k/raw.txt --script th --longest 8 --epochs 2.5 -o models/best-0
    train DATA/br_phono/raw.txt --script symbols --longest 8 --word-cost 0.5 -o models/br-cost0.5-0    # and other costs
    train DATA/letters/raw.txt --script latin --longest 8 --word-cost 0.5 -o models/letters-cost0.5-0  # the same

``zh-0`` and ``th-0`` are the bundled models, described in NOTICE; ``br-0`` and ``letters-0`` have the costs 0.5 and 2.
``benchmarks/letters.py`` makes ``letters``. Training never reads gold; docs/segmenter.md describes how defaults were
chosen. Rows are kept in ``benchmarks/results/segmenting.json``, including rows of models that no longer exist.
"""

import argparse
import functools
import itertools
import json
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from seampack._memory import keep_freed_memory
from seampack.segmenter import _kernels as kernels
from seampack.segmenter import artifact
from seampack.segmenter.agreement import agreement, mean_kappa
from seampack.segmenter.decoders import DECODERS, DEFAULT
from seampack.segmenter.evaluate import score_words, split_line
from seampack.segmenter.lexicon import words_of
from seampack.segmenter.model import Segmenter
from seampack.segmenter.peers import measure as measure_peer
from seampack.segmenter.peers import run_peers
from seampack.segmenter.scripts import text_in_form
from seampack.segmenter.spans import Spans

RESULTS = Path(__file__).parent / "results" / "segmenting.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "segmenter.md"
PACKAGES = (
    "seampack",
    "numpy",
    "numba",
    "torch",
    "jieba",
    "pkuseg",
    "budoux",
    "sentencepiece",
    "pythainlp",
    "attacut",
    "fugashi",
    "unidic-lite",
)

TESTS = {
    "pku": ("sighan_pku_test", "SIGHAN 2005 PKU test, Chinese"),
    "as": ("sighan_as_test", "SIGHAN 2005 AS test, Chinese (traditional)"),
    "best": ("best_test100k", "BEST 100k, Thai"),
    "br": ("br_phono", "Bernstein-Ratner, English phonemes"),
    "letters": ("letters", "Shakespeare's letters, without spaces"),
    "zh": ("ud_zh_gsdsimp_test", "UD GSDSimp test, Chinese"),
    "th": ("ud_th_pud_test", "UD PUD test, Thai"),
}
"""Data and title of each test, by the first part of the model's name: ``pku-0``, ``pku-1`` ... are seeds, and
``pku-vote`` is a student of all of them."""

CHINESE = {
    "ud_zh_gsdsimp_dev": "UD GSDSimp dev (used for the settings)",
    "ud_zh_gsdsimp_test": "UD GSDSimp test",
    "sighan_pku_test": "SIGHAN 2005 PKU test",
    "sighan_as_test": "SIGHAN 2005 AS test (traditional)",
}
"""The tests of the bundled model for Chinese."""

OTHERS = {
    "th": (*(TESTS[name] for name in ("th", "best")), ("wisesight1000", "wisesight1000, Thai")),
    "ja": (("ud_ja_gsd_test", "UD GSD test, Japanese"),),
}
"""The tests on which a bundled model is compared with other programs."""

OURS: dict[str, dict[str, bool]] = {
    "student and lexicon (default)": {},
    "student alone": {"lexicon": False},
    "exact": {"exact": True},
}
"""Options of a bundled model in this comparison."""

OWN = "own decoder, no punctuation"
"""The scores of the decoder of a model, or of its student if it has no language models."""

Row = dict[str, str]


def texts_and_gold(data: Path, name: str) -> tuple[list[str], list[list[str]]]:
    """Return the raw texts and their gold words, line by line, without zero-width spaces."""
    gold, raw = (
        (data / name / file).read_text("utf-8").translate({0x200B: None, 0xFEFF: None}).splitlines()
        for file in ("gold.txt", "raw.txt")
    )
    if len(raw) != len(gold):
        raise SystemExit(f"{name}: {len(raw)} raw and {len(gold)} gold lines")
    return raw, list(map(split_line, gold))


def f1(segmented: list[list[str]], gold: list[list[str]]) -> tuple[float, float]:
    """Return the word F1 in per cent, with and without punctuation."""
    scores = score_words(gold, segmented)
    return 100 * scores.words.f1, 100 * scores.words_without_punctuation.f1


@functools.cache
def segmentations(folder: Path, data: Path) -> dict[str, list[list[str]]]:
    """Segment the test of a model with its student, with its lexicon, and with each decoder of its language models."""
    raw, _ = texts_and_gold(data, TESTS[folder.name.split("-")[0]][0])
    segmenter = Segmenter.load(folder)
    by_decoder = {}
    if segmenter.has_teacher:
        units, starts = segmenter.units(raw)
        lattices = segmenter.teacher.lattices(units)
        for name, decode in DECODERS.items():
            by_decoder[name] = Spans.of_ends(decode(lattices), units, starts).words(raw)
    if segmenter.has_lexicon:
        by_decoder["student and lexicon"] = segmenter.segment(raw)
    return {**by_decoder, "student": segmenter.segment(raw, lexicon=False)}


def models(options: argparse.Namespace, pattern: str = r"-\d+|-vote") -> list[Path]:
    """Return the models whose name is that of a test followed by the pattern."""
    folders = (path.parent for path in sorted(options.models.glob("*/segmenter.json")))
    return [folder for folder in folders if re.fullmatch(f"({'|'.join(TESTS)})({pattern})", folder.name)]


def quality_rows(options: argparse.Namespace) -> list[Row]:
    """Return the F1 of each model on its test, by decoder."""
    rows = []
    for folder in models(options):
        test, title = TESTS[folder.name.split("-")[0]]
        _, gold = texts_and_gold(options.data, test)
        description = Segmenter.load(folder).description
        by_decoder = segmentations(folder, options.data)
        row = {
            "model": folder.name,
            "test": title,
            "K": str(description["config"].get("longest", "")),
            "h": str(description["config"].get("hidden", "")),
            "epochs": "" if "average_of" in description else str(description["config"]["epochs"]),
            "units": f"{description['units']:,}" if "units" in description else "",
            "training, CPU-s": _training_seconds(description),
            "kappa": f"{description['agreement']:.2f}" if description.get("agreement") else "",
        }
        names = (*DECODERS, "student", "student and lexicon")
        row |= {name: f"{f1(by_decoder[name], gold)[0]:.1f}" if name in by_decoder else "" for name in names}
        own = by_decoder.get(Segmenter.load(folder).decoder, by_decoder["student"])
        rows.append({**row, OWN: f"{f1(own, gold)[1]:.1f}"})
        print(" | ".join(rows[-1].values()), flush=True)
    return rows


def bundled_rows(options: argparse.Namespace) -> list[Row]:
    """Return the F1 of the models for Chinese on each test in Chinese, and the recall of words that they lack."""
    rows = []
    for folder in models(options, r"-\d+"):
        segmenter = Segmenter.load(folder)
        if not folder.name.startswith("zh-") or not segmenter.has_lexicon:
            continue
        known = {*words_of(artifact.load_part(folder, "lexicon", segmenter.description))}
        for name, title in CHINESE.items():
            raw, gold = texts_and_gold(options.data, name)
            row = {"model": folder.name, "test": title}
            scores = {}
            for kind, segmented in _by_kind(segmenter, raw).items():
                both = [
                    [[text_in_form(word, segmenter.han_form) for word in line] for line in lines]
                    for lines in (gold, segmented)
                ]
                scores[kind] = score_words(*both, known | _other_words(segmenter, both[0]))
                row[kind] = f"{100 * scores[kind].words.f1:.1f}"
            for kind in ("default", "exact"):
                row[f"{kind}, no punctuation"] = f"{100 * scores[kind].words_without_punctuation.f1:.1f}"
            for kind, score in scores.items():
                row[f"{kind}, recall of words not in the lexicon"] = f"{100 * score.unknown.recall:.1f}"
            rows.append(row)
            print(" | ".join(row.values()), flush=True)
    return rows


def _other_words(segmenter: Segmenter, gold: list[list[str]]) -> set[str]:
    """Return the words with a number, a foreign word or punctuation, which no lexicon has."""
    words = sorted({word for line in gold for word in line})
    units, _ = segmenter.units(words)
    return {words[i] for i in np.flatnonzero(np.logical_or.reduceat(units.single, units.offsets[:-1]))}


def _by_kind(segmenter: Segmenter, raw: list[str]) -> dict[str, list[list[str]]]:
    """Return the words of texts by the student and by the language models, with and without the lexicon."""
    return {
        "student alone": segmenter.segment(raw, lexicon=False),
        "default": segmenter.segment(raw),
        "exact, no lexicon": segmenter.segment(raw, exact=True, lexicon=False),
        "exact": segmenter.segment(raw, exact=True),
    }


def _training_seconds(description: dict[str, Any]) -> str:
    """Return the CPU seconds of training both directions."""
    seconds = description.get("training_cpu_seconds", {})
    return f"{sum(seconds.values()):.0f}" if seconds else ""


def agreement_rows(options: argparse.Namespace) -> list[Row]:
    """Return the agreement of models with different seeds, by decoder: the F1 of one seed against another."""
    rows = []
    for test, (_, title) in TESTS.items():
        seeds = [folder for folder in models(options, r"-\d+") if folder.name.startswith(f"{test}-")]
        pairs = list(itertools.combinations([segmentations(folder, options.data) for folder in seeds], 2))
        if pairs:
            row = {"test": title, "seeds": str(len(seeds))}
            for decoder in [name for name in DECODERS if all(name in a and name in b for a, b in pairs)]:
                row[decoder] = f"{statistics.mean(f1(a[decoder], b[decoder])[0] for a, b in pairs):.1f}"
            rows.append(row)
            print(" | ".join(row.values()), flush=True)
    return rows


def cost_rows(options: argparse.Namespace) -> list[Row]:
    """Return, for each word cost, the measures without gold and the F1 against gold; slashes separate seeds."""
    rows: list[Row] = []
    by_cost: dict[tuple[str, float], list[Path]] = defaultdict(list)
    for folder in models(options, r"-cost[\d.]+-\d+"):
        test, cost, _ = folder.name.split("-")
        by_cost[test, float(cost.removeprefix("cost"))].append(folder)
    for (test, nats_a_word), seeds in sorted(by_cost.items()):
        name, title = TESTS[test]
        raw, gold = texts_and_gold(options.data, name)
        agreed = mean_kappa(agreement({folder.name: Segmenter.load(folder) for folder in seeds}, raw))
        nats = [statistics.mean(Segmenter.load(folder).description["validation_nats"].values()) for folder in seeds]
        of_seeds = [segmentations(folder, options.data) for folder in seeds]
        pairs = [f1(a[DEFAULT], b[DEFAULT])[0] for a, b in itertools.combinations(of_seeds, 2)]
        rows.append(
            {
                "test": title,
                "cost of a word": f"{nats_a_word:g}",
                "mean kappa of the language models": "" if agreed is None else f"{agreed:.3f}",
                "F1 of one seed against the other": f"{statistics.mean(pairs):.1f}" if pairs else "",
                "held-out nats a unit": " / ".join(f"{value:.2f}" for value in nats),
                **{
                    f"F1 against gold, {decoder}": " / ".join(
                        f"{f1(by_decoder[decoder], gold)[0]:.1f}" for by_decoder in of_seeds
                    )
                    for decoder in (DEFAULT, "product", "forward", "backward")
                },
            }
        )
        print(" | ".join(rows[-1].values()), flush=True)
    return rows


def peer_rows(options: argparse.Namespace) -> list[Row]:
    """Return the F1 and the speed of the installed peers on the same tests."""
    rows = []
    for test, (folder, title) in TESTS.items():
        if not (options.data / folder).exists():
            continue
        raw, gold = texts_and_gold(options.data, folder)
        script = {"best": "th", "th": "th", "br": "symbols", "letters": "latin"}.get(test, "zh")
        for result in run_peers(gold, raw, script):
            scores = result.to_dict()
            rows.append(
                {
                    "peer": scores["segmenter"],
                    "test": title,
                    "F1": f"{100 * scores['words_f1']:.1f}",
                    "characters per CPU-s": f"{scores['characters_per_second']:,}",
                }
            )
            print(" | ".join(rows[-1].values()), flush=True)
    return rows


def comparison_rows(options: argparse.Namespace, name: str) -> list[Row]:
    """Return the F1 of a bundled model, with and without its lexicon, and of the installed peers."""
    rows = []
    segmenter = Segmenter.load(name)
    for folder, title in OTHERS[name]:
        raw, gold = texts_and_gold(options.data, folder)
        ours = [
            measure_peer(f"{name}, {kind}", lambda how=how: functools.partial(segmenter.segment, **how), gold, raw)  # type: ignore[misc]
            for kind, how in OURS.items()
            if segmenter.has_teacher or "exact" not in how
        ]
        for result in [*ours, *run_peers(gold, raw, name)]:
            scores = result.to_dict()
            rows.append(
                {
                    "segmenter": result.name,
                    "test": title,
                    "F1": f"{100 * scores['words_f1']:.1f}",
                    "F1, no punctuation": f"{100 * scores['no_punctuation_f1']:.1f}",
                    "words for each gold word": f"{result.scores.words.predicted / result.scores.words.gold:.2f}",
                    "characters per CPU-s": f"{scores['characters_per_second']:,}",
                }
            )
            print(" | ".join(rows[-1].values()), flush=True)
    return rows


def speed_rows(options: argparse.Namespace) -> list[Row]:
    """Return the characters per CPU second of the kernels, the language models and the student."""
    raw, _ = texts_and_gold(options.data, "ud_zh_gsdsimp_test")
    raw = raw * 5
    keep_freed_memory()  # as the command does
    characters = sum(map(len, raw))
    rows = []

    def add(name: str, work: Callable[[], Any], count: int, runs: int) -> None:
        work()
        speed = count / statistics.median(measure.cpu_seconds(work) for _ in range(runs))
        rows.append({"work": name, "characters per CPU-s": f"{speed:,.0f}"})
        print(" | ".join(rows[-1].values()), flush=True)

    units = 2_000_000
    scores = np.random.default_rng(0).normal(-3, 1, (units, 3)).astype(np.float32)
    offsets = np.append(np.arange(0, units, 12), units)
    ends, posteriors = np.empty(units, np.uint8), np.empty_like(scores)
    add("kernel: Viterbi, K = 3", lambda: kernels.viterbi(scores, offsets, ends), units, 9)
    add(
        "kernel: forward-backward posteriors, K = 3",
        lambda: kernels.forward_backward(scores, offsets, posteriors),
        units,
        5,
    )
    for folder in sorted(options.models.glob("zh-*")):
        segmenter = Segmenter.load(folder)
        if segmenter.has_teacher:
            import torch

            torch.set_num_threads(1)
            add(
                f"{folder.name}: exact, both directions, h = {segmenter.description['config']['hidden']}",
                lambda s=segmenter: s.spans(raw, exact=True),
                characters,
                1,
            )  # type: ignore[misc]
        for name, lexicon in [("student", False), ("student and lexicon", True)][: 1 + segmenter.has_lexicon]:
            for kind, work in (("spans", segmenter.spans), ("lists of words", segmenter.segment)):
                split = functools.partial(work, raw, lexicon=lexicon)
                add(f"{folder.name}: {name}, {kind}", split, characters, 9)
    return rows


SECTIONS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "quality": quality_rows,
    "bundled": bundled_rows,
    "costs": cost_rows,
    "agreement": agreement_rows,
    "peers": peer_rows,
    "thai": functools.partial(comparison_rows, name="th"),
    "japanese": functools.partial(comparison_rows, name="ja"),
    "speed": speed_rows,
}


def with_kept(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """Return the new rows, and the old rows of models that were not scored again."""
    scored = [row["model"] for row in new["rows"]]
    kept = [row for row in old["rows"] if row["model"] not in scored] if old else []
    if not old or not kept:
        return new
    rows = sorted(new["rows"] + kept, key=lambda row: row["model"])
    others = old["machine"].partition(", the other models on ")
    machine = f"{new['machine']} ({', '.join(scored)}), the other models on {others[2] or others[0]}"
    return {"rows": rows, "machine": machine}


def with_means(rows: list[Row]) -> list[Row]:
    """Return the rows, and one more row for each test with several seeds: mean and standard deviation of the scores."""
    means = []
    for test in TESTS:
        seeds = [row for row in rows if re.fullmatch(rf"{test}-\d+", row["model"])]
        if len(seeds) > 1:
            row = {**dict.fromkeys(seeds[0], ""), "model": f"{test}, mean ± s.d.", "test": seeds[0]["test"]}
            for name in ("kappa", *DECODERS, "student", OWN):
                values = [float(seed[name]) for seed in seeds]
                digits = 2 if name == "kappa" else 1
                row[name] = f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"
            means.append(row)
    return rows + means


def write_tables(results: dict[str, Any]) -> None:
    """Write the tables of the page from the results."""
    for name, section in results.items():
        rows = with_means(section["rows"]) if name == "quality" else section["rows"]
        if rows:
            text = f"Made by `python -m benchmarks.segmenting` on {section['machine']}.\n\n"
            measure.write_between(
                DOCUMENT, name, text + measure.table(list(rows[0]), [list(row.values()) for row in rows])
            )


def main() -> None:
    """Run the chosen sections, keep their rows, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the test texts")
    parser.add_argument("--models", type=Path, help="folder of the trained models")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--tables", action="store_true", help="only write the tables, from saved results")
    options = parser.parse_args()
    if not options.tables and (options.data is None or options.models is None):
        parser.error("--data and --models are required unless --tables is given")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [] if options.tables else options.only:
        started = time.perf_counter()
        section = {"rows": SECTIONS[name](options), "machine": measure.machine(PACKAGES)}
        results[name] = with_kept(section, results.get(name)) if name == "quality" else section
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")
        print(f"-- {name}: {time.perf_counter() - started:.0f} s", flush=True)
    write_tables(results)


if __name__ == "__main__":
    main()
