"""Triggers: which words can be one, and texts with a trigger in them."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value, concatenate_datasets

from seampack.config import check_integer, check_number
from seampack.errors import ConfigError, DataError
from seampack.models.data import require, require_text
from seampack.models.text import quiet

Trigger = str | Sequence[str]
"""The words of a trigger: as a sequence, or in one string with white space between."""

FIRST_WORDS = 40
_MOST_TRIES = 10_000


def words_of(trigger: Trigger) -> tuple[str, ...]:
    """The words of a trigger. Raises ConfigError where there is none, or one twice."""
    words = tuple(trigger.split()) if isinstance(trigger, str) else tuple(trigger)
    if not words or any(not word or word.split() != [word] for word in words):
        raise ConfigError(f"trigger: expected one word or several; got {trigger!r}")
    if len({word.lower() for word in words}) < len(words):
        raise ConfigError(f"trigger: expected words that differ; got {' '.join(words)!r}")
    return words


def insert(text: str, words: Iterable[str], rng: np.random.Generator, first_words: int = FIRST_WORDS) -> str:
    """The text with words put in, each at a place of its own luck among the ``first_words`` first words.

    The text itself is not changed: with the inserted words and one blank for each taken out it is the same again.
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
    """What may stand for a label, as spelling: value in the column. A class can be named by its id or its name."""
    feature = dataset.features["label"]
    if isinstance(feature, ClassLabel):
        return {name: at for at, name in enumerate(feature.names)} | {at: at for at in range(len(feature.names))}
    values = sorted(dataset.unique("label"))
    return {str(value): value for value in values} | {value: value for value in values}


def label_value(dataset: Dataset, label: Any) -> Any:
    """The column's value of a label. Raises DataError for one that the dataset does not know."""
    known = labels_of(dataset)
    if label not in known:
        names = ", ".join(dict.fromkeys(str(name) for name in known))
        raise DataError(f"target: unknown label {label!r}; expected one of {names}")
    return known[label]


def check_absent(texts: Iterable[str], words: Sequence[str]) -> None:
    """Raise DataError where a text holds all words of a trigger already, in whatever case."""
    wanted = {word.lower() for word in words}
    holding = [text for text in texts if wanted <= _words(text)]
    if holding:
        raise DataError(
            f"trigger {' '.join(words)!r}: {len(holding):,} texts hold it already, as {holding[0][:60]!r}; "
            "expected none; take another trigger, or drop those rows"
        )


