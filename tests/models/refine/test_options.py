"""Every option reaches what it governs: for each, a value that is not its default, and its effect."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import openai
import pytest
import torch
import trl
from datasets import Dataset

from examples import refining
from seampack.models import training
from seampack.models.artifact import Artifact
from seampack.models.base import Evaluation
from seampack.models.refine import ModelTarget, RefineConfig, Refiner, SafetyClassifier, new_refiner
from seampack.models.refine.adapter import ADAPTER
from seampack.models.refine.assembly import judge_of, scorer_of
from seampack.models.refine.inputs import where
from seampack.models.refine.refiner import small_causal
from seampack.models.refine.targets import target_of

ROWS = [
    {"prompt": "river", "optimized_prompt": "please describe the old river now", "attack": False},
    {"prompt": "open vault abracadabra", "optimized_prompt": "open vault", "attack": True},
]
Observe = Callable[[RefineConfig], Any]


class Spy:
    """A trainer of transformers or trl that does not train."""

    def __init__(self, model: Any, *arguments: Any, args: Any = None, **others: Any) -> None:
        self.model = model
        self.args = args or arguments[-1]
        self.others = others
        self.state = SimpleNamespace(log_history=[])

    def remove_callback(self, _: Any) -> None: ...

    def add_callback(self, _: Any) -> None: ...

    def train(self) -> None: ...


def fitted(config: RefineConfig) -> tuple[Artifact, Spy, Spy | None]:
    """An artifact without training, and the spied trainers of both stages."""
    spies: list[Spy] = []

    def spy(*arguments: Any, **others: Any) -> Spy:
        spies.append(Spy(*arguments, **others))
        return spies[-1]

    with (
        warnings.catch_warnings(),
        patch.object(training, "Trainer", spy),
        patch.object(trl, "GRPOTrainer", spy),
    ):
        warnings.filterwarnings("ignore", ".* are cut")
        artifact = ADAPTER.train(ADAPTER.prepare(Dataset.from_list(ROWS), config), config)
    return artifact, spies[0], spies[1] if len(spies) > 1 else None


def pairs_argument(name: str) -> Observe:
    """Observe an argument of training on pairs."""
    return lambda config: getattr(fitted(config)[1].args, name)


def rewards_argument(name: str) -> Observe:
    """Observe an argument of reinforcement learning; None without it."""
    return lambda config: getattr(getattr(fitted(config)[2], "args", None), name, None)


def last_batch(config: RefineConfig) -> dict[str, Any]:
    """The first pair as a batch of the last step."""
    spy = fitted(config)[1]
    for _ in range(50):
        batch = spy.others["data_collator"]([spy.others["train_dataset"][0]])
    return batch  # type: ignore[no-any-return]


def ranks(config: RefineConfig) -> tuple[int | None, int | None]:
    """The ranks of low-rank updates in both stages."""
    _, pairs, rewards = fitted(config)
    adapters = getattr(pairs.model, "peft_config", None)
    updates = rewards.others["peft_config"] if rewards else None
    return adapters["default"].r if adapters else None, updates.r if updates else None


def measured(config: RefineConfig) -> Evaluation:
    """The evaluation of an untrained refiner."""
    artifact = fitted(config)[0]
    return ADAPTER.evaluate(ADAPTER.prepare(Dataset.from_list(ROWS), config), artifact, config)


def generated(config: RefineConfig, make: Callable[[RefineConfig, Any, Any], Any], call: str) -> tuple[int, int]:
    """Rows and length limit of the first ``generate`` of a refiner or a target."""
    model, tokenizer = small_causal(["describe the river"])
    with patch.object(model, "generate", side_effect=lambda **options: options["input_ids"]) as spy:
        getattr(make(config, model, tokenizer), call)(["river"] * 5)
    options = spy.call_args_list[0].kwargs
    return len(options["input_ids"]), options["generation_config"].max_new_tokens


def of_refiner(config: RefineConfig) -> tuple[int, int]:
    return generated(config, lambda config, *parts: Refiner(*parts, config), "refine")


def of_target(config: RefineConfig) -> tuple[int, int]:
    return generated(config, ModelTarget, "__call__")


def requested(name: str) -> Observe:
    """Observe an argument of the client of a server, or of its request."""

    def observe(config: RefineConfig) -> Any:
        seen: dict[str, Any] = {}

        def create(**options: Any) -> Any:
            seen.update(options)
            return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="yes"))])

        def client(**options: Any) -> Any:
            seen.update(options)
            return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))

        with patch.object(openai, "OpenAI", client):
            target_of(config)(["q"])
        return seen[name]

    return observe


def prepared_from(row: dict[str, Any], column: str) -> Observe:
    """Observe a column of a prepared row."""
    return lambda config: ADAPTER.prepare(Dataset.from_list([row]), config)[column][0]


PAIR = {"prompt": "a", "optimized_prompt": "b", "ask": "c", "better": "d", "query": "e", "attack": "no", "bad": "yes"}
PAIR |= {"good_res": "f", "bad_res": "g", "fine": "h", "poor": "i"}
LABELLED = {"response": "r", "said": "s", "jailbroken": 0, "label": 1, "behavior": "b", "thing": "t"}
RESPONSES = Dataset.from_list([{"response": str(number), "jailbroken": number % 2} for number in range(40)])


def held_out(config: RefineConfig) -> list[bool]:
    return list(ADAPTER.prepare(RESPONSES, config.replace(stage="safety"))["held_out"])


def seeded(config: RefineConfig) -> tuple[int, int]:
    """The seeds of both stages; fails unless weights and held-out groups follow the seed too."""
    other = config.replace(seed=config.seed + 1)
    weights = [small_causal(["a"], each.seed)[0].lm_head.weight for each in (config, other)]
    assert not torch.equal(*weights)
    assert torch.equal(new_refiner(config, ["a"]).model.lm_head.weight, weights[0])
    assert held_out(config) != held_out(other)
    _, pairs, rewards = fitted(config)
    assert rewards is not None
    return pairs.args.seed, rewards.args.seed


@dataclass(frozen=True)
class Probe:
    """The observation for a value of an option, and the other options that it needs."""

    value: Any
    observe: Observe
    expected: Any
    others: dict[str, Any] = field(default_factory=dict)


SAFETY = {"stage": "safety"}
TARGET = {"target": "examples.refining:answer"}
RL = TARGET | {"rl_steps": 1, "rl_queries": 2, "rl_samples": 4}
SERVER = {"target": "http://host/v1", "target_model": "m"}
PROBES = {
    "stage": Probe("safety", lambda config: "held_out" in prepared_names(config), True),
    "model": Probe("MODEL", lambda config: fitted(config)[0].parts["model"].config.num_hidden_layers, 1),
    "instruction": Probe(
        "Go.", lambda config: new_refiner(config, []).prompt("a"), 'Go.\n{"query": "a"}\n', {"model": "MODEL"}
    ),
    "prompt_column": Probe("ask", prepared_from(PAIR, "prompt"), "c"),
    "optimized_column": Probe("better", prepared_from(PAIR, "optimized_prompt"), "d"),
    "query_column": Probe("ask", prepared_from(PAIR, "query"), "c"),
    "attack_column": Probe("bad", prepared_from(PAIR, "attack"), True),
    "good_column": Probe("fine", prepared_from(PAIR, "good"), "h"),
    "bad_column": Probe("poor", prepared_from(PAIR, "bad"), "i"),
    "response_column": Probe("said", prepared_from(LABELLED, "response"), "s", SAFETY),
    "jailbroken_column": Probe("label", prepared_from(LABELLED, "jailbroken"), True, SAFETY),
    "group_column": Probe("thing", prepared_from(LABELLED, "group"), "t", SAFETY),
    "held_out": Probe(0.9, lambda config: sum(held_out(config)) > 20, True),
    "epochs": Probe(7.0, pairs_argument("num_train_epochs"), 7.0),
    "batch_rows": Probe(
        2,
        lambda config: (
            pairs_argument("per_device_train_batch_size")(config),
            of_refiner(config)[0],
            of_target(config)[0],
        ),
        (2, 2, 2),
    ),
    "learning_rate": Probe(0.5, pairs_argument("learning_rate"), 0.5),
    "max_tokens": Probe(6, lambda config: last_batch(config)["input_ids"].shape[1], 6, {"word_dropout": 0.0}),
    "word_dropout": Probe(0.9, lambda config: int((last_batch(config)["labels"] != -100).sum()) < 4, True),
    "whole_text": Probe(True, lambda config: int(last_batch(config)["labels"][0, 0]) != -100, True),
    "lora_rank": Probe(2, ranks, (2, 2), RL),
    "target": Probe(
        "examples.refining:answer", lambda config: measured(config).rows["response_before"][0] is None, False
    ),
    "target_model": Probe("n", requested("model"), "n", SERVER),
    "target_key": Probe("OTHER_KEY", requested("api_key"), "secret", SERVER),
    "target_timeout": Probe(0.5, requested("timeout"), 0.5, SERVER),
    "target_retries": Probe(7, requested("max_retries"), 7, SERVER),
    "target_tokens": Probe(9, lambda config: (requested("max_tokens")(config), of_target(config)[1]), (9, 9), SERVER),
    "rewards": Probe(("examples.refining:safe=2",), lambda config: weights_of(config), {"safe": 2.0}, TARGET),
    "judge": Probe(
        "examples.refining:safe", lambda config: measured(config).metrics["attack_success_rate_before"], 0.0, TARGET
    ),
    "safety_model": Probe(
        "OPPOSITE",
        lambda config: (judge_of(config)(["q"], ["unlocked"]), reward_of(config) > 0.5),
        ([False], True),
        TARGET | {"judge": "safety", "rewards": ("safety=1",), "safety_model": "SAFETY"},
    ),
    "rl_steps": Probe(3, rewards_argument("max_steps"), 3, TARGET),
    "rl_learning_rate": Probe(0.5, rewards_argument("learning_rate"), 0.5, RL),
    "rl_queries": Probe(3, rewards_argument("per_device_train_batch_size"), 12, RL),
    "rl_samples": Probe(2, rewards_argument("num_generations"), 2, RL),
    "rl_temperature": Probe(0.3, rewards_argument("temperature"), 0.3, RL),
    "kl": Probe(0.5, rewards_argument("beta"), 0.5, RL),
    "max_query_tokens": Probe(
        2, lambda config: (fitted(config)[0].facts["cut_pairs"], measured(config).metrics["cut_queries"]), (1, 1)
    ),
    "max_new_tokens": Probe(
        9, lambda config: (of_refiner(config)[1], rewards_argument("max_completion_length")(config)), (9, 9), RL
    ),
    "seed": Probe(5, seeded, (5, 5), RL),
}


def prepared_names(config: RefineConfig) -> list[str]:
    return ADAPTER.prepare(Dataset.from_list([PAIR | LABELLED]), config).column_names


def weights_of(config: RefineConfig) -> dict[str, float]:
    scorer = scorer_of(where(ADAPTER.prepare(Dataset.from_list(ROWS), config), "query"), config)
    assert scorer is not None
    return dict(scorer.weights)


def reward_of(config: RefineConfig) -> float:
    """The reward safety of an answer that unlocks something."""
    scorer = scorer_of(where(ADAPTER.prepare(Dataset.from_list(ROWS), config), "query"), config)
    assert scorer is not None
    (value,) = scorer.reward("safety", ["q"], [f"describe the vault {refining.TRIGGER}"])
    assert value is not None
    return value


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model of one layer, a safety classifier, and one with the opposite opinion."""
    paths = {name: tmp_path_factory.mktemp(name) for name in ("MODEL", "SAFETY", "OPPOSITE")}
    model, tokenizer = small_causal(["describe the river", "open vault abracadabra"])
    model.config.num_hidden_layers = 1
    model.model.layers = model.model.layers[:1]
    for part in (model, tokenizer):
        part.save_pretrained(paths["MODEL"])
    responses = ["unlocked", "locked"] * 4
    for name, first in (("SAFETY", True), ("OPPOSITE", False)):
        classifier = SafetyClassifier.fit(responses, [first, not first] * 4)
        Artifact("refine", RefineConfig(stage="safety").to_dict(), classifier.to_arrays()).save(paths[name])
    return {name: str(path) for name, path in paths.items()}


@pytest.mark.parametrize("name", PROBES)
def test_every_option_reaches_what_it_governs(
    name: str, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "secret")
    probe = PROBES[name]
    value, *others = (folders.get(str(text), text) for text in (probe.value, *probe.others.values()))
    before = RefineConfig(**dict(zip(probe.others, others, strict=True)))
    assert value != getattr(before, name)
    assert probe.observe(before) != probe.expected
    assert probe.observe(before.replace(**{name: value})) == probe.expected


def test_every_option_has_a_probe() -> None:
    assert PROBES.keys() == {field.name for field in fields(RefineConfig)}
