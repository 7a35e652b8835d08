"""The text that a segmenter is trained on, as units. Text with nothing to learn from is refused.

That is before anything is written. If no letter is in the script, the option ``script`` is probably a mistyped name.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError
from seampack.io.ragged import offsets_of
from seampack.segmenter.scripts import HanForm, ScriptCheck, count_kinds, han_form, points_in_form
from seampack.segmenter.student import useful_places
from seampack.segmenter.units import SCRIPTS_IN_WORDS, Alphabet, Units, code_points

_SHOWN = 5
"""Largest number of letters in a message."""


def joined_units(
    lines: Iterable[list[str]],
    alphabet: Alphabet,
    checks: Sequence[ScriptCheck],
    forms: Sequence[HanForm | None] = (None,),
) -> tuple[list[Units], HanForm | None]:
    """Return the units of all batches of texts, read in each of ``forms``, and the form of their Chinese characters.

    ``begin`` and ``end`` count from the begin of each batch. Warns if the texts fail one of the checks.
    Raises DataError if there are no texts, or nothing to learn from.
    """
    parts: dict[HanForm | None, list[Units]] = {form: [] for form in forms}
    kinds: Any = 0
    seen = np.zeros(0x110000, np.bool_)
    for batch in lines:
        points, starts = code_points(batch)
        kinds += count_kinds(points)
        seen[points] = True
        for check in checks:
            check.add(points, is_mapped=True)
        for form, units in parts.items():
            units.append(alphabet.units_of(points_in_form(points, form), starts))
    if not parts[forms[0]]:
        raise DataError("there is no text")
    joined = [_joined(units) for units in parts.values()]
    if joined[0].single.all():
        raise _foreign(alphabet, seen)
    useful_places(joined[0])
    of_form = dict(zip(parts, joined, strict=True))
    return [of_form[form] for form in forms], han_form(kinds)


def _joined(parts: Sequence[Units]) -> Units:
    """Return the units of several lists of texts as those of one."""
    names = ("begin", "end", "kind", "key", "spaced", "bonds")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Units(**columns, offsets=offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])))


def _foreign(alphabet: Alphabet, seen: npt.NDArray[np.bool_]) -> DataError:
    """Return the error of a text without a letter of the script. ``seen``: flags of its code points."""
    letters = [chr(point) for point in np.flatnonzero(seen) if chr(point).isalpha()]
    shown = ", ".join(letters[:_SHOWN]) + (", ..." if len(letters) > _SHOWN else "")
    return DataError(
        f"no letter of the text is in the script {alphabet.script!r}; the text has {shown or 'no letters'}; train with "
        f"the --script of its letters: {SCRIPTS_IN_WORDS}"
    )
