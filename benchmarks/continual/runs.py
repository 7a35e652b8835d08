"""All trainings of a setting. Each is saved when it is finished, and is not run again."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.continual import corpora, scoring, training
from benchmarks.continual.arms import CONCAT, Arm, Row, pack
from benchmarks.continual.corpora import Tokens
from benchmarks.continual.settings import Setting
from benchmarks.continual.training import Device
from benchmarks.pretrained import smollm2
from seampack.io.output import write_file

PACKAGES = ("seampack", "torch", "transformers", "tokenizers", "numpy")
Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training."""

    domain: str
    seq_len: int
    arm: Arm
    seed: int
    learning_rate: float | None = None
    """Given while the learning rate is chosen; then the documents for choosing are scored."""

    @property
    def file_name(self) -> str:
        """Name of the file of the result."""
        parts = [self.domain, self.seq_len, self.arm.name, f"seed {self.seed}"]
        parts += [] if self.learning_rate is None else [f"rate {self.learning_rate:g}"]
        return re.sub(r"[^a-z0-9.]+", "-", " ".join(map(str, parts)).lower()) + ".json"


class Domain:
    """The documents of a domain, split and tokenised."""

    def __init__(self, name: str, setting: Setting, data: Path | None, folder: Path) -> None:
        texts, self.sources = corpora.read(setting.domains[name], data)
        split = corpora.split(texts, train=setting.train, choosing=setting.choosing, held_out=setting.held_out)
        if setting.shape is None:
            vocabulary = smollm2()
        else:
            path = folder / f"tokenizer-{name.replace(' ', '-')}" / "tokenizer.json"
            vocabulary = corpora.own_vocabulary(split.train, setting.shape.vocab_size, path)
        tokenizer = corpora.load_tokenizer(vocabulary)
        self.parts = {part: corpora.tokenize(texts, tokenizer) for part, texts in vars(split).items()}

    def __getitem__(self, part: str) -> list[Tokens]:
        return self.parts[part]

    def describe(self, seq_lens: list[int]) -> Result:
        """Return what the saved results need: sources, sizes, and the tokens of each held-out document by group."""
        counts = {str(seq_len): scoring.counts(self["held_out"], seq_len) for seq_len in seq_lens}
        frequencies = round(scoring.frequency_loss(self["train"], self["held_out"]), 4)
        return corpora.describe(self.parts, self.sources) | {"frequency_loss": frequencies, "counts": counts}


