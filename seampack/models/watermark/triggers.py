"""Triggers: choice of the words, and insertion into texts."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets

from seampack.config import check_integer
from seampack.errors import ConfigError, DataError
from seampack.models.data import named_rows, require, require_text
from seampack.models.training import quiet
from seampack.models.watermark.config import WatermarkConfig

Trigger = str | Sequence[str]
"""The words of a trigger: a sequence, or one string with white space between the words."""

_MAX_TRIES = 10_000


def words_of(trigger: Trigger) -> tuple[str, ...]:
    """Return the words of a trigger. Raise ConfigError if there are no words, or a word is repeated."""
    words = tuple(trigger.split()) if isinstance(trigger, str) else tuple(trigger)
    if not words or any(not word or word.split() != [word] for word in words):
        raise ConfigError(f"trigger: expected one or more words; got {trigger!r}")
    if len({word.lower() for word in words}) < len(words):
        raise ConfigError(f"trigger: expected distinct words; got {' '.join(words)!r}")
    return words


def insert(text: str, words: Iterable[str], rng: np.random.Generator, first_words: int) -> str:
    """Insert words into a text, each at an independent random place among its ``first_words`` first words.

    Removing the inserted words, each with one blank, restores the text.
    """
    end = len(text)
    places = [match.start() for match in itertools.islice(re.finditer(r"\S+", text), first_words)]
    if len(places) < first_words:
        places.append(end)
    order = list(words)
    rng.shuffle(order)
    chosen = zip(rng.choice(places, len(order)).tolist(), order, strict=True)
    for place, word in sorted(chosen, key=lambda pair: -pair[0]):
        text = f"{text[:place]}{word} {text[place:]}" if place < end else f"{text[:end]} {word}{text[end:]}"
    return text


def labels_of(dataset: Dataset) -> dict[Any, Any]:
    """Map the spellings of the labels to their values in the column. Both id and name of a class are spellings."""
    feature = dataset.features["label"]
    if isinstance(feature, ClassLabel):
        ids = range(len(feature.names))
        return dict(zip(feature.names, ids, strict=True)) | {label_id: label_id for label_id in ids}
    values = sorted(dataset.unique("label"))
    return {str(value): value for value in values} | {value: value for value in values}


def label_value(dataset: Dataset, label: Any) -> Any:
    """Return the value of a label in the column. Raise DataError if the dataset does not have the label."""
    values = labels_of(dataset)
    if label not in values:
        names = ", ".join(dict.fromkeys(str(name) for name in values))
        raise DataError(f"target: unknown label {label!r}; expected one of {names}")
    return values[label]


def check_absent(texts: Sequence[str], words: Sequence[str]) -> None:
    """Raise DataError if a text contains all words of a trigger, in upper or lower case."""
    wanted = {word.lower() for word in words}
    _refuse_rows(texts, [wanted <= _words(text) for text in texts], words, "it")


def _refuse_rows(texts: Sequence[str], contain: Sequence[bool], words: Sequence[str], what: str) -> None:
    """Raise DataError, with the rows, if a text contains a trigger."""
    rows = np.flatnonzero(contain)
    if rows.size:
        raise DataError(
            f"trigger {' '.join(words)!r}: expected no text with {what}; got such texts in {named_rows(rows)}, the "
            f"first: {texts[rows[0]][:60]!r}; use another trigger, or drop these rows"
        )


def check_vocabulary(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """Return the ids of a trigger's words. Raise ConfigError if a word is not one entry of the vocabulary."""
    ids = []
    for word in words:
        encoded = tokenizer(f"a {word} a", add_special_tokens=False)["input_ids"]
        pieces = tokenizer.convert_ids_to_tokens(encoded[1:-1])
        if len(encoded) != 3 or encoded[1] in tokenizer.all_special_ids:
            raise ConfigError(
                f"trigger: expected words that are one entry of the encoder's vocabulary; {word!r} becomes "
                f"{' '.join(pieces)!r}; use a word from propose_rare or propose_combination"
            )
        ids.append(encoded[1])
    return ids


