"""Description of a method for everything that runs before it: its options, its columns, and their role in evaluation.

This module and the configs of the methods import neither torch nor datasets, so that lists, checks and mistakes in
options are answered at once.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self

from seampack.config import Config

SMALL = "small"
"""Name of the built-in small model, whose vocabulary and weights are learned from the training text alone."""


class Scope(StrEnum):
    """Effect in evaluation of the value that an option had in training."""

    SAVED = "saved"
    """Evaluation uses the saved value unless another is given."""
    FIXED = "fixed"
    """The trained model depends on the value; evaluation rejects any other."""
    PER_RUN = "per run"
    """The option applies to a single run; evaluation starts from the default."""


class MethodConfig(Config):
    """Base class of the methods' configs; their defaults fit the columns named in ``columns``."""

    __slots__ = ()

    columns: ClassVar[Mapping[str, str]]
    """Required columns of a dataset and their meanings; ``NAME_column`` options choose other names."""
    fixed: ClassVar[tuple[str, ...]] = ()
    """Options that the trained model depends on: evaluation rejects any value that differs from training."""
    per_run: ClassVar[tuple[str, ...]] = ()
    """Options of a single run, such as the folder of its checkpoints: evaluation starts from their defaults."""

    @classmethod
    def of_training(cls, values: Mapping[str, Any]) -> Self:
        """Return the initial config of evaluation: the options of training, with defaults for the ``per_run`` ones."""
        return cls().replace(**{name: value for name, value in values.items() if name not in cls.per_run})

    @classmethod
    def scope(cls, option: str) -> Scope:
        """Return the effect in evaluation of the value that an option had in training."""
        if option in cls.fixed:
            return Scope.FIXED
        return Scope.PER_RUN if option in cls.per_run else Scope.SAVED