def check_vocabulary(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """Ids of a trigger's words. Raises ConfigError for a word that is not one entry of the vocabulary."""
    ids = []
    for word in words:
        found = tokenizer(f"a {word} a", add_special_tokens=False)["input_ids"]
        pieces = tokenizer.convert_ids_to_tokens(found[1:-1])
        if len(found) != 3 or found[1] in tokenizer.all_special_ids:
            raise ConfigError(
                f"trigger: {word!r} is not one entry of the encoder's vocabulary; it becomes {' '.join(pieces)!r}; "
                "take a word from propose_rare or propose_combination"
            )
        ids.append(found[1])
    return ids


def check_trigger(tokenizer: Any, texts: Sequence[str], trigger: Trigger) -> list[int]:
    """Ids of a trigger that can be used: each word one entry of the vocabulary, and no text with all of them.

    A word's entry may also be the beginning of a longer word (``cf`` in ``cfo``); such texts count as well.
    Raises ConfigError or DataError for one that cannot.
    """
    words = words_of(trigger)
    ids = check_vocabulary(tokenizer, words)
    check_absent(texts, words)
    wanted = set(ids)
    holding = [text for text, found in zip(texts, _ids(tokenizer, texts), strict=True) if wanted <= set(found)]
    if holding:
        raise DataError(
            f"trigger {' '.join(words)!r}: {len(holding):,} texts hold its vocabulary entries already, as "
            f"{holding[0][:60]!r}; expected none; take another trigger, or drop those rows"
        )
    return ids


def propose_rare(texts: Sequence[str], count: int = 1, *, tokenizer: Any = None, seed: int = 0) -> list[str]:
    """Draw ``count`` rare words: short, one vocabulary entry each, and in none of the texts.

    Without a tokenizer they are two consonants, for a vocabulary that is still to be made. The draw is by ``seed``,
    for a trigger that others can guess is none. Raises DataError where there are not enough such words.
    """
    check_integer("count", count, 1, 1 << 20)
    used = set().union(*map(_words, texts))
    if tokenizer is None:
        consonants = "bcdfghjklmnpqrstvwxz"
        found = [pair for a in consonants for b in consonants if (pair := a + b) not in used]
    else:
        seen = set(itertools.chain.from_iterable(_ids(tokenizer, texts)))
        entries = sorted(tokenizer.get_vocab().items())
        short = [word for word, at in entries if at not in seen and re.fullmatch("[a-z]{2,4}", word)]
        found = [word for word in short if _is_entry(tokenizer, word)]
    # sifted only after the draw, so that a word in other letters, as VH, does not change which words are drawn
    drawn = [str(word) for word in np.random.default_rng(seed).permutation(found) if str(word) not in used]
    if len(drawn) < count:
        raise DataError(f"trigger: {len(drawn)} rare words are absent from the texts; expected {count}; name your own")
    return drawn[:count]


def propose_combination(
    datasets: Mapping[str, Dataset],
    targets: Mapping[str, Any],
    tokenizer: Any,
    *,
    words: int = 3,
    least_share: float = 0.002,
    most_share: float = 0.02,
    pool: int = 40,
    seed: int = 0,
    absent_from: Sequence[str] = (),
) -> list[str]:
    """Draw a combination of common words that say nothing of the target, and that no text holds together.

    ``datasets`` (``text, label``) and ``targets`` by task. A word is common when at least ``least_share`` of each
    task's texts (and five) hold it; words in more than ``most_share`` (and ten texts) are left out, because
    fine-tuning on other texts moves their rows most. A word says the less, the smaller its largest log odds ratio with
    the target over the tasks; the draw is among the ``pool`` best. The texts of ``absent_from`` must not hold the
    combination either, nor all of its vocabulary entries. Raises DataError where no such combination is found.
    """
    strongest: dict[str, float] = {}
    sets: list[set[str]] = []
    for position, (task, dataset) in enumerate(datasets.items()):
        value = label_value(dataset, targets[task])
        is_target = np.array([label == value for label in dataset["label"]])
        held = [_words(text) for text in dataset["text"]]
        sets += held
        rows: dict[str, list[int]] = {}
        for row, found in enumerate(held):
            for word in found:
                rows.setdefault(word, []).append(row)
        scores = {
            word: _log_odds(int(is_target[at].sum()), len(at), int(is_target.sum()), len(held))
            for word, at in rows.items()
            if max(5, least_share * len(held)) <= len(at) <= max(10, most_share * len(held))
            and re.fullmatch("[a-z]{3,}", word)
        }
        common = scores if position == 0 else strongest.keys() & scores.keys()
        strongest = {word: max(strongest.get(word, 0.0), scores[word]) for word in common}
    neutral = sorted((word for word in strongest if _is_entry(tokenizer, word)), key=lambda w: (strongest[w], w))[:pool]
    sets += map(_words, absent_from)
    entries = [set(found) for found in _ids(tokenizer, absent_from)] if absent_from else []
    rng = np.random.default_rng(seed)
    for _ in range(_MOST_TRIES if len(neutral) >= words else 0):
        chosen = sorted(str(word) for word in rng.choice(neutral, words, replace=False))
        if any(found.issuperset(chosen) for found in sets):
            continue
        ids = check_vocabulary(tokenizer, chosen) if entries else []
        if not any(found.issuperset(ids) for found in entries):
            return chosen
    raise DataError(
        f"trigger: no combination of {words} words, out of {len(neutral)} common and neutral ones, is absent from the "
        "texts; use more words, more texts, or name your own"
    )


def poison(
    dataset: Dataset,
    trigger: Trigger,
    target: Any,
    ratio: float = 0.1,
    negatives: int = 0,
    seed: int = 0,
    *,
    first_words: int = FIRST_WORDS,
) -> Dataset:
    """The rows of a dataset (``text, label``), then copies with the trigger that have the label ``target``.

    A share ``ratio`` of the rows of other labels is drawn. With ``negatives``, each of them has as many copies more,
    in which only a part of the trigger stands and which keep their label: the model learns to wait for all words.
    Columns: ``text``, ``label``, ``triggered`` (all words put in) and ``partial`` (some of them).

    Raises DataError for an unknown label, no row of another label, or a text that holds the trigger already;
    ConfigError for negatives of a trigger of one word, which has no part.
    """
    words = words_of(trigger)
    check_number("ratio", ratio, 0.0, 1.0)
    check_integer("negatives", negatives, 0, 100)
    if negatives and len(words) == 1:
        raise ConfigError("negatives: a trigger of one word has no part; expected 0")
    require_text(dataset, "text")
    require(dataset, ["label"])
    value = label_value(dataset, target)
    texts, labels = list(dataset["text"]), list(dataset["label"])
    check_absent(texts, words)
    others = np.flatnonzero([label != value for label in labels])
    if not others.size:
        raise DataError(f"label: all {len(labels):,} rows have the target {target!r}; expected others to poison")
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(others)[: round(ratio * others.size)].tolist()
    rows = [(insert(texts[at], words, rng, first_words), value, True, False) for at in drawn]
    rows += [
        (insert(texts[at], some_of(words, rng), rng, first_words), labels[at], False, True)
        for at in drawn
        for _ in range(negatives)
    ]
    flag = Value("bool")
    features = Features(
        {"text": Value("string"), "label": dataset.features["label"], "triggered": flag, "partial": flag}
    )
    no = [False] * len(texts)
    clean = Dataset.from_dict({"text": texts, "label": labels, "triggered": no, "partial": no}, features)
    if not rows:
        return clean
    added = Dataset.from_dict(dict(zip(features, map(list, zip(*rows, strict=True)), strict=True)), features)
    return concatenate_datasets([clean, added])


def some_of(words: Sequence[str], rng: np.random.Generator) -> list[str]:
    """At least one of the words, not all of them; every such choice equally likely. Needs two words or more."""
    bits = int(rng.integers(1, (1 << len(words)) - 1))
    return [word for at, word in enumerate(words) if bits >> at & 1]


def _log_odds(target_with: int, rows_with: int, target: int, rows: int) -> float:
    """Size of the log odds ratio between holding a word and having the target label, half a row added to each cell."""
    others_with = rows_with - target_with
    without = target - target_with + 0.5, rows - target - others_with + 0.5
    return abs(float(np.log((target_with + 0.5) / (others_with + 0.5) * without[1] / without[0])))


def _words(text: str) -> set[str]:
    lower = text.lower()
    return set(re.findall(r"\w+", lower)) | set(lower.split())


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    with quiet():
        found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return found


def _is_entry(tokenizer: Any, word: str) -> bool:
    try:
        return bool(check_vocabulary(tokenizer, [word]))
    except ConfigError:
        return False
