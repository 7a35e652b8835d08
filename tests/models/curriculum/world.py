"""A small world for the tests: sums modulo 5, and a sampler that solves short ones more often."""

import random
from typing import Any

from datasets import Dataset

from seampack.models.curriculum import CurriculumConfig
from seampack.models.curriculum.adapter import ADAPTER


def chains(rows: int, seed: int = 0, lengths: tuple[int, ...] = (1, 2, 3, 4)) -> Dataset:
    """Sums modulo 5, evaluated step by step, in the format of GSM8K."""
    rng = random.Random(seed)
    made = []
    for _ in range(rows):
        length, value = rng.choice(lengths), rng.randrange(5)
        question, solution = str(value), ""
        for _ in range(length):
            other = rng.randrange(5)
            question, solution = f"{question}+{other}", f"{solution}{value}+{other}={(value + other) % 5}\n"
            value = (value + other) % 5
        made.append({"question": question, "answer": f"{solution}#### {value}", "operations": length})
    return Dataset.from_list(made)


def prepared(rows: int = 24, **kwargs: Any) -> Dataset:
    return ADAPTER.prepare(chains(rows, **kwargs), CurriculumConfig())


class Oracle:
    """Solves a chain with a probability that falls with the number of steps to write."""

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
