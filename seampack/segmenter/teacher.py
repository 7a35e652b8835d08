"""The exact segmenter: both directions of the language model, scored over all segments of a text."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seampack.segmenter import _kernels as kernels
from seampack.segmenter.corpus import ChunkCorpus, Vocabulary
from seampack.segmenter.decoders import Lattices
from seampack.segmenter.language_model import SegmentalLM
from seampack.segmenter.units import Units

_BATCH_UNITS = 400
_CHUNK_UNITS = 400
"""Units that are read at once, at most. More than in training: where no mark or space is near, a cut splits a word."""


class Teacher:
    """Two language models with one vocabulary. ``state``: their parameters, named ``forward.*`` and ``backward.*``."""

    def __init__(self, vocabulary: Vocabulary, options: dict[str, Any], state: dict[str, npt.NDArray[Any]]) -> None:
        self.vocabulary = vocabulary
        self.options = options
        self._models = []
        for direction in ("forward", "backward"):
            model = SegmentalLM(vocabulary.size, longest=options["longest"], hidden=options["hidden"], dropout=0.0)
            prefix = f"{direction}."
            mine = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            model.load_state_dict({name: torch.from_numpy(value) for name, value in mine.items()})
            self._models.append(model.eval())

    def lattices(self, units: Units) -> Lattices:
        """Scores of all segments of all chunks, in the order of the units."""
        corpus = ChunkCorpus.of(units, self.vocabulary, max(self.options["chunk_units"], _CHUNK_UNITS))
        forward = self._scores(self._models[0], corpus)
        mirrored = self._scores(self._models[1], corpus.reversed())
        backward = np.empty_like(mirrored)
        kernels.reverse_lattice(mirrored, corpus.offsets, backward)
        return Lattices(forward, backward, corpus.offsets, self.options["forward_weight"])

    def _scores(self, model: SegmentalLM, corpus: ChunkCorpus) -> npt.NDArray[np.float32]:
        """A lattice, chunks of about equal length scored together."""
        lengths = np.diff(corpus.offsets)
        order = np.argsort(lengths, kind="stable")
        ends = np.cumsum(lengths[order]) // _BATCH_UNITS
        result = np.empty((corpus.ids.size, model.longest), np.float32)
        with torch.inference_mode():
            for group in np.split(order, np.flatnonzero(np.diff(ends)) + 1) if order.size else []:
                chunks, sizes, single, offsets = corpus.batch(group)
                scores = model(chunks, sizes, single).numpy()
                where = np.repeat(corpus.offsets[group] - offsets[:-1], lengths[group]) + np.arange(offsets[-1])
                result[where] = scores
        return result
