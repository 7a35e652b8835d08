"""Retrieval of knowledge for dialogues from a table of heads, relations and tails, by similarity of meaning."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from seampack.errors import ConfigError, DataError
from seampack.models import data
from seampack.models.empathy.inputs import utterances, with_knowledge
from seampack.models.options import SMALL
from seampack.models.text import TextClassifier, encoder_and_tokenizer, predict

Float = npt.NDArray[np.float32]


def attach_knowledge(
    dataset: Dataset,
    table: Dataset,
    *,
    encoder: str,
    query_column: str = "context",
    relations: Sequence[str] = (),
    tails: int = 3,
    least_similarity: float = 0.3,
    max_tokens: int = 64,
) -> Dataset:
    """Add a column ``knowledge`` from a table of commonsense such as ATOMIC.

    For each row and relation, the knowledge is the tails of the heads most similar to the row's query, by cosine of the
    encoder's mean states. Repeated tails and the tail ``none``, in upper or lower case, are skipped. An existing column
    ``knowledge`` is kept as ``knowledge_given``.

    Args:
        dataset: Dialogues.
        table: Commonsense knowledge with the columns head, relation and tail.
        encoder: Folder or hub name of a sentence encoder.
        query_column: Column of the query: a context, whose last utterance is used, or a text such as the situation.
        relations: Relations to attach; empty attaches all.
        tails: Number of heads per row and relation.
        least_similarity: Smallest cosine of a head; less similar heads are skipped.
        max_tokens: Maximum length of a query or head, in tokens.

    Raises:
        DataError: A column or relation is missing.
        ConfigError: ``tails`` is below 1, or the encoder is ``small``, which is not pretrained.
    """
    for column in ("head", "relation", "tail"):
        data.require_text(table, column)
    data.require(dataset, [query_column])
    if tails < 1:
        raise ConfigError(f"tails: expected at least 1; got {tails}")
    if encoder == SMALL:
        raise ConfigError("encoder: expected a pretrained sentence encoder; got 'small', which is not trained")
    table_relations: list[str] = table["relation"][:]
    if unknown := sorted(set(relations) - set(table_relations)):
        names = ", ".join(sorted(set(table_relations)))
        raise DataError(f"the table has no relation {unknown[0]!r}; it has: {names}")
    wanted = list(relations) or sorted(set(table_relations))
    queries = [context[-1] for context in utterances(dataset, query_column)]
    heads: list[str] = table["head"][:]
    texts = sorted({*queries, *heads})
    index = {text: number for number, text in enumerate(texts)}
    model, tokenizer = encoder_and_tokenizer(encoder, texts)
    vectors = predict(TextClassifier(model, 2), tokenizer, texts, max_tokens=max_tokens, features=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    query_vectors = vectors[[index[query] for query in queries]]
    knowledge: list[dict[str, list[str]]] = [{} for _ in queries]
    every_tail: list[str] = table["tail"][:]
    for relation in wanted:
        tails_by_head: dict[str, list[str]] = {}
        for head, name, tail in zip(heads, table_relations, map(str.strip, every_tail), strict=True):
            if name == relation and tail and tail.lower() != "none":  # ATOMIC writes none if there is no inference
                tails_by_head.setdefault(head, []).append(tail)
        head_tails = list(tails_by_head.values())
        head_vectors = vectors[np.array([index[head] for head in tails_by_head], np.int64)]
        for row, nearest in enumerate(_nearest(query_vectors, head_vectors, tails, least_similarity)):
            knowledge[row][relation] = list(dict.fromkeys(tail for head in nearest for tail in head_tails[head]))
    return with_knowledge(dataset, knowledge, wanted)


def _nearest(queries: Float, heads: Float, most: int, least: float, block: int = 1024) -> list[list[int]]:
    """Return indices of the most similar heads, best first, for each query; all vectors have unit length."""
    nearest: list[list[int]] = []
    for begin in range(0, len(queries), block):
        similarity = queries[begin : begin + block] @ heads.T
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
        for row, best in enumerate(order):
            nearest.append([int(head) for head in best if similarity[row, head] >= least])
    return nearest
