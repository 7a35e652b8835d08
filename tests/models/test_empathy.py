"""Empathy: the programme on the simplex against solvers, the gates, losses, metrics, files, and the adapter."""

import csv
import gzip
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from torch import Tensor, nn
from transformers import BartConfig, BartForConditionalGeneration, BertConfig, BertModel

from seampack.config import Config
from seampack.errors import ConfigError, DataError
from seampack.models import text
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Evaluation
from seampack.models.empathy import (
    EmotionReader,
    EmpathyConfig,
    EmpathyMetrics,
    EmpathyModel,
    GatedDecoderLayer,
    KnowledgeSelector,
    attach_knowledge,
    bleu,
    distinct,
    minimax_weights,
    perplexity,
    read_empathetic_dialogues,
    rouge,
    sentence_perplexity,
)
from seampack.models.empathy.adapter import ADAPTER
from seampack.models.empathy.selection import gradient_gram
from seampack.models.empathy.tokens import byte_tokenizer, collate, encode_context
from seampack.models.empathy.training import respond
from tests.models.contract import AdapterContract

Float = Any
REMOTE = os.environ.get("SEAMPACK_TEST_DATA")
"""Folder with ``dialogue/`` of EmpatheticDialogues, whose licence keeps it out of the repository."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small are slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


GLAD = ("I passed the exam today", "My sister had her baby", "We won the match at last", "They gave me the job")
SAD = ("My old dog died today", "I lost my job at last", "My best friend moved away", "We sold the house I grew up in")


def dialogues() -> Dataset:
    """Dialogues of our own; xReact tells of the emotion, xWant does not, and is missing where it is null."""
    rows = []
    for at in range(8):
        for emotion, events, reply, react in (
            ("joyful", GLAD, "That is wonderful, well done!", "happy"),
            ("sad", SAD, "I am so sorry for your loss.", "sad"),
        ):
            event = events[at % 4]
            longer = [f"{event}.", "Oh, tell me more.", "It was in the morning."] if at > 3 else [f"{event}."]
            knowledge = {"xReact": [react, "full of it"], "xWant": ["to eat"] if at % 3 else None}
            rows.append({"context": longer, "emotion": emotion, "target": reply, "knowledge": knowledge})
    return Dataset.from_list(rows)


OPTIONS: dict[str, Any] = {
    "hidden_size": 32,
    "layers": 1,
    "vocabulary": 400,
    "epochs": 25.0,
    "batch_rows": 8,
    "learning_rate": 1e-2,
    "max_target_tokens": 16,
    "beams": 3,
    "responses": 6,
}


# --- the programme on the simplex


def objective(gram: Float, losses: Float, weights: Float) -> float:
    return float(0.5 * weights @ gram @ weights - losses @ weights)


def solved_by_scipy(gram: Float, losses: Float) -> float:
    """The least value that SLSQP finds from the corners and the middle."""
    size = len(losses)
    scale = max(1.0, np.abs(gram).max(), np.ptp(losses))
    values = []
    for start in [*np.eye(size), np.full(size, 1 / size)]:
        found = minimize(
            lambda w: objective(gram, losses, w) / scale,
            start,
            jac=lambda w: (gram @ w - losses) / scale,
            bounds=[(0, 1)] * size,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 300},
        )
        weights = found.x.clip(0)
        values.append(objective(gram, losses, weights / weights.sum()))
    return min(values)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_minimax_is_as_good_as_a_reference_solver(size: int, rank: int) -> None:
    rng = np.random.default_rng(10 * size + rank)
    vectors, losses = rng.normal(size=(6, size, rank)), rng.uniform(0, 4, (6, size))
    gram = vectors @ vectors.transpose(0, 2, 1)
    weights = minimax_weights(gram, losses)
    for row in range(6):
        ours, theirs = objective(gram[row], losses[row], weights[row]), solved_by_scipy(gram[row], losses[row])
        assert ours <= theirs + 1e-9
        assert theirs <= ours + 1e-9


@given(arrays(np.float64, (4, 3), elements=st.integers(-3, 3)), arrays(np.float64, 4, elements=st.integers(0, 5)))
@settings(max_examples=60)
def test_minimax_cannot_be_improved(vectors: Float, losses: Float) -> None:
    """The conditions of a minimum: no piece has a smaller slope than those in use. Also where vectors repeat."""
    gram = vectors @ vectors.T
    weights = minimax_weights(gram[None], losses[None])[0]
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    slopes = gram @ weights - losses
    assert weights @ slopes - slopes.min() <= 1e-9 * max(1, np.abs(gram).max())


def test_minimax_of_two_is_the_formula() -> None:
    """On a line the minimum is at ((f1 - f2) - (G12 - G22)) / (G11 - 2 G12 + G22), cut to 0 .. 1."""
    rng = np.random.default_rng(0)
    vectors, losses = rng.normal(size=(50, 2, 4)), rng.uniform(0, 2, (50, 2))
    gram = vectors @ vectors.transpose(0, 2, 1)
    line = gram[:, 0, 0] - 2 * gram[:, 0, 1] + gram[:, 1, 1]
    first = (((losses[:, 0] - losses[:, 1]) - (gram[:, 0, 1] - gram[:, 1, 1])) / line).clip(0, 1)
    np.testing.assert_allclose(minimax_weights(gram, losses)[:, 0], first, atol=1e-9)


def test_minimax_leaves_out_what_is_absent() -> None:
    rng = np.random.default_rng(1)
    vectors, losses = rng.normal(size=(4, 4, 6)), rng.uniform(0, 4, (4, 4))
    gram = vectors @ vectors.transpose(0, 2, 1)
    present = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], bool)
    weights = minimax_weights(gram, losses, present)
    assert not weights[~present].any()
    np.testing.assert_allclose(weights.sum(1), [1, 1, 1, 0])
    small = minimax_weights(gram[1:2][:, [0, 2]][:, :, [0, 2]], losses[1:2, [0, 2]])
    np.testing.assert_allclose(weights[1, [0, 2]], small[0], atol=1e-12)
    with pytest.raises(ConfigError, match="at most 12 pieces"):
        minimax_weights(np.zeros((1, 13, 13)), np.zeros((1, 13)))


def test_dual_is_the_best_step_for_the_worst_piece() -> None:
    """No step d makes 1/2 |d|^2 + max(f + G d) smaller than the programme's value, and - sum of w g reaches it."""
    rng = np.random.default_rng(2)
    vectors, losses = rng.normal(size=(3, 5)), rng.uniform(0, 3, 3)
    weights = minimax_weights((vectors @ vectors.T)[None], losses[None])[0]

    def worst(step: Float) -> float:
        return float(0.5 * step @ step + (losses + vectors @ step).max())

    best = -weights @ vectors
    assert worst(best) == pytest.approx(-objective(vectors @ vectors.T, losses, weights), abs=1e-9)
    assert all(worst(best + 0.1 * rng.normal(size=5)) > worst(best) for _ in range(200))


