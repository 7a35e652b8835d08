"""Lattice kernels: dynamic programmes over the segments of many sentences at once.

A *lattice* is an array of scores, shape (units, K): row ``i`` holds the segments that begin at unit ``i``, column
``l - 1`` the segment of ``l`` units. The sentences of a batch are concatenated; sentence ``s`` is the rows
``offsets[s]:offsets[s + 1]``. Segments that would leave their sentence are never read. *Ends* are flags, shape
(units,): 1 if a word ends after the unit; the last unit of a sentence always ends a word.
"""

import numpy as np

from seampack._jit import allocating_kernel, called, inlined

_MINUS_INFINITY = -np.inf


@inlined
def _log_add(a, b):
    """Return log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    if b == -np.inf:
        return a
    return a + np.log1p(np.exp(b - a))


@allocating_kernel
def forward_backward(scores, offsets, posteriors):
    """Return the log-likelihood of each sentence over all its segmentations, shape (sentences,).

    Fills ``posteriors``, shape as ``scores``: the probability of each segment, which is also the gradient of the
    log-likelihood.
    """
    total = np.empty(offsets.size - 1)
    longest = scores.shape[1]
    for sentence in range(offsets.size - 1):
        begin = offsets[sentence]
        n = offsets[sentence + 1] - begin
        alpha = np.full(n + 1, _MINUS_INFINITY)
        beta = np.full(n + 1, _MINUS_INFINITY)
        alpha[0] = 0.0
        beta[n] = 0.0
        for end in range(1, n + 1):
            best = _MINUS_INFINITY
            for length in range(1, min(longest, end) + 1):
                best = max(best, alpha[end - length] + scores[begin + end - length, length - 1])
            mass = 0.0
            if best > _MINUS_INFINITY:
                for length in range(1, min(longest, end) + 1):
                    mass += np.exp(alpha[end - length] + scores[begin + end - length, length - 1] - best)
                alpha[end] = best + np.log(mass)
        for start in range(n - 1, -1, -1):
            best = _MINUS_INFINITY
            for length in range(1, min(longest, n - start) + 1):
                best = max(best, beta[start + length] + scores[begin + start, length - 1])
            mass = 0.0
            if best > _MINUS_INFINITY:
                for length in range(1, min(longest, n - start) + 1):
                    mass += np.exp(beta[start + length] + scores[begin + start, length - 1] - best)
                beta[start] = best + np.log(mass)
        total[sentence] = alpha[n]
        for start in range(n):
            for length in range(1, longest + 1):
                value = 0.0
                if start + length <= n and alpha[n] > _MINUS_INFINITY:
                    value = np.exp(alpha[start] + scores[begin + start, length - 1] + beta[start + length] - alpha[n])
                posteriors[begin + start, length - 1] = value
    return total


@allocating_kernel
def log_likelihood(scores, offsets):
    """Return the log-likelihood of each sentence over all its segmentations, shape (sentences,)."""
    total = np.empty(offsets.size - 1)
    longest = scores.shape[1]
    for sentence in range(offsets.size - 1):
        begin = offsets[sentence]
        n = offsets[sentence + 1] - begin
        alpha = np.full(n + 1, _MINUS_INFINITY)
        alpha[0] = 0.0
        for end in range(1, n + 1):
            for length in range(1, min(longest, end) + 1):
                alpha[end] = _log_add(alpha[end], alpha[end - length] + scores[begin + end - length, length - 1])
        total[sentence] = alpha[n]
    return total


@allocating_kernel
def viterbi(scores, offsets, ends):
    """Fill ``ends`` with the segmentation of the highest total score; return the total of each sentence.

    Ties are broken in favour of the shortest last word. On posteriors instead of scores, this is minimum-Bayes-risk
    decoding: it maximises the expected number of correct segments.
    """
    total = np.empty(offsets.size - 1)
    longest = scores.shape[1]
    most = 0
    for sentence in range(offsets.size - 1):
        most = max(most, offsets[sentence + 1] - offsets[sentence])
    best = np.empty(most + 1)
    last = np.empty(most + 1, np.int64)
    best[0] = 0.0
    for sentence in range(offsets.size - 1):
        begin = offsets[sentence]
        n = offsets[sentence + 1] - begin
        for end in range(1, n + 1):
            highest, chosen = _MINUS_INFINITY, 1
            for length in range(1, min(longest, end) + 1):
                value = best[end - length] + scores[begin + end - length, length - 1]
                if value > highest:
                    highest, chosen = value, length
            best[end] = highest
            last[end] = chosen
        total[sentence] = best[n]
        for unit in range(begin, begin + n):
            ends[unit] = 0
        end = n
        while end > 0:
            ends[begin + end - 1] = 1
            end -= last[end]
    return total


@allocating_kernel
def n_best(scores, offsets, count, ends, totals):
    """Fill ``ends``, shape (count, units), with the ``count`` best segmentations of each sentence.

    Also fills ``totals``, shape (count, sentences), with their scores: minus infinity if a sentence has fewer
    segmentations.
    """
    longest = scores.shape[1]
    for sentence in range(offsets.size - 1):
        begin = offsets[sentence]
        n = offsets[sentence + 1] - begin
        best = np.full((n + 1, count), _MINUS_INFINITY)
        last = np.ones((n + 1, count), np.int64)
        rank = np.zeros((n + 1, count), np.int64)
        best[0, 0] = 0.0
        for end in range(1, n + 1):
            for length in range(1, min(longest, end) + 1):
                score = scores[begin + end - length, length - 1]
                for k in range(count):
                    value = best[end - length, k] + score
                    if value <= best[end, count - 1]:
                        break
                    slot = count - 1
                    while slot > 0 and best[end, slot - 1] < value:
                        best[end, slot] = best[end, slot - 1]
                        last[end, slot] = last[end, slot - 1]
                        rank[end, slot] = rank[end, slot - 1]
                        slot -= 1
                    best[end, slot] = value
                    last[end, slot] = length
                    rank[end, slot] = k
        for k in range(count):
            totals[k, sentence] = best[n, k]
            for unit in range(begin, begin + n):
                ends[k, unit] = 0
            if best[n, k] == _MINUS_INFINITY:
                continue
            end, slot = n, k
            while end > 0:
                ends[k, begin + end - 1] = 1
                length, slot = last[end, slot], rank[end, slot]
                end -= length


@allocating_kernel
def end_posteriors(posteriors, offsets):
    """Return the probability that a word ends after each unit, shape (units,): the segment posteriors summed by end."""
    longest = posteriors.shape[1]
    result = np.zeros(posteriors.shape[0])
    for sentence in range(offsets.size - 1):
        stop = offsets[sentence + 1]
        for start in range(offsets[sentence], stop):
            for length in range(1, min(longest, stop - start) + 1):
                result[start + length - 1] += posteriors[start, length - 1]
    return result


@allocating_kernel
def reverse_lattice(scores, offsets, result):
    """Convert the lattice of reversed sentences into a lattice of the sentences themselves, in ``result``.

    Segment ``[i, i + l)`` of a sentence of ``n`` units begins at ``n - i - l`` in the reversed sentence.
    """
    longest = scores.shape[1]
    for sentence in range(offsets.size - 1):
        begin = offsets[sentence]
        n = offsets[sentence + 1] - begin
        for start in range(n):
            for length in range(1, longest + 1):
                value = _MINUS_INFINITY
                if start + length <= n:
                    value = scores[begin + n - start - length, length - 1]
                result[begin + start, length - 1] = value


@allocating_kernel
def forbid_bonds(scores, offsets, bonds, impossible):
    """Give the score ``impossible`` to each segment that begins or ends between two bonded units of a sentence.

    ``bonds``: flags of the units after which no word may end, shape (units,). Bonded units that are too many for one
    segment keep their scores, so that each sentence has a segmentation.
    """
    longest = scores.shape[1]
    for sentence in range(offsets.size - 1):
        stop = offsets[sentence + 1]
        begin = offsets[sentence]
        while begin < stop:
            end = begin + 1  # of the bonded units that start at ``begin``
            while end < stop and bonds[end - 1] == 1:
                end += 1
            if 1 < end - begin <= longest:
                scores[begin, : end - begin - 1] = impossible
                scores[begin + 1 : end] = impossible
                for start in range(max(offsets[sentence], begin - longest + 1), begin):
                    scores[start, begin - start : end - start - 1] = impossible
            begin = end


@allocating_kernel
def merge_by_block(scores, offsets, first, second, ends):
    """Fill ``ends`` with the ends common to two segmentations; between these, take the one with the higher total."""
    for sentence in range(offsets.size - 1):
        block = offsets[sentence]
        for unit in range(offsets[sentence], offsets[sentence + 1]):
            if first[unit] == 1 and second[unit] == 1:
                if _total(scores, first, block, unit) >= _total(scores, second, block, unit):
                    ends[block : unit + 1] = first[block : unit + 1]
                else:
                    ends[block : unit + 1] = second[block : unit + 1]
                block = unit + 1


@called
def _total(scores, ends, begin, last):
    """Return the total score of the segments of ``ends`` from unit ``begin`` to unit ``last``."""
    total = 0.0
    start = begin
    for unit in range(begin, last + 1):
        if ends[unit] == 1:
            if unit - start >= scores.shape[1]:
                return _MINUS_INFINITY
            total += scores[start, unit - start]
            start = unit + 1
    return total


@allocating_kernel
def total_scores(scores, offsets, ends):
    """Return the total score of the segmentation of each sentence, shape (sentences,)."""
    result = np.empty(offsets.size - 1)
    for sentence in range(offsets.size - 1):
        result[sentence] = 0.0
        if offsets[sentence + 1] > offsets[sentence]:
            result[sentence] = _total(scores, ends, offsets[sentence], offsets[sentence + 1] - 1)
    return result
