"""Metrics used in papers on empathetic dialogue, with their definitions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU

from seampack.errors import DataError

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpathyMetrics:
    """Metrics of the targets' likelihood, the emotions and the generated responses; None if not measured."""

    perplexity: float
    """exp(sum of negative log-likelihoods / number of tokens) over the corpus."""
    perplexity_sentence_mean: float
    """Mean of the perplexities of single sentences, as in some papers: larger, and dominated by short sentences."""
    emotion_accuracy: float | None
    dist_1: float | None
    dist_2: float | None
    bleu_1: float | None
    bleu_2: float | None
    bleu_3: float | None
    bleu_4: float | None
    rouge_1: float | None
    rouge_2: float | None
    rouge_l: float | None

    @classmethod
    def of(
        cls,
        nll: npt.ArrayLike,
        tokens: npt.ArrayLike,
        *,
        correct: Sequence[bool] | None = None,
        responses: Sequence[str] = (),
        references: Sequence[str] = (),
    ) -> "EmpathyMetrics":
        """Compute the metrics.

        Args:
            nll: Negative log-likelihood of each true response, in nats, shape (sentences,).
            tokens: Number of tokens of each true response, shape (sentences,).
            correct: Whether each predicted emotion is right.
            responses: Generated responses.
            references: True responses, one per generated response.
        """
        scores: dict[str, float | None] = dict.fromkeys(
            ("dist_1", "dist_2", *(f"bleu_{n}" for n in range(1, 5)), "rouge_1", "rouge_2", "rouge_l")
        )
        if responses:
            scores |= {f"dist_{n}": distinct(responses, n) for n in (1, 2)}
            scores |= bleu(responses, references)
            scores |= rouge(responses, references)
        return cls(
            perplexity=perplexity(nll, tokens),
            perplexity_sentence_mean=sentence_perplexity(nll, tokens),
            emotion_accuracy=None if correct is None else float(np.mean(correct)),
            **scores,
        )

    def to_dict(self) -> dict[str, float | None]:
        """Return the metrics by name, for JSON."""
        return asdict(self)


def perplexity(nll: npt.ArrayLike, tokens: npt.ArrayLike) -> float:
    """Return the perplexity of a corpus: exp(sum of ``nll`` / sum of ``tokens``), both of shape (sentences,)."""
    losses, counts = _checked(nll, tokens)
    return float(np.exp(losses.sum() / counts.sum()))


def sentence_perplexity(nll: npt.ArrayLike, tokens: npt.ArrayLike) -> float:
    """Return the mean of exp(``nll`` / ``tokens``), both of shape (sentences,)."""
    losses, counts = _checked(nll, tokens)
    return float(np.exp(losses / counts).mean())


def _checked(nll: npt.ArrayLike, tokens: npt.ArrayLike) -> tuple[Float, Float]:
    losses, counts = np.asarray(nll, np.float64), np.asarray(tokens, np.float64)
    if losses.shape != counts.shape or losses.ndim != 1 or not losses.size or (counts < 1).any():
        raise DataError(
            f"perplexity: expected one token count, at least 1, per loss; got shapes {losses.shape} and {counts.shape}"
        )
    return losses, counts


def distinct(texts: Sequence[str], n: int) -> float:
    """Return Dist-n: 100 * distinct n-grams / n-grams of the corpus, split at white space; 0 without n-grams."""
    grams = [gram for text in texts for gram in zip(*(text.split()[start:] for start in range(n)), strict=False)]
    return 100 * len(set(grams)) / len(grams) if grams else 0.0


def bleu(responses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return corpus BLEU-1 to BLEU-4 by sacrebleu, 0 to 100: lower case, tokeniser 13a, one reference per response."""
    _paired(responses, references)
    return {
        f"bleu_{n}": float(BLEU(lowercase=True, max_ngram_order=n).corpus_score(responses, [references]).score)
        for n in range(1, 5)
    }


def rouge(responses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return the mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L by rouge_score, without stemming, 0 to 100."""
    _paired(responses, references)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    pairs = zip(references, responses, strict=True)
    scores = [scorer.score(reference, response) for reference, response in pairs]
    names = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
    return {ours: 100 * float(np.mean([score[theirs].fmeasure for score in scores])) for ours, theirs in names.items()}


def _paired(responses: Sequence[str], references: Sequence[str]) -> None:
    if len(responses) != len(references) or not responses:
        raise DataError(
            f"expected one reference per response; got {len(references)} references, {len(responses)} responses"
        )
