"""Input of the method: a dataset with the columns ``question, steps, final``."""

from collections.abc import Sequence

from datasets import Dataset, List, Value

from seampack.errors import DataError
from seampack.models.curriculum.answers import NUMERIC, SPLITTERS, only_number
from seampack.models.curriculum.config import CurriculumConfig
from seampack.models.curriculum.difficulty import COUNT, with_columns
from seampack.models.data import named_rows, require, require_text, set_aside

STEPS = List(Value("string"))
WRITTEN = (
    *("n_samples", "n_correct", "stage", "hint", "hint_ratio", "hint_steps"),
    *("prompt", "target", "pass_rate_hinted"),
)
"""Columns that later steps write. Not ``responses`` and ``pass_rate``, which steps also read from the user."""


def curriculum_rows(dataset: Dataset, config: CurriculumConfig) -> Dataset:
    """Return the dataset with ``question, steps, final``; the user's steps and final answers are not changed.

    Raises DataError if a column is missing, a solution cannot be split, or numbers are compared and a final answer is
    not a number.
    """
    columns = set(dataset.column_names)
    has_steps = {"steps", "final"} <= columns
    is_prepared = has_steps and "question" in columns and config.question_column not in columns
    question = "question" if is_prepared else config.question_column
    require_text(dataset, question)
    if has_steps:
        _check_steps(dataset, config)
    else:
        dataset = _split(dataset, config)
    if question != "question":
        dataset = set_aside(dataset, ["question"]).rename_column(question, "question")
    elif has_steps and all(dataset.features.get(name) == COUNT for name in ("n_samples", "n_correct")):
        return dataset  # later steps wrote these columns and will replace them
    return set_aside(dataset, WRITTEN)


def _split(dataset: Dataset, config: CurriculumConfig) -> Dataset:
    """Return the dataset with ``steps`` and ``final`` from its column of answers."""
    require_text(dataset, config.answer_column)
    split, solutions = SPLITTERS[config.answers], []
    for row, answer in enumerate(dataset[config.answer_column], 1):
        try:
            solutions.append(split(answer))
        except DataError as error:
            raise DataError(f"column {config.answer_column!r}, row {row}: {error}; see the option answers") from error
    steps, finals = [list(solution.steps) for solution in solutions], [solution.final for solution in solutions]
    _check_finals(finals, config.answer_column, config)
    return with_columns(set_aside(dataset, ["steps", "final"]), steps=(steps, STEPS), final=(finals, Value("string")))


def _check_steps(dataset: Dataset, config: CurriculumConfig) -> None:
    """Raise DataError unless ``steps`` are non-empty lists of text, and the checker can compare ``final``."""
    require(dataset, ["steps"])
    require_text(dataset, "final")
    if dataset.features["steps"] != STEPS:
        raise DataError(f"column 'steps': expected lists of text; got {dataset.features['steps']}")
    if empty := [row for row, steps in enumerate(dataset["steps"]) if not steps]:
        raise DataError(f"column 'steps': {named_rows(empty)}: no steps; expected at least one; drop such rows")
    _check_finals(dataset["final"][:], "final", config)


def _check_finals(finals: Sequence[str], column: str, config: CurriculumConfig) -> None:
    """Raise DataError if the checker compares numbers and a final answer is not a number."""
    for row, final in enumerate(finals, 1):
        if config.checker_name in NUMERIC and only_number(final) is None:
            raise DataError(
                f"column {column!r}, row {row}: the checker {config.checker_name} cannot compare this final answer: "
                f"expected one number, such as 18, 1,250.50 or 3/4; got {final!r}; correct or drop the row, or set "
                "checker to math or text"
            )