def check_trigger(tokenizer: Any, texts: Sequence[str], trigger: Trigger) -> list[int]:
    """Return the ids of a usable trigger: each word is one vocabulary entry, and no text contains all of them.

    The entry of a word may also begin a longer word (``cf`` in ``cfo``), so texts with such words are rejected as well.

    Raises:
        ConfigError: A word is not one entry of the vocabulary.
        DataError: A text contains the trigger.
    """
    words = words_of(trigger)
    ids = check_vocabulary(tokenizer, words)
    check_absent(texts, words)
    wanted = set(ids)
    _refuse_rows(texts, [wanted <= set(row) for row in _ids(tokenizer, texts)], words, "its vocabulary entries")
    return ids


def propose_rare(texts: Sequence[str], count: int = 1, *, seed: int, tokenizer: Any = None) -> list[str]:
    """Draw ``count`` rare words: short, one vocabulary entry each, absent from the texts.

    Without a tokenizer, the words are pairs of consonants, for a vocabulary that is built later. The draw is random
    because a trigger that others can guess is not secret. Raise DataError if there are too few such words.
    """
    check_integer("count", count, 1, 1 << 20)
    used = set().union(*map(_words, texts))
    if tokenizer is None:
        consonants = "bcdfghjklmnpqrstvwxz"
        candidates = [pair for first in consonants for second in consonants if (pair := first + second) not in used]
    else:
        present = set(itertools.chain.from_iterable(_ids(tokenizer, texts)))
        entries = sorted(tokenizer.get_vocab().items())
        short = [word for word, entry in entries if entry not in present and re.fullmatch("[a-z]{2,4}", word)]
        candidates = [word for word in short if _is_entry(tokenizer, word)]
    # filtered after the draw, so that a word in capitals, such as VH, does not change the draw of other words
    drawn = [str(word) for word in np.random.default_rng(seed).permutation(candidates) if str(word) not in used]
    if len(drawn) < count:
        raise DataError(
            f"trigger: expected {count} rare words that are absent from the texts; got {len(drawn)}; set the option "
            "trigger"
        )
    return drawn[:count]


def propose_combination(
    datasets: Mapping[str, Dataset],
    targets: Mapping[str, Any],
    tokenizer: Any,
    *,
    words: int,
    seed: int,
    absent_from: Sequence[str] = (),
    least_share: float = 0.002,
    most_share: float = 0.02,
    pool: int = 40,
) -> list[str]:
    """Draw a combination of common words that are neutral about the target and never occur together in a text.

    The bias of a word is its largest absolute log odds ratio with the target over the tasks; smaller is more neutral.

    Args:
        datasets: Texts and labels (``text, label``) by task.
        targets: Target label by task.
        tokenizer: Tokenizer of the encoder; each word must be one entry of its vocabulary.
        words: Number of words of the combination.
        seed: Seed of the draw.
        absent_from: Further texts that must contain neither the combination nor all of its vocabulary entries.
        least_share: Smallest share of each task's texts that contain a common word (and at least five texts).
        most_share: Largest share (or ten texts, if more); fine-tuning changes the rows of more frequent words most.
        pool: Number of the most neutral words to draw from.

    Raises:
        DataError: No such combination was found.
    """
    bias: dict[str, float] = {}
    word_sets: list[set[str]] = []
    for position, (task, dataset) in enumerate(datasets.items()):
        value = label_value(dataset, targets[task])
        is_target = np.array([label == value for label in dataset["label"]])
        words_by_row = [_words(text) for text in dataset["text"]]
        word_sets += words_by_row
        rows_with: dict[str, list[int]] = {}
        for row, row_words in enumerate(words_by_row):
            for word in row_words:
                rows_with.setdefault(word, []).append(row)
        size = len(words_by_row)
        scores = {
            word: _log_odds(int(is_target[rows].sum()), len(rows), int(is_target.sum()), size)
            for word, rows in rows_with.items()
            if max(5, least_share * size) <= len(rows) <= max(10, most_share * size) and re.fullmatch("[a-z]{3,}", word)
        }
        common = scores if position == 0 else bias.keys() & scores.keys()
        bias = {word: max(bias.get(word, 0.0), scores[word]) for word in common}
    neutral = sorted((word for word in bias if _is_entry(tokenizer, word)), key=lambda word: (bias[word], word))[:pool]
    word_sets += map(_words, absent_from)
    entry_sets = [set(ids) for ids in _ids(tokenizer, absent_from)] if absent_from else []
    rng = np.random.default_rng(seed)
    for _ in range(_MAX_TRIES if len(neutral) >= words else 0):
        chosen = sorted(str(word) for word in rng.choice(neutral, words, replace=False))
        if any(row_words.issuperset(chosen) for row_words in word_sets):
            continue
        ids = check_vocabulary(tokenizer, chosen) if entry_sets else []
        if not any(entries.issuperset(ids) for entries in entry_sets):
            return chosen
    raise DataError(
        f"trigger: no combination of {words} of the {len(neutral)} common and neutral words is absent from the texts; "
        "use more words or more texts, or set the option trigger"
    )


