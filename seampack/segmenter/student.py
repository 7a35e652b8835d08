"""The fast segmenter: a small network over hashed n-grams around each place between units, distilled from teachers.

The student looks up n-grams instead of running a language model, and needs only numpy and numba. It is trained on the
teachers' probabilities and decisions about the ends of words, on any amount of raw text.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError
from seampack.segmenter import _student_kernels as kernels
from seampack.segmenter.config import DistillConfig
from seampack.segmenter.units import Units

Float = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]

_BLOCK = 1 << 16
"""Places of a call of the training kernel: about half a second, in which a signal has to wait."""


@dataclass(frozen=True, slots=True)
class Student:
    """Parameters of a student. ``table`` is quantised in steps of ``scale``; the last ``output`` is the bias."""

    table: npt.NDArray[np.int8]  # shape (2^table_bits, width)
    scale: float
    hidden_bias: Float  # shape (width,)
    output: Float  # shape (width + 1,)

    def end_probabilities(self, units: Units) -> Float:
        """Return the probability that a word ends after each unit, shape (units,).

        The probability is 1 before white space, at the end of a text, and before and after a unit that is a word by
        itself; it is 0 where the spelling allows no end.
        """
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-self.end_log_odds(units)))).astype(np.float32)

    def end_log_odds(self, units: Units) -> Float:
        """Return the log-odds of ``end_probabilities``, shape (units,): infinite where the probability is 0 or 1."""
        logits = np.where(units.bonds, -np.inf, np.inf).astype(np.float32)
        width = self.table.shape[1]
        kernels.end_logits(
            units.key,
            units.spaced,
            units.forced_ends | (units.bonds == 1),
            units.offsets,
            self.table,
            np.float32(self.scale),
            self.hidden_bias,
            self.output[:width],
            self.output[width],
            logits,
        )
        return logits

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the parameters as arrays for a safetensors file."""
        scale = np.array([self.scale], np.float32)
        return {"table": self.table, "scale": scale, "hidden_bias": self.hidden_bias, "output": self.output}

    @classmethod
    def of_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> "Student":
        """Return the student in the arrays of a safetensors file. Raises KeyError or ValueError if they are invalid."""
        table, scale, hidden_bias, output = (arrays[name] for name in ("table", "scale", "hidden_bias", "output"))
        rows, width = table.shape if table.ndim == 2 else (0, 0)
        if table.dtype != np.int8 or rows < 1 or rows & (rows - 1) or width < 1:
            raise ValueError(
                f"table: expected int8 with a power of two of rows; got {table.dtype} of shape {table.shape}"
            )
        for name, values, size in (
            ("scale", scale, 1),
            ("hidden_bias", hidden_bias, width),
            ("output", output, width + 1),
        ):
            if values.dtype.kind != "f" or values.shape != (size,):
                raise ValueError(f"{name}: expected {size} floats; got {values.dtype} of shape {values.shape}")
        return cls(table, float(scale[0]), hidden_bias.astype(np.float32), output.astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Places:
    """Places between two units from which the student learns, each within a stretch without white space."""

    places: Offsets  # the unit after each place, shape (places,)
    first: Offsets  # first unit of the stretch of each place, shape (places,)
    end: Offsets  # end of the stretch of each place, shape (places,)


def useful_places(units: Units) -> npt.NDArray[np.bool_]:
    """Return flags of the units after which there is a place to learn from, shape (units,).

    These are the places inside stretches, except those between two units that are words by themselves.

    Raises DataError if there are none.
    """
    is_useful = ~_ends_of_stretches(units)
    is_useful[:-1] &= ~(units.single[:-1] & units.single[1:])
    if not is_useful.any():
        raise DataError("nothing to learn from: expected text with two adjacent units of the script; got none")
    return is_useful


def _ends_of_stretches(units: Units) -> npt.NDArray[np.bool_]:
    """Return flags of the last unit of each stretch, shape (units,)."""
    last = np.ones(units.key.size, np.bool_)
    last[:-1] = units.spaced[1:] == 1
    last[units.offsets[1:][np.diff(units.offsets) > 0] - 1] = True
    return last


def _places(units: Units) -> _Places:
    """Return the places to learn from. Raises DataError if there are none."""
    places = np.flatnonzero(useful_places(units)) + 1
    # first unit of each stretch, and the end
    bounds = np.concatenate([[0], np.flatnonzero(_ends_of_stretches(units)) + 1])
    stretch = np.searchsorted(bounds, places - 1, side="right") - 1
    return _Places(places, bounds[stretch], bounds[stretch + 1])


def train_student(units: Units, probabilities: Float, decisions: Float, config: DistillConfig) -> Student:
    """Train a student on the output of its teachers for a text.

    Args:
        units: Units of the text.
        probabilities: The teachers' mean probability that a word ends after each unit, shape (units,).
        decisions: The teachers' mean decision whether a word ends after each unit, shape (units,).
        config: Training options.

    Raises DataError if the text has no place to learn from.
    """
    where = _places(units)
    targets = (config.hard_share * decisions + (1 - config.hard_share) * probabilities).astype(np.float32)
    targets = targets[where.places - 1]

    rng = np.random.default_rng(config.seed)
    rows, width = 1 << config.table_bits, config.width
    table = rng.normal(0, 0.05, (rows, width)).astype(np.float32)
    hidden_bias = np.full(width, 0.1, np.float32)
    output = np.append(rng.normal(0, 0.5, width), 0).astype(np.float32)
    memories = tuple(np.full(size, 1e-2, np.float32) for size in (rows, width, width + 1))
    for epoch in range(config.epochs):
        order = rng.permutation(where.places.size)
        rate = config.learning_rate * (1 - epoch / config.epochs)
        seed = np.uint64(rng.integers(1 << 62))
        shuffled = (where.first[order], where.end[order]), where.places[order], targets[order]
        for begin in range(0, order.size, _BLOCK):
            kernels.train_places(
                units.key,
                *shuffled,
                (begin, min(begin + _BLOCK, order.size)),
                np.float32(rate),
                config.drop_features,
                seed,
                (table, hidden_bias, output),
                memories,
            )
    largest = float(np.quantile(np.abs(table), 0.9999)) or 1.0
    scale = largest / 127
    return Student(np.clip(np.rint(table / scale), -127, 127).astype(np.int8), scale, hidden_bias, output)
