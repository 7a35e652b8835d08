"""First embeddings of the units, from the raw text alone."""

import numpy as np
import numpy.typing as npt

from seampack.errors import MissingExtraError
from seampack.segmenter.corpus import ChunkCorpus

_WINDOW, _NEGATIVE, _EPOCHS = 5, 5, 10


def skip_gram_embeddings(corpus: ChunkCorpus, size: int, seed: int) -> npt.NDArray[np.float32]:
    """Embeddings of all ids, shape (vocabulary, size): skip-gram with negative sampling, trained on the chunks.

    They are left at the scale that skip-gram gives them: the language model shares them with its output layer, and
    larger ones let it predict every unit from the context alone, so that words do not pay. Ids that the text does not
    have get random vectors of the same scale. Raises MissingExtraError without gensim.
    """
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise MissingExtraError("gensim", "segmenter", "training a segmenter") from error
    bounds = zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    chunks = [corpus.ids[begin:end].astype(str).tolist() for begin, end in bounds]
    vectors = Word2Vec(
        chunks,
        vector_size=size,
        sg=1,
        window=_WINDOW,
        negative=_NEGATIVE,
        epochs=_EPOCHS,
        min_count=1,
        workers=1,  # more of them make the result depend on their timing
        seed=seed + 1,
    ).wv
    result = np.random.default_rng(seed).normal(0, vectors.vectors.std(), (corpus.vocab_size, size))
    result[np.array(vectors.index_to_key, np.int64)] = vectors.vectors
    return result.astype(np.float32)
