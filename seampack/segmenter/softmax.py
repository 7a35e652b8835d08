"""The softmax over the vocabulary, which takes most of the time of a language model.

It works on blocks of states whose logits fit in the processor's cache, in bfloat16 where the processor can.
"""

import torch
from torch import Tensor

_STATES = 128
"""States of a block."""
_LARGEST_NARROW = 200
"""Bound of the logits up to which bfloat16 is precise enough: they are seldom near their bound."""
_SUMS = 1e-25, 1e35
"""Sums of exponentials between these have lost nothing that matters to overflow or underflow."""


class Logits:
    """Logits of all units after given states, which are between -1 and 1: ``states @ weight.T + bias``.

    ``weight``: shape (vocabulary, hidden); ``bias``: (vocabulary,). In bfloat16, a log-sum-exp has an error of about
    0.01.
    """

    @torch.no_grad()
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        bound = float((weight.abs().sum(1) + bias.abs()).max())
        has_narrow = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # older versions lack it
        can_be_narrow = weight.dtype is torch.float32 and has_narrow()
        self.kind = torch.bfloat16 if can_be_narrow and bound < _LARGEST_NARROW else weight.dtype
        self.weight, self._bias = weight.detach().to(self.kind), bias.detach()
        self._shift = self._bias.to(self.kind)
        self._columns = self.weight.t().contiguous()

    @property
    def vocab_size(self) -> int:
        """Number of units."""
        return self._bias.shape[0]

    def exponentials(self, states: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """Write the exponentials of the logits; return their sums and the log-sum-exps of the logits.

        Args:
            states: Shape (states, hidden), of the type ``kind``.
            out: Shape (states, vocabulary), of the type ``kind``. A row is multiplied by any factor, which its sum has
                too.
        """
        logits = torch.addmm(self._shift, states, self._columns, out=out)
        sums = torch.sum(logits.exp_(), 1, dtype=self._bias.dtype)
        if bool(((sums > _SUMS[0]) & (sums < _SUMS[1])).all()):
            return sums, sums.log()
        logits = torch.addmm(self._shift, states, self._columns, out=out)
        largest = logits.amax(1)
        sums = torch.sum(logits.sub_(largest[:, None]).exp_(), 1, dtype=self._bias.dtype)
        return sums, sums.log() + largest

    @torch.inference_mode()
    def partitions(self, states: Tensor) -> Tensor:
        """Return the log-sum-exps of the logits, shape (states,). ``states``: shape (states, hidden)."""
        space = torch.empty(min(_STATES, states.shape[0]), self.vocab_size, dtype=self.kind)
        blocks = torch.split(states.to(self.kind), _STATES)
        return torch.cat([self.exponentials(block, space[: block.shape[0]])[1] for block in blocks])


def log_probabilities(
    states: Tensor, weight: Tensor, bias: Tensor, following: Tensor, end: int
) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of one unit and of the unit ``end`` after each state, with gradients.

    ``weight``, ``bias``: as for ``Logits``. ``states``: shape (states, hidden); ``following``: the ids of the units,
    shape (states,), as both results.
    """
    found: tuple[Tensor, Tensor] = _LogSoftmax.apply(states, weight, bias, following, end)  # type: ignore[no-untyped-call]
    return found


class _LogSoftmax(torch.autograd.Function):
    """``log_probabilities`` with a hand-written gradient, which needs one matrix of shape (states, vocabulary).

    With p the probabilities, w the rows of ``weight``, and g and e the gradients of both results, the gradient of a
    state is g w_following + e w_end - (g + e) sum(p w). This sum is computed while its block is in the cache.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, states: Tensor, weight: Tensor, bias: Tensor, following: Tensor, end: int
    ) -> tuple[Tensor, Tensor]:
        logits = Logits(weight, bias)
        exponentials = torch.empty(states.shape[0], logits.vocab_size, dtype=logits.kind)
        expected = torch.empty(states.shape, dtype=logits.kind)  # sums of exponential times row
        sums, partitions = states.new_empty(2, states.shape[0])
        whole = states.to(logits.kind), exponentials, expected, sums, partitions
        for block, powers, rows, total, partition in zip(*(torch.split(part, _STATES) for part in whole), strict=True):
            total[:], partition[:] = logits.exponentials(block, powers)
            torch.mm(powers, logits.weight, out=rows)
        target = weight[following]
        ctx.save_for_backward(states, weight, following, exponentials, expected, sums, target)
        ctx.end = end
        written = (states * target).sum(1) + bias[following] - partitions
        return written, states @ weight[end] + bias[end] - partitions

    @staticmethod
    def backward(ctx, written: Tensor, ended: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[no-untyped-def]
        states, weight, following, exponentials, expected, sums, target = ctx.saved_tensors
        share = -(written + ended) / sums
        of_states = share[:, None] * expected + written[:, None] * target + ended[:, None] * weight[ctx.end]
        kind = exponentials.dtype
        of_weight = (exponentials.t() @ (share[:, None] * states).to(kind)).to(weight.dtype)
        of_weight.index_add_(0, following, written[:, None] * states)
        of_weight[ctx.end] += ended @ states
        of_bias = (exponentials.t() @ share.to(kind)).to(weight.dtype)
        of_bias.index_add_(0, following, written)
        of_bias[ctx.end] += ended.sum()
        return of_states, of_weight, of_bias, None, None
