"""Knowledge for dialogues that have none: from a table of heads, relations and tails, by nearness in meaning."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from seampack.errors import ConfigError, DataError
from seampack.models import data
from seampack.models.empathy.inputs import utterances, with_knowledge
from seampack.models.text import SMALL, TextClassifier, encoder_and_tokenizer, predict

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
    """Add a column ``knowledge`` from ``table``, which has columns head, relation and tail as ATOMIC has.

    A column of that name is kept as ``knowledge_given``.
    For each row and relation these are the tails of the ``tails`` heads that are nearest to the row's query, by the
    cosine of ``encoder``'s mean states, those below ``least_similarity`` left out; a tail is taken once, and ``none``,
    in any case, not at all. The query is the last utterance of a context, or the text of another column
    (``situation``). ``relations``: which, all if empty. ``encoder``: folder or hub name of a sentence encoder. Raises
    DataError for a missing column or relation.
    """
    for column in ("head", "relation", "tail"):
        data.require_text(table, column)
    data.require(dataset, [query_column])
    if tails < 1:
        raise ConfigError(f"tails: expected at least 1; got {tails}")
    if encoder == SMALL:
        raise ConfigError("encoder: expected a pretrained sentence encoder; small has learned nothing")
    of_row: list[str] = table["relation"][:]
    if unknown := sorted(set(relations) - set(of_row)):
        raise DataError(f"the table has no relation {unknown[0]!r}; it has: {', '.join(sorted(set(of_row)))}")
    wanted = list(relations) or sorted(set(of_row))
    queries = [context[-1] for context in utterances(dataset, query_column)]
    heads: list[str] = table["head"][:]
    texts = sorted({*queries, *heads})
    at = {text: index for index, text in enumerate(texts)}
    model, tokenizer = encoder_and_tokenizer(encoder, texts)
    vectors = predict(TextClassifier(model, 2), tokenizer, texts, max_tokens=max_tokens, features=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    asked = vectors[[at[query] for query in queries]]
    found: list[dict[str, list[str]]] = [{} for _ in queries]
    every_tail: list[str] = table["tail"][:]
    for relation in wanted:
        rows = [row for row, name in enumerate(of_row) if name == relation]
        tails_of: dict[str, list[str]] = {}
        for row in rows:
            if (tail := every_tail[row].strip()) and tail.lower() != "none":  # ATOMIC's word for nothing
                tails_of.setdefault(heads[row], []).append(tail)
        of_head = list(tails_of.values())
        known = vectors[np.array([at[head] for head in tails_of], np.int64)]
        for number, nearest in enumerate(_nearest(asked, known, tails, least_similarity)):
            found[number][relation] = list(dict.fromkeys(tail for index in nearest for tail in of_head[index]))
    return with_knowledge(dataset, found, wanted)


def _nearest(asked: Float, known: Float, most: int, least: float, block: int = 1024) -> list[list[int]]:
    """Indices of the nearest rows of ``known``, best first, for each row of ``asked``, both of unit length."""
    found: list[list[int]] = []
    for begin in range(0, len(asked), block):
        similarity = asked[begin : begin + block] @ known.T
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
        for row, best in enumerate(order):
            found.append([int(index) for index in best if similarity[row, index] >= least])
    return found
