"""What a search would hand over after each of its trainings, and what that is truly worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ...pareto import hypervolume, non_dominated
from ...tables import Table
from .replay import Floats, feasibility_of, observed_scores

_BLOCK = 500


class Judge:
    """Knows a table's true front. Raises ConfigError where the reference point leaves nothing of
    it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        hard = feasibility_of(table)
        self._feasible = np.array(
            [hard.violation(table.cost_of(table.genome(row))) == 0 for row in range(table.size())]
        )
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
        were seen with the seed; it is valued by the true ones.
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