def test_gram_is_that_of_the_gradients_and_their_mean_over_emotions_is_nothing() -> None:
    torch.manual_seed(0)
    classifier = nn.Linear(6, 5, bias=False).double()
    pieces, label = torch.randn(1, 3, 6, dtype=torch.float64), torch.tensor([2])
    logits = classifier(pieces)
    gradients = []
    for at in range(3):
        loss = nn.functional.cross_entropy(logits[:, at], label)
        gradients.append(torch.autograd.grad(loss, classifier.weight, retain_graph=True)[0])
    target = nn.functional.one_hot(label, 5).double()
    flat = torch.stack(gradients).flatten(1)
    torch.testing.assert_close(gradient_gram(logits, target, pieces)[0], flat @ flat.T)
    assert torch.stack(gradients).mean(1).abs().max() < 1e-15
    assert flat.abs().max() > 0.05


# --- choosing


def test_selectors_by_hand() -> None:
    logits = torch.tensor([[[3.0, 0.0], [0.0, 3.0], [1.0, 1.0]]])
    context, pieces = torch.tensor([[2.0, 0.0]]), torch.ones(1, 3, 4)
    present = torch.tensor([[True, True, False]])
    p = 1 / (1 + math.exp(-2))
    low, high = math.log(1 + math.exp(-3)), math.log(1 + math.exp(3))
    losses = [p * low + (1 - p) * high, p * high + (1 - p) * low]
    share = 1 / (1 + math.exp((losses[0] - losses[1]) / 0.5))
    soft = KnowledgeSelector("soft", 0.5)(logits, context, pieces, present, torch.tensor([1]))
    torch.testing.assert_close(soft, torch.tensor([[share, 1 - share, 0]]))
    by_label = KnowledgeSelector("label", 0.5)
    gold = 1 / (1 + math.exp((high - low) / 0.5))
    told = by_label(logits, context, pieces, present, torch.tensor([1]))
    torch.testing.assert_close(told, torch.tensor([[gold, 1 - gold, 0]]))
    torch.testing.assert_close(by_label(logits, context, pieces, present, None), soft)
    uniform = KnowledgeSelector("uniform")(logits, context, pieces, present, None)
    torch.testing.assert_close(uniform, torch.tensor([[0.5, 0.5, 0]]))


