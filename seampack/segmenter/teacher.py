"""The exact segmenter: both directions of the language model score all segments of a text."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seampack.segmenter import _kernels as kernels
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.corpus import ChunkCorpus, Vocabulary, chunk_offsets
from seampack.segmenter.decoders import IMPOSSIBLE, Lattices, Offsets
from seampack.segmenter.language_model import SegmentalLM
from seampack.segmenter.scoring import Scorer
from seampack.segmenter.units import Units

DIRECTIONS = ("forward", "backward")
_BATCH_UNITS = 1500
_CHUNK_UNITS = 400
"""Length of the longest chunk. Longer than in training: without a mark or space nearby, a cut may split a word."""


class Teacher:
    """Two language models with one vocabulary.

    ``state``: their parameters, named ``forward.*`` and ``backward.*``. ``threads``: with 2 or more, both models run at
    the same time. More than 2 seldom help: the batches are small, and torch's threads wait for each other.

    Raises RuntimeError if the parameters do not fit the config.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        config: TrainConfig,
        state: dict[str, npt.NDArray[Any]],
        threads: int = len(DIRECTIONS),
    ) -> None:
        self.threads = threads
        self.vocabulary = vocabulary
        self.config = config
        self._most_units = max(config.chunk_units, _CHUNK_UNITS)
        self._scorers = []
        for direction in DIRECTIONS:
            model = SegmentalLM(vocabulary.size, config)
            prefix = f"{direction}."
            model.load_state_dict(
                {
                    name.removeprefix(prefix): torch.from_numpy(value)
                    for name, value in state.items()
                    if name.startswith(prefix)
                }
            )
            self._scorers.append(Scorer(model))

    def chunk_offsets(self, units: Units) -> Offsets:
        """Return the first unit of each chunk, and the number of units; shape (chunks + 1,)."""
        return chunk_offsets(units, self._most_units)

    def lattices(self, units: Units, wanted: npt.NDArray[np.bool_] | None = None) -> Lattices:
        """Return the scores of all segments of all chunks, in the order of the units.

        A segment that begins or ends where the spelling allows no word to end has the score IMPOSSIBLE.

        ``wanted``: flags of the segments to score, shape (units, K); others have the score IMPOSSIBLE too.
        """
        corpus = ChunkCorpus.of(units, self.vocabulary, self._most_units)
        if wanted is None:
            wanted = np.ones((units.key.size, self.config.longest), np.bool_)
        mirror = np.empty(wanted.shape, np.float32)
        kernels.reverse_lattice(wanted.astype(np.float32), corpus.offsets, mirror)
        workers = min(self.threads, len(DIRECTIONS))
        stop = Event()
        with _torch_threads(self.threads // workers), ThreadPoolExecutor(workers) as pool:
            try:
                forward, mirrored = pool.map(
                    self._scores, self._scorers, (corpus, corpus.reversed()), (wanted, mirror > 0), (stop, stop)
                )
            except BaseException:  # also an interrupt; the pool waits for its threads, which end after their batch
                stop.set()
                raise
        backward = np.empty_like(mirrored)
        kernels.reverse_lattice(mirrored, corpus.offsets, backward)
        for scores in (forward, backward):
            kernels.forbid_bonds(scores, corpus.offsets, units.bonds, IMPOSSIBLE)
        return Lattices(forward, backward, corpus.offsets, self.config.forward_weight)

    def _scores(
        self, scorer: Scorer, corpus: ChunkCorpus, wanted: npt.NDArray[np.bool_], stop: Event
    ) -> npt.NDArray[np.float32]:
        """Return the lattice of one direction, shape (units, K); it stays incomplete once ``stop`` is set.

        Each batch has chunks of similar length.
        """
        lengths = np.diff(corpus.offsets)
        order = np.argsort(lengths, kind="stable")
        batch_numbers = np.cumsum(lengths[order]) // _BATCH_UNITS
        lattice = np.empty((corpus.ids.size, scorer.longest), np.float32)
        for group in np.split(order, np.flatnonzero(np.diff(batch_numbers)) + 1) if order.size else []:
            if stop.is_set():
                break
            chunks, sizes, possible, offsets = corpus.batch(group, scorer.longest)
            rows = np.repeat(corpus.offsets[group] - offsets[:-1], lengths[group]) + np.arange(offsets[-1])
            lattice[rows] = scorer.scores(chunks, sizes, possible & torch.from_numpy(wanted[rows])).numpy()
        return lattice


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """Set the number of torch's threads for each model, and restore the caller's afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
