"""Initial embeddings of the units, learned from the raw text alone."""

import numpy as np
import numpy.typing as npt

from seampack.errors import MissingExtraError
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.corpus import ChunkCorpus

_WINDOW, _NEGATIVE, _EPOCHS = 5, 5, 10


def skip_gram_embeddings(corpus: ChunkCorpus, config: TrainConfig) -> npt.NDArray[np.float32]:
    """Return embeddings of all ids, shape (vocabulary, hidden): skip-gram with negative sampling on the chunks.

    The embeddings are not rescaled: the language model shares them with its output layer, and with larger embeddings it
    predicts every unit from the context alone, so that longer words bring no gain. Ids that are absent from the text
    get random vectors of the same scale. Raises MissingExtraError if gensim is not installed.
    """
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise MissingExtraError("gensim", "segmenter", "training a segmenter") from error
    bounds = zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    chunks = [corpus.ids[begin:end].astype(str).tolist() for begin, end in bounds]
    vectors = Word2Vec(
        chunks,
        vector_size=config.hidden,
        sg=1,
        window=_WINDOW,
        negative=_NEGATIVE,
        epochs=_EPOCHS,
        min_count=1,
        workers=1,  # with more workers the result depends on their timing
        seed=config.seed + 1,
    ).wv
    result = np.random.default_rng(config.seed).normal(0, vectors.vectors.std(), (corpus.vocab_size, config.hidden))
    result[np.array(vectors.index_to_key, np.int64)] = vectors.vectors
    return result.astype(np.float32)
