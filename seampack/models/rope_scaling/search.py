"""A genetic search over Bezier curves, with pygad."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pygad

from seampack.errors import ConfigError, DataError
from seampack.models.rope_scaling.config import RopeScalingConfig
from seampack.models.rope_scaling.curves import bezier

Floats = npt.NDArray[np.float64]
Genes = npt.NDArray[np.int64]
"""Control points as indices into the grid of factors."""
_MUTATED = 0.5  # share of an offspring's control points that a mutation moves


@dataclass(frozen=True, slots=True)
class Found:
    """The best curve of a search."""

    control_points: tuple[float, ...]
    factors: Floats
    """Shape (layers,)."""
    fitness: float
    unscaled: float
    """Fitness of the constant curve 1, the first curve of every search."""
    convergence: list[dict[str, Any]]
    """One row per generation: generation, best, mean, evaluations (distinct curves so far)."""


class BezierSearch:
    """Search for the control points whose curve over the layers has the largest fitness.

    Control points are on a grid from ``config.low`` to ``config.high`` that contains 1. One half of the first
    population is constant curves spread over the grid, including the constant 1; the other half is random curves. In
    each generation, the ``config.elite`` best curves survive, uniform crossover of the better half fills the
    population, and each control point of an offspring moves with probability one half by a normal step on the grid. No
    curve is measured twice.
    """

    def __init__(self, fitness: Callable[[Floats], float], config: RopeScalingConfig, *, layers: int) -> None:
        """Set up a search.

        Args:
            fitness: Maps the factors, shape (layers,), to a number to maximise.
            config: Options of the search, and the seed.
            layers: Number of layers of the model. Raises ConfigError below 1.
        """
        if layers < 1:
            raise ConfigError(f"layers: expected at least 1; got {layers}")
        self.config = config
        self.layers = layers
        self.grid = factor_grid(config.low, config.high, config.step)
        self._fitness = fitness
        self._measured: dict[tuple[int, ...], float] = {}

    def run(self, report: Callable[[dict[str, Any]], None] | None = None) -> Found:
        """Run the search. ``report`` is called with one row per generation; see ``Found.convergence``.

        Raises DataError if the fitness is not a finite number.
        """
        config = self.config
        rng = np.random.default_rng(config.seed)
        convergence: list[dict[str, Any]] = []

        def record(values: Any) -> None:
            row = {"generation": len(convergence), "best": float(np.max(values)), "mean": float(np.mean(values))}
            convergence.append(row | {"evaluations": len(self._measured)})
            if report is not None:
                report(convergence[-1])

        first = self._first_population(rng)
        if not config.generations:
            record([self._measure(genes) for genes in first])
        else:
            engine = pygad.GA(
                num_generations=config.generations,
                num_parents_mating=max(2, config.population // 2),
                fitness_func=lambda _engine, genes, _index: self._measure(genes),
                initial_population=first,
                gene_type=int,
                gene_space=list(range(self.grid.size)),
                keep_elitism=config.elite,
                crossover_type="uniform",
                mutation_type=lambda offspring, _engine: self._mutated(offspring, rng),
                on_fitness=lambda _engine, values: record(values),
                random_seed=config.seed,
                suppress_warnings=True,
                logger=logging.getLogger(__name__),
            )
            engine.run()
            record(engine.last_generation_fitness)
        best = max(self._measured, key=lambda genes: self._measured[genes])
        unscaled = self._measured[(self._one(),) * config.control_points]
        points = tuple(float(self.grid[gene]) for gene in best)
        return Found(points, bezier(points, self.layers), self._measured[best], unscaled, convergence)

    def _measure(self, genes: Genes) -> float:
        """Return the fitness of a curve; measure it only once. Raise DataError if it is not a finite number."""
        key = tuple(map(int, genes))
        if key not in self._measured:
            points = self.grid[list(key)].tolist()
            value = float(self._fitness(bezier(points, self.layers)))
            if not np.isfinite(value):
                raise DataError(f"the fitness of {points} is {value}; expected a finite number")
            self._measured[key] = value
        return self._measured[key]

    def _mutated(self, offspring: Genes, rng: np.random.Generator) -> Genes:
        """Move some control points by normal steps, within the grid; shape (offspring, control points)."""
        last = self.grid.size - 1
        steps = rng.normal(0, self.config.mutation_sigma * max(last, 1), offspring.shape)
        moved = np.where(rng.random(offspring.shape) < _MUTATED, np.rint(steps), 0).astype(np.int64)
        clipped: Genes = np.clip(offspring + moved, 0, last)
        return clipped

    def _first_population(self, rng: np.random.Generator) -> Genes:
        """Return the constant 1, other constant curves, then random curves; shape (population, control points)."""
        config, size, one = self.config, self.grid.size, self._one()
        uniform = max(1, config.population // 2)
        levels = np.rint(np.linspace(0, size - 1, uniform)).astype(np.int64)
        levels[np.abs(levels - one).argmin()] = one
        levels = levels[np.argsort(np.abs(levels - one), kind="stable")]
        random = rng.integers(0, size, (config.population - uniform, config.control_points))
        return np.concatenate([np.repeat(levels[:, None], config.control_points, 1), random])

    def _one(self) -> int:
        """Return the index of the factor 1 in the grid."""
        return int(np.flatnonzero(self.grid == 1.0)[0])


def factor_grid(low: float, high: float, step: float) -> Floats:
    """Return the factors from ``low`` to ``high`` at a whole number of steps from 1, in ascending order."""
    below, above = (int(np.floor(distance / step + 1e-9)) for distance in (1 - low, high - 1))
    return np.round(1 + step * np.arange(-below, above + 1), 10)
