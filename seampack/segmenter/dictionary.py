"""Words of the user's, which hold whatever the model says."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    lengths: dict[str, tuple[int, ...]]
    """Lengths of the entries that begin with two characters, the longest first; of one character alone, 1."""
    begins: re.Pattern[str]
    """One character that an entry begins with: where there are few entries, most of a text has none."""

    @classmethod
    def of(cls, lines: list[str]) -> "Dictionary":
        """From entries, one a line; empty lines are passed over. Raises DataError where none is left."""
        entries: dict[str, list[int]] = {}
        for line in lines:
            if words := line.split():
                entries["".join(words)] = np.cumsum([len(word) for word in words])[:-1].tolist()
        if not entries:
            raise DataError("the dictionary has no entry; expected one a line")
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for entry in entries:
            lengths[entry[:2]].add(len(entry))
        begins = re.compile(f"[{re.escape(''.join(sorted({entry[0] for entry in entries})))}]")
        return cls(entries, {begin: tuple(sorted(found, reverse=True)) for begin, found in lengths.items()}, begins)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Dictionary":
        """From a UTF-8 file. Raises DataError where it cannot be read, or has no entry."""
        try:
            return cls.of(Path(path).read_text("utf-8-sig").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: the dictionary cannot be read: {error}") from error
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def find(self, text: str) -> Iterator[tuple[int, str]]:
        """Where entries hold in a text: their begin, and they."""
        entries, lengths, at = self.entries, self.lengths, 0
        while match := self.begins.search(text, at):
            first = match.start()
            at = first + 1
            for length in lengths.get(text[first : first + 2], ()):
                if (entry := text[first : first + length]) in entries:
                    at = first + length
                    yield first, entry
                    break
            else:
                if text[first] in lengths:
                    yield first, text[first]

    def apply(self, texts: list[str], units: Units, starts: npt.NDArray[np.int64], ends: npt.NDArray[Any]) -> None:
        """Put the entries' words into ``ends``, flags (or probabilities) of the units behind which a word ends."""
        begins: list[int] = []
        stops: list[int] = []
        cuts: list[int] = []
        for text, start in zip(texts, starts.tolist(), strict=False):
            for at, entry in self.find(text):
                begins.append(start + at)
                stops.append(start + at + len(entry))
                if inside := self.entries[entry]:
                    cuts += [start + at + cut for cut in inside]
        if not begins:
            return
        covered = np.zeros(ends.size + 1, np.int64)
        np.add.at(covered, np.searchsorted(units.begin, begins), 1)
        np.add.at(covered, np.searchsorted(units.begin, stops), -1)
        ends[np.cumsum(covered[:-1]) > 0] = 0
        last = np.searchsorted(units.end, [*begins, *cuts, *stops], side="right") - 1
        ends[last[last >= 0]] = 1
