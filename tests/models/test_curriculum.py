"""Curriculum: answers and steps, pass rates, stages, hints, training order, exports, the adapter."""

import itertools
import json
import math
import random
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from seampack.commands.models import models
from seampack.errors import ConfigError, DataError, ShardError
from seampack.models import data
from seampack.models.artifact import Artifact
from seampack.models.curriculum import (
    CurriculumBuilder,
    CurriculumConfig,
    CurriculumTrainer,
    DifficultyEstimator,
    GuidedPrompter,
    PromptFormat,
    TransformersSampler,
    checker,
    composition,
    for_axolotl,
    for_trl,
    for_verl,
    grade,
    gsm8k_matches,
    hint_steps,
    in_order,
    math_matches,
    number_matches,
    pass_at_k,
    sample_all,
    split_gsm8k,
    split_math,
    text_matches,
    unguided,
)
from seampack.models.curriculum.adapter import curriculum_of
from seampack.models.curriculum.answers import first_number, only_number
from seampack.models.curriculum.difficulty import COUNT, bins_of
from seampack.models.curriculum.small import model_and_tokenizer, piece_tokenizer, small_model
from seampack.models.curriculum.stages import plan
from seampack.models.text import end_tokens
from tests.models.contract import AdapterContract

PEARS = (
    "Ana has 3 bags of 4 pears: 3*4 = <<3*4=12>>12 pears.\nShe eats 2, so 12-2 = <<12-2=10>>10 remain.\n"
    "They cost $100.50 each: 10*100.50 = $<<10*100.50=1005>>1,005.\n#### 1,005"
)
LATEX = "\n\n".join(
    [r"We have $x. Y = 2$ here. So $y = \frac{1}{2}.$ Hence", r"\[z = 3. W.\] Thus \boxed{\frac{a}{2}}. Done."]
)


def chains(rows: int, seed: int = 0, lengths: tuple[int, ...] = (1, 2, 3, 4)) -> Dataset:
    """Sums modulo 5, worked out step by step, as GSM8K writes it."""
    rng = random.Random(seed)
    found = []
    for _ in range(rows):
        length, value = rng.choice(lengths), rng.randrange(5)
        question, solution = str(value), ""
        for _ in range(length):
            other = rng.randrange(5)
            question, solution = f"{question}+{other}", f"{solution}{value}+{other}={(value + other) % 5}\n"
            value = (value + other) % 5
        found.append({"question": question, "answer": f"{solution}#### {value}", "operations": length})
    return Dataset.from_list(found)


def prepared(rows: int = 24, **kwargs: Any) -> Dataset:
    from seampack.models import get

    return get("curriculum").prepare(chains(rows, **kwargs), CurriculumConfig())


class Oracle:
    """Solves a chain with a chance that falls with the steps it has to write."""

    label = "oracle"

    def __init__(self, skill: float = 0.7) -> None:
        self.skill, self.calls = skill, 0

    def __call__(self, prompts: list[str], n: int) -> list[list[str]]:
        self.calls += 1
        return [self.answers(prompt, n) for prompt in prompts]

    def answers(self, prompt: str, n: int) -> list[str]:
        question, *done = prompt.strip().split("\n")
        numbers = [int(part) for part in question.split("+")]
        left = len(numbers) - 1 - len(done)
        rng = random.Random(prompt)
        right = sum(numbers) % 5
        return [f"#### {right if rng.random() < self.skill**left else (right + 1) % 5}" for _ in range(n)]


