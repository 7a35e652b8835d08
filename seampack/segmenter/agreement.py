"""Agreement of language models on the ends of words: a way to choose training options without gold.

Models trained separately, with different seeds and in different directions, agree where the text itself determines the
ends of words. The likelihood does not show this: it is as good or better if every unit is a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

from seampack.errors import ConfigError, DataError
from seampack.segmenter.corpus import open_places
from seampack.segmenter.decoders import kappa
from seampack.segmenter.model import Segmenter


@dataclass(frozen=True, slots=True)
class Pair:
    """Cohen's kappa of two language models, each named by its segmenter and direction.

    1 is full agreement, 0 agreement by chance; None if both models always join or both always cut.
    """

    one: str
    other: str
    kappa: float | None


def agreement(segmenters: Mapping[str, Segmenter], texts: list[str]) -> list[Pair]:
    """Compare every pair of language models of the segmenters, at the places where a word may end or continue.

    ``segmenters``: segmenters by name.

    Raises ConfigError if the scripts of the segmenters differ, DataError if the texts have no such place, ShardError if
    a segmenter has no language models.
    """
    scripts = {name: segmenter.script for name, segmenter in segmenters.items()}
    if len(set(scripts.values())) > 1:
        given = ", ".join(f"{name}: {script}" for name, script in scripts.items())
        raise ConfigError(f"expected segmenters of one script; got {given}")
    for segmenter in segmenters.values():
        segmenter.check_teacher()
    ends = {}
    for name, segmenter in segmenters.items():
        units, _ = segmenter.units(texts)
        lattices = segmenter.teacher.lattices(units)
        places = open_places(units.single, lattices.offsets)
        if not places.any():
            raise DataError(
                "the texts have no two adjacent units of the script, so no place where a word may end or continue"
            )
        for direction, scores in (("forward", lattices.forward), ("backward", lattices.backward)):
            ends[f"{name} {direction}"] = lattices.ends(scores)[places]
    return [Pair(one, other, kappa(ends[one], ends[other])) for one, other in combinations(ends, 2)]


def mean_kappa(pairs: list[Pair]) -> float | None:
    """Return the mean kappa of all pairs, or None if a pair has no kappa."""
    values = [pair.kappa for pair in pairs if pair.kappa is not None]
    return mean(values) if values and len(values) == len(pairs) else None
