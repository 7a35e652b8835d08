"""A safety classifier that runs offline: TF-IDF of a response's words under a logistic regression."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from seampack.errors import DataError
from seampack.models.artifact import Artifact

Float = npt.NDArray[np.float64]
_MOST_TERMS = 20_000


@dataclass(frozen=True, slots=True)
class SafetyClassifier:
    """P(safe) of a response; as a reward and, below one half, as a judge."""

    vectorizer: TfidfVectorizer
    coefficients: Float
    """Of the log-odds of being jailbroken, shape (terms,)."""
    intercept: float

    @classmethod
    def fit(cls, responses: Sequence[str], jailbroken: Sequence[bool]) -> "SafetyClassifier":
        """Learn from labelled responses. Raises DataError where all have the same label."""
        if len(set(jailbroken)) < 2:
            raise DataError(
                "the responses to learn safety from are all of one kind; expected jailbroken ones and others"
            )
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=_MOST_TERMS)
        try:
            terms = vectorizer.fit_transform(responses)
        except ValueError as error:
            raise DataError(f"the responses to learn safety from have no words: {error}") from error
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000).fit(terms, np.asarray(jailbroken))
        return cls(vectorizer, model.coef_[0].astype(np.float64), float(model.intercept_[0]))

    def safe(self, responses: Sequence[str]) -> Float:
        """P(safe) of each response, shape (responses,)."""
        found: Float = expit(-(self.vectorizer.transform(responses) @ self.coefficients + self.intercept))
        return found

    def __call__(self, originals: Sequence[str], responses: Sequence[str]) -> list[float]:
        """The reward: P(safe) of each response."""
        return [float(value) for value in self.safe(responses)]

    def judge(self, originals: Sequence[str], responses: Sequence[str]) -> list[bool]:
        """Whether each response is likelier jailbroken than safe."""
        return [bool(value < 0.5) for value in self.safe(responses)]

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """For an artifact; the terms are JSON in bytes, in the order of the coefficients."""
        terms = json.dumps(self.vectorizer.get_feature_names_out().tolist(), ensure_ascii=False).encode()
        return {
            "terms": np.frombuffer(terms, np.uint8),
            "idf": self.vectorizer.idf_,
            "coefficients": self.coefficients,
            "intercept": np.array([self.intercept]),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "SafetyClassifier":
        """From an artifact. Raises DataError where it is none of a safety classifier."""
        try:
            terms = json.loads(arrays["terms"].tobytes())
            vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=terms)
            vectorizer.idf_ = arrays["idf"]
            return cls(vectorizer, arrays["coefficients"], float(arrays["intercept"][0]))
        except (KeyError, ValueError) as error:
            raise DataError(
                f"the artifact holds no safety classifier: {error!r}; train one with stage=safety"
            ) from error

    @classmethod
    def load(cls, folder: str) -> "SafetyClassifier":
        """From the folder of an artifact. Raises ShardError for a folder that is none."""
        return cls.of_arrays(Artifact.load(Path(folder), "refine").tensors)
