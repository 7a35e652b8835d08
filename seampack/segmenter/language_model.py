"""The segmental language model: the probability of a sentence, summed over all ways to cut it into segments.

Sun and Deng 2018 (segmental language models); both directions after Wang, Li and Zheng 2021 (arXiv 2103.01421). A
decoder generates a segment unit by unit and closes it with an end symbol; it starts from the state of the context
encoder before the segment:

    S[i, l] = sum_(t <= l) log p(x_(i+t) | x_(i+1) .. x_(i+t-1), c_i) + log p(END | x_(i+1) .. x_(i+l), c_i)

The backward model is the same model on reversed chunks.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seampack.segmenter import _kernels as kernels
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.decoders import IMPOSSIBLE
from seampack.segmenter.softmax import log_probabilities

END, BOS = 0, 1
"""Ids of the end of a segment and of the begin of a chunk; the ids of units begin at 2."""


class SegmentalLM(nn.Module):
    """Scores of all segments of up to ``config.longest`` units, for chunks of unit ids.

    ``vocab_size`` includes END and BOS. Dropout is applied to the embeddings, the context and the decoder's states.
    """

    def __init__(self, vocab_size: int, config: TrainConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.longest = config.longest
        self.hidden = hidden
        self.embedding = nn.Embedding(vocab_size, hidden)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.decoder_input = nn.Linear(hidden, 4 * hidden)
        self.decoder_hidden = nn.Linear(hidden, 4 * hidden, bias=False)
        self.first_input = nn.Linear(hidden, hidden)
        self.first_hidden = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, chunks: Tensor, lengths: Tensor, possible: Tensor) -> Tensor:
        """Return the lattice of a batch, shape (units, longest), its chunks concatenated.

        Args:
            chunks: Unit ids, shape (chunks, longest chunk); padding values are ignored.
            lengths: Number of units of each chunk, shape (chunks,).
            possible: Flags of the segments that are possible, shape (units, longest); others have the score
                IMPOSSIBLE.
        """
        batch, most = chunks.shape
        device = chunks.device
        inside = torch.arange(most, device=device)[None, :] < lengths[:, None]  # shape (chunks, most)
        embedded = self.dropout(self.embedding(torch.where(inside, chunks, END)))
        start = self.embedding.weight[BOS].expand(batch, 1, -1)
        context, _ = self.encoder(torch.cat([start, embedded[:, :-1]], 1))
        context = self.dropout(0.5 * context)[inside]  # shape (units, hidden): the state before each unit

        # One decoder run covers all starts: a unit contributes the same to the gates for every start.
        gates = self.decoder_input(embedded)
        units = context.shape[0]
        row, column = inside.nonzero(as_tuple=True)
        state = torch.tanh(self.first_hidden(context))
        cell = torch.zeros_like(state)
        step_gates = self.decoder_input(self.first_input(context))
        outputs = []
        for step in range(self.longest + 1):
            if step:
                step_gates = gates[row, torch.clamp(column + step - 1, max=most - 1)]
            i, f, g, o = (step_gates + self.decoder_hidden(state)).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            state = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(state)
        output = self.dropout(torch.stack(outputs))  # shape (longest + 1, units, hidden)

        following = torch.zeros(self.longest + 1, units, dtype=torch.long, device=device)
        for step in range(self.longest):
            following[step] = chunks[row, torch.clamp(column + step, max=most - 1)]
        steps = torch.arange(self.longest + 1, device=device)[:, None]
        needed = steps <= (possible * steps[1:, 0]).amax(1)  # by some possible segment
        states = output[needed], self.embedding.weight, self.bias, following[needed]
        written, ended = (
            torch.zeros(needed.shape, device=device).masked_scatter(needed, values)
            for values in log_probabilities(*states, END)
        )
        scores = torch.cumsum(written[:-1], 0) + ended[1:]  # shape (longest, units)
        lattice: Tensor = scores.t().masked_fill(~possible, IMPOSSIBLE).contiguous()
        return lattice


class _LogLikelihood(torch.autograd.Function):
    """Sum of the chunks' log-likelihoods; the gradient with respect to a segment's score is its posterior."""

    @staticmethod
    def forward(ctx, scores: Tensor, offsets: npt.NDArray[np.int64]) -> Tensor:  # type: ignore[no-untyped-def]
        posteriors = np.empty(scores.shape, np.float32)
        total = kernels.forward_backward(scores.detach().numpy(), offsets, posteriors)
        ctx.save_for_backward(torch.from_numpy(posteriors))
        return torch.tensor(total.sum(), dtype=scores.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (posteriors,) = ctx.saved_tensors
        return gradient * posteriors, None


def log_likelihood(scores: Tensor, offsets: npt.NDArray[np.int64]) -> Tensor:
    """Return the log-likelihood of a batch, a scalar. ``offsets``: first unit of each chunk, shape (chunks + 1,)."""
    total: Tensor = _LogLikelihood.apply(scores, offsets)  # type: ignore[no-untyped-call]
    return total