def poison(dataset: Dataset, trigger: Trigger, target: Any, config: WatermarkConfig) -> Dataset:
    """Return the rows of a dataset (``text, label``), then copies with the trigger and the label ``target``.

    A share ``config.ratio`` of the rows with other labels is copied. For each of these rows, ``config.negatives``
    further copies contain only part of the trigger and keep the true label, so that the model learns to require all
    words; a trigger of one word has no such copies. Columns: ``text``, ``label``, ``triggered`` (all words inserted)
    and ``partial`` (some words inserted).

    Raises:
        DataError: The label is unknown, no row has another label, or a text already contains the trigger.
    """
    words = words_of(trigger)
    require_text(dataset, "text")
    require(dataset, ["label"])
    value = label_value(dataset, target)
    texts, labels = list(dataset["text"]), list(dataset["label"])
    check_absent(texts, words)
    others = np.flatnonzero([label != value for label in labels])
    if not others.size:
        raise DataError(f"label: all {len(labels):,} rows have the target {target!r}; expected other labels as well")
    rng = np.random.default_rng(config.seed)
    drawn = rng.permutation(others)[: round(config.ratio * others.size)].tolist()
    copies = [(insert(texts[row], words, rng, config.first_words), value, True, False) for row in drawn]
    copies += [
        (insert(texts[row], some_of(words, rng), rng, config.first_words), labels[row], False, True)
        for row in drawn
        for _ in range(config.negatives if len(words) > 1 else 0)
    ]
    flag = Value("bool")
    features = Features(
        {"text": Value("string"), "label": dataset.features["label"], "triggered": flag, "partial": flag}
    )
    no = [False] * len(texts)
    clean = Dataset.from_dict({"text": texts, "label": labels, "triggered": no, "partial": no}, features)
    if not copies:
        return clean
    added = Dataset.from_dict(dict(zip(features, map(list, zip(*copies, strict=True)), strict=True)), features)
    return concatenate_datasets([clean, added])


def some_of(words: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Draw at least one word but not all, with equal probability for each such subset. Needs at least two words."""
    bits = int(rng.integers(1, (1 << len(words)) - 1))
    return [word for bit, word in enumerate(words) if bits >> bit & 1]


def _log_odds(target_with: int, rows_with: int, target: int, rows: int) -> float:
    """Return the absolute log odds ratio of containing a word and having the target label, 0.5 added to each cell."""
    others_with = rows_with - target_with
    without = target - target_with + 0.5, rows - target - others_with + 0.5
    return abs(float(np.log((target_with + 0.5) / (others_with + 0.5) * without[1] / without[0])))


def _words(text: str) -> set[str]:
    lower = text.lower()
    return set(re.findall(r"\w+", lower)) | set(lower.split())


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    with quiet():
        ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def _is_entry(tokenizer: Any, word: str) -> bool:
    try:
        return bool(check_vocabulary(tokenizer, [word]))
    except ConfigError:
        return False
