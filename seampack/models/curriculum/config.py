"""The options of the method."""

from dataclasses import dataclass

from seampack.config import Config, check_choice, check_integer, check_number, option
from seampack.errors import ConfigError
from seampack.models.curriculum.answers import AnswerFormat, checker
from seampack.models.curriculum.guiding import RATIOS, check_ratios
from seampack.models.curriculum.prompts import HINT_TEMPLATE, TEMPLATE, Placement, check_template
from seampack.models.curriculum.stages import Order
from seampack.models.text import SMALL

METHODS = ("sft", "grpo", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumConfig(Config):
    """How difficulty is estimated, hints are given, and what is trained."""

    model: str = option(SMALL, "Folder or hub name of a causal language model, or small, a tiny one from scratch.")
    question_column: str = option("question", "Column of the questions.")
    answer_column: str = option("answer", "Column of the worked solutions.")
    answers: str = option("gsm8k", "How solutions are written: gsm8k (lines, #### answer) or math (boxed answer).")
    checker: str = option("", "What is right: gsm8k, number, math, text or MODULE:FUNCTION; empty: as answers says.")
    template: str = option(TEMPLATE, "What the model reads, with {question}.")
    chat: bool = option(False, "Write the question as the user's message of the model's chat template.")
    placement: str = option("prefill", "Where hints stand: prefill (begins the response) or prompt (in the question).")
    hint_template: str = option(HINT_TEMPLATE, "The question with its {hint}, where placement is prompt.")
    n_samples: int = option(16, "Responses sampled for each question.")
    temperature: float = option(0.7, "Temperature of sampling.")
    max_new_tokens: int = option(256, "Longest response, in tokens.")
    batch_responses: int = option(512, "Responses that are sampled at once.")
    checkpoint: str = option("", "Folder that keeps the samples as they come: a killed run goes on from there.")
    stages: int = option(3, "Stages of equal size, from easy to hard.")
    guide: bool = option(True, "Give hints to the questions of the last stage that are not solved without.")
    ratios: tuple[float, ...] = option(RATIOS, "Shares of a solution's steps that hints grow by.")
    threshold: float = option(0.25, "A question with this share of right responses needs no (larger) hint.")
    method: str = option("sft", "What trains: sft, grpo, or none: only the curriculum is made.")
    order: str = option("stages", "stages (a run each), ordered (one run, stage by stage) or uniform (all shuffled).")
    epochs: int = option(1, "Passes through each stage.")
    learning_rate: float = option(1e-5, "Learning rate.")
    batch_rows: int = option(64, "Rows (sft) or responses (grpo) of a training step.")
    replay: float = option(0.1, "Rows of earlier stages that each stage mixes in, as a share of it.")
    generations: int = option(8, "Responses to each prompt of a step (grpo).")
    beta: float = option(0.04, "Weight of the divergence from the first model (grpo).")
    warm_epochs: int = option(3, "Passes over whole solutions that teach the model small its first steps.")
    pass_ks: tuple[int, ...] = option((1, 4, 16), "The k of pass@k; those above n_samples are left out.")
    seed: int = option(0, "Seed of everything random.")

    def check_rules(self) -> None:
        """Check the rules between fields."""
        for name in ("ratios", "pass_ks"):
            if isinstance(values := getattr(self, name), list):
                object.__setattr__(self, name, tuple(values))
        check_choice("answers", self.answers, AnswerFormat)
        checker(self.checker or self.answers)
        check_template("template", self.template, ("question",))
        check_template("hint_template", self.hint_template, ("question", "hint"))
        check_choice("placement", self.placement, Placement)
        check_choice("order", self.order, Order)
        if self.method not in METHODS:
            raise ConfigError(f"method: expected one of {', '.join(METHODS)}; got {self.method!r}")
        check_integer("n_samples", self.n_samples, 2, 10_000)
        check_number("temperature", self.temperature, 0.01, 10)
        for name in ("max_new_tokens", "batch_responses", "epochs", "batch_rows"):
            check_integer(name, getattr(self, name), 1, 1_000_000)
        check_integer("stages", self.stages, 1, 1_000)
        check_ratios(self.ratios)
        check_number("threshold", self.threshold, 0, 1)
        check_number("learning_rate", self.learning_rate, 0, 1)
        check_number("replay", self.replay, 0, 1)
        check_integer("generations", self.generations, 2, 10_000)
        check_number("beta", self.beta, 0, 100)
        check_integer("warm_epochs", self.warm_epochs, 0, 10_000)
        if not isinstance(self.pass_ks, tuple) or not self.pass_ks:
            raise ConfigError(f"pass_ks: expected a list of whole numbers; got {self.pass_ks!r}")
        for k in self.pass_ks:
            check_integer("pass_ks", k, 1, 10_000)
        check_integer("seed", self.seed, 0, 2**31 - 1)
        if self.chat and self.model == SMALL:
            raise ConfigError("chat: the model small has no chat template; leave chat out, or name a chat model")
        if self.method == "grpo" and self.batch_rows % self.generations:
            raise ConfigError(
                f"batch_rows: expected a multiple of generations ({self.generations}); got {self.batch_rows}"
            )