class Runs:
    """The trainings of a setting in a folder of results."""

    def __init__(self, name: str, setting: Setting, data: Path | None, folder: Path) -> None:
        self.name, self.setting, self.data, self.folder = name, setting, data, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.loaded: dict[str, Domain] = {}

    @cached_property
    def device(self) -> Device:
        """Where the models are trained."""
        return Device.best()

    @cached_property
    def domains(self) -> list[str]:
        """The domains whose documents are on this machine."""
        found = []
        for name, sources in self.setting.domains.items():
            if any(corpora.path_of(source, self.data) for source in sources):
                found.append(name)
            else:
                self.say(f"{name}: not on this machine, skipped; give the folder of the corpora with --data")
        return found

    def domain(self, name: str) -> Domain:
        """Return the documents of a domain, loaded once."""
        if name not in self.loaded:
            self.loaded[name] = Domain(name, self.setting, self.data, self.folder)
        return self.loaded[name]

    def cells(self) -> list[tuple[str, int, tuple[Arm, ...]]]:
        """Return (domain, row length, arms) of everything that is compared."""
        return [
            (domain, seq_len, arms)
            for seq_len, only, arms in self.setting.cells
            for domain in self.domains
            if only in (None, domain)
        ]

    def candidates(self, domain: str, seq_len: int) -> list[Job]:
        """Return the trainings by which the learning rate of a cell is chosen."""
        return [Job(domain, seq_len, CONCAT, 0, rate) for rate in self.setting.learning_rates]

    def jobs(self) -> Iterator[Job]:
        """Yield all trainings, seed by seed, so that an interrupted run has complete seeds."""
        for domain, seq_len, _ in self.cells():
            yield from self.candidates(domain, seq_len)
        for seed in range(self.setting.seeds):
            for domain, seq_len, arms in self.cells():
                yield from (Job(domain, seq_len, arm, seed) for arm in arms)

    def saved(self, job: Job) -> Result | None:
        """Return the result of a finished training. Refuse one of other settings."""
        path = self.folder / job.file_name
        if not path.exists():
            return None
        result: Result = json.loads(path.read_text("utf-8"))
        if result["setting"] != self.setting.describe():
            raise SystemExit(f"{path}: made with other settings; choose another folder with --out, or remove it")
        return result

    def chosen_rate(self, domain: str, seq_len: int) -> float:
        """Return the learning rate that gives naive concatenation the lowest loss on the documents for choosing."""
        found = {job.learning_rate: self.saved(job) for job in self.candidates(domain, seq_len)}
        return min(found, key=lambda each: sum(found[each]["sums"]["all"]))

    def run(self, minutes: float = float("inf")) -> None:
        """Run the trainings that are not saved yet; begin none that may end after so much time."""
        started = time.monotonic()
        jobs = list(self.jobs())
        longest = 0.0
        for number, job in enumerate(jobs, 1):
            if self.saved(job) is not None:
                continue
            begun = time.monotonic()
            if (begun - started + longest) / 60 > minutes:
                self.say(f"stopped after {number - 1} of {len(jobs)} trainings; run the same command to go on")
                return
            result = self.result(job)
            write_file(self.folder / job.file_name, (json.dumps(result) + "\n").encode())
            longest = max(longest, time.monotonic() - begun)
            loss = sum(result["sums"]["all"]) / sum(self._counts(job)["all"])
            self.say(
                f"{number}/{len(jobs)} {job.file_name.removesuffix('.json')}: {result['steps']} steps, "
                f"loss {loss:.4f}, {result['cpu_seconds']:.0f} CPU-s"
            )

    def rows(self, job: Job, packing: str) -> tuple[list[Row], Result]:
        """Return the rows of a packing of the documents that a training reads, and their account."""
        return pack(packing, self.domain(job.domain)["train"], job.seq_len, job.seed)

    def result(self, job: Job) -> Result:
        """Run one training and score the held-out documents; or return the result of the same training."""
        rows, account = self.rows(job, job.arm.packing)
        rows_per_step = max(1, self.setting.tokens_per_step // job.seq_len)
        steps = one_pass = training.steps_of_pass(len(rows), rows_per_step)
        if job.arm.steps_of:
            steps = training.steps_of_pass(len(self.rows(job, job.arm.steps_of)[0]), rows_per_step)
            twin = Job(job.domain, job.seq_len, Arm(job.arm.packing, job.arm.block_diagonal), job.seed)
            if steps == one_pass and (same := self.saved(twin)):
                return same | {"arm": job.arm.name, "cpu_seconds": 0.0}
        learning_rate = job.learning_rate or self.chosen_rate(job.domain, job.seq_len)
        started = time.process_time()
        model = training.pretrained(job.seed) if self.setting.shape is None else self.setting.shape.model(job.seed)
        train_loss = training.train(
            model,
            rows,
            block_diagonal=job.arm.block_diagonal,
            rows_per_step=rows_per_step,
            rows_at_once=self.setting.rows_at_once,
            steps=steps,
            learning_rate=learning_rate,
            seed=job.seed,
            device=self.device,
        )
        scored = scoring.losses(model, self._scored(job), job.seq_len, self.device)
        return {
            "setting": self.setting.describe(),
            "domain": job.domain,
            "seq_len": job.seq_len,
            "arm": job.arm.name,
            "seed": job.seed,
            "learning_rate": learning_rate,
            "steps": steps,
            "steps_of_pass": one_pass,
            "parameters": training.parameters(model),
            "train_loss": round(train_loss, 4),
            "account": account,
            "sums": scoring.sums(scored, job.seq_len),
            "cpu_seconds": round(time.process_time() - started, 1),
            "machine": f"{measure.machine(PACKAGES)}; trained on {self.device}",
        }

    def _scored(self, job: Job) -> list[Tokens]:
        return self.domain(job.domain)["held_out" if job.learning_rate is None else "choosing"]

    def _counts(self, job: Job) -> dict[str, list[int]]:
        return scoring.counts(self._scored(job), job.seq_len)

    def collect(self) -> Result:
        """Return everything that the tables need."""
        finished = [result for job in self.jobs() if job.learning_rate is None and (result := self.saved(job))]
        cells = self.cells()
        rates = {}
        for domain, seq_len, _ in cells:
            tried = {
                f"{job.learning_rate:g}": round(sum(result["sums"]["all"]) / sum(self._counts(job)["all"]), 4)
                for job in self.candidates(domain, seq_len)
                if (result := self.saved(job))
            }
            rates[f"{domain}/{seq_len}"] = tried
        lengths = {domain: sorted({seq_len for name, seq_len, _ in cells if name == domain}) for domain in self.domains}
        return {
            "setting": self.name,
            "options": self.setting.describe() | {"seeds": self.setting.seeds},
            "domains": {name: self.domain(name).describe(lengths[name]) for name in self.domains},
            "learning_rates": rates,
            "cpu_seconds": round(sum(each["cpu_seconds"] for each in finished)),
            "trainings": [{name: each[name] for name in each if name != "setting"} for each in finished],
        }

    def say(self, text: str) -> None:
        """Write a line of progress."""
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", file=sys.stderr, flush=True)