class TestAnswers:
    def test_gsm8k_steps_are_lines_without_calculations(self) -> None:
        found = split_gsm8k(PEARS)
        assert found.final == "1,005"
        assert len(found.steps) == 3
        assert found.steps[0] == "Ana has 3 bags of 4 pears: 3*4 = 12 pears.\n"
        assert "".join(found.steps) == re.sub("<<.*?>>", "", PEARS)
        assert found.steps[2].endswith("$1,005.\n#### 1,005")

    def test_a_bare_answer_is_one_step(self) -> None:
        assert split_gsm8k("#### 7").steps == ("#### 7",)

    def test_math_steps_end_outside_formulas(self) -> None:
        found = split_math(LATEX)
        assert found.steps == (
            "We have $x. Y = 2$ here. ",
            r"So $y = \frac{1}{2}.$ Hence" + "\n\n",
            r"\[z = 3. W.\] Thus \boxed{\frac{a}{2}}. Done.",
        )
        assert found.final == r"\frac{a}{2}"
        assert split_math("Easy. The answer is: $p - q$").final == "p - q"

    @given(st.lists(st.sampled_from(["a. ", "$b. c$ ", "D\n\n", r"\[e. \n f\]", "g! "]), max_size=6))
    def test_no_text_is_lost(self, pieces: list[str]) -> None:
        text = "".join(pieces) + r"\boxed{1}"
        assert "".join(split_math(text).steps) == text.strip()

    @pytest.mark.parametrize("split", [split_gsm8k, split_math])
    def test_no_answer_is_an_error(self, split: Any) -> None:
        with pytest.raises(DataError, match="expected a solution"):
            split("I do not know.")

    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("$1,250.50", Fraction(2501, 2)),
            ("-3/4", Fraction(-3, 4)),
            ("-$5", -5),
            ("$-5", -5),
            ("-$1,800.00 in all", -1800),
            ("−3", -3),
            (".5%", Fraction(1, 2)),
            ("50%", 50),
            ("18.0", 18),
            ("18. Then", 18),
            ("5kg", 5),
            ("1 / 2", Fraction(1, 2)),
            ("3 1/2 hours", Fraction(7, 2)),
            ("-3 and 1/2", Fraction(-7, 2)),
            (r"$3\frac{1}{2}$", Fraction(7, 2)),
            ("1e5", 100_000),
            ("1.5E-3", Fraction(3, 2000)),
            ("1.5 x 10^3", 1500),
            (r"$2 \times 10^{-1}$", Fraction(1, 5)),
            ("1{,}800", 1800),
            ("about 7 or 8", 7),
            ("12, 18", 12),
            ("2 eggs", 2),
            ("wait...5", 5),
            ("2020 180", 2020),
            *((text, None) for text in ("none", "1/0", "1,8", "1,2345", "1,00,000", "12,345,6", "10:30", "5'10")),
            *((text, None) for text in ("3.5.2", "5/12/2024", "3 1/2/3", "3 5/2", "3.5 1/2", "3 1/0", "3½", "5²")),
            *((text, None) for text in ("10 000", "10 000 000", "1.5 x 10^3.5")),
            *((text, None) for text in ("5-6", "5 - 6", "5+5=10", "$5-$10", "10^5", "2**3", r"2 \times 3", "1e5000")),
            ("1" * 5_000, None),
        ],
    )
    def test_numbers_are_read_exactly(self, text: str, number: Fraction | None) -> None:
        assert first_number(text) == number

    @given(st.integers(-(10**12), 10**12), st.integers(0, 99), st.sampled_from(["", "$", "€"]))
    def test_a_number_is_read_however_it_is_written(self, whole: int, cents: int, currency: str) -> None:
        minus, size = "-" * (whole < 0), abs(whole)
        number = (Fraction(size) + Fraction(cents, 100)) * (-1 if whole < 0 else 1)
        for text in (f"{size:,}.{cents:02}", f"{size}.{cents:02}", f"{size * 100 + cents}/100", f"{size}.{cents:02}e0"):
            assert only_number(f"{minus}{currency}{text}") == number
            assert first_number(f"so {currency}{minus}{text}.\n") == number

    def test_an_answer_is_one_number(self) -> None:
        assert only_number("$18 a day") == 18
        assert [only_number(text) for text in ("7 or 8", "10:30", "Paris", "")] == [None] * 4

    @pytest.mark.parametrize(
        ("response", "strict", "lenient"),
        [
            ("so 18.0\n#### $18", True, True),
            ("#### 18\nAnother question\n#### 5", True, False),
            ("####\n18", False, True),
            ("It is 3*6 = 18", False, True),
            ("The answer is 18, not 5", False, True),
            ("A: 18 eggs of 20", False, True),
            ("#### 1,800", False, False),
            *((f"so {text}\n#### {text}", False, False) for text in ("18:30", "18 1/2", "18e2", "18,5", "18-20")),
            *((f"so {text}\n#### {text}", True, True) for text in ("18.0", "$18.00", "1.8e1", "18%", "36/2")),
            ("The answer is 18:30, not 18", False, False),
            ("so 18 eggs at 18:30", False, False),
            ("3*6=18", False, True),
            ("", False, False),
        ],
    )
    def test_numbers_are_compared(self, response: str, strict: bool, lenient: bool) -> None:
        assert gsm8k_matches(response, "18") is strict
        assert number_matches(response, "18") is lenient

    def test_expressions_and_text_are_compared(self) -> None:
        assert math_matches(r"Thus \boxed{0.5}", r"\frac{1}{2}")
        assert math_matches(r"it is $(x+1)^2$", "x^2+2x+1")
        assert not math_matches(r"\boxed{2}", "3")
        assert text_matches("so\n Paris \n", "Paris")
        assert not text_matches("", "")

    def test_checkers_have_names(self) -> None:
        assert checker("gsm8k") is gsm8k_matches
        assert checker("math:isclose") is math.isclose
        for wrong in ("nothing", "no.such:thing", "math:nothing", "math:pi"):
            with pytest.raises(ConfigError, match=r"checker: expected one of|no such function|expected a function"):
                checker(wrong)


