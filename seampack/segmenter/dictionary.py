"""The user's dictionary: words that override the model."""

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError, DataError
from seampack.io.formats import Format
from seampack.io.records import invalid_utf8
from seampack.io.sources import name_of, open_source
from seampack.segmenter.scripts import HanForm, text_in_form, texts_in_form
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
    _in_forms: dict[HanForm, "Dictionary"] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def given(cls, words: "Words | None") -> "Dictionary | None":
        """Return the dictionary that a user gives: itself, the path of its file, or its entries; of none, None.

        Raises ConfigError for another object, DataError as ``load`` and ``of`` do.
        """
        if words is None or isinstance(words, cls):
            return words
        if isinstance(words, str | os.PathLike):
            return cls.load(words)
        if not isinstance(words, list | tuple | set | frozenset):
            expected = "the path of a file, a list of entries or a Dictionary"
            raise ConfigError(f"dictionary: expected {expected}; got {type(words).__name__}")
        if not words:
            return None
        for entry in words:
            if not isinstance(entry, str):
                raise ConfigError(f"dictionary: expected entries that are texts; got {entry!r}")
        try:
            return cls.of(list(words))
        except DataError as error:
            raise DataError(f"dictionary: {error}") from error

    @classmethod
    def of(cls, lines: list[str]) -> Self:
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
        return cls._of_cuts(entries)

    @classmethod
    def _of_cuts(cls, entries: dict[str, list[int]]) -> Self:
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        for entry in entries:
            lengths[entry[:2]].add(len(entry))
        begins = re.compile(f"[{re.escape(''.join(sorted({entry[0] for entry in entries})))}]")
        return cls(entries, {begin: tuple(sorted(sizes, reverse=True)) for begin, sizes in lengths.items()}, begins)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
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

    def in_form(self, form: HanForm | None) -> "Dictionary":
        """Return the dictionary with each entry in a form of Chinese characters, see ``texts_in_form``.

        Raises DataError if two entries are then the same text, and cut differently.
        """
        if form is None:
            return self
        if form not in self._in_forms:
            entries: dict[str, list[int]] = {}
            for entry, cuts in self.entries.items():
                if entries.setdefault(text_in_form(entry, form), cuts) != cuts:
                    raise DataError(
                        f"the dictionary cuts {entry!r} differently from the same entry in other characters, and the "
                        f"segmenter reads both in their {form} form; remove one"
                    )
            self._in_forms[form] = self._of_cuts(entries)
        return self._in_forms[form]

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

    def apply(
        self,
        texts: list[str],
        units: Units,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[Any],
        form: HanForm | None = None,
    ) -> None:
        """Change ``ends`` in place so that the words of the entries hold.

        Args:
            texts: The texts.
            units: The units of the texts.
            starts: First code point of each text in the concatenated texts, shape (texts + 1,).
            ends: Flags or probabilities of a word's end after each unit, shape (units,); changed in place.
            form: Form of Chinese characters in which texts and entries are compared; by default as they are.

        Raises:
            DataError: Two entries contradict each other in this form.
        """
        words = self.in_form(form)
        begins: list[int] = []
        stops: list[int] = []
        cuts: list[int] = []
        for text, start in zip(texts_in_form(texts, form), starts.tolist(), strict=False):
            for first, entry in words.find(text):
                begins.append(start + first)
                stops.append(start + first + len(entry))
                cuts += [start + first + cut for cut in words.entries[entry]]
        if not begins:
            return
        covered = np.zeros(ends.size + 1, np.int64)
        np.add.at(covered, np.searchsorted(units.begin, begins), 1)
        np.add.at(covered, np.searchsorted(units.begin, stops), -1)
        ends[np.cumsum(covered[:-1]) > 0] = 0
        last = np.searchsorted(units.end, [*begins, *cuts, *stops], side="right") - 1
        ends[last[last >= 0]] = 1


Words = Dictionary | str | os.PathLike[str] | list[str] | tuple[str, ...] | set[str] | frozenset[str]
"""A dictionary, the path of its file, or its entries."""


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
