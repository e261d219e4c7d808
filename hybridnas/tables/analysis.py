"""What a table says of its space: how much of a score is the architecture, how much each decision.

A table holds every combination of its decisions once, with the same seeds: a balanced factorial
experiment, whose analysis of variance is exact (Montgomery, Design and Analysis of Experiments,
chapter 5).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..errors import ConfigError
from ..parts import Option
from ..space import Genome
from .table import Floats, Table


@dataclass(frozen=True, slots=True)
class Term:
    """What decisions explain together, beyond what fewer of them do.

    genes: one, two, or none, which stands for three and more. share: of the variance between
    architectures, both without seeds' noise (it may come out below 0). p: of the F test against
    that noise; None with one seed.
    """

    genes: tuple[str, ...]
    share: float
    p: float | None


@dataclass(frozen=True, slots=True)
class Effect:
    """How much better a choice is than the mean of all, over all other decisions. margin: half of
    the 95 % interval, for all choices of the table together (Bonferroni); None with one seed."""

    gene: str
    choice: Option
    better: float
    margin: float | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """mean, low, high: of the architectures' means over seeds. noise: standard deviation between
    seeds of one architecture; None with one seed. spread: the same between architectures, noise
    taken off where it is known. additive: share of what decisions explain one by one."""

    architectures: int
    seeds: int
    mean: float
    low: float
    high: float
    noise: float | None
    spread: float
    additive: float
    terms: tuple[Term, ...]
    effects: tuple[Effect, ...]

    @property
    def mean_error(self) -> float | None:
        """The standard error of an architecture's mean over seeds; None with one seed."""
        return None if self.noise is None else self.noise / math.sqrt(self.seeds)


@dataclass(frozen=True, slots=True)
class _Noise:
    """error: the variance of a mean over seeds that is noise, from so many degrees of freedom."""

    error: float
    freedom: int


def analyse(table: Table) -> Analysis:
    """Of the table's last fidelity, in units of its metric. Raises ConfigError for a table of one
    architecture."""
    scores = table.fidelities[-1].scores
    rows, runs = scores.shape
    if rows < 2:
        raise ConfigError(f"table {table.name!r} has one architecture: nothing to compare")
    variance = float(scores.var(axis=1, ddof=1).mean()) if runs > 1 else 0.0
    noise = _Noise(variance / runs, rows * (runs - 1))
    means = _grid(table)
    between = float(((means - means.mean()) ** 2).sum()) - (rows - 1) * noise.error
    terms = _terms(table, means, noise, between)
    return Analysis(
        rows,
        runs,
        float(means.mean()),
        float(means.min()),
        float(means.max()),
        math.sqrt(variance) if runs > 1 else None,
        math.sqrt(max(between, 0.0) / (rows - 1)),
        sum(term.share for term in terms if len(term.genes) == 1),
        terms,
        _effects(table, means, noise),
    )


def rank_of(table: Table, genome: Genome) -> int:
    """The place of an architecture by its mean over seeds, from 1, the best."""
    truth = table.truth
    own = truth[table.row(genome)]
    return 1 + int((truth > own if table.direction == "maximize" else truth < own).sum())


def _grid(table: Table) -> Floats:
    """Means over seeds, an axis a decision."""
    grid = np.empty([len(values) for values in table.genes.values()])
    for row, value in enumerate(table.truth):
        grid[table.categories(table.genome(row))] = value
    return grid


def _components(means: Floats) -> dict[tuple[int, ...], Floats]:
    """By one axis and by two the part of the means that they make beyond all fewer of them: the
    parts broadcast and are orthogonal.

    Those of more axes would be 2^decisions; together they are what is left, which takes none.
    """
    axes = range(means.ndim)

    def mean_along(*chosen: int) -> Floats:
        others = tuple(axis for axis in axes if axis not in chosen)
        return np.asarray(means.mean(axis=others, keepdims=True))

    mean = mean_along()
    found: dict[tuple[int, ...], Floats] = {(axis,): mean_along(axis) - mean for axis in axes}
    for one, two in itertools.combinations(axes, 2):
        found[one, two] = mean_along(one, two) - found[one,] - found[two,] - mean
    return found


def _terms(table: Table, means: Floats, noise: _Noise, between: float) -> tuple[Term, ...]:
    names = tuple(table.genes)
    squares: dict[tuple[str, ...], float] = {}
    freedom: dict[tuple[str, ...], int] = {}
    for axes, part in _components(means).items():
        genes = tuple(names[axis] for axis in axes)
        squares[genes] = float((part**2).mean()) * means.size
        freedom[genes] = math.prod(means.shape[axis] - 1 for axis in axes)
    # Orthogonal parts: squares and degrees of freedom of all decisions together are sums.
    rest = float(((means - means.mean()) ** 2).sum()) - sum(squares.values())
    left = means.size - 1 - sum(freedom.values())
    squares[()], freedom[()] = max(0.0, rest), left

    def term(genes: tuple[str, ...]) -> Term:
        chance = freedom[genes] * noise.error
        share = (squares[genes] - chance) / between if between > 0 else 0.0
        if not chance:
            return Term(genes, share, None)
        return Term(
            genes, share, float(stats.f.sf(squares[genes] / chance, freedom[genes], noise.freedom))
        )

    return tuple(term(genes) for genes in squares if freedom[genes])


def _effects(table: Table, means: Floats, noise: _Noise) -> tuple[Effect, ...]:
    sign = 1 if table.direction == "maximize" else -1
    number = sum(means.shape)
    found = []
    for axis, (gene, values) in enumerate(table.genes.items()):
        others = tuple(other for other in range(means.ndim) if other != axis)
        margin = None
        if noise.error:
            # A choice's mean less the mean of all, of which it is one part of so many.
            variance = noise.error * (len(values) - 1) / means.size
            margin = stats.t.ppf(1 - 0.025 / number, noise.freedom) * math.sqrt(variance)
        for value, mean in zip(values, means.mean(axis=others), strict=True):
            better = sign * float(mean - means.mean())
            found.append(Effect(gene, value, better, None if margin is None else float(margin)))
    return tuple(found)
