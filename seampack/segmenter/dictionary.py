"""The user's dictionary: words that override the model."""

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError
from seampack.io.formats import Format
from seampack.io.records import invalid_utf8
from seampack.io.sources import name_of, open_source
from seampack.segmenter.units import Units

_FREQUENCY = re.compile("[0-9]+")
_TAG = re.compile("[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Entries that are cut at their spaces and nowhere else.

    ``研究生`` is one word everywhere; ``研究 生命`` is two words. If entries overlap in a text, the first one applies;
    of entries that begin at the same character, the longest.
    """

    entries: dict[str, list[int]]
    """Maps each entry without its spaces to the positions of its cuts, in characters."""
    lengths: dict[str, tuple[int, ...]]
    """Maps the first two characters (or the only one) of entries to the lengths of these entries, longest first."""
    begins: re.Pattern[str]
    """Matches the first character of any entry; with few entries, a search skips most of a text."""

    @classmethod
    def of(cls, lines: list[str]) -> "Dictionary":
        """Return the dictionary of entries, one per line; skip empty lines.

        Lines of jieba's format (``word frequency tag``) give the word alone, with a warning.

        Raises DataError if no entry is left, if two entries cut the same text differently, or if it is not clear which
        lines have jieba's format.
        """
        entries: dict[str, list[int]] = {}
        first_lines: dict[str, int] = {}
        for number, words in _entries(lines):
            entry, cuts = "".join(words), np.cumsum([len(word) for word in words])[:-1].tolist()
            first = first_lines.setdefault(entry, number)
            if entries.setdefault(entry, cuts) != cuts:
                raise DataError(
                    f"lines {first} and {number}: two entries cut {entry!r} differently: {lines[first - 1].strip()!r} "
                    f"and {lines[number - 1].strip()!r}; remove one"
                )
        if not entries:
            raise DataError("the dictionary has no entry; expected one per line")
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for entry in entries:
            lengths[entry[:2]].add(len(entry))
        begins = re.compile(f"[{re.escape(''.join(sorted({entry[0] for entry in entries})))}]")
        return cls(entries, {begin: tuple(sorted(sizes, reverse=True)) for begin, sizes in lengths.items()}, begins)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Dictionary":
        """Return the dictionary in a UTF-8 file. Raises DataError if it cannot be read or has no entry."""
        name = name_of(os.fspath(path))
        if not os.path.exists(path):
            raise DataError(f"{name}: no such file; expected a dictionary, one entry per line")
        with open_source(os.fspath(path), Format.LINES) as source:
            data = source.stream.read()
        try:
            return cls.of(data.decode("utf-8-sig").splitlines())
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise DataError(f"{name}:{line}: {invalid_utf8(error)}") from error
        except DataError as error:
            raise DataError(f"{name}: {error}") from error

    def find(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the begin and the text of each entry that applies in a text."""
        entries, lengths, position = self.entries, self.lengths, 0
        while match := self.begins.search(text, position):
            first = match.start()
            position = first + 1
            for length in lengths.get(text[first : first + 2], ()):
                if (entry := text[first : first + length]) in entries:
                    position = first + length
                    yield first, entry
                    break
            else:
                if text[first] in lengths:
                    yield first, text[first]

    def apply(self, texts: list[str], units: Units, starts: npt.NDArray[np.int64], ends: npt.NDArray[Any]) -> None:
        """Change ``ends`` in place so that the words of the entries hold.

        Args:
            texts: The texts.
            units: The units of the texts.
            starts: First code point of each text in the concatenated texts, shape (texts + 1,).
            ends: Flags or probabilities of a word's end after each unit, shape (units,); changed in place.
        """
        begins: list[int] = []
        stops: list[int] = []
        cuts: list[int] = []
        for text, start in zip(texts, starts.tolist(), strict=False):
            for first, entry in self.find(text):
                begins.append(start + first)
                stops.append(start + first + len(entry))
                cuts += [start + first + cut for cut in self.entries[entry]]
        if not begins:
            return
        covered = np.zeros(ends.size + 1, np.int64)
        np.add.at(covered, np.searchsorted(units.begin, begins), 1)
        np.add.at(covered, np.searchsorted(units.begin, stops), -1)
        ends[np.cumsum(covered[:-1]) > 0] = 0
        last = np.searchsorted(units.end, [*begins, *cuts, *stops], side="right") - 1
        ends[last[last >= 0]] = 1


def _entries(lines: list[str]) -> list[tuple[int, list[str]]]:
    """Return the words of each entry, with the number of its line; see ``Dictionary.of`` for jieba's format."""
    split = [(number, line.split()) for number, line in enumerate(lines, 1)]
    several = {number: words for number, words in split if len(words) > 1}
    jieba = {number: words for number, words in several.items() if _is_jieba(words)}
    has_frequency = any(_FREQUENCY.fullmatch(words[1]) for words in jieba.values())
    if jieba and not (has_frequency and len(jieba) == len(several)):
        number, words = next(iter(jieba.items()))
        reason = "other lines are words with spaces between them" if len(jieba) < len(several) else "no frequency"
        raise DataError(
            f"line {number}: {' '.join(words)!r} is either {len(words)} words, or one word with its frequency or tag "
            f"in jieba's format ({reason}); write the word alone: numbers and foreign words need no entry"
        )
    if jieba:
        warnings.warn("the dictionary has jieba's format; frequencies and tags are ignored", stacklevel=3)
    return [(number, words[:1] if number in jieba else words) for number, words in split if words]


def _is_jieba(words: list[str]) -> bool:
    """Return whether a line can be a word with a frequency, a tag or both."""
    rest = words[1:]
    return bool(
        (_FREQUENCY.fullmatch(rest[0]) and (len(rest) == 1 or (len(rest) == 2 and _TAG.fullmatch(rest[1]))))
        or (len(rest) == 1 and _TAG.fullmatch(rest[0]))
    )
