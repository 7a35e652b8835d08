"""Decoders, which turn the lattices of both directions into the ends of words.

Each decoder takes ``Lattices`` and returns ends: flags, shape (units,) uint8, 1 if a word ends after the unit.
``DECODERS`` maps names to decoders; ``apply_config.Decoder`` lists the names.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seampack.segmenter import _kernels as kernels

Scores = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
Ends = npt.NDArray[np.uint8]

IMPOSSIBLE = -1e6
"""Score of a forbidden segment: several units, one of which is a digit run, a foreign word or punctuation, or a segment
that the spelling does not allow."""


@dataclass(frozen=True, slots=True)
class Lattices:
    """Segment scores of both directions for a sequence of chunks.

    Row ``u`` of ``forward`` and ``backward`` holds the log-probabilities of the segments that begin at unit ``u``,
    column ``l - 1`` the segment of ``l`` units. ``weight`` is the share of the forward direction, 0 to 1.
    """

    forward: Scores  # shape (units, K)
    backward: Scores  # shape (units, K)
    offsets: Offsets  # first unit of each chunk, and the number of units; shape (chunks + 1,)
    weight: float = 0.5

    def posteriors(self) -> Scores:
        """Return the mean of both directions' segment posteriors, shape (units, K)."""
        total = np.zeros_like(self.forward)
        for scores, share in ((self.forward, self.weight), (self.backward, 1 - self.weight)):
            if share > 0:
                posteriors = np.empty_like(scores)
                kernels.forward_backward(scores, self.offsets, posteriors)
                total += np.float32(share) * posteriors
        return total

    def product(self) -> Scores:
        """Return the weighted mean of both directions' log-probabilities, shape (units, K)."""
        if self.weight in (0, 1):  # 0 times minus infinity would be NaN
            return self.forward if self.weight == 1 else self.backward
        shares = np.array([self.weight, 1 - self.weight])  # of 64 bits: the mean of finite scores is finite
        mean: Scores = (shares[0] * self.forward + shares[1] * self.backward).astype(np.float32)
        return mean

    def end_posteriors(self) -> npt.NDArray[np.float64]:
        """Return the probability that a word ends after each unit, shape (units,), from the mean posteriors."""
        probabilities: npt.NDArray[np.float64] = kernels.end_posteriors(self.posteriors(), self.offsets)
        return probabilities

    def ends(self, scores: Scores) -> Ends:
        """Return the ends of the segmentation of each chunk with the highest total score."""
        ends = np.empty(scores.shape[0], np.uint8)
        kernels.viterbi(scores, self.offsets, ends)
        return ends

    def n_best(self, count: int) -> tuple[Ends, npt.NDArray[np.float64]]:
        """Return the ``count`` best segmentations of each chunk by ``product``, best first.

        The result holds their ends, shape (count, units), and the weighted sums of their log-probabilities, twice the
        mean, shape (count, chunks). If a chunk has fewer segmentations, its last one is repeated.
        """
        scores = self.product()
        scores = np.where(scores <= IMPOSSIBLE / 2, np.float32(-np.inf), scores)  # no rank has a forbidden segment
        ends = np.empty((count, scores.shape[0]), np.uint8)
        totals = np.empty((count, self.offsets.size - 1))
        kernels.n_best(scores, self.offsets, count, ends, totals)
        sizes = np.diff(self.offsets)
        for rank in range(1, count):
            missing = np.isneginf(totals[rank])
            totals[rank, missing] = totals[rank - 1, missing]
            units = np.repeat(missing, sizes)
            ends[rank, units] = ends[rank - 1, units]
        return ends, 2 * totals

    def agreement(self, places: npt.NDArray[np.bool_]) -> float | None:
        """Return Cohen's kappa of both directions at the flagged places, shape (units,); see ``kappa``."""
        return kappa(self.ends(self.forward)[places], self.ends(self.backward)[places])


def kappa(one: Ends, other: Ends) -> float | None:
    """Return Cohen's kappa of two decisions on the same places, shape (places,).

    1 is full agreement, 0 agreement by chance. The result is None if there are no places, or if both decisions are the
    same constant: agreement by chance would then be full as well.
    """
    if not one.size:
        return None
    shares = float(one.mean()), float(other.mean())
    chance = shares[0] * shares[1] + (1 - shares[0]) * (1 - shares[1])
    return None if chance == 1 else (float((one == other).mean()) - chance) / (1 - chance)


def forward(lattices: Lattices) -> Ends:
    """Return the best segmentation of the forward direction."""
    return lattices.ends(lattices.forward)


def backward(lattices: Lattices) -> Ends:
    """Return the best segmentation of the backward direction."""
    return lattices.ends(lattices.backward)


def product(lattices: Lattices) -> Ends:
    """Return the best segmentation by the sum of both directions' scores (Wang, Li and Zheng 2021)."""
    return lattices.ends(lattices.product())


def mean(lattices: Lattices) -> Ends:
    """Return the best segmentation by the mean of both directions' segment probabilities."""
    with np.errstate(divide="ignore"):  # the logarithm of a share of 0 is minus infinity
        shares = np.log([lattices.weight, 1 - lattices.weight])
    return lattices.ends(np.logaddexp(shares[0] + lattices.forward, shares[1] + lattices.backward).astype(np.float32))


def likelier(lattices: Lattices) -> Ends:
    """Return, for each chunk, the best segmentation of the direction that scores higher (Wang, Li and Zheng 2021)."""
    ends = forward(lattices)
    other = backward(lattices)
    is_other_likelier = kernels.total_scores(lattices.backward, lattices.offsets, other) > kernels.total_scores(
        lattices.forward, lattices.offsets, ends
    )
    return np.where(np.repeat(is_other_likelier, np.diff(lattices.offsets)), other, ends)


def merge(lattices: Lattices) -> Ends:
    """Return the common ends of both directions; between these, the ends of the direction with the higher product."""
    ends = np.empty(lattices.forward.shape[0], np.uint8)
    kernels.merge_by_block(lattices.product(), lattices.offsets, forward(lattices), backward(lattices), ends)
    return ends


def posterior(lattices: Lattices) -> Ends:
    """Return the segmentation with the most expected correct words: minimum Bayes risk over the mean posteriors."""
    return lattices.ends(lattices.posteriors())


def boundary(lattices: Lattices) -> Ends:
    """Return an end after each unit with a mean end probability of at least one half, and at the end of each chunk."""
    ends: Ends = (lattices.end_posteriors() >= 0.5).astype(np.uint8)
    ends[lattices.offsets[1:][np.diff(lattices.offsets) > 0] - 1] = 1
    return ends


DECODERS: dict[str, Callable[[Lattices], Ends]] = {
    function.__name__: function for function in (posterior, product, mean, likelier, merge, boundary, forward, backward)
}
DEFAULT = "posterior"
"""Segmentation is measured by the share of correct words; this decoder maximises their expected number."""
