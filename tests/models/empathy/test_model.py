"""The gated decoder and the model: gates, masks, losses, generation."""

import pytest
import torch
from torch import nn

from seampack.models.empathy import EmpathyConfig, GatedDecoderLayer
from tests.models.empathy.helpers import LABELS, batch, tiny


def test_gate_by_hand() -> None:
    layer: GatedDecoderLayer = tiny().model.decoder.layers[0]
    x, states = torch.randn(2, 3, 16), torch.randn(2, 4, 16)
    bias = torch.tensor([[0.0, -torch.inf, -torch.inf, -torch.inf], [-torch.inf] * 4])
    with torch.no_grad():
        out = layer.take_in(x, states, bias)
        only = layer.knowledge_attn.out_proj(
            layer.knowledge_attn.v_proj(states[0, 0])
        )  # one piece: all attention on it
        gate = (layer.knowledge_gate(torch.cat([only.expand(3, -1), x[0]], -1)) - 2).sigmoid()
    torch.testing.assert_close(out[0], (1 - gate) * x[0] + gate * only)
    torch.testing.assert_close(out[1], x[1])


def test_attention_to_knowledge_follows_the_weights() -> None:
    """A bias of log w multiplies attention by w: with equal keys, the values are averaged with the weights."""
    layer: GatedDecoderLayer = tiny().model.decoder.layers[0]
    with torch.no_grad():
        layer.knowledge_attn.k_proj.weight.zero_()
        layer.knowledge_gate.bias.fill_(1e4)  # open
        states, weights = torch.randn(1, 3, 16), torch.tensor([[0.2, 0.5, 0.3]])
        out = layer.take_in(torch.randn(1, 1, 16), states, weights.log())
        mixed = layer.knowledge_attn.out_proj(layer.knowledge_attn.v_proj((weights.unsqueeze(-1) * states).sum(1)))
    torch.testing.assert_close(out[0], mixed)


def test_shapes_and_missing_knowledge() -> None:
    model, inputs = tiny(), batch()
    with torch.no_grad():
        understood = model.understand(**inputs)
        out = model(**inputs, labels=LABELS)
    assert understood.reading.logits.shape == (3, 3)
    assert understood.reading.weights.shape == (3, 4)
    torch.testing.assert_close(understood.reading.weights.sum(1), torch.tensor([1.0, 1, 0]))
    assert understood.reading.weights[1, 2] == 0
    assert understood.inputs["knowledge_states"].shape == (3, 20, 16)
    assert out.logits.shape == (3, 4, 60)
    assert out.logits.isfinite().all()


def test_padding_and_absent_knowledge_change_nothing() -> None:
    model, inputs = tiny(), batch()
    changed = {name: value.clone() for name, value in inputs.items()}
    changed["knowledge_ids"][changed["knowledge_mask"] == 0] = 33
    changed["input_ids"][changed["attention_mask"] == 0] = 33
    wider = {name: nn.functional.pad(value, (0, 2)) for name, value in inputs.items()}
    with torch.no_grad():
        expected = model(**inputs, labels=LABELS)
        for other in (changed, wider):
            torch.testing.assert_close(model(**other, labels=LABELS).logits, expected.logits, atol=1e-5, rtol=1e-5)


def test_loss_is_the_mean_over_true_tokens() -> None:
    """The loss ignores padding, for any width of the batch; the emotion loss is added with its weight."""
    model, inputs = tiny(EmpathyConfig(emotion_weight=0.5)), batch()
    with torch.no_grad():
        out = model(**inputs, labels=LABELS)
        chosen = out.logits.log_softmax(-1).gather(-1, LABELS.clamp(min=0).unsqueeze(-1))[..., 0]
        expected = -chosen[LABELS != -100].mean()
        torch.testing.assert_close(out.loss, expected)
        wider = model(**inputs, labels=nn.functional.pad(LABELS, (0, 3), value=-100))
        torch.testing.assert_close(wider.loss, expected)
        emotion = torch.tensor([0, 1, 2])
        both = model(**inputs, labels=LABELS, emotion=emotion)
        reading = model.understand(**inputs, emotion=emotion).reading
        torch.testing.assert_close(both.loss, expected + 0.5 * reading.loss)


def test_knowledge_reaches_the_response_and_gradients_reach_the_choice() -> None:
    model, inputs = tiny(), batch()
    other = inputs | {"knowledge_ids": inputs["knowledge_ids"].roll(1, -1)}
    out = model(**inputs, labels=LABELS)
    assert not torch.equal(out.logits[0], model(**other, labels=LABELS).logits[0])
    torch.testing.assert_close(out.logits[2], model(**other, labels=LABELS).logits[2])
    out.loss.backward()
    assert model.emotion.classifier.weight.grad.abs().max() > 0
    without = tiny(EmpathyConfig(selection="none"))
    with torch.no_grad():
        torch.testing.assert_close(without(**inputs, labels=LABELS).logits, without(**other, labels=LABELS).logits)


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_has_knowledge_at_every_step_and_beam(beams: int) -> None:
    """The likelihood that the search reports, step by step with a cache, equals the likelihood of one pass."""
    model, inputs = tiny(), batch()
    with torch.no_grad():
        given = model.understand(**inputs).inputs
        generated = model.generate(
            **given,
            num_beams=beams,
            do_sample=False,
            max_new_tokens=5,
            min_new_tokens=5,
            length_penalty=0.0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        for row in range(3):
            ids = generated.sequences[row : row + 1, 1:]
            one = {name: value[row : row + 1] for name, value in inputs.items()}
            logits = model(**model.understand(**one).inputs, labels=ids).logits
            steps = logits.log_softmax(-1).gather(-1, ids.unsqueeze(-1))[0, :-1, 0]
            logits[:, :-1, model.config.eos_token_id] = -torch.inf  # responses may not end before 5 tokens
            if beams == 1:
                torch.testing.assert_close(logits[0, :-1].argmax(-1), ids[0, :-1])
            else:  # the fifth token is forced to be the end
                torch.testing.assert_close(generated.sequences_scores[row], steps.sum(), atol=1e-4, rtol=1e-4)
