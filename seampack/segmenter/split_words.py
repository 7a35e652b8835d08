"""Words whose parts occur together hardly more often than by chance, which a lexicon counts as their parts.

Segmenters join what is frequent: in Japanese they find particles and endings of verbs as one word. The association of
two parts is that of neighbours (``joined_words``); a part occurs wherever a word begins or ends with it.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from seampack.segmenter.joined_words import association
from seampack.segmenter.units import Alphabet


def split_counts(found: Mapping[str, int], alphabet: Alphabet, least: float) -> Counter[str]:
    """Return the counts of words after splitting, longest words first, each that has independent parts.

    A word is cut in two where both sides were found as words, and their association is lowest.

    Args:
        found: How often each word occurs; words consist of characters of the script.
        alphabet: The characters of the segmenter; words are cut between units.
        least: Lowest association of a word that stays whole.
    """
    total = sum(found.values())
    cuts = dict(zip(found, _cuts(list(found), alphabet), strict=True))
    begins, ends = Counter(found), Counter(found)
    for word, count in found.items():
        for cut in cuts[word]:
            begins[word[:cut]] += count
            ends[word[cut:]] += count
    counts = Counter(found)
    for word in sorted(found, key=lambda word: -len(cuts[word])):
        parts = [(word[:cut], word[cut:]) for cut in cuts[word] if word[:cut] in found and word[cut:] in found]
        apart = [(association(begins[one], ends[other], found[word], total), one, other) for one, other in parts]
        if apart and min(apart)[0] < least:
            _, one, other = min(apart)
            counts.update({one: counts[word]})
            counts.update({other: counts.pop(word)})
    return counts


def _cuts(words: list[str], alphabet: Alphabet) -> list[list[int]]:
    """Return where each word can be cut: the characters before each unit but the first."""
    units, starts = alphabet.units(words)
    begin, offsets = units.begin.tolist(), units.offsets.tolist()
    return [
        [at - start for at in begin[first + 1 : last]]
        for start, (first, last) in zip(starts.tolist(), pairwise(offsets), strict=False)
    ]
