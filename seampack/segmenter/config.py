"""Options for training a segmenter. No heavy imports: the command line is generated from this module."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from seampack.config import MAX_SEED, Config, option, seed_option
from seampack.segmenter.apply_config import Decoder

LOW_AGREEMENT = 0.7
"""Cohen's kappa of both directions below which a model has probably not learned words."""
MOST_RETRIES = 4
LONGEST = 32
"""The most units that a word may have, for language models and lexicons."""
_RETRY_COST = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Config):
    """Options for training the language models."""

    script: str = option(
        "zh",
        "Characters that words consist of: zh, ja, ja-runs (a run of katakana is one word), th, th-clusters (letters "
        "that Thai spelling does not separate are one unit), latin, symbols (all but white space), or characters and "
        "ranges such as a-zé.",
        empty=False,
    )
    longest: int = option(
        3, "Length of the longest word that the language model generates (K).", low=1, high=LONGEST, unit="units"
    )
    hidden: int = option(128, "Hidden size of the language model.", low=8, high=4096)
    dropout: float = option(0.1, "Share of embeddings and states dropped in training.", low=0, high=0.9)
    epochs: float = option(5.0, "Passes over the text; a large text needs fewer.", low=0.01, high=1e4)
    batch_units: int = option(
        500, "Size of a batch; smaller batches learn more from little text.", low=1, high=1 << 20, unit="units"
    )
    learning_rate: float = option(
        2e-3, "Peak learning rate of Adam, after the warm-up and before the final decay.", low=1e-6, high=1
    )
    word_cost: float = option(
        0.0,
        "Cost of each word at the start of training; falls to 0 over the first 40 % of the steps. Raise it if nearly "
        "all words found are single units.",
        low=0,
        high=100,
        unit="nats",
    )
    clip: float = option(1.0, "Largest norm of the gradient.", low=1e-3, high=1e6)
    least_count: int = option(
        2, "Lowest count of a unit that gets its own id; rarer units share one.", low=1, high=1 << 20
    )
    chunk_units: int = option(
        40,
        "Length of the longest chunk; punctuation and spaces end a chunk earlier.",
        low=2,
        high=1 << 12,
        unit="units",
    )
    validation_share: float = option(0.02, "Share of the text held out to measure the likelihood.", low=0, high=0.5)
    validate_every: int = option(
        200,
        "Batches between two validations; each validation writes a checkpoint.",
        low=1,
        high=1 << 30,
        unit="batches",
    )
    patience: int = option(
        10,
        "Number of validations in a row that may pass without a better likelihood; one more stops training.",
        low=0,
        high=1 << 30,
    )
    forward_weight: float = option(0.5, "Weight of the forward direction when both are combined.", low=0, high=1)
    seed: int = seed_option("Seed of parameters, batches and dropout.")

    def retried(self, number: int) -> Self:
        """Return the options of a retry: another seed, and a word cost of at least 0.25, 0.5, 0.75 or 1.

        The cost is the remedy that works: where a run without one made every unit a word, so did the runs with other
        seeds. Above 1, words are joined.
        """
        cost = max(self.word_cost, _RETRY_COST * number)
        return self.replace(seed=(self.seed + number) % (MAX_SEED + 1), word_cost=cost)

    @classmethod
    def of_description(cls, options: Mapping[str, Any]) -> Self:
        """Return the options in the description of a segmenter on disk; ignore unknown options."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(Config):
    """Options for training the fast student on the decisions of one or more teachers."""

    table_bits: int = option(
        18, "Size of the feature table, as a power of two of rows; 18 gives a 4 MB model.", low=8, high=24, unit="bits"
    )
    width: int = option(16, "Numbers per row of the table.", low=1, high=256)
    epochs: int = option(8, "Passes over the text.", low=1, high=10_000)
    learning_rate: float = option(0.1, "Learning rate of AdaGrad.", low=1e-6, high=10)
    drop_features: float = option(0.3, "Share of features dropped in training.", low=0, high=0.9)
    hard_share: float = option(
        0.5, "Weight of the teachers' decisions in the target; the rest is their probabilities.", low=0, high=1
    )
    decoder: str | None = option(
        None,
        "Decoder whose decisions the student learns; with --keep-teacher also that of --exact. By default, the one "
        "whose words predict held-out text best.",
        choices=Decoder,
    )
    seed: int = seed_option("Seed of the parameters, the order of the text and the dropped features.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LexiconConfig(Config):
    """Options for counting the words of a lexicon."""

    exact: bool = option(
        False, "Count the words of the language models instead of those of the fast student; 100 times slower."
    )
    lexicon: bool = option(True, "Find the words with the lexicon that the segmenter already has.")
    least_count: int = option(2, "Lowest count of a word that is kept.", low=1, high=1 << 30)
    most_words: int = option(
        30_000, "Number of words to keep, the most frequent ones.", low=1, high=1 << 24, unit="words"
    )
    longest: int | None = option(
        None,
        "Length of the longest word that is kept and that the decoder considers. By default, 99.9 % of the running "
        "words are not longer.",
        low=1,
        high=LONGEST,
        unit="units",
    )
    split: float | None = option(
        None,
        "Count a word as its two parts, if both are words too and their association is below this value: 0 if they are "
        "independent, 1 if they occur only together. For Japanese 0.2. By default, no words are split.",
        low=0,
        high=1,
    )
    join: float | None = option(
        None,
        "Also count two or three neighbouring words as one, if their association is at least this value: 0 if they are "
        "independent, 1 if they occur only together. For Thai 0.5. By default, no words are joined.",
        low=0,
        high=1,
    )
