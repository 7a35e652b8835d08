"""The parameters that training starts from: those of trained language models, for the units of another text too."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from seampack.segmenter.artifact import Arrays
from seampack.segmenter.corpus import FIRST_UNIT, UNKNOWN, Vocabulary
from seampack.segmenter.teacher import DIRECTIONS


@dataclass(frozen=True, slots=True)
class Initial:
    """Parameters of both directions, named ``forward.*`` and ``backward.*``."""

    state: Arrays

    @classmethod
    def extended(cls, state: Arrays, old: Vocabulary, new: Vocabulary, keys: npt.NDArray[np.uint64]) -> Self:
        """Return the parameters for a larger vocabulary.

        A new unit gets the row of the rare units, and a share of that row's probability, in proportion to its count
        plus one.

        Args:
            state: Parameters for the old vocabulary; other arrays are ignored.
            old: The vocabulary of the trained models.
            new: A vocabulary with all units of the old one.
            keys: The units of the text, shape (units,).
        """
        ids = new.ids(keys[old.ids(keys) == UNKNOWN])
        counts = np.bincount(ids, minlength=new.size) + 1.0  # one more each: a share of 0 has no logarithm
        source = np.concatenate([np.arange(FIRST_UNIT), old.ids(new.keys)])
        shared = source == UNKNOWN
        shares = np.where(shared, counts / counts[shared].sum(), 1)
        extended = {name: value for name, value in state.items() if name.startswith(DIRECTIONS)}
        for direction in DIRECTIONS:
            weight, bias = f"{direction}.embedding.weight", f"{direction}.bias"
            extended[weight] = state[weight][source]
            extended[bias] = (state[bias][source] + np.log(shares)).astype(np.float32)
        return cls(extended)

    def save(self, path: Path) -> None:
        """Write the parameters to an ``.npz`` file for ``load``."""
        np.savez(path, **self.state)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read parameters written by ``save``."""
        with np.load(path) as arrays:
            return cls(dict(arrays))

    def of(self, direction: str) -> Arrays:
        """Return the parameters of one direction, without its name."""
        prefix = f"{direction}."
        return {name.removeprefix(prefix): value for name, value in self.state.items() if name.startswith(prefix)}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters."""
        digest = hashlib.sha256()
        for name in sorted(self.state):
            digest.update(name.encode() + self.state[name].tobytes())
        return digest.hexdigest()
