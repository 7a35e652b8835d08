"""Every option reaches what it governs: for each, a value that is not its default, and its effect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import trl
from datasets import Dataset

from seampack.models.curriculum import CurriculumConfig, CurriculumTrainer, TransformersSampler
from seampack.models.curriculum import adapter as module
from seampack.models.curriculum.adapter import ADAPTER
from seampack.models.curriculum.evaluation import measures
from seampack.models.curriculum.small import piece_tokenizer, small_model
from tests.models.curriculum.world import Oracle, prepared

ROWS = prepared(30, lengths=(1, 3, 8))
TOKENIZER = piece_tokenizer([*ROWS["question"], *("".join(steps) for steps in ROWS["steps"]), "<user>"])
CHAT_TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ '\n' }}"


class Recorder(Oracle):
    """A sampler that records its calls."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.prompts: list[str] = []
        self.batches: list[int] = []

    def __call__(self, prompts: list[str], n: int) -> list[list[str]]:
        self.prompts += prompts
        self.batches.append(len(prompts))
        return super().__call__([prompt.rpartition(">")[2] for prompt in prompts], n)


def made(config: CurriculumConfig, sample: Any = None) -> tuple[Dataset, Recorder]:
    """The curriculum built with a recorded sampler, and the recorder."""
    recorder = sample or Recorder()
    with (
        patch.object(module, "TransformersSampler", lambda *_: recorder),
        patch.object(TOKENIZER, "chat_template", CHAT_TEMPLATE, create=True),
    ):
        return module._curriculum(ROWS, None, TOKENIZER, config), recorder


@contextmanager
def spied() -> Iterator[list[SimpleNamespace]]:
    """The runs of trl's trainers, which do not train here: algorithm, arguments and rows of each run."""
    runs: list[SimpleNamespace] = []

    def spy(algorithm: str) -> type:
        class Trainer:
            state = SimpleNamespace(log_history=[])

            def __init__(self, model: Any, *arguments: Any, train_dataset: Dataset, **_: Any) -> None:
                self.model = model
                runs.append(SimpleNamespace(algorithm=algorithm, args=arguments[-1], rows=len(train_dataset)))

            def remove_callback(self, _: Any) -> None: ...

            def add_callback(self, _: Any) -> None: ...

            def train(self) -> None: ...

        return Trainer

    with patch.object(trl, "SFTTrainer", spy("sft")), patch.object(trl, "GRPOTrainer", spy("grpo")):
        yield runs


def runs_of(config: CurriculumConfig) -> list[SimpleNamespace]:
    """The training runs along a curriculum of 30 rows in 3 stages."""
    columns = {"prompt": ["q"] * 30, "target": ["a"] * 30, "final": ["a"] * 30, "stage": [1] * 10 + [2] * 10 + [3] * 10}
    with spied() as runs:
        CurriculumTrainer(config).train(
            small_model(TOKENIZER, width=8, layers=1), TOKENIZER, Dataset.from_dict(columns)
        )
    return runs


def argument(name: str) -> "Observe":
    """Observe an argument of trl's config."""
    return lambda config: getattr(runs_of(config)[0].args, name)


def rows_trained(config: CurriculumConfig) -> int:
    return sum(run.rows for run in runs_of(config))


def generated(config: CurriculumConfig) -> dict[str, Any]:
    """The arguments of the first ``generate`` of a model that samples, and the number of its prompts."""
    model = small_model(TOKENIZER, width=8, layers=1)
    with patch.object(
        model, "generate", side_effect=lambda **options: options["input_ids"].repeat_interleave(2, 0)
    ) as spy:
        TransformersSampler(config, model, TOKENIZER)(["1+2\n", "3+4\n", "2+2\n"], 2)
    return spy.call_args_list[0].kwargs


def sampled_and_trained(generate: str, train: str) -> "Observe":
    """Observe an argument of ``generate``, and one of GRPO's config."""
    return lambda config: (generated(config)[generate], getattr(runs_of(config)[0].args, train))


def prepared_with(answer: str = "#### 1") -> "Observe":
    """Observe the question and the final answer of a dataset with two candidate columns for each."""
    rows = Dataset.from_dict({"question": ["old"], "ask": ["new"], "answer": [answer], "solve": ["#### 2"]})

    def observe(config: CurriculumConfig) -> tuple[str, str]:
        prepared = ADAPTER.prepare(rows, config)
        return prepared["question"][0], prepared["final"][0]

    return observe


def graded(config: CurriculumConfig) -> set[float]:
    """The pass rates of responses that are the bare final answer."""
    finals = dict(zip(ROWS["question"], ROWS["final"], strict=True))

    def sample(prompts: list[str], n: int) -> list[list[str]]:
        return [[finals[prompt.partition("\n")[0]]] * n for prompt in prompts]

    return set(made(config, sample)[0]["pass_rate"])


def seeded(config: CurriculumConfig) -> int:
    """The seed of the trainer's arguments; fails unless weights, ties and order follow the seed too."""
    other = config.replace(seed=config.seed + 1)
    assert made(config)[0]["question"][:] != made(other)[0]["question"][:]
    samples = [
        TransformersSampler(each, small_model(TOKENIZER, width=8), TOKENIZER)(["1"], 8) for each in (config, other)
    ]
    assert samples[0] != samples[1]
    weights = [module._first_model(ROWS, each.replace(warm_epochs=0))[0].lm_head.weight for each in (config, other)]
    assert not np.array_equal(*(each.detach().cpu().numpy() for each in weights))
    return runs_of(config)[0].args.seed  # type: ignore[no-any-return]


