"""The fast segmenter: a small network over hashed n-grams around each place between units, distilled from teachers.

A language model must be run; a place's n-grams are looked up. The student is trained on what the teachers say of any
amount of raw text (the probability that a word ends there, and their decision), and needs nothing but numba.
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


@dataclass(frozen=True, slots=True)
class Student:
    """``table``: int8, shape (2^bits, width), in steps of ``scale``; ``output``: float32, shape (width + 1,)."""

    table: npt.NDArray[np.int8]
    scale: float
    hidden_bias: Float
    output: Float

    def end_probabilities(self, units: Units) -> Float:
        """Probability that a word ends behind each unit, shape (units,).

        It is 1 before white space, at the end, and beside units that are words by themselves.
        """
        logits = np.full(units.key.size, np.inf, np.float32)
        width = self.table.shape[1]
        kernels.end_logits(
            units.key,
            units.spaced,
            units.beside_single,
            units.offsets,
            self.table,
            np.float32(self.scale),
            self.hidden_bias,
            self.output[:width],
            self.output[width],
            logits,
        )
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-logits))).astype(np.float32)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """For a safetensors file."""
        scale = np.array([self.scale], np.float32)
        return {"table": self.table, "scale": scale, "hidden_bias": self.hidden_bias, "output": self.output}

    @classmethod
    def of_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> "Student":
        """From a safetensors file. Raises KeyError or ValueError where it is none of a student."""
        table, scale, hidden_bias, output = (arrays[name] for name in ("table", "scale", "hidden_bias", "output"))
        rows, width = table.shape if table.ndim == 2 else (0, 0)
        if table.dtype != np.int8 or rows < 1 or rows & (rows - 1) or width < 1:
            raise ValueError(
                f"table: expected int8, its rows a power of two; got {table.dtype} of the shape {table.shape}"
            )
        for name, values, size in (
            ("scale", scale, 1),
            ("hidden_bias", hidden_bias, width),
            ("output", output, width + 1),
        ):
            if values.dtype.kind != "f" or values.shape != (size,):
                raise ValueError(f"{name}: expected {size} floats; got {values.dtype} of the shape {values.shape}")
        return cls(table, float(scale[0]), hidden_bias.astype(np.float32), output.astype(np.float32))


def train_student(units: Units, probabilities: Float, decisions: Float, config: DistillConfig) -> Student:
    """Train on the teachers' probability of an end behind each unit, and on their decisions, shapes (units,).

    Places before white space and between two units that are words by themselves teach nothing and are left out.
    Raises DataError when nothing is left.
    """
    last = np.ones(units.key.size, np.bool_)
    last[:-1] = units.spaced[1:] == 1
    last[units.offsets[1:][np.diff(units.offsets) > 0] - 1] = True
    begins = np.flatnonzero(np.concatenate([[True], last[:-1]])) if last.size else np.empty(0, np.int64)
    stretch = np.cumsum(np.concatenate([[0], last[:-1]])).astype(np.int64) if last.size else np.empty(0, np.int64)
    bounds = np.append(begins, units.key.size)
    script = units.kind == 0
    useful = ~last
    useful[:-1] &= script[:-1] | script[1:]
    places = np.flatnonzero(useful) + 1
    if not places.size:
        raise DataError("the text has no two units beside each other: nothing to learn from")
    targets = (config.hard_share * decisions + (1 - config.hard_share) * probabilities).astype(np.float32)[places - 1]

    rng = np.random.default_rng(config.seed)
    width = config.width
    table = rng.normal(0, 0.05, (1 << config.table_bits, width)).astype(np.float32)
    hidden_bias = np.full(width, 0.1, np.float32)
    output = np.append(rng.normal(0, 0.5, width), 0).astype(np.float32)
    memories = tuple(np.full(size, 1e-2, np.float32) for size in (1 << config.table_bits, width, width + 1))
    for epoch in range(config.epochs):
        order = rng.permutation(places.size)
        rate = config.learning_rate * (1 - epoch / config.epochs)
        which = stretch[places[order]]
        kernels.train_epoch(
            units.key,
            (bounds[which], bounds[which + 1]),
            places[order],
            targets[order],
            np.float32(rate),
            config.drop_features,
            np.uint64(rng.integers(1 << 62)),
            (table, hidden_bias, output),
            memories,
        )
    largest = float(np.quantile(np.abs(table), 0.9999)) or 1.0
    scale = largest / 127
    return Student(np.clip(np.rint(table / scale), -127, 127).astype(np.int8), scale, hidden_bias, output)
