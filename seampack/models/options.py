"""Description of a method for everything that runs before it: its options, its columns, and their role in evaluation.

This module and the configs of the methods import neither torch nor datasets, so that lists, checks and mistakes in
options are answered at once.
"""

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar

from seampack.config import Config
from seampack.errors import ConfigError, ShardError

SMALL = "small"
"""Name of the built-in small model, whose vocabulary and weights are learned from the training text alone."""
RETRAIN = "train the artifact again with this version"
"""The remedy for an artifact of another version."""

C = TypeVar("C", bound=Config)


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
    renamed: ClassVar[Mapping[str, str]] = {}
    """Option names of earlier versions, whose artifacts are still read, and the present names."""

    @classmethod
    def of_training(cls, values: Mapping[str, Any], method: str) -> Self:
        """Return the initial config of evaluation: the options of training, with defaults for the ``per_run`` ones.

        Raises ShardError if another version saved options that this version does not know.
        """
        saved = {name: value for name, value in cls._present(values).items() if name not in cls.per_run}
        return saved_options(cls, saved, method)

    def check_fixed(self, values: Mapping[str, Any]) -> None:
        """Raise ConfigError if a ``fixed`` option differs from its value in training."""
        given, trained = self.to_dict(), type(self)().to_dict() | self._present(values)
        for name in self.fixed:
            if given[name] != trained[name]:
                raise ConfigError(
                    f"{name}: fixed by training; expected {trained[name]!r}, as in the artifact; got {given[name]!r}; "
                    "omit the option, or train again with it"
                )

    @classmethod
    def scope(cls, option: str) -> Scope:
        """Return the effect in evaluation of the value that an option had in training."""
        if option in cls.fixed:
            return Scope.FIXED
        return Scope.PER_RUN if option in cls.per_run else Scope.SAVED

    @classmethod
    def _present(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of training under their present names."""
        return {cls.renamed.get(name, name): value for name, value in values.items()}


def saved_options(kind: type[C], saved: object, method: str) -> C:
    """Return the options saved with a trained method as a config; options that are not saved have their defaults.

    Raises ShardError if another version saved them, so that options are missing altogether, unknown or unusable.
    """
    reason = ""
    if not isinstance(saved, Mapping):
        reason = "no options are saved"
    elif unknown := sorted(saved.keys() - {field.name for field in fields(kind)}):  # type: ignore[arg-type]
        reason = f"unknown option {unknown[0]!r}"
    else:
        try:
            return kind().replace(**saved)
        except ConfigError as error:
            reason = str(error)
    raise ShardError(f"artifact of {method}: made by another version of seampack: {reason}; {RETRAIN}")
