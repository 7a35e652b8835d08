"""Hints for questions that a model does not solve: as few first steps of the solution as it needs."""

import numpy as np
from datasets import Dataset, Value

from seampack.models.curriculum.difficulty import count_correct, with_columns
from seampack.models.curriculum.prompts import PromptFormat
from seampack.models.curriculum.sampling import Examiner
from seampack.models.data import require


class GuidedPrompter(Examiner):
    """Gives a growing share of the steps until a share ``threshold`` of new responses is right (arXiv 2506.04065).

    The model writes the remaining steps. The last step, which states the answer, is never given.
    """

    def guide(self, dataset: Dataset, stages: tuple[int, ...] | None = None) -> Dataset:
        """Return the dataset with ``hint, hint_ratio, hint_steps, prompt, target, pass_rate_hinted``.

        Rows of ``stages`` below the threshold get hints. Rows that remain unsolved keep the largest hint; all other
        rows have an empty hint and their original pass rate.

        Args:
            dataset: Rows with ``question, steps, final, pass_rate``.
            stages: Stages whose rows get hints; None: the last stage, or all rows if there is no column ``stage``.

        Raises:
            DataError: A column is missing, or ``sample_all`` raises it.
        """
        require(dataset, ["question", "steps", "final", "pass_rate"])
        steps: list[list[str]] = dataset["steps"][:]
        questions, finals = dataset["question"][:], dataset["final"][:]
        rates: list[float] = dataset["pass_rate"][:]
        given = [0] * len(dataset)
        ratios = [0.0] * len(dataset)
        is_hard = np.asarray(rates) < self.config.threshold
        if "stage" in dataset.column_names:
            stage = np.asarray(dataset["stage"][:])
            is_hard &= np.isin(stage, [stage.max()] if stages is None else list(stages))
        unsolved = np.flatnonzero(is_hard).tolist()
        for ratio in sorted(self.config.ratios):
            rows = [row for row in unsolved if given[row] < hint_steps(len(steps[row]), ratio)]
            for row in rows:
                given[row], ratios[row] = hint_steps(len(steps[row]), ratio), ratio
            prompts = [self.prompt(questions[row], "".join(steps[row][: given[row]])) for row in rows]
            responses = self.responses(prompts, f"hints-{ratio:g}")
            for row, texts in zip(rows, responses, strict=True):
                rates[row] = count_correct(texts, finals[row], self.correct) / self.config.n_samples
            unsolved = [row for row in unsolved if rates[row] < self.config.threshold]
        return _with_hints(dataset, self.prompt, given, ratios, rates)


def unguided(dataset: Dataset, prompt: PromptFormat) -> Dataset:
    """Return the dataset with the same columns as ``guide`` but no hints: the whole solution is the target."""
    require(dataset, ["question", "steps", "pass_rate"])
    rows = len(dataset)
    return _with_hints(dataset, prompt, [0] * rows, [0.0] * rows, dataset["pass_rate"][:])


def _with_hints(
    dataset: Dataset, prompt: PromptFormat, given: list[int], ratios: list[float], rates: list[float]
) -> Dataset:
    """Return the dataset with the columns of hints; ``given``: steps given per row, ``rates``: pass rates with them."""
    steps: list[list[str]] = dataset["steps"][:]
    hints = ["".join(own[:count]) for own, count in zip(steps, given, strict=True)]
    prompts = [prompt(question, hint) for question, hint in zip(dataset["question"], hints, strict=True)]
    targets = ["".join(own[count:]) for own, count in zip(steps, given, strict=True)]
    return with_columns(
        dataset,
        hint=(hints, Value("string")),
        hint_ratio=(ratios, Value("float64")),
        hint_steps=(given, Value("int32")),
        prompt=(prompts, Value("string")),
        target=(targets, Value("string")),
        pass_rate_hinted=(rates, Value("float64")),
    )


def hint_steps(steps: int, ratio: float) -> int:
    """Return the number of steps in a hint: the rounded share of the solution's steps, from 1 to all but one."""
    return min(max(int(steps * ratio + 0.5), 1), steps - 1)