@pytest.mark.parametrize("mode", ["soft", "label", "minimax", "uniform"])
def test_each_row_is_chosen_for_alone(mode: str) -> None:
    torch.manual_seed(0)
    logits, context, pieces = torch.randn(4, 3, 5), torch.randn(4, 5), torch.randn(4, 3, 6)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]).bool()
    select = KnowledgeSelector(mode)
    for label in (None, torch.tensor([0, 1, 2, 3])):
        together = select(logits, context, pieces, present, label)
        torch.testing.assert_close(together.sum(1), torch.tensor([1.0, 1, 1, 0]))
        assert not together[~present].any()
        for row in range(4):
            one = slice(row, row + 1)
            alone = select(logits[one], context[one], pieces[one], present[one], None if label is None else label[one])
            torch.testing.assert_close(alone[0], together[row])


def test_wrong_selectors_are_named() -> None:
    with pytest.raises(ConfigError, match="expected one of soft, label, minimax, uniform; got 'best'"):
        KnowledgeSelector("best")
    with pytest.raises(ConfigError, match="above 0"):
        KnowledgeSelector("soft", 0)
    with pytest.raises(ConfigError, match="multiple of 4"):
        EmpathyConfig(hidden_size=30)
    with pytest.raises(ConfigError, match="each name once"):
        EmpathyConfig(relations=("a", "a"))
    with pytest.raises(ConfigError, match="soft, label, minimax, uniform, none"):
        EmpathyConfig(selection="some")


def test_reader_learns_which_piece_tells_the_emotion() -> None:
    """The right piece is noisy, the context noisier, the others tell of other emotions."""
    torch.manual_seed(0)
    means, rows = 2 * torch.eye(4, 16), 400
    label, wrong, right = (torch.randint(size, (rows,)) for size in (4, 4, 3))
    pieces = means[torch.randint(4, (rows, 3))]
    pieces[torch.arange(rows), right] = means[label]
    context = 0.6 * means[label] + 0.3 * means[wrong] + 0.3 * torch.randn(rows, 16)
    reader = EmotionReader(16, 4, KnowledgeSelector("soft", 0.5), dropout=0)
    optimizer = torch.optim.Adam(reader.parameters(), 0.05)
    present = torch.ones(rows, 3, dtype=torch.bool)
    for _ in range(60):
        loss = reader(context, pieces, present, label).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        reading = reader(context, pieces, present)
    told = (pieces == means[label][:, None]).all(-1)
    assert (reading.logits.argmax(1) == label).float().mean() > 0.95
    assert (reading.weights * told).sum(1).mean() > 0.8
    assert reading.loss is None


