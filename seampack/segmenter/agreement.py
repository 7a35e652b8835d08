"""How far language models agree on where words end: what tells good settings of training from bad ones without gold.

Models that were trained apart, with other seeds and from the other side, agree where the text itself says where words
end. A likelihood does not tell: it is as good, or better, where every unit is a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

from seampack.errors import ConfigError, DataError
from seampack.segmenter.corpus import open_places
from seampack.segmenter.decoders import kappa
from seampack.segmenter.model import Segmenter
from seampack.segmenter.units import KIND_SCRIPT


@dataclass(frozen=True, slots=True)
class Pair:
    """Two language models, each named by its segmenter and direction, and their Cohen's kappa.

    1 where they always agree, 0 where they agree as chance would; None where both always join, or always cut: chance
    alone agrees as much.
    """

    one: str
    other: str
    kappa: float | None


def agreement(segmenters: Mapping[str, Segmenter], texts: list[str]) -> list[Pair]:
    """Every two language models of segmenters, by name, on some texts, over the places where a word may end or go on.

    Raises ConfigError for segmenters of different scripts, DataError for texts without such a place, ShardError for a
    segmenter without language models.
    """
    scripts = {name: segmenter.description["script"] for name, segmenter in segmenters.items()}
    if len(set(scripts.values())) > 1:
        found = ", ".join(f"{name}: {script}" for name, script in scripts.items())
        raise ConfigError(f"expected segmenters of one script; got {found}")
    ends = {}
    for name, segmenter in segmenters.items():
        units, _ = segmenter._units(texts)
        lattices = segmenter._teacher.lattices(units)
        places = open_places(units.kind != KIND_SCRIPT, lattices.offsets)
        if not places.any():
            raise DataError(
                "the texts have no two units of the script in a row: no place where a word may end or go on"
            )
        for direction, scores in (("forward", lattices.forward), ("backward", lattices.backward)):
            ends[f"{name} {direction}"] = lattices.ends(scores)[places]
    return [Pair(one, other, kappa(ends[one], ends[other])) for one, other in combinations(ends, 2)]


def mean_kappa(pairs: list[Pair]) -> float | None:
    """The mean over all pairs; None where one has none."""
    values = [pair.kappa for pair in pairs if pair.kappa is not None]
    return mean(values) if values and len(values) == len(pairs) else None