class TestPassRates:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
    def test_pass_at_k_counts_the_choices(self, case: tuple[int, int, int]) -> None:
        n, c, k = case
        choices = list(itertools.combinations([True] * c + [False] * (n - c), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, choices)) / len(choices))

    def test_pass_at_k_of_arrays(self) -> None:
        np.testing.assert_allclose(pass_at_k([4, 4, 10], [0, 4, 3], 2), [0, 1, 1 - 42 / 90])
        with pytest.raises(DataError, match="1 to the number of samples, 4"):
            pass_at_k([4, 8], [0, 0], 5)

    def test_estimates_follow_true_difficulty(self) -> None:
        found = DifficultyEstimator(sample=Oracle(), correct=gsm8k_matches, n_samples=64).estimate(prepared(60))
        rates, operations = np.asarray(found["pass_rate"][:]), np.asarray(found["operations"][:])
        assert np.corrcoef(rates, -operations)[0, 1] > 0.9
        assert found["n_correct"][0] / found["n_samples"][0] == rates[0]
        assert all(len(texts) == 64 for texts in found["responses"])

    def test_responses_from_elsewhere_are_graded(self) -> None:
        rows = Dataset.from_dict({"responses": [["#### 1", "#### 2"], ["#### 3"]], "final": ["1", "3"]})
        assert grade(rows, gsm8k_matches)["pass_rate"][:] == [0.5, 1.0]
        with pytest.raises(DataError, match="row 1: no responses"):
            grade(Dataset.from_dict({"responses": [["a"], []], "final": ["1", "3"]}), gsm8k_matches)

    def test_bins(self) -> None:
        assert bins_of([0, 0.1, 0.25, 0.3, 0.75, 0.9, 1]).tolist() == [0, 1, 1, 2, 3, 4, 5]


class TestCheckpoint:
    prompts = tuple(f"{i}+1" for i in range(7))

    def run(self, path: Path | None, sample: Any = None, **kwargs: Any) -> list[list[str]]:
        return sample_all(sample or Oracle(), list(self.prompts), 3, **({"batch_rows": 2, "checkpoint": path} | kwargs))

    def test_a_run_killed_anywhere_ends_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "samples.jsonl"
        whole = self.run(path)
        assert whole == self.run(None)
        content = path.read_bytes()
        for length in range(0, len(content) + 1, 29):
            path.write_bytes(content[:length])
            assert self.run(path) == whole
            assert path.read_bytes() == content

    def test_nothing_is_sampled_twice(self, tmp_path: Path) -> None:
        class Dies(Oracle):
            def __call__(self, prompts: list[str], n: int) -> list[list[str]]:
                if self.calls == 2:
                    raise KeyboardInterrupt
                return super().__call__(prompts, n)

        path, after = tmp_path / "samples.jsonl", Oracle()
        with pytest.raises(KeyboardInterrupt):
            self.run(path, Dies())
        assert self.run(path, after) == self.run(None)
        assert after.calls == 2

    def test_samples_of_another_run_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "samples.jsonl"
        self.run(path)
        other = Oracle()
        other.label = "other"
        with pytest.raises(ConfigError, match="another run \\(other label\\)"):
            self.run(path, other)
        with pytest.raises(ConfigError, match="another run \\(other batch_rows\\)"):
            self.run(path, batch_rows=3)

    @pytest.mark.parametrize("damage", ['{"format": "x"}\n', "[]\n", "no\n"])
    def test_damage_is_named(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "samples.jsonl"
        path.write_text(damage)
        with pytest.raises(ShardError, match="damaged"):
            self.run(path)
        path.unlink()
        self.run(path)
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([lines[0], lines[2], lines[1]]))
        with pytest.raises(ShardError, match="line 2 is not batch 0"):
            self.run(path)

    def test_a_sampler_must_give_what_was_asked(self) -> None:
        with pytest.raises(DataError, match="expected 2 lists of 3"):
            self.run(None, lambda prompts, n: [["a"] * (n - 1) for _ in prompts])


