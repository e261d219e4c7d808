"""What a search would hand over after each of its trainings, and what that is truly worth.

What it would hand over it chooses by the scores that it has seen, one run of each architecture;
what that is worth the means over all runs say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ...pareto import hypervolume, non_dominated
from ...tables import Table
from .replay import Floats, feasibility_of, observed_scores

_BLOCK = 500


def judge_of(table: Table) -> FrontJudge | BestJudge:
    """By the front where there are several objectives, by the best where there is one. Raises
    ConfigError where nothing can be judged."""
    return FrontJudge(table) if len(table.objectives) > 1 else BestJudge(table)


class FrontJudge:
    """Knows a table's true front: what is found is valued by its hypervolume, in % of that one's.

    Raises ConfigError where the reference point leaves nothing of it.
    """

    regret_of = None

    def __init__(self, table: Table) -> None:
        self._table = table
        self._feasible = _feasible(table)
        self._true = self._losses(table.truth)
        self._reference = np.array(
            [_loss(table, name, table.reference[name]) for name in table.objectives]
        )
        self.num_feasible = int(self._feasible.sum())
        self.best = self._volume(front_of(self._true[self._feasible]))
        if not self.best:
            point = ", ".join(f"{name} {value:g}" for name, value in table.reference.items())
            raise ConfigError(
                f"table {table.name!r}: nothing that keeps its constraints is better than its "
                f"reference ({point}) in all of it"
            )

    def curve(self, rows: Sequence[int], seed: int) -> Floats:
        """(len(rows),): after each training, the hypervolume of the front in % of the true front's.

        The front is chosen among what was trained and keeps the constraints, by the scores that
        were seen with the seed.
        """
        seen = self._losses(observed_scores(self._table, seed))
        front: list[int] = []
        values, value = [], 0.0
        for row in rows:
            if self._feasible[row] and row not in front:
                members = np.array([*front, row])
                stay = members[non_dominated(seen[members])].tolist()
                if stay != front:
                    front, value = stay, self._volume(self._true[stay])
            values.append(100 * value / self.best)
        return np.array(values)

    def _volume(self, losses: Floats) -> float:
        return hypervolume(losses, self._reference)

    def _losses(self, scores: Floats) -> Floats:
        """(rows, objectives), lower is better."""
        table = self._table
        columns = {**table.costs, table.metric: scores}
        return np.stack([_loss(table, name, columns[name]) for name in table.objectives], axis=1)


class BestJudge:
    """Knows the best of a table with one objective: what is found is valued by its simple regret,
    how much worse its true score is than the best one's, in units of the metric.

    Raises ConfigError where nothing keeps the constraints.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.regret_of = table.metric
        self._feasible = _feasible(table)
        self.num_feasible = int(self._feasible.sum())
        if not self.num_feasible:
            raise ConfigError(f"table {table.name!r}: nothing keeps its constraints")
        losses = _loss(table, table.metric, table.truth)
        self._regrets = losses - losses[self._feasible].min()
        self._most = float(self._regrets[self._feasible].max())

    def curve(self, rows: Sequence[int], seed: int) -> Floats:
        """(len(rows),): after each training, the regret of what was seen best with the seed, among
        what was trained and keeps the constraints; that of the worst where nothing does.

        It may rise: whoever had luck in the run that is seen takes the place of a better one.
        """
        seen = _loss(self._table, self._table.metric, observed_scores(self._table, seed))
        best: int | None = None
        values = []
        for row in rows:
            if self._feasible[row] and (best is None or seen[row] < seen[best]):
                best = row
            values.append(self._most if best is None else float(self._regrets[best]))
        return np.array(values)


def _feasible(table: Table) -> NDArray[np.bool_]:
    """(rows,): which keep the constraints."""
    hard = feasibility_of(table)
    return np.array(
        [hard.violation(table.cost_of(table.genome(row))) == 0 for row in range(table.size())]
    )


def front_of(losses: Floats) -> Floats:
    """The non-dominated rows of many, block by block: `non_dominated` compares all pairs.

    losses: (n, m). Returns (k, m).
    """
    front: NDArray[np.float64] = losses[:0]
    for start in range(0, len(losses), _BLOCK):
        front = np.concatenate([front, losses[start : start + _BLOCK]])
        front = front[non_dominated(front)]
    return front


def _loss(table: Table, name: str, value: Floats | float) -> Floats:
    maximised = table.objectives[name] == "maximize"
    return np.asarray(-value if maximised else value, dtype=float)
