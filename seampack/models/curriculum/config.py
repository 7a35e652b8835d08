"""Options of the method, and their choices."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from seampack.config import option, seed_option
from seampack.errors import ConfigError
from seampack.models.curriculum.answers import AnswerFormat, Checker, checker
from seampack.models.options import SMALL, MethodConfig

TEMPLATE = "{question}\n"
HINT_TEMPLATE = "{question}\nThe solution begins:\n{hint}\nGo on from there.\n"


class Placement(StrEnum):
    """Where a hint is written."""

    PREFILL = "prefill"
    """At the beginning of the response, which the model continues. Suits models that do not follow instructions."""
    PROMPT = "prompt"
    """In the question, by ``hint_template``; the model responds with the rest."""


class Order(StrEnum):
    """Order in which training sees the rows."""

    STAGES = "stages"
    """One run of the trainer per stage, each with a fresh optimiser and schedule."""
    ORDERED = "ordered"
    """One run, the stages one after another."""
    UNIFORM = "uniform"
    """One run, all rows shuffled: the baseline without a curriculum."""


class Algorithm(StrEnum):
    """Training algorithm."""

    SFT = "sft"
    """Supervised: the loss is on the target, the part of the solution that follows the prompt and its hint."""
    GRPO = "grpo"
    """Reinforcement: responses to the prompt are sampled; a right response has reward 1, a wrong one 0."""
    NONE = "none"
    """No training: only the curriculum is built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumConfig(MethodConfig):
    """Options of the estimate, the stages, the hints and the training."""

    columns: ClassVar[Mapping[str, str]] = {
        "question": "The question, as text.",
        "answer": "Its worked solution, which ends with the final answer.",
        "steps": "Optional, with final, instead of answer: the solution's steps, which concatenate to its text.",
        "final": "Optional, with steps: the final answer.",
    }
    fixed: ClassVar[tuple[str, ...]] = (
        *("placement", "hint_template", "stages", "guide", "ratios", "threshold", "algorithm", "order", "epochs"),
        *("learning_rate", "batch_rows", "replay", "generations", "beta", "warm_epochs"),
    )
    per_run: ClassVar[tuple[str, ...]] = ("checkpoint",)

    model: str = option(
        SMALL,
        "Folder or hub name of a causal language model, or small, a tiny one trained from scratch; evaluation compares "
        "the trained model with it.",
        empty=False,
    )
    question_column: str = option("question", "Column of the questions.", empty=False)
    answer_column: str = option("answer", "Column of the worked solutions.", empty=False)
    answers: str = option(
        "gsm8k", "Format of the solutions: gsm8k (lines, #### answer) or math (boxed answer).", choices=AnswerFormat
    )
    checker: str = option(
        "",
        "Checker that decides whether a response is right: gsm8k, number, math, text or MODULE:FUNCTION; empty: the "
        "checker of the format in answers.",
    )
    template: str = option(TEMPLATE, "Template of the prompt, with {question}.")
    chat: bool = option(False, "Write the question as the user's message of the model's chat template.")
    placement: str = option(
        "prefill",
        "Place of a hint: prefill (start of the response) or prompt (part of the question).",
        choices=Placement,
    )
    hint_template: str = option(HINT_TEMPLATE, "Template with {question} and {hint}; used if placement is prompt.")
    n_samples: int = option(16, "Responses sampled for each question.", low=2, high=10_000, unit="responses")
    temperature: float = option(
        0.7, "Temperature of sampling, in the estimate, hints, evaluation and grpo.", low=0.01, high=10
    )
    max_new_tokens: int = option(256, "Length limit of a response.", low=1, high=1_000_000, unit="tokens")
    batch_responses: int = option(
        512, "Responses sampled at once; limits memory use.", low=1, high=1_000_000, unit="responses"
    )
    checkpoint: str = option(
        "", "Folder in which samples are saved as they are drawn, so that an interrupted run can resume; empty: none."
    )
    stages: int = option(3, "Number of stages of equal size, from easy to hard.", low=1, high=1_000, unit="stages")
    guide: bool = option(True, "Give hints to the unsolved questions of the last stage.")
    ratios: tuple[float, ...] = option(
        (0.25, 0.5, 0.75), "Sizes of hints to try, as shares of a solution's steps.", low=0, high=1, empty=False
    )
    threshold: float = option(
        0.25, "Share of right responses at which a question needs no hint, or no larger hint.", low=0, high=1
    )
    algorithm: str = option(
        "sft", "Training algorithm: sft, grpo, or none to build only the curriculum.", choices=Algorithm
    )
    order: str = option(
        "stages", "Order: stages (one run per stage), ordered (one run) or uniform (one run, shuffled).", choices=Order
    )
    epochs: int = option(1, "Passes through each stage.", low=1, high=10_000, unit="passes")
    learning_rate: float = option(1e-5, "Learning rate.", low=0, high=1)
    batch_rows: int = option(
        64,
        "Rows (sft) or responses (grpo) per training step; a multiple of generations for grpo.",
        low=1,
        high=1_000_000,
    )
    replay: float = option(0.1, "Rows of earlier stages mixed into each stage, as a share of the stage.", low=0, high=1)
    generations: int = option(
        8, "Responses sampled for each prompt of a training step (grpo).", low=2, high=10_000, unit="responses"
    )
    beta: float = option(0.04, "Weight of the KL divergence from the untrained model (grpo).", low=0, high=100)
    warm_epochs: int = option(
        3,
        "Passes over whole solutions before the estimate; used only by the model small.",
        low=0,
        high=10_000,
        unit="passes",
    )
    pass_ks: tuple[int, ...] = option(
        (1, 4, 16), "Values of k for pass@k; values above n_samples are skipped.", low=1, high=10_000, empty=False
    )
    seed: int = seed_option("Seed of weights, samples, ties and order.")

    def check_rules(self) -> None:
        """Check the templates and the checker, and the rules between fields. Raise ConfigError."""
        checker(self.checker_name)
        for name, parts in (("template", ("question",)), ("hint_template", ("question", "hint"))):
            for part in parts:
                if f"{{{part}}}" not in getattr(self, name):
                    raise ConfigError(f"{name}: expected text with {{{part}}} in it; got {getattr(self, name)!r}")
        if self.chat and self.model == SMALL:
            raise ConfigError("chat: the model small has no chat template; expected false, or another model; got true")
        if self.algorithm == Algorithm.GRPO and self.batch_rows % self.generations:
            raise ConfigError(
                f"batch_rows: expected a multiple of generations ({self.generations}); got {self.batch_rows}"
            )

    @property
    def checker_name(self) -> str:
        """Name of the checker: ``checker``, or the checker of the format in ``answers``."""
        return self.checker or self.answers

    @property
    def correct(self) -> Checker:
        """The checker that ``checker_name`` names."""
        return checker(self.checker_name)

    @property
    def batch_prompts(self) -> int:
        """Prompts sampled at once, each with ``n_samples`` responses; also the prompts between two checkpoints."""
        return max(1, self.batch_responses // self.n_samples)

    def checkpoint_file(self, name: str) -> Path | None:
        """Return the path of a file of samples; None without a checkpoint folder."""
        return Path(self.checkpoint) / f"{name}.jsonl" if self.checkpoint else None
