"""Hints for questions that a model does not solve: the first steps of the solution, no more than it needs."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import Dataset, Value

from seampack.config import check_integer, check_number
from seampack.errors import ConfigError
from seampack.models.curriculum.answers import Checker
from seampack.models.curriculum.difficulty import count_correct, with_columns
from seampack.models.curriculum.prompts import PromptFormat
from seampack.models.curriculum.sampling import Sampler, sample_all
from seampack.models.data import require

RATIOS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidedPrompter:
    """Gives a growing share of the solution's steps until ``threshold`` of new responses are right (arXiv 2506.04065).

    The model is to write what remains. At least one step remains: the one that states the answer is never given.
    """

    sample: Sampler
    correct: Checker
    prompt: PromptFormat = field(default_factory=PromptFormat)
    ratios: tuple[float, ...] = RATIOS
    threshold: float = 0.25
    n_samples: int = 16
    batch_rows: int = 64
    checkpoint: Path | None = None
    """Folder of the responses so far, a file for each ratio; see ``sample_all``."""

    def __post_init__(self) -> None:
        check_ratios(self.ratios)
        check_number("threshold", self.threshold, 0, 1)
        check_integer("n_samples", self.n_samples, 1, 10_000)

    def guide(self, dataset: Dataset, stages: tuple[int, ...] | None = None) -> Dataset:
        """The dataset with ``hint, hint_ratio, hint_steps, prompt, target, pass_rate_hinted``.

        Guided are the rows below the threshold in ``stages``; None means the last stage, or all rows where there is no
        column ``stage``. Rows that no hint makes solvable keep the largest; the others have an empty hint and their own
        pass rate. Takes ``question, steps, final, pass_rate``; raises DataError where one is missing.
        """
        require(dataset, ["question", "steps", "final", "pass_rate"])
        steps: list[list[str]] = dataset["steps"][:]
        questions, finals = dataset["question"][:], dataset["final"][:]
        rates: list[float] = dataset["pass_rate"][:]
        given = [0] * len(dataset)
        wanted = np.asarray(rates) < self.threshold
        if "stage" in dataset.column_names:
            stage = np.asarray(dataset["stage"][:])
            wanted &= np.isin(stage, [stage.max()] if stages is None else list(stages))
        unsolved = np.flatnonzero(wanted).tolist()
        ratio = [0.0] * len(dataset)
        for share in sorted(self.ratios):
            trying = [row for row in unsolved if given[row] < hint_steps(len(steps[row]), share)]
            for row in trying:
                given[row], ratio[row] = hint_steps(len(steps[row]), share), share
            prompts = [self.prompt(questions[row], "".join(steps[row][: given[row]])) for row in trying]
            responses = sample_all(
                self.sample,
                prompts,
                self.n_samples,
                batch_rows=self.batch_rows,
                checkpoint=self.checkpoint / f"hints-{share:g}.jsonl" if self.checkpoint else None,
                title=f"hints of {share:g}",
            )
            for row, texts in zip(trying, responses, strict=True):
                rates[row] = count_correct(texts, finals[row], self.correct) / self.n_samples
            unsolved = [row for row in unsolved if rates[row] < self.threshold]
        hints = ["".join(own[:count]) for own, count in zip(steps, given, strict=True)]
        asked = [self.prompt(question, hint) for question, hint in zip(questions, hints, strict=True)]
        return with_columns(
            dataset,
            hint=(hints, Value("string")),
            hint_ratio=(ratio, Value("float64")),
            hint_steps=(given, Value("int32")),
            prompt=(asked, Value("string")),
            target=(["".join(own[count:]) for own, count in zip(steps, given, strict=True)], Value("string")),
            pass_rate_hinted=(rates, Value("float64")),
        )


def unguided(dataset: Dataset, prompt: PromptFormat) -> Dataset:
    """The same columns without any hint: the whole solution is the target."""
    require(dataset, ["question", "steps", "pass_rate"])
    rows = len(dataset)
    return with_columns(
        dataset,
        hint=([""] * rows, Value("string")),
        hint_ratio=([0.0] * rows, Value("float64")),
        hint_steps=([0] * rows, Value("int32")),
        prompt=([prompt(question) for question in dataset["question"]], Value("string")),
        target=(["".join(steps) for steps in dataset["steps"]], Value("string")),
        pass_rate_hinted=(dataset["pass_rate"][:], Value("float64")),
    )


def hint_steps(steps: int, ratio: float) -> int:
    """How many of a solution's steps a hint holds: the rounded share, one at least, all but one at most."""
    return min(max(int(steps * ratio + 0.5), 1), steps - 1)


def check_ratios(ratios: object) -> None:
    """Raise ConfigError unless these are numbers between 0 and 1, at least one."""
    if not isinstance(ratios, tuple) or not ratios:
        raise ConfigError(f"ratios: expected a list of numbers between 0 and 1; got {ratios!r}")
    for ratio in ratios:
        check_number("ratios", ratio, 0, 1)
