"""What training is told to do. No heavy imports: the command line reads its defaults from here."""

from dataclasses import dataclass

from seampack._fields import Config, check_integer, check_number, option
from seampack.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Config):
    """Options of training a segmenter. Raises ConfigError naming the field, what was expected and what was given."""

    script: str = option(
        "zh",
        "Which characters words are made of: zh, ja, th, latin, symbols (all but white space), or characters and "
        "ranges of your own such as a-zé.",
    )
    longest: int = option(3, "Units of the longest word that the language model writes (K).")
    hidden: int = option(128, "Width of the language model.")
    dropout: float = option(0.1, "Share of embeddings and states that is dropped in training.")
    epochs: float = option(5.0, "Passes over the text; large texts need fewer.")
    batch_units: int = option(500, "Units of a batch; small ones learn more from little text.")
    learning_rate: float = option(2e-3, "Learning rate of Adam, behind a warm-up and before the fall at the end.")
    word_cost: float = option(
        0.0,
        "Cost of each word in nats when training begins, falling to nothing over its first 40 %: a remedy where words "
        "of one unit are all that is found.",
    )
    clip: float = option(1.0, "Largest norm of the gradient.")
    least_count: int = option(2, "Units that occur less often share one id.")
    chunk_units: int = option(40, "Units that are read at once, at most; shorter between marks and spaces.")
    validation_share: float = option(0.02, "Share of the text that is held out to watch the likelihood.")
    validate_every: int = option(200, "Batches between validations, each of which writes a checkpoint.")
    patience: int = option(
        10, "Validations in a row that may bring no better likelihood; after one more, training stops."
    )
    forward_weight: float = option(0.5, "Share of the forward direction where both are combined.")
    seed: int = option(0, "Seed of parameters, batches and dropout.")

    def __post_init__(self) -> None:
        for name, low, high in (
            ("longest", 1, 32),
            ("hidden", 8, 4096),
            ("batch_units", 1, 1 << 20),
            ("least_count", 1, 1 << 20),
            ("chunk_units", 2, 1 << 12),
            ("validate_every", 1, 1 << 30),
            ("patience", 0, 1 << 30),
            ("seed", 0, 1 << 31),
        ):
            check_integer(name, getattr(self, name), low, high)
        for name, least, most in (
            ("dropout", 0.0, 0.9),
            ("epochs", 0.01, 1e4),
            ("learning_rate", 1e-6, 1.0),
            ("word_cost", 0.0, 100.0),
            ("clip", 1e-3, 1e6),
            ("validation_share", 0.0, 0.5),
            ("forward_weight", 0.0, 1.0),
        ):
            check_number(name, getattr(self, name), least, most)
        if not self.script:
            raise ConfigError("script: expected a preset or characters; got nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig(Config):
    """Options of training the fast student on what teachers say of a text."""

    table_bits: int = option(18, "Rows of the feature table, as a power of two; 18 makes a model of 4 MB.")
    width: int = option(16, "Numbers a row.")
    epochs: int = option(8, "Passes over the text.")
    learning_rate: float = option(0.1, "Learning rate of AdaGrad.")
    drop_features: float = option(0.3, "Share of features that is dropped in training.")
    hard_share: float = option(0.5, "Share of the teachers' decisions in the target; the rest is their probabilities.")
    seed: int = option(0, "Seed of order and dropping.")

    def __post_init__(self) -> None:
        check_integer("table_bits", self.table_bits, 8, 24)
        check_integer("width", self.width, 1, 256)
        check_integer("epochs", self.epochs, 1, 10_000)
        check_integer("seed", self.seed, 0, 1 << 31)
        check_number("learning_rate", self.learning_rate, 1e-6, 10)
        check_number("drop_features", self.drop_features, 0, 0.9)
        check_number("hard_share", self.hard_share, 0, 1)
