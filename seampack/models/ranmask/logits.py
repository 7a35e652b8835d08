"""Logits that a ``predict_fn`` returns: checks and normalisations."""

from typing import Any

import numpy as np
import numpy.typing as npt

from seampack.errors import DataError
from seampack.models.data import named_rows

Float = npt.NDArray[np.float64]


def checked(logits: Any, texts: int) -> Float:
    """Return logits as a float64 array of shape (texts, classes). Tensors are accepted, with or without gradient.

    -inf, the log of 0, is allowed for an impossible class. Raise DataError for any other shape, for NaN, +inf or values
    that are not numbers, and for a text with -inf for every class.
    """
    try:
        array = np.asarray(logits.detach().cpu().double() if hasattr(logits, "detach") else logits)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"predict_fn: expected logits of shape ({texts}, classes); got no array: {reason}; return one row per "
            "text, with the same classes"
        ) from error
    if array.ndim != 2 or array.shape[0] != texts or array.shape[1] < 2:
        raise DataError(f"predict_fn: expected logits of shape ({texts}, classes); got shape {array.shape}")
    if array.dtype.kind not in "fiu":
        raise DataError(f"predict_fn: expected numeric logits; got {array.dtype}")
    wrong = np.flatnonzero((np.isnan(array) | (array == np.inf)).any(1))
    if wrong.size:
        raise DataError(
            f"predict_fn: expected finite logits, or -inf; got NaN or +inf in {named_rows(wrong)} of {texts:,}"
        )
    wrong = np.flatnonzero((array == -np.inf).all(1))
    if wrong.size:
        raise DataError(
            "predict_fn: expected a finite logit for a class; got -inf for all classes in "
            f"{named_rows(wrong)} of {texts:,}"
        )
    return array.astype(np.float64)


def softmax(logits: Float) -> Float:
    """Return probabilities, shape (texts, classes)."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares: Float = powers / powers.sum(1, keepdims=True)
    return shares


def of_length_one(logits: Float) -> Float:
    """Scale each row to length 1; rows of zeros are not changed. Raise DataError for -inf, which cannot be scaled."""
    if not np.isfinite(logits).all():
        raise DataError(
            "predict_fn: ensemble ref_logit needs finite logits; got -inf; use the ensemble votes or mean, or return "
            "finite scores"
        )
    lengths = np.linalg.norm(logits, axis=1, keepdims=True)
    scaled: Float = logits / np.maximum(lengths, 1e-12)
    return scaled
