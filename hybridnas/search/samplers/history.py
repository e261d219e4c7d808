"""What a study has found out so far, read from its trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ...config import Bound
from ...errors import ConfigError
from ...objectives import Direction, is_cost

RUNGS = "hybridnas:rungs"
"""System attribute of a trial: for each finished rung below the top, lowest first, the measured
objectives' values in their order."""


@dataclass(frozen=True)
class Goals:
    """Objectives, parted into those that are measured and costs known before training.

    columns: of a trial's values, the measured ones. signs: of measured ones, cost_signs: of costs;
    1 where lower is better, else -1, so that a value times its sign is a loss.
    """

    columns: tuple[int, ...]
    signs: tuple[float, ...]
    costs: tuple[str, ...]
    cost_signs: tuple[float, ...]

    @classmethod
    def of(cls, objectives: Mapping[str, Direction]) -> Goals:
        """Raises ConfigError where nothing is measured."""
        sign = {name: 1.0 if d == "minimize" else -1.0 for name, d in objectives.items()}
        measured = [i for i, name in enumerate(objectives) if not is_cost(name)]
        if not measured:
            raise ConfigError(
                f"sampler ehvi needs an objective that is measured, got {', '.join(objectives)}"
            )
        names, costs = list(objectives), [name for name in objectives if is_cost(name)]
        return cls(
            tuple(measured),
            tuple(sign[names[i]] for i in measured),
            tuple(costs),
            tuple(sign[name] for name in costs),
        )

    def losses(self, values: Sequence[float]) -> tuple[float, ...]:
        """Of the measured objectives' values."""
        return tuple(sign * value for sign, value in zip(self.signs, values, strict=True))

    def limit(self, cost: int, bounds: Mapping[str, Bound]) -> float | None:
        """The bound of a cost, by its place, on the side where it is bad, as a loss."""
        bound, sign = bounds.get(self.costs[cost]), self.cost_signs[cost]
        value = None if bound is None else bound.max if sign > 0 else bound.min
        return None if value is None else sign * value


@dataclass(frozen=True)
class Result:
    """What is known of one trial.

    losses: of the measured objectives; None: not known, or not yet. rungs: likewise, of the rungs
    below. running: more is awaited. excesses: of soft constraints, once it ended at the top. A
    trial that failed has none of it.
    """

    number: int
    genome: Mapping[str, Any]
    losses: tuple[float, ...] | None
    rungs: tuple[tuple[float, ...], ...]
    running: bool
    excesses: tuple[float, ...] = ()

    def loss(self, rung: int, top: int, objective: int) -> float | None:
        """A measured objective's at a rung (top: the highest), if it is known."""
        if rung == top:
            return None if self.losses is None else self.losses[objective]
        return self.rungs[rung][objective] if rung < len(self.rungs) else None

    @property
    def failed(self) -> bool:
        return not (self.running or self.rungs or self.losses)


def read_history(trials: Iterable[FrozenTrial], goals: Goals) -> list[Result]:
    """All trials that have a genome, in the order in which they ended; unfinished ones last."""
    known = [trial for trial in trials if trial.params]
    known.sort(key=lambda t: (t.datetime_complete is None, t.datetime_complete or 0, t.number))
    return [_result(trial, goals) for trial in known]


def _result(trial: FrozenTrial, goals: Goals) -> Result:
    losses = None
    excesses: tuple[float, ...] = ()
    if trial.state == TrialState.COMPLETE:
        losses = goals.losses([trial.values[column] for column in goals.columns])
        excesses = tuple(trial.constraints.values())  # a sampler sees none of the hard ones
    rungs: tuple[tuple[float, ...], ...] = ()
    if trial.state != TrialState.FAIL:
        rungs = tuple(goals.losses(values) for values in trial.system_attrs.get(RUNGS, ()))
    running = trial.state == TrialState.RUNNING
    return Result(trial.number, trial.params, losses, rungs, running, excesses)
