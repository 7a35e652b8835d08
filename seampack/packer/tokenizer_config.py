"""Options of training a tokenizer. No heavy imports: the command line is made from these."""

from dataclasses import dataclass

from seampack.config import Config, option
from seampack.errors import ConfigError

_BYTES = 256
"""Size of a byte-level vocabulary before any pair is merged, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConfig(Config):
    """Options of training a tokenizer. Raises ConfigError, naming the field, the expected values and the given one."""

    vocab_size: int = option(
        32_000,
        "Largest size of the vocabulary, including the special tokens; it is smaller if too few pairs occur "
        "min-frequency times.",
        low=_BYTES,
        high=1 << 31,
        unit="tokens",
    )
    min_frequency: int = option(2, "Smallest number of occurrences of a pair that is merged.", low=0, high=1 << 31)
    special_tokens: tuple[str, ...] = option(
        ("<|endoftext|>",), "Special token of the vocabulary; special tokens take the first ids."
    )

    def check_rules(self) -> None:
        """Check the rules between fields."""
        least = _BYTES + len(self.special_tokens)
        if self.vocab_size < least:
            raise ConfigError(
                f"vocab_size: expected at least {least} (256 bytes and the special tokens); got {self.vocab_size}"
            )