class TestStages:
    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 5), st.integers(0, 3))
    def test_stages_are_disjoint_equal_and_sorted(self, rates: list[int], stages: int, seed: int) -> None:
        rows = Dataset.from_dict({"pass_rate": [rate / 4 for rate in rates], "id": list(range(len(rates)))})
        builder = CurriculumBuilder(stages=stages, seed=seed)
        if len(rates) < stages:
            with pytest.raises(DataError, match="at least one for each"):
                builder.build(rows)
            return
        found = builder.build(rows)
        assert sorted(found["id"]) == list(range(len(rates)))
        assert found["pass_rate"][:] == sorted(found["pass_rate"], reverse=True)
        sizes = [found["stage"][:].count(stage) for stage in range(1, stages + 1)]
        assert max(sizes) - min(sizes) <= 1
        assert found["stage"][:] == sorted(found["stage"])
        assert sum(row["questions"] for row in composition(found)) == len(rates)

    def test_ties_are_in_no_order(self) -> None:
        rows = Dataset.from_dict({"pass_rate": [0.0] * 50, "id": list(range(50))})
        orders = [CurriculumBuilder(seed=seed).build(rows)["id"][:] for seed in (0, 0, 1)]
        assert orders[0] == orders[1] != orders[2]
        assert orders[0] != sorted(orders[0])

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.integers(1, 3), min_size=1, max_size=20),
        st.integers(1, 3),
        st.floats(0, 1),
        st.sampled_from(["stages", "ordered", "uniform"]),
    )
    def test_the_plan_keeps_the_stages_apart(self, stages: list[int], epochs: int, replay: float, order: str) -> None:
        stage = np.array(sorted(stages))
        runs = plan(stage, order=order, epochs=epochs, replay=replay)
        rows = np.concatenate(runs)
        assert rows.tolist() == np.concatenate(plan(stage, order=order, epochs=epochs, replay=replay)).tolist()
        assert len(runs) == (len(set(stages)) if order == "stages" else 1)
        assert (np.bincount(rows, minlength=stage.size) >= epochs).all()
        if order == "uniform":
            assert rows.size == epochs * stage.size
        if order == "stages":
            for number, run in zip(sorted(set(stages)), runs, strict=True):
                own = int((stage == number).sum())
                assert (stage[run] <= number).all()
                assert int((stage[run] == number).sum()) == epochs * own
                again = min(round(replay * own), int((stage < number).sum()))
                assert run.size == epochs * (own + again)

    def test_in_order_shuffles_only_within_stages(self) -> None:
        rows = Dataset.from_dict({"stage": [1] * 20 + [2] * 20, "id": list(range(40))})
        found = in_order(rows, seed=1)
        assert found["stage"][:] == rows["stage"][:]
        assert sorted(found["id"]) == list(range(40))
        assert found["id"][:] != rows["id"][:]


class TestHints:
    @given(st.integers(1, 50), st.floats(0, 1))
    def test_a_step_always_remains(self, steps: int, ratio: float) -> None:
        given_steps = hint_steps(steps, ratio)
        assert given_steps == 0 if steps == 1 else 1 <= given_steps < steps

    def test_hints_grow_until_they_help(self) -> None:
        oracle = Oracle(0.8)
        estimator = DifficultyEstimator(sample=oracle, correct=gsm8k_matches, n_samples=32)
        staged = CurriculumBuilder().build(estimator.estimate(prepared(60, lengths=(1, 3, 8))))
        prompter = GuidedPrompter(sample=oracle, correct=gsm8k_matches, n_samples=32)
        found = prompter.guide(staged)
        for row in found:
            hinted = row["pass_rate"] < 0.25 and row["stage"] == 3
            assert bool(row["hint"]) == hinted == (row["hint_ratio"] > 0)
            assert row["hint"] + row["target"] == "".join(row["steps"])
            assert row["prompt"] == f"{row['question']}\n{row['hint']}"
            assert row["hint_steps"] < len(row["steps"])
            assert "####" not in row["hint"]
            smaller = [ratio for ratio in (0.25, 0.5, 0.75) if ratio < row["hint_ratio"]]
            for ratio in smaller if hinted else []:
                prompt = f"{row['question']}\n" + "".join(row["steps"][: hint_steps(len(row["steps"]), ratio)])
                assert sum(gsm8k_matches(text, row["final"]) for text in oracle.answers(prompt, 32)) < 8
        hard = found.filter(lambda row: row["hint_ratio"] > 0)
        assert len(hard) > 10
        assert min(hard["pass_rate_hinted"]) >= 0.25
        everywhere = prompter.guide(staged, stages=(1, 2, 3))
        assert sum(map(bool, everywhere["hint"])) >= len(hard)

    def test_what_no_hint_solves_keeps_the_largest(self, tmp_path: Path) -> None:
        rows = prepared(6, lengths=(4,)).add_column("pass_rate", [0.0] * 6)
        prompter = GuidedPrompter(
            sample=Oracle(0), correct=lambda response, answer: False, n_samples=2, checkpoint=tmp_path
        )
        found = prompter.guide(rows)
        assert found["hint_steps"][:] == [3] * 6
        assert found["pass_rate_hinted"][:] == [0.0] * 6
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"hints-{r}.jsonl" for r in ("0.25", "0.5", "0.75")]
        assert prompter.guide(rows).to_dict() == found.to_dict()

    def test_one_step_cannot_be_hinted(self) -> None:
        rows = prepared(3, lengths=(1,)).add_column("pass_rate", [0.0] * 3)
        oracle = Oracle()
        assert GuidedPrompter(sample=oracle, correct=gsm8k_matches).guide(rows)["hint"][:] == [""] * 3
        assert not oracle.calls

    def test_hints_in_the_question(self) -> None:
        prompt = PromptFormat(
            template="Q: {question}\nA: ", hint_template="Q: {question} [{hint}]\nA: ", placement="prompt"
        )
        assert prompt("why {hint}?", "because {question}\n") == "Q: why {hint}? [because {question}]\nA: "
        assert prompt("why?") == "Q: why?\nA: "
        with pytest.raises(ConfigError, match=r"template: expected text with \{question\}"):
            PromptFormat(template="why")

    def test_chat_templates(self) -> None:
        tokenizer = piece_tokenizer(["a"])
        with pytest.raises(ConfigError, match="no chat template"):
            PromptFormat(chat=tokenizer)
        tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
        assert PromptFormat(chat=tokenizer)("why?", "so") == "<user>why?<assistant>so"
        tokenizer.bos_token = "[EOS]"
        tokenizer.chat_template = "[EOS]" + tokenizer.chat_template
        assert PromptFormat(chat=tokenizer)("why?") == "[EOS]<user>why?<assistant>"
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("[EOS] $A", None, [("[EOS]", 2)])
        assert PromptFormat(chat=tokenizer)("why?") == "<user>why?<assistant>"


