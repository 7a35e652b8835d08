"""A genetic search over Bezier curves, run by pygad."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pygad

from seampack.errors import ConfigError, DataError
from seampack.models.rope_scaling.bezier import bezier
from seampack.models.rope_scaling.config import RopeScalingConfig

Floats = npt.NDArray[np.float64]
_MUTATED = 0.5  # share of an offspring's control points that a mutation moves


@dataclass(frozen=True, slots=True)
class Found:
    """The best curve of a search."""

    control_points: tuple[float, ...]
    factors: Floats
    """Shape (layers,)."""
    fitness: float
    unscaled: float
    """Fitness of all ones, which every search starts from."""
    convergence: list[dict[str, Any]]
    """One row a generation: generation, best, mean, evaluations (distinct curves so far)."""


class BezierSearch:
    """Find the control points whose curve over the layers has the largest fitness.

    ``fitness`` takes the factors, shape (layers,), and gives a number. Control points lie on a grid within ``bounds``
    with 1 on it. The first population is all ones, uniform curves spread over the grid, and, for the other half, random
    ones. Then the best ``elite`` live on, uniform crossover of the better half fills the population, and each control
    point of an offspring is moved with probability one half, by a normal step on the grid. No curve is measured twice.
    """

    def __init__(
        self,
        fitness: Callable[[Floats], float],
        bounds: tuple[float, float] = (0.5, 2.0),
        control_points: int = 4,
        *,
        layers: int,
        step: float = 0.05,
        population: int = 16,
        generations: int = 10,
        elite: int = 4,
        mutation_sigma: float = 0.25,
        seed: int = 0,
    ) -> None:
        """Raises ConfigError for options that cannot work; their ranges are those of ``RopeScalingConfig``."""
        self.options = RopeScalingConfig(
            low=bounds[0],
            high=bounds[1],
            step=step,
            control_points=control_points,
            population=population,
            generations=generations,
            elite=elite,
            mutation_sigma=mutation_sigma,
            seed=seed,
        )
        if layers < 1:
            raise ConfigError(f"layers: expected at least 1; got {layers}")
        self.layers = layers
        self.grid = factor_grid(bounds[0], bounds[1], step)
        self._fitness = fitness
        self._measured: dict[tuple[int, ...], float] = {}

    def run(self, report: Callable[[dict[str, Any]], None] | None = None) -> Found:
        """Search; ``report`` is told of each generation. Raises DataError where the fitness is not a finite number."""
        options, grid = self.options, self.grid
        rng = np.random.default_rng(options.seed)
        convergence: list[dict[str, Any]] = []

        def measured(_: Any, genes: npt.NDArray[np.int64], __: int) -> float:
            return self._measure(genes)

        def mutated(offspring: npt.NDArray[np.int64], _: Any) -> npt.NDArray[np.int64]:
            steps = rng.normal(0, options.mutation_sigma * max(grid.size - 1, 1), offspring.shape)
            moved = np.where(rng.random(offspring.shape) < _MUTATED, np.rint(steps), 0).astype(np.int64)
            kept: npt.NDArray[np.int64] = np.clip(offspring + moved, 0, grid.size - 1)
            return kept

        def note(values: Any) -> None:
            row = {"generation": len(convergence), "best": float(np.max(values)), "mean": float(np.mean(values))}
            convergence.append(row | {"evaluations": len(self._measured)})
            if report is not None:
                report(convergence[-1])

        first = self._first_population(rng)
        if not options.generations:
            note([self._measure(genes) for genes in first])
        else:
            engine = pygad.GA(
                num_generations=options.generations,
                num_parents_mating=max(2, options.population // 2),
                fitness_func=measured,
                initial_population=first,
                gene_type=int,
                gene_space=list(range(grid.size)),
                keep_elitism=options.elite,
                crossover_type="uniform",
                mutation_type=mutated,
                on_fitness=lambda _, values: note(values),
                random_seed=options.seed,
                suppress_warnings=True,
                logger=logging.getLogger(__name__),
            )
            engine.run()
            note(engine.last_generation_fitness)
        best = max(self._measured, key=lambda genes: self._measured[genes])
        ones = (int(np.flatnonzero(grid == 1.0)[0]),) * options.control_points
        points = tuple(float(grid[gene]) for gene in best)
        curve = bezier(points, self.layers)
        return Found(points, curve, self._measured[best], self._measured[ones], convergence)

    def _measure(self, genes: npt.NDArray[np.int64]) -> float:
        key = tuple(map(int, genes))
        if key not in self._measured:
            value = float(self._fitness(bezier(self.grid[list(key)].tolist(), self.layers)))
            if not np.isfinite(value):
                raise DataError(f"the fitness of {self.grid[list(key)].tolist()} is {value}; expected a finite number")
            self._measured[key] = value
        return self._measured[key]

    def _first_population(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """All ones, uniform curves, random curves; shape (population, control points)."""
        options, size = self.options, self.grid.size
        one = int(np.flatnonzero(self.grid == 1.0)[0])
        uniform = max(1, options.population // 2)
        levels = np.rint(np.linspace(0, size - 1, uniform)).astype(np.int64)
        levels[np.abs(levels - one).argmin()] = one
        levels = levels[np.argsort(np.abs(levels - one), kind="stable")]
        random = rng.integers(0, size, (options.population - uniform, options.control_points))
        return np.concatenate([np.repeat(levels[:, None], options.control_points, 1), random])


def factor_grid(low: float, high: float, step: float) -> Floats:
    """The factors from ``low`` to ``high`` that are a whole number of steps from 1, in order."""
    below, above = (int(np.floor(distance / step + 1e-9)) for distance in (1 - low, high - 1))
    return np.round(1 + step * np.arange(-below, above + 1), 10)
