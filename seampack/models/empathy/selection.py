"""Which pieces of knowledge to use: weights on the simplex, one set for each example.

Two ways ask how well a piece explains an emotion. ``soft`` and ``label`` take the softmax of minus its cross-entropy.
``minimax`` solves the quadratic programme of the paper (Cai et al. 2023, arXiv 2306.04657, adaptive module), the dual
of finding the step that helps the worst piece the most:

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
from seampack.models.empathy.config import Selection

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

MOST_PIECES = 12
"""The programme may look at every set of pieces: 4,095 of 12."""
EXACT = 1e-12
"""What may be missing to the minimum, of a programme whose largest number is 1."""


@dataclass(frozen=True, slots=True)
class KnowledgeSelector:
    """Weights of an example's pieces of knowledge. ``temperature`` divides the cross-entropies of soft and label."""

    mode: str = Selection.SOFT.value
    temperature: float = 1.0

    def __post_init__(self) -> None:
        modes = [mode.value for mode in Selection if mode != Selection.NONE]
        if self.mode not in modes:
            raise ConfigError(f"mode: expected one of {', '.join(modes)}; got {self.mode!r}")
        if not self.temperature > 0:
            raise ConfigError(f"temperature: expected a number above 0; got {self.temperature!r}")

    def __call__(
        self, logits: Tensor, context: Tensor, pieces: Tensor, present: Tensor, label: Tensor | None
    ) -> Tensor:
        """Weights of shape (rows, pieces), 0 where no piece is present; each row sums to 1, or to 0 if it has none.

        ``logits``: what the classifier says of each piece, (rows, pieces, emotions); ``context``: what it says of the
        context, (rows, emotions); ``pieces``: their vectors, (rows, pieces, hidden); ``present``: bool, (rows, pieces);
        ``label``: true emotions, (rows,), or None. No gradient flows through what is aimed at, nor through minimax.
        """
        if self.mode == Selection.UNIFORM:
            return _shared(torch.zeros_like(logits[..., 0]), present)
        target = context.detach().softmax(-1)
        if label is not None and self.mode != Selection.SOFT:
            target = torch.nn.functional.one_hot(label, logits.shape[-1]).to(logits.dtype)
        losses = -(target.unsqueeze(1) * logits.log_softmax(-1)).sum(-1)
        if self.mode != Selection.MINIMAX:
            return _shared(-losses / self.temperature, present)
        gram = gradient_gram(logits.detach(), target, pieces.detach()).double().cpu().numpy()
        weights = minimax_weights(gram, losses.detach().double().cpu().numpy(), present.cpu().numpy())
        return torch.from_numpy(weights).to(logits)


def _shared(scores: Tensor, present: Tensor) -> Tensor:
    """Softmax over the pieces that are present."""
    weights = scores.masked_fill(~present, torch.finfo(scores.dtype).min).softmax(-1)
    return weights * present


def gradient_gram(logits: Tensor, target: Tensor, pieces: Tensor) -> Tensor:
    """Scalar products of the gradients ``g_i`` of each row's pieces, shape (rows, pieces, pieces).

    The gradient of the softmax cross-entropy in a linear layer's weights is the outer product of (softmax - target) and
    the piece's vector, so that no gradient needs to be formed: the products of both factors are multiplied. (Its mean
    over the classes is 0 whatever the piece, so that the mean can guide nothing.)
    """
    errors = logits.softmax(-1) - target.unsqueeze(1)
    gram: Tensor = (errors @ errors.mT) * (pieces @ pieces.mT)
    return gram


def minimax_weights(gram: Float, losses: Float, present: Bool | None = None) -> Float:
    """The weights that minimise ``1/2 w G w - f w`` on the simplex, exactly, shape (rows, pieces).

    ``gram``: positive semi-definite, (rows, pieces, pieces); ``losses``: ``f``, (rows, pieces); ``present``: bool,
    (rows, pieces). For each set of pieces, small sets first, the linear equations of a minimum on that set alone are
    solved for all rows that have none yet. Slopes decide whether a solution on the simplex is the minimum: no piece's
    may be below the mean by the weights, and by how much it is bounds what is missing. (Among the minima there is
    always one whose equations have a unique solution.) Raises ConfigError for more than 12 pieces.
    """
    rows, pieces = losses.shape
    if pieces > MOST_PIECES:
        raise ConfigError(f"minimax: expected at most {MOST_PIECES} pieces of knowledge a row; got {pieces}")
    present = np.ones(losses.shape, np.bool_) if present is None else present
    gaps, weights = np.full(rows, np.inf), np.zeros((rows, pieces))
    # Scaling 1/2 w G w - f w leaves its minimum in place, and so does a constant added to f.
    scale = np.maximum(np.abs(gram).max((1, 2), initial=0), np.ptp(losses, 1) if pieces else 0)
    scale[scale == 0] = 1
    gram = gram / scale[:, None, None]
    losses = (losses - losses.max(1, keepdims=True, initial=-np.inf)) / scale[:, None]
    for chosen in _subsets(pieces):
        where = np.flatnonzero((gaps > EXACT) & present[:, chosen].all(1))
        if not where.size:
            continue
        size = len(chosen)
        system = np.zeros((where.size, size + 1, size + 1))
        system[:, :size, :size] = gram[np.ix_(where, chosen, chosen)]
        system[:, :size, size] = system[:, size, :size] = 1
        right = np.ones((where.size, size + 1))
        right[:, :size] = losses[np.ix_(where, chosen)]
        solved, _ = torch.linalg.solve_ex(torch.from_numpy(system), torch.from_numpy(right))
        found = solved.numpy()[:, :size]
        on_simplex = (np.isfinite(found) & (found >= -EXACT)).all(1)
        where, found = where[on_simplex], found[on_simplex].clip(0)
        sums = found.sum(1, keepdims=True)
        candidates = np.zeros((where.size, pieces))
        candidates[:, chosen] = found / np.where(sums > 0, sums, np.nan)
        slopes = np.einsum("rij,rj->ri", gram[where], candidates) - losses[where]
        gap = (candidates * slopes).sum(1) - np.where(present[where], slopes, np.inf).min(1)
        better = gap < gaps[where]
        gaps[where[better]] = gap[better]
        weights[where[better]] = candidates[better]
    return weights


@cache
def _subsets(pieces: int) -> list[npt.NDArray[np.int64]]:
    sizes = range(1, pieces + 1)
    return [np.array(chosen, np.int64) for size in sizes for chosen in combinations(range(pieces), size)]
