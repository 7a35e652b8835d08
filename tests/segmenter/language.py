"""A language small enough to learn in seconds, and options of training for it."""

import numpy as np

from seampack.segmenter.config import TrainConfig

WORDS = ["研究", "生命", "的", "起源", "我们", "在", "北京", "学习", "汉语", "是", "好"]

TINY = TrainConfig(
    hidden=32, epochs=6, batch_units=200, learning_rate=1e-2, longest=3, validate_every=20, word_cost=0.5
)


QUICK = TrainConfig(hidden=16, epochs=3, batch_units=200, validate_every=5)


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Sentences of random words, and their words."""
    rng = np.random.default_rng(seed)
    gold = [[*rng.choice(WORDS, rng.integers(3, 9)).tolist(), "。"] for _ in range(count)]
    return ["".join(words) for words in gold], gold


def word_f1(found: list[list[str]], gold: list[list[str]]) -> float:
    def spans(words: list[str]) -> set[tuple[int, int]]:
        ends = np.cumsum([len(word) for word in words]).tolist()
        return set(zip([0, *ends], ends, strict=False))

    hits = sum(len(spans(a) & spans(b)) for a, b in zip(found, gold, strict=True))
    return 2 * hits / sum(len(a) + len(b) for a, b in zip(found, gold, strict=True))
