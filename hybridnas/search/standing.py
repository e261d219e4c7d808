"""How a study stands: its trials, who is where on the ladder, who has come to its end.

In memory only. After a resume it is told again what the database holds of every trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from ..space import Genome
from ..store import Evaluation, RunRecord, TrialRecord
from .feasibility import Costs
from .finals import Finals
from .halving import Ended, Halving
from .problem import Problem


@dataclass(slots=True)
class Trial:
    """A proposal that became a trial. seeded: a reference.

    scores: what lower rungs measured, the lowest first.
    """

    genome: Genome
    short: str
    costs: Costs
    seeded: bool
    scores: list[list[float]] = field(default_factory=list)


class Standing:
    """Trials by number, with the ladder and the final retraining that they are in."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.trials: dict[int, Trial] = {}
        self.halving = Halving(problem.rates)
        self.finals = Finals(problem.final)

    @property
    def all_proposed(self) -> bool:
        """Whether the budget of trials is spent."""
        budget = self._problem.budget.trials
        return budget is not None and len(self.trials) >= budget

    def values(self, number: int, evaluation: Evaluation) -> tuple[float, ...] | None:
        """A trial's objectives; None where the evaluation failed or has no number for one."""
        if evaluation.status == "failed":
            return None
        return self._problem.values(evaluation, self.trials[number].costs)

    def passed(self, number: int, rung: int, values: tuple[float, ...]) -> None:
        """A run below the top ended well."""
        trial, names = self.trials[number], self._problem.objectives
        measured = self._problem.measured
        scores = [v for name, v in zip(names, values, strict=True) if name in measured]
        trial.scores[rung:] = [scores]  # told twice, it is there once
        losses, size = self._problem.losses(values), self._problem.size(trial.costs)
        self.halving.ended(rung, Ended(number, losses, size, trial.seeded))

    def completed(self, number: int, values: tuple[float, ...], evaluation: Evaluation) -> None:
        """A run at the top ended well."""
        if self._problem.is_kept(evaluation):
            self.finals.completed(number, self._problem.losses(values))

    def recall(self, number: int, trial: Trial, record: TrialRecord | None, over: bool) -> None:
        """A trial that an earlier run made. over: it has ended in Optuna's tables."""
        self.trials[number] = trial
        for run in record.runs if record else ():
            if run.repeat:
                if run.evaluation is not None:
                    self.finals.ended(number, run.repeat)
                continue
            self.halving.begins(run.rung, number)
            values = self.values(number, run.evaluation) if run.evaluation else None
            if values is None or run.evaluation is None:
                continue
            if run.rung < self._problem.top:
                self.passed(number, run.rung, values)
            elif over:  # else it is still to be told
                self.completed(number, values, run.evaluation)
        if over:
            self.halving.leaves(number)


def rung_words(rung: int) -> str:
    """What the names of a rung's scores begin with on the dashboard."""
    return f"rung {rung + 1} "


def last_run(record: TrialRecord | None) -> RunRecord | None:
    """The highest rung that a trial has come to; None before its first lease."""
    runs = [run for run in record.runs if not run.repeat] if record else []
    return runs[-1] if runs else None


def unsettled(
    trials: Iterable[FrozenTrial], records: Mapping[int, TrialRecord]
) -> dict[int, RunRecord | None]:
    """What an earlier run left: its unfinished trials, without those that wait between two rungs,
    each with its latest run; None: it was never leased."""
    found: dict[int, RunRecord | None] = {}
    for trial in trials:
        run = last_run(records.get(trial.number))
        told = run is not None and any(n.startswith(rung_words(run.rung)) for n in trial.user_attrs)
        if not (trial.state.is_finished() or told):
            found[trial.number] = run
    return found
