"""Weights of knowledge: the quadratic programme against reference solvers, and the selectors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from torch import nn

from seampack.errors import ConfigError
from seampack.models.empathy import EmpathyConfig, KnowledgeSelector, minimax_weights
from seampack.models.empathy.selection import gradient_gram

Float = Any


def selector(selection: str, temperature: float = 1.0) -> KnowledgeSelector:
    return KnowledgeSelector(EmpathyConfig(selection=selection, temperature=temperature))


def objective(gram: Float, losses: Float, weights: Float) -> float:
    return float(0.5 * weights @ gram @ weights - losses @ weights)


def solved_by_scipy(gram: Float, losses: Float) -> float:
    """The smallest value that SLSQP reaches from the corners and the centre."""
    size = len(losses)
    scale = max(1.0, np.abs(gram).max(), np.ptp(losses))
    values = []
    for start in [*np.eye(size), np.full(size, 1 / size)]:
        solution = minimize(
            lambda w: objective(gram, losses, w) / scale,
            start,
            jac=lambda w: (gram @ w - losses) / scale,
            bounds=[(0, 1)] * size,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 300},
        )
        weights = solution.x.clip(0)
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
    """No piece has a smaller slope than the pieces in use: the conditions of a minimum, also for equal vectors."""
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


def test_minimax_gives_absent_pieces_no_weight() -> None:
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
    """The step - sum of w g minimises 1/2 |d|^2 + max(f + G d), and its value is that of the programme."""
    rng = np.random.default_rng(2)
    vectors, losses = rng.normal(size=(3, 5)), rng.uniform(0, 3, 3)
    weights = minimax_weights((vectors @ vectors.T)[None], losses[None])[0]

    def worst(step: Float) -> float:
        return float(0.5 * step @ step + (losses + vectors @ step).max())

    best = -weights @ vectors
    assert worst(best) == pytest.approx(-objective(vectors @ vectors.T, losses, weights), abs=1e-9)
    assert all(worst(best + 0.1 * rng.normal(size=5)) > worst(best) for _ in range(200))


def test_gram_of_the_gradients_and_their_mean_over_emotions_is_zero() -> None:
    torch.manual_seed(0)
    classifier = nn.Linear(6, 5, bias=False).double()
    pieces, label = torch.randn(1, 3, 6, dtype=torch.float64), torch.tensor([2])
    logits = classifier(pieces)
    gradients = []
    for piece in range(3):
        loss = nn.functional.cross_entropy(logits[:, piece], label)
        gradients.append(torch.autograd.grad(loss, classifier.weight, retain_graph=True)[0])
    target = nn.functional.one_hot(label, 5).double()
    flat = torch.stack(gradients).flatten(1)
    torch.testing.assert_close(gradient_gram(logits, target, pieces)[0], flat @ flat.T)
    assert torch.stack(gradients).mean(1).abs().max() < 1e-15
    assert flat.abs().max() > 0.05


def test_selectors_by_hand() -> None:
    logits = torch.tensor([[[3.0, 0.0], [0.0, 3.0], [1.0, 1.0]]])
    context, pieces = torch.tensor([[2.0, 0.0]]), torch.ones(1, 3, 4)
    present = torch.tensor([[True, True, False]])
    p = 1 / (1 + math.exp(-2))
    low, high = math.log(1 + math.exp(-3)), math.log(1 + math.exp(3))
    losses = [p * low + (1 - p) * high, p * high + (1 - p) * low]
    share = 1 / (1 + math.exp((losses[0] - losses[1]) / 0.5))
    soft = selector("soft", 0.5)(logits, context, pieces, present, torch.tensor([1]))
    torch.testing.assert_close(soft, torch.tensor([[share, 1 - share, 0]]))
    by_label = selector("label", 0.5)
    gold = 1 / (1 + math.exp((high - low) / 0.5))
    with_label = by_label(logits, context, pieces, present, torch.tensor([1]))
    torch.testing.assert_close(with_label, torch.tensor([[gold, 1 - gold, 0]]))
    torch.testing.assert_close(by_label(logits, context, pieces, present, None), soft)
    uniform = selector("uniform")(logits, context, pieces, present, None)
    torch.testing.assert_close(uniform, torch.tensor([[0.5, 0.5, 0]]))


@pytest.mark.parametrize("mode", ["soft", "label", "minimax", "uniform"])
def test_rows_are_independent(mode: str) -> None:
    torch.manual_seed(0)
    logits, context, pieces = torch.randn(4, 3, 5), torch.randn(4, 5), torch.randn(4, 3, 6)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]]).bool()
    select = selector(mode)
    for label in (None, torch.tensor([0, 1, 2, 3])):
        together = select(logits, context, pieces, present, label)
        torch.testing.assert_close(together.sum(1), torch.tensor([1.0, 1, 1, 0]))
        assert not together[~present].any()
        for row in range(4):
            one = slice(row, row + 1)
            alone = select(logits[one], context[one], pieces[one], present[one], None if label is None else label[one])
            torch.testing.assert_close(alone[0], together[row])


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigError, match="a selector cannot weight knowledge with the selection 'none'"):
        selector("none")
    with pytest.raises(ConfigError, match="selection: expected one of soft, label, minimax, uniform, none; got 'best'"):
        selector("best")
    with pytest.raises(ConfigError, match="temperature: expected a number from"):
        selector("soft", 0)
    with pytest.raises(ConfigError, match="multiple of 4"):
        EmpathyConfig(hidden_size=30)
    with pytest.raises(ConfigError, match="each name once"):
        EmpathyConfig(relations=("a", "a"))
