"""One trial of a study as it is read: how far it came, and what it scored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from statistics import fmean, stdev
from typing import Literal

from ..architecture import Architecture
from ..config import Bound
from ..objectives import STANDARD_ERRORS
from ..store import Evaluation, RunRecord
from .problem import Evaluations, figure_of, is_scored

Figures = Mapping[str, Sequence[str]]
"""By a study's tasks what an evaluation on them must have measured, as it calls it."""

ErrorKind = Literal["standard_error", "standard_deviation", "either"]

ERROR_WORDS: Mapping[ErrorKind, str] = {
    "standard_error": "standard error",
    "standard_deviation": "standard deviation between fresh seeds",
    "either": "standard deviation between fresh seeds (of one, and where they agree: standard "
    "error)",
}

STATES = ("ok", "failed", "queued", "running", "waiting", "pruned")


@dataclass(frozen=True)
class Row:
    """One trial: its architecture, its runs, and what came out.

    digest: of its architecture, which is read when somebody looks at it: studies have thousands.
    state: ok (it ended at the top rung), failed, queued or running (at some rung), waiting (for
        the next rung), pruned (it will not go on).
    evaluations: those at the rung that it came to, by task, as far as they have ended; retrainings
        left aside.
    runs: by rung and repeat, as the store has them. costs: the study's own. created_at: when it
        was proposed.
    fresh: of the final retraining, by task, those that ended well; they count, where there are any.
    running: the run that is evaluated now, also one of the final retraining; worker: its node and
        GPU; None until its process has begun.
    """

    number: int
    digest: str
    architecture_json: str
    state: str
    evaluations: Evaluations
    runs: Sequence[RunRecord]
    costs: Mapping[str, float]
    created_at: datetime
    fresh: Sequence[Evaluations] = ()
    running: RunRecord | None = None
    worker: str | None = None

    @cached_property
    def architecture(self) -> Architecture:
        return Architecture.from_json(self.architecture_json)

    @property
    def evaluation(self) -> Evaluation | None:
        """That on the study's own task, which exports and weights are of."""
        return self.evaluations.get("")

    @property
    def reused(self) -> bool:
        """Whether its evaluations were known before this trial."""
        runs = latest(self.runs)
        return bool(runs) and all(run.reused for run in runs)

    def value(self, name: str) -> float:
        """An objective of a trial that ended well."""
        found = self.known(name)
        assert found is not None
        return found

    def known(self, name: str) -> float | None:
        """An objective, or None where there is no number for it."""
        if name in self.costs:
            return self.costs[name]
        if self.fresh:
            return _mean(self._scores(name))
        return figure_of(self.evaluations, name)

    def keeps(self, bounds: Mapping[str, Bound]) -> bool:
        """Whether each figure is known and within its bounds."""
        pairs = [(self.known(name), bound) for name, bound in bounds.items()]
        return all(v is not None and max(b.excess(v), default=0) <= 0 for v, b in pairs)

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """Of the study's own task, by name; of a retrained trial the means over its fresh seeds."""
        if not self.fresh:
            return self.evaluation.metrics if self.evaluation else {}
        return {name: _mean(self._scores(name)) for name in self.fresh[0][""].metrics}

    @property
    def seeds(self) -> int:
        """How many trainings its scores are the means of."""
        return max(1, len(self.fresh))

    def spread(self, name: str) -> float | None:
        """The standard deviation of a score between fresh seeds; None with fewer than two."""
        scores = self._scores(name)
        return stdev(scores) if len(scores) > 1 else None

    def error(self, name: str) -> float | None:
        """What stands after +- of a score: its standard deviation between fresh seeds where they
        differ, else the standard error that came with it; None where neither is known. That two
        seeds agree is chance, and 0 no precision."""
        return self.spread(name) or self.metrics.get(STANDARD_ERRORS.get(name, "")) or None

    def error_of_mean(self, name: str) -> float | None:
        """The standard error of a score, which is a mean where there are fresh seeds."""
        spread, error = self.spread(name), self.error(name)
        return error / self.seeds**0.5 if spread and error else error

    def _scores(self, name: str) -> list[float]:
        found = (figure_of(evaluations, name) for evaluations in self.fresh)
        return [value for value in found if value is not None]


def error_kind(rows: Iterable[Row], names: Collection[str]) -> ErrorKind:
    """What stands after +- of these scores of theirs, as `Row.error` chooses."""
    erring = [(row, name) for row in rows for name in names if row.error(name)]
    by_seeds = {bool(row.spread(name)) for row, name in erring}
    if by_seeds == {True, False}:
        return "either"
    return "standard_deviation" if by_seeds == {True} else "standard_error"


def error_words(rows: Iterable[Row], names: Collection[str]) -> str:
    return ERROR_WORDS[error_kind(rows, names)]


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def latest(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Those at the highest rung that a trial came to, one a task; retrainings left aside."""
    searched = [run for run in runs if not run.repeat]
    top = max((run.rung for run in searched), default=0)
    return [run for run in searched if run.rung == top]


def state_of(
    runs: Sequence[RunRecord], top: int, figures: Figures, word: str | None, live: bool
) -> str:
    """A trial's state by its runs. word: what the search said of it; live: whether it runs."""
    runs = latest(runs)
    ended = {run.task: run.evaluation for run in runs if run.evaluation is not None}
    if not all(is_scored(evaluation, figures[task]) for task, evaluation in ended.items()):
        return "failed"
    if len(ended) < len(figures):
        return "running" if live and word != "waiting" else "queued"
    if runs[0].rung == top:
        return "ok"
    return "pruned" if word == "pruned" else "waiting"
