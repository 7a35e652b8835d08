"""The segmental language model and its fast scores against the definition."""

import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.segmenter.config import TrainConfig
from seampack.segmenter.decoders import IMPOSSIBLE

torch = pytest.importorskip("torch")

from seampack.segmenter import scoring, softmax  # noqa: E402
from seampack.segmenter.corpus import ChunkCorpus, possible_segments  # noqa: E402
from seampack.segmenter.language_model import END, SegmentalLM  # noqa: E402
from seampack.segmenter.scoring import Scorer  # noqa: E402
from seampack.segmenter.softmax import Logits, log_probabilities  # noqa: E402


@pytest.mark.parametrize(
    ("is_fast", "is_narrow", "scale", "error"),
    [(False, False, 1, 1e-4), (True, False, 1, 1e-4), (True, True, 1, 0.1), (True, True, 100, 1e-2)],
)
def test_scores_are_those_of_the_definition(
    is_fast: bool, is_narrow: bool, scale: int, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each segment's score against a decoder that runs for this segment alone, step by step.

    In bfloat16, too, and with logits whose exponentials overflow.
    """
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: is_narrow)
    torch.manual_seed(0)
    model = SegmentalLM(9, TrainConfig(longest=3, hidden=8)).eval()
    model.embedding.weight.data *= scale
    chunk = [3, 5, 4, 8, 3]
    single = np.array([False, False, False, True, False])
    batch = torch.tensor([chunk]), torch.tensor([5]), torch.from_numpy(possible_segments(single, np.array([5]), 3))
    with torch.no_grad():
        found = (Scorer(model).scores(*batch) if is_fast else model(*batch)).numpy()
        for start in range(5):
            read = torch.tensor([[1, *chunk[:start]]])
            context = 0.5 * model.encoder(model.embedding(read))[0][0, -1]
            for length in range(1, 4):
                segment = chunk[start : start + length]
                if len(segment) < length or (length > 1 and 8 in segment):
                    assert found[start, length - 1] == IMPOSSIBLE
                    continue
                state, cell = torch.tanh(model.first_hidden(context)), torch.zeros(8)
                inputs = model.first_input(context)
                score = 0.0
                for symbol in [*segment, 0]:
                    gates = model.decoder_input(inputs) + model.decoder_hidden(state)
                    i, f, g, o = gates.chunk(4)
                    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                    state = torch.sigmoid(o) * torch.tanh(cell)
                    logits = model.embedding.weight @ state + model.bias
                    score += float(torch.log_softmax(logits, 0)[symbol])
                    inputs = model.embedding.weight[symbol]
                assert found[start, length - 1] == pytest.approx(score, abs=error)


@given(st.lists(st.lists(st.integers(2, 8), min_size=1, max_size=12), min_size=1, max_size=6), st.integers(0, 99))
def test_fast_scores_are_those_of_the_model(chunks: list[list[int]], seed: int) -> None:
    """For any wanted segments, with blocks smaller than the batch."""
    torch.manual_seed(seed)
    model = SegmentalLM(9, TrainConfig(longest=3, hidden=8)).eval()
    offsets = np.cumsum([0, *map(len, chunks)])
    ids = np.concatenate([*chunks])
    corpus = ChunkCorpus(ids, ids == 8, offsets, 9)
    padded, lengths, possible, _ = corpus.batch(np.arange(len(chunks)), 3)
    wanted = possible & (torch.rand(possible.shape) < 0.6)
    with (
        torch.no_grad(),
        mock.patch.object(scoring, "_STARTS", 4),
        mock.patch.object(softmax, "_STATES", 3),
        mock.patch.object(torch.cpu, "_is_avx512_bf16_supported", return_value=False),
    ):
        found = Scorer(model).scores(padded, lengths, wanted)
        torch.testing.assert_close(found, model(padded, lengths, wanted), atol=1e-4, rtol=1e-4)


@given(st.lists(st.lists(st.booleans(), max_size=5), max_size=4), st.integers(1, 4))
def test_possible_segments(chunks: list[list[bool]], longest: int) -> None:
    single = np.array([*itertools.chain(*chunks)], np.bool_)
    found = possible_segments(single, np.array([*map(len, chunks)], np.int64), longest)
    expected = [
        [
            start + size <= len(chunk) and (size == 1 or not any(chunk[start : start + size]))
            for size in range(1, longest + 1)
        ]
        for chunk in chunks
        for start in range(len(chunk))
    ]
    assert found.tolist() == expected


@given(st.integers(1, 9), st.integers(1, 4), st.sampled_from([1, 30]))
def test_log_probabilities_and_their_gradients(count: int, block: int, scale: int) -> None:
    """Against log_softmax, in blocks, and with logits whose exponentials overflow in 32 bits."""
    torch.manual_seed(count)
    shapes = (count, 5), (11, 5), (11,)
    states, weight, bias = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    weight *= scale
    inputs = (states.requires_grad_(), weight.requires_grad_(), bias.requires_grad_())
    following, upstream = torch.randint(0, 11, (count,)), torch.randn(2, count, dtype=torch.float64)
    logs = torch.log_softmax(states @ weight.t() + bias, 1)
    expected = logs[torch.arange(count), following], logs[:, END]
    with mock.patch.object(softmax, "_STATES", block):
        found = log_probabilities(states, weight, bias, following, END)
    torch.testing.assert_close(found, expected)
    for values in zip(
        *(torch.autograd.grad(output, inputs, tuple(upstream)) for output in (found, expected)), strict=True
    ):
        torch.testing.assert_close(*values)


@pytest.mark.skipif(
    not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)(), reason="the processor has no bfloat16"
)
@pytest.mark.parametrize("scale", [0.2, 0.5])
def test_bfloat16(scale: float) -> None:
    """Values and gradients are near those in 32 bits: 2 % of the largest."""
    torch.manual_seed(0)
    states, weight, bias = torch.rand(300, 64) * 2 - 1, torch.randn(500, 64) * scale, torch.randn(500)
    inputs = (states.requires_grad_(), weight.requires_grad_(), bias.requires_grad_())
    following = torch.randint(0, 500, (300,))
    results = []
    for is_narrow in (False, True):
        with mock.patch.object(torch.cpu, "_is_avx512_bf16_supported", return_value=is_narrow):
            assert Logits(weight, bias).kind is (torch.bfloat16 if is_narrow else torch.float32)
            outputs = log_probabilities(states, weight, bias, following, END)
            results.append([*outputs, *torch.autograd.grad(outputs, inputs, (torch.ones(300), torch.ones(300)))])
    for wide, narrow in zip(*results, strict=True):
        torch.testing.assert_close(narrow, wide, atol=0.02 * float(wide.detach().abs().max()), rtol=0)
