"""Words of the user's, which hold whatever the model says."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError
from seampack.segmenter.units import Units


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Entries that must stay whole, or be cut where they have a space.

    ``研究生`` is one word wherever it stands; ``研究 生命`` is two. Of entries that overlap in a text, the one that
    begins first holds, and the longest of those.
    """

    entries: dict[str, list[int]]
    """The entry without spaces: where it is cut inside, in characters."""
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, lines: list[str]) -> "Dictionary":
        """From entries, one a line; empty lines are passed over. Raises DataError where none is left."""
        entries: dict[str, list[int]] = {}
        for line in lines:
            if words := line.split():
                entries["".join(words)] = np.cumsum([len(word) for word in words])[:-1].tolist()
        if not entries:
            raise DataError("the dictionary has no entry; expected one a line")
        longest_first = sorted(entries, key=len, reverse=True)
        return cls(entries, re.compile("|".join(map(re.escape, longest_first))))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Dictionary":
        """From a UTF-8 file. Raises DataError where it cannot be read."""
        try:
            return cls.of(Path(path).read_text("utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: the dictionary cannot be read: {error}") from error

    def apply(self, texts: list[str], units: Units, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.uint8]) -> None:
        """Put the entries' words into ``ends``, the flags of the units behind which a word ends."""
        for text, start in zip(texts, starts.tolist(), strict=False):
            for match in self.pattern.finditer(text):
                first, last = np.searchsorted(units.begin, [start + match.start(), start + match.end()])
                ends[first:last] = 0
                for cut in [0, *self.entries[match.group()], match.end() - match.start()]:
                    unit = int(np.searchsorted(units.end, start + match.start() + cut, side="right")) - 1
                    if unit >= 0:
                        ends[unit] = 1
