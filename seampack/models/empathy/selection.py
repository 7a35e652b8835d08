"""Weights of the pieces of knowledge: a point on the simplex for each dialogue.

The weights depend on how well each piece explains an emotion. ``soft`` and ``label`` use the softmax of the negative
cross-entropies. ``minimax`` solves the quadratic programme of the paper (Cai et al. 2023, arXiv 2306.04657, adaptive
module), the dual of finding the step that helps the worst piece most:

    min over d of 1/2 |d|^2 + max_i (f_i + g_i . d)   =   - min over the simplex of 1/2 |sum_i w_i g_i|^2 - f . w

where ``f_i`` is the cross-entropy of the classifier on piece i and ``g_i`` its gradient in the classifier's weights.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seampack.errors import ConfigError
from seampack.models.empathy.config import EmpathyConfig, Selection

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

MOST_PIECES = 12
"""Largest number of pieces: the solver may visit every subset, which are 4,095 for 12 pieces."""
EXACT = 1e-12
"""Tolerated duality gap, for a programme scaled to a largest coefficient of 1."""


@dataclass(frozen=True, slots=True)
class KnowledgeSelector:
    """Weigh the pieces of knowledge of each dialogue by ``config.selection`` and ``config.temperature``."""

    config: EmpathyConfig

    def __post_init__(self) -> None:
        """Raise ConfigError if the selection is ``none``, which has no weights."""
        if self.config.selection == Selection.NONE:
            raise ConfigError("selection: a selector cannot weight knowledge with the selection 'none'; choose another")

    def __call__(
        self, logits: Tensor, context: Tensor, pieces: Tensor, present: Tensor, label: Tensor | None
    ) -> Tensor:
        """Return the weights, shape (rows, pieces): each row sums to 1, or to 0 if no piece is present.

        No gradient flows through the target distribution, nor through the weights of minimax.

        Args:
            logits: Emotion logits of each piece, (rows, pieces, emotions).
            context: Emotion logits of the context, (rows, emotions).
            pieces: Vectors of the pieces, (rows, pieces, hidden).
            present: Which pieces exist, bool, (rows, pieces); the others get weight 0.
            label: True emotions, (rows,), or None.
        """
        if self.config.selection == Selection.UNIFORM:
            return _softmax_present(torch.zeros_like(logits[..., 0]), present)
        target = context.detach().softmax(-1)
        if label is not None and self.config.selection != Selection.SOFT:
            target = torch.nn.functional.one_hot(label, logits.shape[-1]).to(logits.dtype)
        losses = -(target.unsqueeze(1) * logits.log_softmax(-1)).sum(-1)
        if self.config.selection != Selection.MINIMAX:
            return _softmax_present(-losses / self.config.temperature, present)
        gram = gradient_gram(logits.detach(), target, pieces.detach()).double().cpu().numpy()
        weights = minimax_weights(gram, losses.detach().double().cpu().numpy(), present.cpu().numpy())
        return torch.from_numpy(weights).to(logits)


def _softmax_present(scores: Tensor, present: Tensor) -> Tensor:
    """Return the softmax over the pieces that are present."""
    weights = scores.masked_fill(~present, torch.finfo(scores.dtype).min).softmax(-1)
    return weights * present


def gradient_gram(logits: Tensor, target: Tensor, pieces: Tensor) -> Tensor:
    """Return the scalar products of the gradients ``g_i`` of each row's pieces, shape (rows, pieces, pieces).

    The gradient of the softmax cross-entropy in a linear layer's weights is the outer product of (softmax - target) and
    the piece's vector. The scalar product of two gradients is therefore the product of their factors' scalar products,
    and no gradient is computed. (The mean of a gradient over the emotions is 0 for every piece, so it is no signal.)
    """
    errors = logits.softmax(-1) - target.unsqueeze(1)
    gram: Tensor = (errors @ errors.mT) * (pieces @ pieces.mT)
    return gram


def minimax_weights(gram: Float, losses: Float, present: Bool | None = None) -> Float:
    """Return the exact minimiser of ``1/2 w G w - f w`` on the simplex, shape (rows, pieces).

    For each subset of the pieces, smaller subsets first, the linear equations of a minimum on the subset are solved for
    all rows that have no solution yet. A solution on the simplex is the minimum if no piece's slope is below the
    weighted mean of the slopes; the difference bounds the distance to the minimum. (At least one minimum belongs to a
    subset whose equations have a unique solution.)

    Args:
        gram: ``G``, positive semi-definite, (rows, pieces, pieces).
        losses: ``f``, (rows, pieces).
        present: Which pieces exist, bool, (rows, pieces); all by default.

    Raises:
        ConfigError: There are more than 12 pieces.
    """
    rows, pieces = losses.shape
    if pieces > MOST_PIECES:
        raise ConfigError(f"minimax: expected at most {MOST_PIECES} pieces of knowledge per row; got {pieces}")
    present = np.ones(losses.shape, np.bool_) if present is None else present
    gaps, weights = np.full(rows, np.inf), np.zeros((rows, pieces))
    # Scaling 1/2 w G w - f w, or adding a constant to f, does not move the minimum.
    scale = np.maximum(np.abs(gram).max((1, 2), initial=0), np.ptp(losses, 1) if pieces else 0)
    scale[scale == 0] = 1
    gram = gram / scale[:, None, None]
    losses = (losses - losses.max(1, keepdims=True, initial=-np.inf)) / scale[:, None]
    for subset in _subsets(pieces):
        unsolved = np.flatnonzero((gaps > EXACT) & present[:, subset].all(1))
        if not unsolved.size:
            continue
        size = len(subset)
        system = np.zeros((unsolved.size, size + 1, size + 1))
        system[:, :size, :size] = gram[np.ix_(unsolved, subset, subset)]
        system[:, :size, size] = system[:, size, :size] = 1
        right = np.ones((unsolved.size, size + 1))
        right[:, :size] = losses[np.ix_(unsolved, subset)]
        solved, _ = torch.linalg.solve_ex(torch.from_numpy(system), torch.from_numpy(right))
        solutions = solved.numpy()[:, :size]
        on_simplex = (np.isfinite(solutions) & (solutions >= -EXACT)).all(1)
        unsolved, solutions = unsolved[on_simplex], solutions[on_simplex].clip(0)
        sums = solutions.sum(1, keepdims=True)
        candidates = np.zeros((unsolved.size, pieces))
        candidates[:, subset] = solutions / np.where(sums > 0, sums, np.nan)
        slopes = np.einsum("rij,rj->ri", gram[unsolved], candidates) - losses[unsolved]
        gap = (candidates * slopes).sum(1) - np.where(present[unsolved], slopes, np.inf).min(1)
        better = gap < gaps[unsolved]
        gaps[unsolved[better]] = gap[better]
        weights[unsolved[better]] = candidates[better]
    return weights


@cache
def _subsets(pieces: int) -> list[npt.NDArray[np.int64]]:
    """Return the non-empty subsets of the pieces, smallest first."""
    sizes = range(1, pieces + 1)
    return [np.array(subset, np.int64) for size in sizes for subset in combinations(range(pieces), size)]
