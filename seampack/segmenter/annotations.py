"""Annotations of the texts, as ``apply`` writes them: words, offsets, probabilities or the n best segmentations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import ConfigError
from seampack.segmenter import formats
from seampack.segmenter.apply_config import ApplyConfig, DecodeConfig, Decoder, Output
from seampack.segmenter.dictionary import Dictionary
from seampack.segmenter.model import Segmenter

COLUMNS = {
    Output.TEXT: "segmented",
    Output.WORDS: "words",
    Output.OFFSETS: "offsets",
    Output.BYTES: "byte_offsets",
    Output.POSTERIORS: "end_probabilities",
    Output.N_BEST: "n_best",
}
"""Name of the field or column of each output."""

_DECODERS = {Output.POSTERIORS: (Decoder.POSTERIOR, Decoder.BOUNDARY), Output.N_BEST: (Decoder.PRODUCT,)}
"""Decoders that fit each of these outputs; every decoder fits the other outputs."""

_N_BEST_TYPE = pa.list_(pa.struct([("score", pa.float64()), ("words", pa.list_(pa.string()))]))


@dataclass(frozen=True, slots=True)
class Annotation:
    """The annotations of a block of texts, computed on demand."""

    values: Callable[[], Sequence[Any]]
    """Return the annotations as Python values, for JSON."""
    column: Callable[[npt.NDArray[np.bool_]], pa.Array]
    """Return the annotations as an Arrow column; takes flags of the missing texts, whose annotations are null."""


def check_options(output: Output, decode: DecodeConfig, dictionary: Dictionary | None, segmenter: Segmenter) -> None:
    """Raise ConfigError for an option that could not change the output."""
    if not decode.lexicon and not segmenter.has_lexicon:
        raise ConfigError("lexicon: the segmenter has no lexicon; remove --no-lexicon")
    if output not in _DECODERS:
        return
    if decode.decoder not in (None, *_DECODERS[output]):
        raise ConfigError(
            f"decoder: output {output} works with {' and '.join(_DECODERS[output])} only; got {decode.decoder!r}; "
            "remove it, or write words"
        )
    ignored = {"threshold": decode.threshold, "dictionary": dictionary if output == Output.N_BEST else None}
    for name, value in ignored.items():
        if value is not None:
            raise ConfigError(f"{name}: output {output} does not depend on it; remove it, or write words")


def annotate(
    texts: list[str],
    config: ApplyConfig,
    segmenter: Segmenter,
    decode: DecodeConfig,
    dictionary: Dictionary | None,
) -> Annotation:
    """Return the annotations of a block of texts; ``config.output`` must not be auto."""
    output = Output(config.output)
    if output == Output.POSTERIORS:
        ends = segmenter.end_probabilities(
            texts, exact=decode.uses_language_models, dictionary=dictionary, lexicon=decode.lexicon
        )
        return _of_values([values.astype(np.float64).round(6).tolist() for values in ends], pa.list_(pa.float32()))
    if output == Output.N_BEST:
        ranked = segmenter.n_best(texts, config.n_best, exact=decode.uses_language_models, lexicon=decode.lexicon)
        return _of_values([[{"score": s, "words": w} for s, w in best] for best in ranked], _N_BEST_TYPE)
    spans = segmenter.decode(texts, decode, dictionary)
    if output == Output.TEXT:
        return _of_values(formats.spaced_texts(texts, spans), pa.string())
    if output == Output.WORDS:
        return Annotation(lambda: spans.words(texts), lambda missing: formats.words_array(texts, spans, missing))
    if output == Output.OFFSETS:
        return Annotation(
            lambda: formats.character_offsets(spans),
            lambda missing: formats.offsets_array(spans.begin, spans.end, spans.offsets, missing),
        )
    return Annotation(
        lambda: formats.byte_offsets(texts, spans),
        lambda missing: formats.offsets_array(*formats.byte_spans(texts, spans), spans.offsets, missing),
    )


def _of_values(values: list[Any], kind: pa.DataType) -> Annotation:
    """Return the annotation of Python values; as an Arrow column, it has the type ``kind``."""
    return Annotation(
        lambda: values,
        lambda missing: pa.array([None if m else v for v, m in zip(values, missing, strict=True)], kind),
    )
