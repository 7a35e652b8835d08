"""The segmental language model against its definition."""

import pytest

from seampack.segmenter.config import TrainConfig
from seampack.segmenter.decoders import IMPOSSIBLE

torch = pytest.importorskip("torch")

from seampack.segmenter.language_model import END, SegmentalLM, _Writing  # noqa: E402


@pytest.mark.parametrize(("is_narrow", "scale", "error"), [(False, 1, 1e-4), (True, 1, 0.1), (True, 100, 1e-2)])
def test_scores_are_those_of_the_definition(
    is_narrow: bool, scale: int, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each segment's score against a decoder that runs for this segment alone, step by step.

    In bfloat16, too, and with logits whose exponentials overflow.
    """
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: is_narrow)
    torch.manual_seed(0)
    model = SegmentalLM(9, TrainConfig(longest=3, hidden=8)).eval()
    model.embedding.weight.data *= scale
    chunk = [3, 5, 4, 8, 3]
    single = torch.tensor([[False, False, False, True, False]])
    with torch.no_grad():
        found = model(torch.tensor([chunk]), torch.tensor([5]), single).numpy()
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


def test_gradients_of_the_output_layer() -> None:
    torch.manual_seed(0)
    shapes = (7, 5), (11, 5), (11,)
    states, weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    following = torch.randint(0, 11, (7,))
    assert torch.autograd.gradcheck(_Writing.apply, (states, weight, bias, following))
    logs = torch.log_softmax(states @ weight.t() + bias, 1)
    written, ended = _Writing.apply(states, weight, bias, following)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(written, logs[torch.arange(7), following])
    torch.testing.assert_close(ended, logs[:, END])
