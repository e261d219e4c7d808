"""How a study stands: its trials, who is where on the ladder, who has come to its end.

In memory only. After a resume it is told again what the database holds of every trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial

from ..space import Genome
from ..store import Evaluation, Place, RunRecord, TrialRecord
from .feasibility import Costs
from .finals import Finals
from .halving import Ended, Halving
from .problem import Evaluations, Problem


@dataclass(slots=True)
class Trial:
    """A proposal that became a trial. seeded: a reference.

    scores: what lower rungs measured, the lowest first. ended: the runs of a rung and repeat that
    has not ended on every task yet, by task.
    """

    genome: Genome
    short: str
    costs: Costs
    seeded: bool
    scores: list[list[float]] = field(default_factory=list)
    ended: dict[tuple[int, int], dict[str, RunRecord]] = field(default_factory=dict)


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

    def takes_in(self, number: int, run: RunRecord) -> tuple[dict[str, Evaluation], Place | None]:
        """A run of a trial ended. All evaluations of its rung and repeat so far, by task, and
        where the trial is to be evaluated next for these; None: nowhere, it failed or is whole."""
        both = run.rung, run.repeat
        ended = self.trials[number].ended
        ended.setdefault(both, {})[run.task] = run
        found = _evaluations(ended[both].values())
        if not self.is_last(run):
            return found, self.next_place(number, *both)
        del ended[both]
        return found, None

    def is_last(self, run: RunRecord) -> bool:
        """Whether a run that has ended is the last of its rung and repeat: by its task, or because
        it ended badly."""
        good = run.evaluation and self._problem.is_scored(run.task, run.evaluation)
        return run.task == self._problem.tasks[-1] or not good

    def is_first(self, left: Sequence[RunRecord]) -> bool:
        """Whether of what an earlier run left of a trial (`untold`) its very first run is still to
        be told of; that on another task was told when the next one was to begin."""
        if not left:
            return True
        first = left[0]
        return first.place == self._problem.first and (
            first.evaluation is None or self.is_last(first)
        )

    def next_place(self, number: int, rung: int, repeat: int) -> Place | None:
        """Of a rung and repeat the first task that a trial was not evaluated on; None: on all."""
        ended = self.trials[number].ended.get((rung, repeat), {})
        left = (task for task in self._problem.tasks if task not in ended)
        return next((Place(rung, repeat, task) for task in left), None)

    def order(self, run: RunRecord) -> tuple[int, int, int]:
        """In which a trial's runs are made."""
        return run.rung, run.repeat, self._problem.tasks.index(run.task)

    def values(self, number: int, found: Evaluations) -> tuple[float, ...] | None:
        """A trial's objectives; None where an evaluation failed or has no number for one."""
        return self._problem.values(found, self.trials[number].costs)

    def passed(self, number: int, rung: int, values: tuple[float, ...]) -> None:
        """A run below the top ended well."""
        trial, names = self.trials[number], self._problem.objectives
        measured = self._problem.measured
        scores = [v for name, v in zip(names, values, strict=True) if name in measured]
        trial.scores[rung:] = [scores]  # told twice, it is there once
        losses, size = self._problem.losses(values), self._problem.size(trial.costs)
        self.halving.ended(rung, Ended(number, losses, size, trial.seeded))

    def completed(self, number: int, values: tuple[float, ...], found: Evaluations) -> None:
        """A run at the top ended well."""
        if self._problem.is_kept(found):
            self.finals.completed(number, self._problem.losses(values))

    def recall(self, number: int, trial: Trial, runs: Iterable[RunRecord], over: bool) -> None:
        """A trial that an earlier run made, and those of its runs that were told to the study.
        over: it has ended in Optuna's tables."""
        self.trials[number] = trial
        for run in sorted(runs, key=self.order):
            if not run.repeat:
                self.halving.begins(run.rung, number)
            if run.evaluation is None:
                continue
            found, left = self.takes_in(number, run)
            if left is not None:
                continue
            values = self.values(number, found)
            if run.repeat:
                self.finals.ended(number, run.repeat)
            elif values is not None and run.rung < self._problem.top:
                self.passed(number, run.rung, values)
            elif values is not None:
                self.completed(number, values, found)
        if over:
            self.halving.leaves(number)


def _evaluations(runs: Iterable[RunRecord]) -> dict[str, Evaluation]:
    return {run.task: run.evaluation for run in runs if run.evaluation is not None}


def rung_words(rung: int) -> str:
    """What the names of a rung's scores begin with on the dashboard."""
    return f"rung {rung + 1} "


def untold(trial: FrozenTrial, record: TrialRecord | None) -> list[RunRecord] | None:
    """Of a trial that an earlier run left unfinished the runs at the rung that it came to, none
    where it was never leased. None: it has ended, or waits between two rungs."""
    if trial.state.is_finished():
        return None
    rung = max((run.rung for run in record.runs), default=0) if record else 0
    if any(name.startswith(rung_words(rung)) for name in trial.user_attrs):
        return None
    return [run for run in record.runs if run.rung == rung] if record else []