def test_a_model_is_trained_in_full_precision(tmp_path: Path) -> None:
    tokenizer = piece_tokenizer(["some words"])
    small_model(tokenizer, seed=0).to(torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, _ = model_and_tokenizer(str(tmp_path), [])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    model.generation_config.eos_token_id = [1, 3]
    assert end_tokens(model, tokenizer) == sorted({1, 3, tokenizer.eos_token_id})


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    rows = prepared(200)
    tokenizer = piece_tokenizer([*rows["question"], "".join(itertools.chain(*rows["steps"]))])
    return small_model(tokenizer, width=32, layers=1), tokenizer


class TestTransformers:
    def test_the_tokenizer_loses_nothing(self, tiny: tuple[Any, Any]) -> None:
        text = "3+4=2\n#### 2"
        assert tiny[1].decode(tiny[1](text)["input_ids"]) == text

    def test_samples_depend_on_the_call_alone(self, tiny: tuple[Any, Any]) -> None:
        sample = TransformersSampler(*tiny, max_new_tokens=6)
        prompts = ["1+2\n", "3+1+4\n"]
        torch.manual_seed(0)
        state = torch.random.get_rng_state()
        first = sample(prompts, 4)
        assert torch.equal(torch.random.get_rng_state(), state)
        sample(["0+0\n"], 2)
        assert sample(prompts, 4) == first
        assert [len(texts) for texts in first] == [4, 4]
        assert len(set(first[0])) > 1
        assert TransformersSampler(*tiny, max_new_tokens=6, seed=1)(prompts, 4) != first
        assert len(set(TransformersSampler(*tiny, 0, 6)(prompts[:1], 3)[0])) == 1

    @pytest.mark.parametrize("named_by", ["model", "tokenizer"])
    def test_a_response_ends_where_the_model_or_the_tokenizer_says(self, named_by: str) -> None:
        tokenizer = piece_tokenizer(["0 1 2 3 4 5 6 7 8 9 a b c d e f"])
        model = small_model(tokenizer, width=32, layers=1)
        sample = TransformersSampler(model, tokenizer, max_new_tokens=12)
        (whole,) = sample(["1 2"], 4)
        end = whole[0][6]
        if named_by == "model":
            model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(end)]
        else:
            model.generation_config.eos_token_id = None
            tokenizer.eos_token = end
        (ended,) = sample(["1 2"], 4)
        assert ended[0] == whole[0].partition(end)[0] + end != whole[0]
        assert [len(text) for text in ended if end in text] == [text.index(end) + 1 for text in whole if end in text]

    def test_the_label_names_the_weights(self, tiny: tuple[Any, Any]) -> None:
        other = small_model(tiny[1], width=32, layers=1, seed=1)
        labels = [TransformersSampler(model, tiny[1]).label for model in (tiny[0], tiny[0], other)]
        assert labels[0] == labels[1] != labels[2]

    @pytest.mark.parametrize("method", ["sft", "grpo"])
    def test_rows_are_seen_in_the_order_of_the_plan(self, tiny: tuple[Any, Any], method: str) -> None:
        model = small_model(tiny[1], width=32, layers=1)
        rows = prepared(24).add_column("pass_rate", [i / 24 for i in range(24)])
        curriculum = unguided(CurriculumBuilder(stages=2).build(rows), PromptFormat())
        seen: list[str] = []

        def watch(_: Any, inputs: tuple[Any, ...]) -> None:
            if torch.is_grad_enabled():
                seen.extend(tiny[1].decode(ids, skip_special_tokens=True).split("\n")[0] for ids in inputs[0])

        model.get_input_embeddings().register_forward_pre_hook(watch)
        trainer = CurriculumTrainer(
            correct=lambda text, answer: True, method=method, batch_rows=8, generations=4, max_new_tokens=2, replay=0.25
        )
        known = model.config._name_or_path
        history = trainer.train(model, tiny[1], curriculum)
        assert model.config._name_or_path == known
        wanted: list[str] = []
        for run in plan(curriculum["stage"][:], replay=0.25):
            questions = [curriculum["question"][int(row)] for row in run]
            if method == "sft":
                wanted += questions
            else:
                full = [questions[at % len(questions)] for at in range(-(-len(questions) // 2) * 2)]
                wanted += [question for question in full for _ in range(4)]
        # trl mixes the responses of one step
        steps = [[sorted(rows[at : at + 8]) for at in range(0, len(rows), 8)] for rows in (seen, wanted)]
        assert seen == wanted if method == "sft" else steps[0] == steps[1]
        assert {row["stage"] for row in history} == {1, 2}
        if method == "grpo":
            assert {row["reward"] for row in history} == {1.0}
            assert {row["frac_reward_zero_std"] for row in history} == {1.0}
            assert all("kl" in row for row in history)

    def test_training_learns_the_targets(self, tiny: tuple[Any, Any]) -> None:
        model = small_model(tiny[1], width=64, layers=1)
        rows = prepared(8).add_column("pass_rate", [0.0] * 8)
        curriculum = unguided(CurriculumBuilder(stages=1).build(rows), PromptFormat())
        trainer = CurriculumTrainer(
            correct=gsm8k_matches, order="ordered", epochs=25, batch_rows=8, learning_rate=1e-2, replay=0
        )
        history = trainer.train(model, tiny[1], curriculum)
        assert history[-1]["loss"] < 0.5 * history[0]["loss"]
        assert {row["stage"] for row in history} == {0}

    def test_grpo_needs_whole_groups(self) -> None:
        with pytest.raises(ConfigError, match="multiple of generations"):
            CurriculumTrainer(correct=gsm8k_matches, method="grpo", batch_rows=7)


class TestExports:
    @pytest.fixture(scope="class")
    @classmethod
    def rows(cls) -> Dataset:
        base = prepared(6, lengths=(4,)).add_column("pass_rate", [0.0, 1.0] * 3)
        staged = CurriculumBuilder(stages=2).build(base)
        prompt = PromptFormat(placement="prompt")
        return GuidedPrompter(sample=Oracle(), correct=gsm8k_matches, prompt=prompt, n_samples=8).guide(staged)

    def test_trl(self, rows: Dataset) -> None:
        found = for_trl(rows)
        assert found["prompt"][:] == rows["prompt"][:]
        assert found["completion"][:] == rows["target"][:]
        chat = for_trl(rows, prompt=PromptFormat(placement="prompt"))
        assert rows["hint"][5].strip() in chat[5]["prompt"][0]["content"]
        assert chat[5]["completion"] == [{"role": "assistant", "content": rows["target"][5]}]
        begun = for_trl(rows, prompt=PromptFormat())
        assert [message["role"] for message in begun[0]["prompt"]] == ["user"]
        assert begun[5]["prompt"][1] == {"role": "assistant", "content": rows["hint"][5]}

    def test_verl(self, rows: Dataset) -> None:
        found = for_verl(rows, "chains")
        assert set(found.column_names) == {"data_source", "prompt", "ability", "reward_model", "extra_info"}
        assert found[5]["reward_model"] == {"style": "rule", "ground_truth": rows["final"][5]}
        assert found[5]["extra_info"]["stage"] == 2
        assert found[5]["prompt"][0]["role"] == "user"
        with pytest.raises(DataError, match="placement='prompt'"):
            for_verl(rows, "chains", prompt=PromptFormat())

    def test_axolotl(self, rows: Dataset) -> None:
        first = for_axolotl(rows, "</s>")[0]
        assert first["segments"] == [
            {"label": False, "text": rows["prompt"][0]},
            {"label": True, "text": rows["target"][0] + "</s>"},
        ]
        assert first["stage"] == 1


class TestCurriculum(AdapterContract):
    method = "curriculum"
    trains_fast = False
    taken = ("steps", "final")
    options = {  # noqa: RUF012
        "n_samples": 4,
        "max_new_tokens": 20,
        "warm_epochs": 4,
        "batch_rows": 32,
        "pass_ks": (1, 2, 9),
        "learning_rate": 1e-3,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return chains(30, lengths=(1, 2))

    def test_facts_and_tables(self, artifact: Artifact, evaluation: Any) -> None:
        assert [row["stage"] for row in artifact.facts["stages"]] == [1, 2, 3]
        assert sum(row["questions"] for row in artifact.facts["hints"]) == 30
        assert {row["stage"] for row in artifact.facts["history"]} == {1, 2, 3}
        metrics = evaluation.metrics
        assert metrics["base_pass@1"] == pytest.approx(metrics["base_avg@4"])
        assert metrics["base_pass@2"] >= metrics["base_pass@1"]
        assert "base_pass@9" not in metrics
        for row in evaluation.tables["by_difficulty"]:  # both are of the half that did not say how hard a question is
            assert row["base_pass@1"] == pytest.approx(row["base_avg"])
            assert "base_pass@4" not in row
        assert sum(row["questions"] for row in evaluation.tables["by_difficulty"]) == 30
        assert {"base_pass_rate", "trained_pass_rate"} <= set(evaluation.rows.column_names)

    def test_stages_of_a_single_step_train(self, artifact: Artifact) -> None:
        assert [row["step"] for row in artifact.facts["history"]] == [1, 1, 1]
        before, after = (artifact.parts[name].state_dict() for name in ("base", "model"))
        assert any(not torch.equal(before[name], after[name]) for name in before)

    def test_the_curriculum_is_kept(self, artifact: Artifact, tmp_path: Path) -> None:
        artifact.save(tmp_path)
        found = curriculum_of(Artifact.load(tmp_path))
        assert found.to_dict() == curriculum_of(artifact).to_dict()
        assert {"pass_rate", "stage", "hint", "prompt", "target"} <= set(found.column_names)

    def test_only_the_curriculum(self, adapter: Any, prepared: Dataset, tmp_path: Path) -> None:
        small = prepared.select(range(12))
        config = adapter.config(
            method="none", n_samples=2, max_new_tokens=12, warm_epochs=0, guide=False, checkpoint=str(tmp_path / "kept")
        )
        artifact = adapter.train(small, config)
        assert set(artifact.parts) == {"tokenizer", "base", "curriculum"}
        again = adapter.train(small, config)
        assert curriculum_of(again).to_dict() == curriculum_of(artifact).to_dict()
        found = adapter.evaluate(small, artifact, config)
        assert not any(name.startswith("trained") for name in found.metrics)
        assert len(list((tmp_path / "kept").iterdir())) == 3

    def test_evaluation_leaves_the_samples_of_training_alone(self, artifact: Artifact, tmp_path: Path) -> None:
        kept = tmp_path / "kept"
        (tmp_path / "artifact").mkdir()
        replace(artifact, config=artifact.config | {"checkpoint": str(kept)}).save(tmp_path / "artifact")
        chains(4).to_json(tmp_path / "test.jsonl")
        command = ["evaluate", "curriculum", "--artifact", str(tmp_path / "artifact")]
        command += ["--data", str(tmp_path / "test.jsonl")]
        for out, more in (("first", []), ("second", ["--set", f"checkpoint={tmp_path / 'own'}"])):
            found = CliRunner().invoke(models, [*command, "-o", str(tmp_path / out), *more], catch_exceptions=False)
            assert found.exit_code == 0
        assert not kept.exists()
        assert list((tmp_path / "own").iterdir())

    def test_columns_and_solutions_of_your_own(self, adapter: Any) -> None:
        config = adapter.config(question_column="ask", answer_column="solve", answers="math")
        rows = Dataset.from_dict({"ask": ["1+1?"], "solve": [r"Count. \boxed{2}"], "id": [7]})
        found = adapter.prepare(rows, config)
        assert found[0] == {"question": "1+1?", "solve": r"Count. \boxed{2}", "id": 7} | {
            "steps": ["Count. ", r"\boxed{2}"],
            "final": "2",
        }
        with pytest.raises(DataError, match=r"'solve', row 0.*option answers"):
            adapter.prepare(rows, config.replace(answers="gsm8k"))
        own = Dataset.from_dict({"question": ["q"], "steps": [["a", "b"]], "final": ["b"]})
        assert adapter.prepare(own, adapter.config(checker="text")).to_dict() == own.to_dict()
        for wrong, features in ((["a"], Value("string")), ([[]], List(Value("string")))):
            bad = own.remove_columns("steps").add_column("steps", wrong, feature=features)
            with pytest.raises(DataError, match="'steps'"):
                adapter.prepare(bad, adapter.config())

    def test_columns_in_the_way_are_kept(self, adapter: Any) -> None:
        rows = Dataset.from_dict(
            {"prompt": ["1+1?"], "question": [7], "target": ["Count.\n#### 2"], "steps": [9], "stage": ["primary"]}
        )
        config = adapter.config(question_column="prompt", answer_column="target")
        found = adapter.prepare(rows, config)
        assert found[0] == {
            "question": "1+1?",
            "steps": ["Count.\n#### 2"],
            "final": "2",
            "question_given": 7,
            "steps_given": 9,
            "target_given": "Count.\n#### 2",
            "stage_given": "primary",
        }
        assert adapter.prepare(found, config).to_dict() == found.to_dict()

    def test_steps_take_and_replace_what_steps_wrote(self, adapter: Any) -> None:
        own = (
            chains(12)
            .add_column("responses", [["#### 1"] * 4] * 12)
            .add_column("pass_rate", [i / 12 for i in range(12)])
        )
        rows = adapter.prepare(own, adapter.config())
        assert CurriculumBuilder().build(rows)["pass_rate"][0] == 11 / 12
        graded = grade(rows, gsm8k_matches)
        assert graded["pass_rate_given"][:] == own["pass_rate"][:]
        assert grade(graded, gsm8k_matches).to_dict() == graded.to_dict()
        estimator = DifficultyEstimator(sample=Oracle(), correct=gsm8k_matches)
        prompter = GuidedPrompter(sample=Oracle(), correct=gsm8k_matches)
        estimated = estimator.estimate(rows)
        assert estimated["responses_given"][:] == own["responses"][:]
        assert estimated["pass_rate_given"][:] == own["pass_rate"][:]
        guided = prompter.guide(CurriculumBuilder().build(estimated))
        again = prompter.guide(CurriculumBuilder().build(estimator.estimate(guided)))
        assert set(again.column_names) == set(guided.column_names)
        assert sorted(again["prompt"]) == sorted(guided["prompt"])

    def test_a_curriculum_prepared_again_is_replaced(self, adapter: Any, tmp_path: Path) -> None:
        """As the command line does with the rows of an artifact."""
        config = adapter.config()
        rows = adapter.prepare(chains(12), config)
        estimator = DifficultyEstimator(sample=Oracle(), correct=gsm8k_matches)
        prompter = GuidedPrompter(sample=Oracle(), correct=gsm8k_matches)
        estimated = estimator.estimate(rows)
        guided = prompter.guide(CurriculumBuilder().build(estimated))
        guided.to_parquet(str(tmp_path / "rows.parquet"))
        loaded = data.load(str(tmp_path / "rows.parquet"))
        for made in (grade(estimated, gsm8k_matches), estimated, guided, loaded):
            found = adapter.prepare(made, config.replace(question_column="ask"))
            assert found.to_dict() == adapter.prepare(made, config).to_dict() == made.to_dict()
            again = prompter.guide(CurriculumBuilder().build(estimator.estimate(found)))
            assert set(again.column_names) == set(guided.column_names)
        own = chains(12).add_column("n_samples", [3] * 12).add_column("n_correct", [1] * 12)
        for made in (own, own.cast_column("n_samples", COUNT).cast_column("n_correct", COUNT)):
            found = adapter.prepare(made, config)
            assert found["n_samples_given"][:] == [3] * 12
            assert adapter.prepare(found, config).to_dict() == found.to_dict()

    def test_own_responses_stand_beside_the_curriculum(self, adapter: Any, prepared: Dataset) -> None:
        small = prepared.select(range(6)).add_column("responses", [["mine"]] * 6)
        config = adapter.config(method="none", n_samples=2, max_new_tokens=4, warm_epochs=0, guide=False)
        rows = curriculum_of(adapter.train(small, config))
        assert rows["responses_given"][:] == [["mine"]] * 6
        assert {len(texts) for texts in rows["responses"]} == {2}

    @pytest.mark.parametrize("final", ["Paris", "10:30", "7 or 8", "1,8"])
    def test_finals_that_are_no_number_are_refused(self, adapter: Any, final: str) -> None:
        rows = Dataset.from_dict({"question": ["a?", "b?"], "answer": ["#### 1,800", f"So.\n#### {final}"]})
        said = rf"'answer', row 1: .*checker gsm8k compares: expected one number.*got '{final}'.*set checker"
        with pytest.raises(DataError, match=said):
            adapter.prepare(rows, adapter.config())
        own = adapter.prepare(rows, adapter.config(checker="text"))
        assert own["final"][:] == ["1,800", final]
        assert adapter.prepare(own, adapter.config(checker="math")).to_dict() == own.to_dict()
        with pytest.raises(DataError, match=r"'final', row 1: .*checker number"):
            adapter.prepare(own, adapter.config(checker="number"))

    @pytest.mark.parametrize(
        "wrong",
        [
            *({name: "x"} for name in ("answers", "checker", "placement", "method", "order", "template", "threshold")),
            *({"ratios": ()}, {"ratios": (2,)}, {"pass_ks": (0,)}, {"pass_ks": 3}),
            *({"n_samples": 1}, {"temperature": 0}, {"chat": True}, {"method": "grpo", "batch_rows": 9}),
        ],
    )
    def test_wrong_options_are_named(self, adapter: Any, wrong: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(reversed(wrong))):
            adapter.config(**wrong)

    def test_options_survive_json(self, adapter: Any) -> None:
        config = adapter.config(ratios=(0.1,), pass_ks=(2,))
        assert adapter.config().replace(**json.loads(json.dumps(config.to_dict()))) == config

    def test_what_is_no_model_is_named(self, adapter: Any, prepared: Dataset, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no language model can be loaded"):
            adapter.train(prepared, adapter.config(model=str(tmp_path)))
