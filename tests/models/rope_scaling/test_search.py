"""The curve and the search."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.models.rope_scaling import bezier
from seampack.models.rope_scaling.search import factor_grid
from tests.models.rope_scaling.helpers import search


class TestBezier:
    @given(st.lists(st.floats(0.1, 10), min_size=1, max_size=6), st.integers(1, 40))
    @settings(max_examples=100, deadline=None)
    def test_against_de_casteljau(self, points: list[float], layers: int) -> None:
        def casteljau(t: float) -> float:
            level = list(points)
            while len(level) > 1:
                level = [(1 - t) * a + t * b for a, b in pairwise(level)]
            return level[0]

        expected = [casteljau(layer / max(layers - 1, 1)) for layer in range(layers)]
        np.testing.assert_allclose(bezier(points, layers), expected, rtol=1e-12)

    def test_special_cases(self) -> None:
        np.testing.assert_allclose(bezier([1.0, 2.0], 5), [1, 1.25, 1.5, 1.75, 2])
        np.testing.assert_allclose(bezier([1.3], 3), [1.3] * 3)
        np.testing.assert_allclose(bezier([0.8] * 4, 30), [0.8] * 30)


class TestSearch:
    def test_finds_the_optimum(self) -> None:
        target = bezier([0.7, 1.6, 1.2, 0.9], 12)

        def fitness(factors: Any) -> float:
            return -float(((factors - target) ** 2).sum())

        result = search(fitness, 12, step=0.1, population=40, generations=60, seed=1).run()
        best = max(result.convergence, key=lambda row: row["best"])
        assert np.abs(result.factors - target).max() < 0.05
        assert result.fitness == best["best"] == fitness(result.factors)
        assert result.unscaled == fitness(np.ones(12))
        np.testing.assert_allclose(bezier(result.control_points, 12), result.factors)

    def test_a_line_is_found_by_two_points(self) -> None:
        target = bezier([1.5, 0.75], 8)

        def fitness(factors: Any) -> float:
            return -float(np.abs(factors - target).max())

        result = search(fitness, 8, control_points=2, step=0.25, generations=20).run()
        assert result.control_points == (1.5, 0.75)

    def test_first_population_and_report(self) -> None:
        measured: list[tuple[float, ...]] = []

        def fitness(factors: Any) -> float:
            measured.append(tuple(factors))
            return -abs(float(factors.mean()) - 1.2)

        reported: list[dict[str, Any]] = []
        result = search(fitness, 5, population=8, generations=6, elite=2, seed=3).run(reported.append)
        assert reported == result.convergence
        assert measured[0] == (1.0,) * 5
        uniform = {curve[0] for curve in measured[:4] if np.ptp(curve) < 1e-9}
        assert {round(value, 6) for value in uniform} == {1.0, 0.5, 1.5, 2.0}
        assert [row["generation"] for row in reported] == list(range(7))
        best = [row["best"] for row in reported]
        assert best == sorted(best), "the elite lives on"
        assert reported[-1]["evaluations"] == len(measured) <= 8 + 6 * 6
        again = search(fitness, 5, population=8, generations=6, elite=2, seed=3).run()
        assert again.control_points == result.control_points
        assert again.convergence == result.convergence

    def test_without_generations_the_best_of_the_first(self) -> None:
        result = search(lambda f: -float(f.sum()), 4, generations=0).run()
        assert result.control_points == (0.5,) * 4
        assert len(result.convergence) == 1

    def test_the_global_random_state_is_kept(self) -> None:
        before = np.random.get_state()[1].tolist()  # type: ignore[union-attr, index]
        search(lambda f: float(f.sum()), 2, generations=2).run()
        assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr, index]

    @given(st.floats(0.05, 1), st.floats(1, 4), st.floats(0.01, 1))
    @settings(max_examples=100, deadline=None)
    def test_the_grid(self, low: float, high: float, step: float) -> None:
        grid = factor_grid(low, high, step)
        assert 1.0 in grid
        assert grid[0] > low - 1e-6
        assert grid[-1] < high + 1e-6
        assert grid[0] - step < low + 1e-6
        assert grid[-1] + step > high - 1e-6

    def test_a_fitness_that_is_not_a_number(self) -> None:
        with pytest.raises(DataError, match="expected a finite number"):
            search(lambda f: float("nan"), 2).run()

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"low": 1.2}, "low"), ({"elite": 16}, "elite"), ({"layers": 0}, "layers"), ({"step": 0}, "step")],
    )
    def test_bad_options(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            search(lambda f: 0.0, **({"layers": 2} | options))
