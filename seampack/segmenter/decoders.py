"""From two lattices, forward and backward, to where words end: a registry of decoders.

All take the scores of both directions, shape (units, K), in the same orientation, and give ends, shape (units,) uint8.
``weight`` is the share of the forward direction, 0 to 1; 1 or 0 uses one direction alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seampack.errors import ConfigError
from seampack.segmenter import _kernels as kernels

Scores = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
Ends = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Lattices:
    """Scores of both directions, with the posteriors that follow from them."""

    forward: Scores
    backward: Scores
    offsets: Offsets
    weight: float = 0.5

    def posteriors(self) -> Scores:
        """Mean of both directions' segment posteriors."""
        total = np.zeros_like(self.forward)
        for scores, share in ((self.forward, self.weight), (self.backward, 1 - self.weight)):
            if share > 0:
                found = np.empty_like(scores)
                kernels.forward_backward(scores, self.offsets, found)
                total += np.float32(share) * found
        return total

    def product(self) -> Scores:
        """Sum of log-probabilities, weighted: a segment must please both directions."""
        if self.weight in (0, 1):  # not 0 times a log-probability, which may be minus infinity
            return 2 * (self.forward if self.weight == 1 else self.backward)
        return np.float32(2 * self.weight) * self.forward + np.float32(2 * (1 - self.weight)) * self.backward

    def ends(self, scores: Scores) -> Ends:
        """Where the words of the best segmentation by these scores end."""
        found = np.empty(scores.shape[0], np.uint8)
        kernels.viterbi(scores, self.offsets, found)
        return found

    def agreement(self, places: npt.NDArray[np.bool_]) -> float | None:
        """Cohen's kappa of both directions on where words end, over some places, shape (units,); see ``kappa``."""
        return kappa(self.ends(self.forward)[places], self.ends(self.backward)[places])


def kappa(one: Ends, other: Ends) -> float | None:
    """Cohen's kappa of two decisions on the same places, shape (places,).

    1 where they always agree, 0 where they agree as chance would; None where both always join, or always cut, as when
    every unit is a word: chance alone agrees as much.
    """
    if not one.size:
        return None
    shares = float(one.mean()), float(other.mean())
    chance = shares[0] * shares[1] + (1 - shares[0]) * (1 - shares[1])
    return None if chance == 1 else (float((one == other).mean()) - chance) / (1 - chance)


def forward(lattices: Lattices) -> Ends:
    """The best segmentation of the forward direction alone."""
    return lattices.ends(lattices.forward)


def backward(lattices: Lattices) -> Ends:
    """The best segmentation of the backward direction alone."""
    return lattices.ends(lattices.backward)


def product(lattices: Lattices) -> Ends:
    """The best segmentation by the sum of both directions' scores (one way of the paper to combine them)."""
    return lattices.ends(lattices.product())


def mean(lattices: Lattices) -> Ends:
    """The best segmentation by the mean of both directions' segment probabilities."""
    with np.errstate(divide="ignore"):  # a share of 0 has minus infinity as its logarithm
        shares = np.log([lattices.weight, 1 - lattices.weight])
    return lattices.ends(np.logaddexp(shares[0] + lattices.forward, shares[1] + lattices.backward).astype(np.float32))


def likelier(lattices: Lattices) -> Ends:
    """For each chunk, the direction whose best segmentation scores higher (the paper's other way)."""
    ends = forward(lattices)
    other = backward(lattices)
    take = kernels.total_scores(lattices.backward, lattices.offsets, other) > kernels.total_scores(
        lattices.forward, lattices.offsets, ends
    )
    where = np.repeat(take, np.diff(lattices.offsets))
    return np.where(where, other, ends)


def merge(lattices: Lattices) -> Ends:
    """Common ends of both directions; where they differ in between, the side that both together score higher."""
    ends = np.empty(lattices.forward.shape[0], np.uint8)
    kernels.merge_by_block(lattices.product(), lattices.offsets, forward(lattices), backward(lattices), ends)
    return ends


def posterior(lattices: Lattices) -> Ends:
    """The segmentation with the most expected right words: minimum Bayes risk over both directions' mean posteriors."""
    return lattices.ends(lattices.posteriors())


def boundary(lattices: Lattices) -> Ends:
    """A word ends wherever the mean probability of an end is at least one half (``Segmenter.spans`` can move it)."""
    found = kernels.end_posteriors(lattices.posteriors(), lattices.offsets)
    ends: Ends = (found >= 0.5).astype(np.uint8)
    ends[lattices.offsets[1:][np.diff(lattices.offsets) > 0] - 1] = 1
    return ends


DECODERS: dict[str, Callable[[Lattices], Ends]] = {
    function.__name__: function for function in (posterior, product, mean, likelier, merge, boundary, forward, backward)
}
DEFAULT = "posterior"
"""What is measured in the end is the share of right words, and this maximises their expected number."""


def decoder(name: str) -> Callable[[Lattices], Ends]:
    """A decoder by its name, or ConfigError."""
    if name not in DECODERS:
        raise ConfigError(f"decoder: expected one of {', '.join(DECODERS)}; got {name!r}")
    return DECODERS[name]
