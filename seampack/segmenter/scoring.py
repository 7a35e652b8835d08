"""Fast scores of a trained language model: those of ``SegmentalLM``, for the wanted segments.

What depends on one unit alone is computed once for each unit of the vocabulary. A start of segments runs the decoder
only as far as the longest wanted segment; starts are sorted by this length, so each step works on the first rows of a
block that fits in the processor's cache.
"""

import torch
from torch import Tensor

from seampack.segmenter.decoders import IMPOSSIBLE
from seampack.segmenter.language_model import BOS, END, SegmentalLM
from seampack.segmenter.softmax import Logits

_STARTS = 256
"""Starts whose states are computed at once, so that these fit in the processor's cache."""


class Scorer:
    """A trained language model that scores segments without gradients; made anew after each change of the model.

    Where the processor can, the log-sum-exp of all logits is computed in bfloat16.
    """

    @torch.no_grad()
    def __init__(self, model: SegmentalLM) -> None:
        self.longest = model.longest
        self._weight, self._bias = model.embedding.weight.detach().clone(), model.bias.detach().clone()
        self._encoder = model.encoder
        # tanh(x) = 2 sigmoid(2 x) - 1: with the third gate doubled, one sigmoid serves all four.
        double = torch.ones(4 * model.hidden)
        double[2 * model.hidden : 3 * model.hidden] = 2
        read, carry = model.decoder_input.weight * double[:, None], model.decoder_hidden.weight * double[:, None]
        read_bias = model.decoder_input.bias * double
        self._gates = torch.addmm(read_bias, self._weight, read.t())  # of each unit, shape (vocabulary, 4 hidden)
        self._carry = carry.t().contiguous()
        self._first = torch.cat([read @ model.first_input.weight, carry], 1).t().contiguous()
        self._first_bias = read @ model.first_input.bias + read_bias
        self._first_hidden = model.first_hidden.weight.t().contiguous()
        self._first_hidden_bias = model.first_hidden.bias.detach().clone()

        self._logits = Logits(self._weight, self._bias)

    @torch.inference_mode()
    def scores(self, chunks: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        """Return the lattice of a batch, shape (units, longest), its chunks concatenated.

        Args:
            chunks: Unit ids, shape (chunks, longest chunk), padded by any ids.
            lengths: Number of units of each chunk, shape (chunks,).
            wanted: Flags of the segments to score, shape (units, longest), none of which may leave its chunk. Others
                have the score IMPOSSIBLE.
        """
        inside = torch.arange(chunks.shape[1])[None, :] < lengths[:, None]
        begin = self._weight[BOS].expand(chunks.shape[0], 1, -1)
        context, _ = self._encoder(torch.cat([begin, self._weight[chunks[:, :-1]]], 1))
        context, ids = context[inside].mul_(0.5), chunks[inside]
        reach = (wanted * torch.arange(1, self.longest + 1)).amax(1)  # longest segment that each start needs
        starts = torch.argsort(reach, descending=True)[: int((reach > 0).sum())]
        lattice = torch.full(wanted.shape, float(IMPOSSIBLE))
        for first in range(0, starts.shape[0], _STARTS):
            block = starts[first : first + _STARTS]
            rows = [int((reach[block] >= step).sum()) for step in range(1, int(reach[block[0]]) + 1)]
            self._score_block(block, [block.shape[0], *rows], context[block], ids, lattice)
        return lattice.masked_fill_(~wanted, IMPOSSIBLE)

    def _score_block(self, block: Tensor, rows: list[int], context: Tensor, ids: Tensor, lattice: Tensor) -> None:
        """Fill the rows of ``lattice`` of a block of starts.

        ``rows[t]``: how many of these, the first ones, run the decoder to step ``t``.
        """
        states = self._states(block, rows, context, ids)
        partitions = torch.split(self._logits.partitions(torch.cat(states)), rows)
        written = torch.zeros(block.shape[0])  # log-probability of the units of each segment
        for step, (state, partition) in enumerate(zip(states, partitions, strict=True)):
            if step:
                ended = torch.addmv(self._bias[END], state, self._weight[END]) - partition
                lattice[block[: rows[step]], step - 1] = written + ended
            if step + 1 < len(rows):
                count = rows[step + 1]
                following = ids[block[:count] + step]
                logits = (state[:count] * self._weight[following]).sum(1) + self._bias[following]
                written = written[:count] + logits - partition[:count]

    def _states(self, block: Tensor, rows: list[int], context: Tensor, ids: Tensor) -> list[Tensor]:
        """Return the decoder's states after each step, shape (``rows[step]``, hidden) each."""
        hidden = torch.addmm(self._first_hidden_bias, context, self._first_hidden).tanh_()
        gates = torch.addmm(self._first_bias, torch.cat([context, hidden], 1), self._first)
        states: list[Tensor] = []
        cell = torch.empty(0)
        for step, count in enumerate(rows):
            if step:
                gates = self._gates[ids[block[:count] + step - 1]].addmm_(states[-1][:count], self._carry)
            i, f, g, o = gates.sigmoid_().chunk(4, 1)
            new = g.mul(2).sub_(1).mul_(i)
            cell = new.addcmul_(f, cell[:count]) if step else new
            states.append((2 * cell).sigmoid_().mul_(2).sub_(1).mul_(o))
        return states