@pytest.mark.parametrize("selector", [None, KnowledgeSelector("soft"), KnowledgeSelector("uniform")])
def test_the_loss_weighs_as_much_with_knowledge_as_without(selector: KnowledgeSelector | None) -> None:
    reader = EmotionReader(8, 4, selector, dropout=0)
    nn.init.zeros_(reader.classifier.weight)
    nn.init.zeros_(reader.classifier.bias)
    present = torch.tensor([[True, True, False]] * 5)
    loss = reader(torch.randn(5, 8), torch.randn(5, 3, 8), present, torch.zeros(5, dtype=torch.long)).loss
    torch.testing.assert_close(loss, torch.tensor(math.log(4)))


# --- the decoder


def tiny(**changes: Any) -> EmpathyModel:
    torch.manual_seed(0)
    shape = BartConfig(
        vocab_size=60,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
        dropout=0.0,
        decoder_start_token_id=0,
    )
    shape.update({"emotions": 3, "selection": "soft", "selection_temperature": 1.0, "emotion_weight": 1.0, **changes})
    return EmpathyModel(shape).eval()


def batch(rows: int = 3, relations: int = 4) -> dict[str, Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(rows, relations, 5, dtype=torch.long)
    mask[0, 1, 3:] = 0
    mask[1, 2] = 0
    mask[2] = 0
    attention = torch.ones(rows, 7, dtype=torch.long)
    attention[1, 4:] = 0
    return {
        "input_ids": torch.randint(5, 60, (rows, 7)),
        "attention_mask": attention,
        "knowledge_ids": torch.randint(5, 60, (rows, relations, 5)) * mask + 1 - mask,
        "knowledge_mask": mask,
    }


LABELS = torch.tensor([[7, 8, 9, 2], [10, 2, -100, -100], [11, 12, 2, -100]])


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
    """A bias of log w multiplies the shares of attention by w: with equal keys the mix of values is the weights'."""
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


def test_what_is_padding_or_absent_changes_nothing() -> None:
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
    """Padding has no part in it, whatever the batch's width; the emotion's loss is added by its weight."""
    model, inputs = tiny(emotion_weight=0.5), batch()
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
    without = tiny(selection="none")
    with torch.no_grad():
        torch.testing.assert_close(without(**inputs, labels=LABELS).logits, without(**other, labels=LABELS).logits)


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_has_knowledge_at_every_step_and_beam(beams: int) -> None:
    """The search's likelihood of what it found, step by step with a cache, is that of one pass over all of it."""
    model, inputs = tiny(), batch()
    with torch.no_grad():
        given = model.understand(**inputs).inputs
        found = model.generate(
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
            ids = found.sequences[row : row + 1, 1:]
            one = {name: value[row : row + 1] for name, value in inputs.items()}
            logits = model(**model.understand(**one).inputs, labels=ids).logits
            steps = logits.log_softmax(-1).gather(-1, ids.unsqueeze(-1))[0, :-1, 0]
            logits[:, :-1, model.config.eos_token_id] = -torch.inf  # responses may not end before 5 tokens
            if beams == 1:
                torch.testing.assert_close(logits[0, :-1].argmax(-1), ids[0, :-1])
            else:  # the fifth token is forced to be the end
                torch.testing.assert_close(found.sequences_scores[row], steps.sum(), atol=1e-4, rtol=1e-4)


def test_pretrained_bart_goes_on(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(["well done well done"], 300)
    shape = tiny(vocab_size=len(tokenizer)).config
    tokenizer.save_pretrained(tmp_path)
    with text.quiet():
        BartForConditionalGeneration(shape).save_pretrained(tmp_path)
    config = EmpathyConfig(base_model=str(tmp_path), epochs=1.0, responses=0, max_context_tokens=32)
    prepared = ADAPTER.prepare(dialogues(), config)
    artifact = ADAPTER.train(prepared, config)
    assert artifact.parts["model"].config.d_model == 16
    assert ADAPTER.evaluate(prepared, artifact, config).metrics["dist_1"] is None
    with pytest.raises(DataError, match="no BART can be loaded"):
        ADAPTER.train(prepared, config.replace(base_model=str(tmp_path / "nothing")))


# --- tokens


def test_tokens() -> None:
    tokenizer = byte_tokenizer(["I am here. 我在 </s> <pad>"] * 2, 400)
    words = "Am I </s> there, 我?"
    ids = encode_context(tokenizer, [[words, "I am"], ["I"]], 100)
    assert tokenizer.decode(ids[0][1:]) == f"{words}</s>I am</s>"
    assert ids[0].count(tokenizer.eos_token_id) == 2
    assert encode_context(tokenizer, [[words, "I am"]], 4)[0] == [tokenizer.bos_token_id, *ids[0][-3:]]
    row = {"context": ["I"], "knowledge": {"a": ["am", " "], "b": []}, "target": "here", "label": 1}
    made = collate(tokenizer, [row, row | {"target": "here I am"}], ["a", "b"], (9, 9, 9))
    assert tokenizer.decode(made["knowledge_ids"][0, 0], skip_special_tokens=True) == "a: am"
    assert not made["knowledge_mask"][:, 1].any()
    assert made["labels"][0, -1] == -100
    assert tokenizer.decode(made["labels"][1]) == "here I am</s>"


# --- metrics


def test_perplexities() -> None:
    nll, tokens = [4 * math.log(2), math.log(16)], [4, 1]
    assert perplexity(nll, tokens) == pytest.approx(2 ** (8 / 5))
    assert sentence_perplexity(nll, tokens) == pytest.approx((2 + 16) / 2)
    with pytest.raises(DataError, match="counts from 1"):
        perplexity([1.0], [0])


@given(st.lists(st.text("ab ", max_size=12), max_size=6), st.integers(1, 3))
def test_distinct_is_what_it_says(texts: list[str], n: int) -> None:
    grams: list[str] = []
    for each in texts:
        words = each.split()
        grams += [" ".join(words[at : at + n]) for at in range(len(words) - n + 1)]
    assert distinct(texts, n) == (100 * len(set(grams)) / len(grams) if grams else 0)


def test_bleu_and_rouge_by_hand() -> None:
    said, truth = ["the cat sat on the mat", "hello there"], ["The cat lay on the mat", "hello you there"]
    scores = bleu(said, truth)
    brevity = math.exp(1 - 9 / 8)
    assert scores["bleu_1"] == pytest.approx(100 * brevity * 7 / 8)
    assert scores["bleu_2"] == pytest.approx(100 * brevity * math.sqrt(7 / 8 * 3 / 6))
    assert scores["bleu_4"] < scores["bleu_3"] < scores["bleu_2"]
    found = rouge(said, truth)
    assert found["rouge_1"] == pytest.approx(100 * (5 / 6 + 2 * 2 / 5) / 2)
    assert found["rouge_2"] == pytest.approx(100 * (3 / 5 + 0) / 2)
    assert found["rouge_l"] == pytest.approx(found["rouge_1"])
    with pytest.raises(DataError, match="a reference for each"):
        bleu(said, truth[:1])
    assert EmpathyMetrics.of([1.0], [1]).to_dict()["bleu_4"] is None


# --- files and knowledge


def test_reads_the_official_csv(tmp_path: Path) -> None:
    lines = [
        "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags",
        'hit:1_conv:2,1,sad,He left_comma_ so,1,He said "bye_comma_,5|5|5_2|2|5,',
        "hit:1_conv:2,2,sad,He left_comma_ so,2,Oh_comma_ no,5|5|5_2|2|5,",
        "hit:1_conv:2,3,sad,He left_comma_ so,1,Yes,5|5|5_2|2|5,",
        "hit:1_conv:2,4,sad,He left_comma_ so,2,Sorry,5|5|5_2|2|5,",
        "hit:2_conv:4,1,proud,I won,3,I won,5|5|5_2|2|5,",
    ]
    path = tmp_path / "train.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    found = read_empathetic_dialogues(path).to_list()
    first = 'He said "bye,'
    assert found == [
        {"context": [first], "emotion": "sad", "situation": "He left, so", "target": "Oh, no"},
        {"context": [first, "Oh, no", "Yes"], "emotion": "sad", "situation": "He left, so", "target": "Sorry"},
    ]
    for content, message in (
        ("", "the file is empty"),
        ("a,b\n1,2\n", "no column 'conv_id'"),
        ("\n".join([lines[0], "x,one"]), "line 2"),
        ("\n".join([lines[0], lines[-1]]), "no turn of a listener"),
    ):
        path.write_text(content, "utf-8")
        with pytest.raises(DataError, match=message):
            read_empathetic_dialogues(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_empathetic_dialogues(tmp_path / "no.csv")


def test_reads_generated_commonsense(tmp_path: Path) -> None:
    row = {"emotion": "sad", "situation": "s", "context": ["c"], "target": "t", "CICERO_cause": "He left."}
    with gzip.open(tmp_path / "test.json.gz", "wt", encoding="utf-8") as file:
        json.dump([row, row | {"CICERO_cause": None}], file)
    found = read_empathetic_dialogues(tmp_path / "test.json.gz")
    assert found["knowledge"][:] == [{"cause": ["He left."]}, {"cause": []}]
    (tmp_path / "bad.json").write_text('[{"emotion": "sad", "context": ["c"], "target": "t"}]', "utf-8")
    with pytest.raises(DataError, match="situation"):
        read_empathetic_dialogues(tmp_path / "bad.json")


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    """A sentence encoder without layers: texts with the same words are near."""
    words = text.word_tokenizer(["my dog died . i won the match to cry be proud cat ate fish"] * 2)
    words.save_pretrained(tmp_path / "encoder")
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=0,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=1.0,
    )
    model = BertModel(shape, add_pooling_layer=False)
    with torch.no_grad():
        table = model.embeddings
        for shared in (table.position_embeddings.weight, table.token_type_embeddings.weight):
            shared.zero_()
        table.word_embeddings.weight[:5] = 0  # special tokens
    with text.quiet():
        model.save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "encoder")


def test_attaches_the_nearest_knowledge(encoder: str) -> None:
    table = Dataset.from_list(
        [
            {"head": "dog died", "relation": "xReact", "tail": "sad"},
            {"head": "dog died", "relation": "xReact", "tail": "sad "},
            *({"head": "dog died", "relation": "xReact", "tail": tail} for tail in ("none", " None ", "NONE", " ")),
            {"head": "the dog died", "relation": "xReact", "tail": "lonely"},
            {"head": "the dog died", "relation": "xWant", "tail": "to cry"},
            {"head": "won match", "relation": "xReact", "tail": "proud"},
        ]
    )
    rows = Dataset.from_list([{"context": ["be proud", "my dog died."]}, {"context": ["i won the match."]}])
    found = attach_knowledge(rows, table, encoder=encoder, tails=2, least_similarity=0.45)
    assert found["knowledge"][:] == [
        {"xReact": ["sad", "lonely"], "xWant": ["to cry"]},
        {"xReact": ["proud"], "xWant": []},
    ]
    again = attach_knowledge(rows.add_column("knowledge", ["a", "b"]), table, encoder=encoder)
    assert again["knowledge_given"][:] == ["a", "b"]
    fewer = attach_knowledge(rows, table, encoder=encoder, relations=["xWant"], tails=1, least_similarity=-1)
    assert fewer["knowledge"][:] == [{"xWant": ["to cry"]}] * 2
    with pytest.raises(DataError, match="no relation 'xNeed'"):
        attach_knowledge(rows, table, encoder=encoder, relations=["xNeed"])
    with pytest.raises(DataError, match="tail"):
        attach_knowledge(rows, table.remove_columns("tail"), encoder=encoder)
    with pytest.raises(ConfigError, match="pretrained"):
        attach_knowledge(rows, table, encoder="small")


@pytest.mark.skipif(not REMOTE, reason="SEAMPACK_TEST_DATA names no folder with dialogue/")
def test_empathetic_dialogues() -> None:
    """The 5,255 responses of the test set, words as they stand between white space."""
    test = read_empathetic_dialogues(Path(str(REMOTE)) / "dialogue" / "empathetic_test_cicero.json.gz")
    assert len(test) == 5255
    assert len(test.unique("emotion")) == 32
    assert list(test[0]["knowledge"]) == ["cause", "subs", "emo"]
    assert distinct(test["target"][:], 1) == pytest.approx(12.18, abs=0.01)
    assert distinct(test["target"][:], 2) == pytest.approx(52.66, abs=0.01)


# --- the adapter


class TestEmpathy(AdapterContract):
    method: ClassVar[str] = "empathy"
    options: ClassVar[dict[str, Any]] = OPTIONS
    tolerance: ClassVar[float] = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return dialogues()

    def test_what_it_learned(self, evaluation: Evaluation, artifact: Artifact, prepared: Dataset) -> None:
        metrics, rows = evaluation.metrics, evaluation.rows
        assert metrics["emotion_accuracy"] == 1
        assert metrics["perplexity"] < 1.5
        assert metrics["responses"] == 6
        assert metrics["bleu_4"] > 60
        assert rows["response"][6:] == [None] * (len(prepared) - 6)
        assert rows["response"][0] == "That is wonderful, well done!"
        assert rows["response"][1] == "I am so sorry for your loss."
        assert rows["emotion_pred"][:] == prepared["label"][:]
        np.testing.assert_allclose(np.sum(rows["emotion_probs"][:], 1), 1, atol=1e-5)
        for weights, knowledge in zip(rows["relation_weights"][:], prepared["knowledge"][:], strict=True):
            assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
            assert (weights["xWant"] == 0) == (not knowledge["xWant"])
        by_relation = {row["relation"]: row["mean_weight"] for row in evaluation.tables["relations"]}
        assert by_relation["xReact"] > 0.6
        assert artifact.facts["losses"][-1] < artifact.facts["losses"][0] / 4

    def test_same_seed_same_model(self, adapter: "Adapter[Any]", prepared: Dataset, config: Config) -> None:
        short = config.replace(epochs=1.0)
        one, two = (text.tensors_of(adapter.train(prepared, short).parts["model"]) for _ in range(2))
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)

    def test_penalty_keeps_responses_from_repeating(self, artifact: Artifact, prepared: Dataset, config: Any) -> None:
        model, tokenizer = artifact.parts["model"], artifact.parts["tokenizer"]
        relations = artifact.facts["relations"]
        rows = collate(tokenizer, prepared.select(range(2)).to_list(), relations, (32, 16, 16))
        with torch.no_grad():
            given = model.understand(*(rows[name] for name in list(rows)[:4])).inputs
            free = respond(model, tokenizer, given, config.replace(repetition_penalty=1.0))
            assert respond(model, tokenizer, given, config.replace(repetition_penalty=10.0)) != [""] * 2
        assert free == ["That is wonderful, well done!", "I am so sorry for your loss."]

    def test_options_of_training_stay(
        self, adapter: "Adapter[Any]", artifact: Artifact, prepared: Dataset, config: Config
    ) -> None:
        with pytest.raises(ConfigError, match="selection: the model was trained with 'soft'; got 'uniform'"):
            adapter.evaluate(prepared, artifact, config.replace(selection="uniform"))

    def test_unknown_emotions_and_lost_relations_are_named(
        self, adapter: "Adapter[Any]", artifact: Artifact, dataset: Dataset, config: Config
    ) -> None:
        other = adapter.prepare(dataset.map(lambda row: {"emotion": "angry"}), config)
        with pytest.raises(DataError, match="unknown label 'angry'"):
            adapter.evaluate(other, artifact, config)
        less = Dataset.from_list([{**row, "knowledge": {"xReact": ["sad"]}} for row in dataset.to_list()])
        with pytest.raises(DataError, match="no relation 'xWant'"):
            adapter.evaluate(adapter.prepare(less, config), artifact, config)


def test_prepare_takes_plain_columns(tmp_path: Path) -> None:
    """A CSV of one's own: one text as the context, a column for each relation."""
    path = tmp_path / "own.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["said", "mood", "answer", "xReact", "xWant"])
        writer.writerows([["I won.", "glad", "Great!", "proud", "to party"], ["I lost.", "low", "Oh no.", "sad", ""]])
    from seampack.models.data import load

    own = load(str(path))
    columns = {"context_column": "said", "emotion_column": "mood", "target_column": "answer"}
    config = EmpathyConfig(**columns, relations=["xReact", "xWant"])
    prepared = ADAPTER.prepare(own, config)
    assert prepared["context"][:] == [["I won."], ["I lost."]]
    assert prepared["knowledge"][1] == {"xReact": ["sad"], "xWant": []}
    assert prepared.features["label"].names == ["glad", "low"]
    assert ADAPTER.prepare(prepared, config).to_dict() == prepared.to_dict()
    without = ADAPTER.prepare(own, EmpathyConfig(**columns, selection="none"))
    assert "knowledge" not in without.column_names
    with pytest.raises(DataError, match="selection=none"):
        ADAPTER.prepare(own, EmpathyConfig(**columns))


def test_columns_in_the_way_are_kept() -> None:
    rows = {"context": ["my context"], "target": [["I won."]], "label": ["Great!"], "emotion": [3], "mood": ["glad"]}
    own = Dataset.from_dict(rows | {"knowledge": ["mine"], "facts": [{"xReact": ["proud"]}]})
    columns = {"context_column": "target", "emotion_column": "mood", "target_column": "label"}
    config = EmpathyConfig(**columns, knowledge_column="facts")
    wanted = {"context": ["I won."], "target": "Great!", "label": 0, "context_given": "my context", "emotion": 3}
    prepared = ADAPTER.prepare(own, config)
    assert prepared[0] == wanted | {"knowledge": {"xReact": ["proud"]}, "knowledge_given": "mine"}
    without = ADAPTER.prepare(own.remove_columns("facts"), config.replace(selection="none"))
    assert without[0] == wanted | {"knowledge": "mine"}
    only = ADAPTER.prepare(own.select_columns(["target", "mood", "label"]), config.replace(selection="none"))
    assert only[0] == {name: wanted[name] for name in ("context", "target", "label")}


def test_bad_values_are_named() -> None:
    good = dialogues()
    config = EmpathyConfig()
    for change, message in (
        ({"context": []}, "row 1: nothing has been said"),
        ({"context": 3}, "expected a list of texts; got 3"),
        ({"target": " "}, "16 responses are empty"),
        ({"knowledge": "sad"}, "expected relation: list of texts"),
        ({"knowledge": {"xReact": 3}}, "knowledge 'xReact': expected a list of texts"),
    ):
        rows = [row | change for row in good.to_list()]
        with pytest.raises(DataError, match=message):
            ADAPTER.prepare(Dataset.from_list(rows), config)
    with pytest.raises(DataError, match="no relation 'xNeed'; it has: xReact, xWant"):
        ADAPTER.prepare(good, config.replace(relations=("xNeed",)))
    one = ADAPTER.prepare(good.filter(lambda row: row["emotion"] == "sad"), config)
    with pytest.raises(DataError, match="at least 2 emotions"):
        ADAPTER.train(one, config)