def lessons(config: CurriculumConfig) -> int:
    """The rows of the warm-up of the model small."""
    with spied() as runs:
        module._first_model(ROWS, config)
    return sum(run.rows for run in runs)


def size_of_model(config: CurriculumConfig) -> int:
    with spied():
        return module._first_model(ROWS, config)[0].config.hidden_size  # type: ignore[no-any-return]


def saved(config: CurriculumConfig) -> list[str]:
    made(config)
    return sorted(path.name for path in Path(config.checkpoint).iterdir()) if config.checkpoint else []


def hinted(config: CurriculumConfig) -> Dataset:
    return made(config)[0].filter(lambda row: row["hint"] != "")


def names_of_measures(config: CurriculumConfig) -> list[str]:
    verdicts = {"base": np.zeros((2, 16), np.bool_)}
    return [name for name in measures(verdicts, verdicts, config) if "pass@" in name]


Observe = Callable[[CurriculumConfig], Any]


@dataclass(frozen=True)
class Probe:
    """The observation for a value of an option, and the other options that it needs."""

    value: Any
    observe: Observe
    expected: Any
    others: dict[str, Any] = field(default_factory=dict)


GRPO = {"algorithm": "grpo"}
PROBES = {
    "model": Probe("FOLDER", size_of_model, 32),
    "question_column": Probe("ask", prepared_with(), ("new", "1")),
    "answer_column": Probe("solve", prepared_with(), ("old", "2")),
    "answers": Probe("math", prepared_with(r"\boxed{3} #### 1"), ("old", "3")),
    "checker": Probe("text", graded, {1.0}),
    "template": Probe("Q>{question}\n", lambda config: made(config)[1].prompts[0], f"Q>{ROWS['question'][0]}\n"),
    "chat": Probe(
        True, lambda config: made(config)[1].prompts[0], f"<user>{ROWS['question'][0]}\n", {"model": "of-chats"}
    ),
    "placement": Probe("prompt", lambda config: "The solution begins:" in hinted(config)["prompt"][0], True),
    "hint_template": Probe(
        "{question}\nso {hint}", lambda config: "\nso " in hinted(config)["prompt"][0], True, {"placement": "prompt"}
    ),
    "n_samples": Probe(4, lambda config: {len(texts) for texts in made(config)[0]["responses"]}, {4}),
    "temperature": Probe(0.3, sampled_and_trained("temperature", "temperature"), (0.3, 0.3), GRPO),
    "max_new_tokens": Probe(9, sampled_and_trained("max_new_tokens", "max_completion_length"), (9, 9), GRPO),
    "batch_responses": Probe(
        4, lambda config: (max(made(config)[1].batches), len(generated(config)["input_ids"])), (2, 2), {"n_samples": 2}
    ),
    "checkpoint": Probe(
        "EMPTY", saved, ["difficulty.jsonl", *(f"hints-{ratio}.jsonl" for ratio in ("0.25", "0.5", "0.75"))]
    ),
    "stages": Probe(5, lambda config: max(made(config)[0]["stage"]), 5),
    "guide": Probe(False, lambda config: len(hinted(config)), 0),
    "ratios": Probe((0.6,), lambda config: set(hinted(config)["hint_ratio"]), {0.6}),
    "threshold": Probe(1.0, lambda config: max(hinted(config)["pass_rate"]) >= 0.25, True, {"stages": 1}),
    "algorithm": Probe("grpo", lambda config: runs_of(config)[0].algorithm, "grpo"),
    "order": Probe("uniform", lambda config: [run.rows for run in runs_of(config)], [30]),
    "epochs": Probe(3, rows_trained, 90, {"replay": 0.0}),
    "learning_rate": Probe(0.5, argument("learning_rate"), 0.5),
    "batch_rows": Probe(3, argument("per_device_train_batch_size"), 3),
    "replay": Probe(0.5, rows_trained, 40),
    "generations": Probe(2, argument("num_generations"), 2, GRPO),
    "beta": Probe(0.5, argument("beta"), 0.5, GRPO),
    "warm_epochs": Probe(2, lessons, 60),
    "pass_ks": Probe((3,), names_of_measures, ["base_pass@3"]),
    "seed": Probe(5, seeded, 5),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model."""
    path = tmp_path_factory.mktemp("model")
    for part in (small_model(TOKENIZER, width=32, layers=1), TOKENIZER):
        part.save_pretrained(path)
    return path


@pytest.mark.parametrize("name", PROBES)
def test_every_option_reaches_what_it_governs(name: str, folder: Path, tmp_path: Path) -> None:
    probe = PROBES[name]
    value = {"FOLDER": str(folder), "EMPTY": str(tmp_path)}.get(str(probe.value), probe.value)
    before = CurriculumConfig(**probe.others)
    assert value != getattr(before, name)
    assert probe.observe(before) != probe.expected
    assert probe.observe(before.replace(**{name: value})) == probe.expected


def test_every_option_has_a_probe() -> None:
    assert PROBES.keys() == {field.name for field in fields(CurriculumConfig)}


def test_grpo_rewards_by_the_checker() -> None:
    trainer = CurriculumTrainer(CurriculumConfig(algorithm="grpo", checker="text"))
    assert trainer._reward(["so\n7", "#### 7"], ["7", "7"]) == [1.0, 0.0]
