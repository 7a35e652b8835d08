"""Building of a lexicon: the words that a segmenter finds in raw text are counted, without the rare ones."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from seampack.errors import DataError, ShardError
from seampack.segmenter import artifact
from seampack.segmenter.apply_config import DecodeConfig
from seampack.segmenter.config import LONGEST, LexiconConfig
from seampack.segmenter.joined_words import Sequence, joined_counts, sequences
from seampack.segmenter.lexicon import to_arrays
from seampack.segmenter.model import Segmenter
from seampack.segmenter.scripts import text_in_form
from seampack.segmenter.split_words import split_counts
from seampack.segmenter.training_folder import check_folder, locked
from seampack.segmenter.units import Alphabet

_FEW = 0.1
"""Share of the characters of the lexicon that is replaced, below which the new one is probably worse."""
_COVERED = 0.999
"""Share of the running words that are not longer than the longest word that is considered."""


def build_lexicon(
    segmenter: Segmenter,
    lines: Iterable[list[str]],
    out: str | os.PathLike[str],
    config: LexiconConfig | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Count the words of raw text and write the segmenter with them as its lexicon; return its description.

    Words are found as ``Segmenter.spans`` finds them, by default with the lexicon that the segmenter already has; the
    new one replaces it. Text is read once, in batches; the counts of all different words are held in memory.

    Args:
        segmenter: A segmenter with a student.
        lines: Batches of texts.
        out: Folder to write; with ``overwrite``, it may be the folder of the segmenter.
        config: Which words are counted and kept.
        overwrite: Replace the segmenter in the folder.

    Raises:
        DataError: The text has no words that can be kept.
        ShardError: The segmenter has no student, or the folder cannot be written, would be overwritten, or was removed
            meanwhile.
    """
    config = LexiconConfig.given(config)
    if not segmenter.has_student:
        raise ShardError(
            f"{segmenter.folder}: the segmenter has no student, with which a lexicon works; make one with: "
            "seampack segment distill RAW --teacher MODEL"
        )
    folder = Path(out)
    check_folder(folder, overwrite=overwrite)
    decode = DecodeConfig(exact=config.exact, lexicon=config.lexicon)
    alphabet, form = Alphabet(segmenter.script), segmenter.han_form
    found: Counter[str] = Counter()
    neighbours: Counter[Sequence] = Counter()
    characters = 0
    for batch in lines:
        characters += sum(map(len, batch))
        spans = segmenter.decode(batch, decode)
        for words in spans.words(batch):
            found.update(words)
        if config.join is not None:
            neighbours.update(sequences(batch, spans, alphabet))
    in_form: Counter[str] = Counter()  # as the segmenter reads them
    for word, count in found.items():
        in_form[text_in_form(word, form)] += count
    joined_in_form: Counter[Sequence] = Counter()
    for parts_of_word, count in neighbours.items():
        joined_in_form[tuple(text_in_form(part, form) for part in parts_of_word)] += count
    arrays, unknown = _kept(in_form, joined_in_form, alphabet, config)
    before = segmenter.description.get("lexicon", {}).get("characters", 0)
    if characters < _FEW * before:
        warnings.warn(
            f"{folder}: a lexicon of {characters:,} characters replaces one of {before:,}, and will probably be worse; "
            "count this text together with more, or first train a student on it: seampack segment distill RAW "
            "--teacher MODEL",
            stacklevel=2,
        )
    facts = {
        "format_version": artifact.LEXICON_VERSION,
        "config": config.to_dict(),
        "characters": characters,
        "words": int(arrays["counts"].size),
        "longest": int(arrays["longest"][0]),
        "unknown": unknown,
    }
    with locked(folder) as check:
        check_folder(folder, overwrite=overwrite)
        own = [part for part in segmenter.description["parts"] if part != "lexicon"]
        parts = {part: artifact.load_part(segmenter.folder, part, segmenter.description) for part in own}
        description = {**artifact.facts(segmenter.description), "lexicon": facts}
        check()
        artifact.save(folder, description, {**parts, "lexicon": arrays})
    return artifact.load_description(folder)


def _kept(
    found: Counter[str], neighbours: Counter[Sequence], alphabet: Alphabet, config: LexiconConfig
) -> tuple[artifact.Arrays, float]:
    """Return the most frequent words of the script as arrays, and the share of running words that they lack.

    Raises DataError if there are none.
    """
    whole = _of_script(found, alphabet)
    single = whole if config.split is None else split_counts(whole, alphabet, config.split)
    total = sum(single.values())
    candidates = Counter(single)
    if config.join is not None:
        candidates.update(joined_counts(whole, neighbours, config.join))
    ranked = sorted(candidates.items(), key=lambda item: (-item[1], item[0]))
    words, counts = np.array([word for word, _ in ranked], object), np.array([count for _, count in ranked], np.int64)
    sizes = np.diff(alphabet.units(words.tolist())[0].offsets)
    if config.longest is None:
        by_size = np.bincount(sizes, counts, LONGEST + 1)
        longest = min(int(np.searchsorted(np.cumsum(by_size), _COVERED * counts.sum())), LONGEST)
    else:
        longest = config.longest
    is_kept = (counts >= config.least_count) & (sizes <= longest)
    words, counts = words[is_kept][: config.most_words], counts[is_kept][: config.most_words]
    if not words.size:
        in_all = "1 word" if total == 1 else f"{total:,} words"
        raise DataError(
            "no word is left for the lexicon: expected words of the script that are found at least "
            f"{config.least_count} times; got {in_all} in all; give more text, or a lower --least-count"
        )
    seen = sum(single[word] for word in words if single[word] > 1)
    unknown = (total - seen) / total  # words seen once are as many as words not seen (Good-Turing)
    return to_arrays(words.tolist(), counts, longest), max(unknown, 1 / (total + 1))


def _of_script(found: Counter[str], alphabet: Alphabet) -> Counter[str]:
    """Return the words of the script, without digits, punctuation and foreign words."""
    words = list(found)
    units, _ = alphabet.units(words)
    is_word = np.ones(len(words), np.bool_)
    is_word[np.repeat(np.arange(len(words)), np.diff(units.offsets))[units.single]] = False
    return Counter({words[number]: found[words[number]] for number in np.flatnonzero(is_word).tolist()})
