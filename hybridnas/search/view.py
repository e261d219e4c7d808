"""A study as the database holds it, for reading: trials, front, best, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from ..config import Protocol, Study, parse_study
from ..errors import ConfigError
from ..objectives import STANDARD_ERRORS, is_cost, loss_sign, measured_first
from ..pareto import Floats, non_dominated
from ..store import (
    Evaluation,
    RunRecord,
    SessionRecord,
    Store,
    TrialRecord,
    is_alive,
)
from .calibrated import calibrated
from .finals import finalists
from .problem import Evaluations, figures, figures_of, is_scored
from .rows import Figures, Row, latest, state_of
from .spending import gpu_seconds
from .studies import no_study, protocol_of
from .volume import reference_point, volume


class StudyView:
    """A reading of a study at one moment."""

    def __init__(self, name: str, store: Store) -> None:
        """Raises ConfigError for a study that the database does not have, naming those it has."""
        config = store.study_config(name)
        if config is None:
            raise no_study(name, store.study_names())
        self.study: Study = parse_study(config, f"study {name!r}")
        self.sessions: list[SessionRecord] = store.sessions(name)
        live = any(is_alive(session, datetime.now(UTC)) for session in self.sessions)
        records = store.trials(name)
        json_of = store.architectures(name)  # after them: each is there before its trial
        self.rows: list[Row] = []
        self.protocols: dict[str, Protocol] = {}
        top = len(self.study.fidelities) - 1
        for record in records:
            for protocol in {run.protocol_digest for run in record.runs} - self.protocols.keys():
                self.protocols[protocol] = protocol_of(store, protocol)
            json = json_of[record.architecture_digest]
            self.rows.append(_row(record, json, top, self._figures, live))
        self.finalists: set[int] = set()  # who is to be trained again, as it stands
        self.retrained = self._retrain()
        own = [self.protocols[digest] for digest in self.top_protocols]
        self.calibrations = calibrated(store, config["space"], own)

    @cached_property
    def _figures(self) -> Figures:
        names = figures(self.objectives, self.study.soft())
        return {task: figures_of(names, task) for task in self.study.tasks}

    @property
    def top_protocols(self) -> set[str]:
        """Digests of the protocols of trials at the top fidelity of the study's own task."""
        top = self.study.fidelity
        return {digest for digest, known in self.protocols.items() if known.fidelity == top}

    @property
    def num_classes(self) -> int:
        """Of the study's own task; the view must have a trial."""
        own = next(run.protocol_digest for run in self._runs if not run.task)
        return len(self.protocols[own].class_names)

    @property
    def objectives(self) -> list[str]:
        return list(self.study.objectives)

    @cached_property
    def finished(self) -> list[Row]:
        """Trials that ended at the top fidelity with a number for every objective."""
        return [
            row
            for row in self.rows
            if row.evaluation is not None
            and row.evaluation.status == "ok"
            and row.evaluation.protocol_digest in self.top_protocols
            and all(row.known(name) is not None for name in self.objectives)
        ]

    @property
    def judged(self) -> list[Row]:
        """Those that the front is drawn among: the retrained ones once all of them are, before
        that all that are finished; as far as they keep the soft constraints."""
        return self._keeping(self.retrained or self.finished)

    def _keeping(self, rows: Sequence[Row]) -> list[Row]:
        soft = self.study.soft()
        return [row for row in rows if row.keeps(soft)]

    def _retrain(self) -> list[Row]:
        """The finalists with their fresh scores, which count from now on; none while one of them
        has none that ended yet."""
        final = self.study.final
        if final is None:
            return []
        ordered = measured_first(self.objectives)  # as the search orders them
        kept = self._keeping(self.finished)
        numbers = (row.number for row in kept)
        completed = dict(zip(numbers, self.losses(kept, ordered), strict=True))
        self.finalists = set(finalists(completed, final.retrain))
        chosen = [row for row in self.finished if row.number in self.finalists]
        fresh = {row.number: _fresh(row.runs, self._figures) for row in chosen}
        if not all(fresh.values()):
            return []
        good = {
            number: [each for each in ended if _is_whole(each, self._figures)]
            for number, ended in fresh.items()
        }
        self.rows = [replace(row, fresh=good.get(row.number, ())) for row in self.rows]
        del self.finished  # which is read anew
        return [row for row in self.finished if row.fresh]

    def losses(
        self, rows: Sequence[Row] | None = None, names: Sequence[str] | None = None
    ) -> Floats:
        """(trials, objectives), signs turned so that lower is better.

        rows: of trials that ended well; None: the judged. names: None: the objectives.
        """
        rows = self.judged if rows is None else rows
        names = self.objectives if names is None else names
        signs = np.array([loss_sign(name) for name in names])
        table = [[row.value(name) for name in names] for row in rows]
        return np.array(table).reshape(-1, len(names)) * signs

    def front(self) -> list[Row]:
        """The non-dominated trials, cheapest first where a cost is an objective."""
        if not self.judged:
            return []
        keep = non_dominated(self.losses())
        members = [row for row, kept in zip(self.judged, keep, strict=True) if kept]
        cheap = next((n for n in self.objectives if is_cost(n)), self.objectives[0])
        return sorted(members, key=lambda row: row.value(cheap))

    def best(self, number: int) -> list[Row]:
        """The trials that are best in the first objective that is scored; of equals the cheaper
        ones. Where none keeps the soft constraints, of all that are finished."""
        costs = [name for name in self.objectives if is_cost(name)]
        sign = loss_sign(self.study.measured)

        def rank(row: Row) -> list[float]:
            return [sign * row.value(self.study.measured), *(row.value(name) for name in costs)]

        return sorted(self.judged or self.finished, key=rank)[:number]

    def hypervolume(self) -> float | None:
        """What the front dominates, as a share of the box up to the reference point.

        Of this study alone, so that it is comparable within it only (volume.reference_point). None
        before the first result.
        """
        return volume(self.losses(), reference_point([self])) if self.judged else None

    def counts(self) -> Counter[str]:
        """Trials by state."""
        return Counter(row.state for row in self.rows)

    def failures(self) -> Counter[str]:
        """Failed runs by reason."""
        ended = (run.evaluation for run in self._runs if run.evaluation is not None)
        return Counter(e.reason for e in ended if e.reason is not None)

    @property
    def _runs(self) -> list[RunRecord]:
        return [run for row in self.rows for run in row.runs]

    def rungs(self) -> list[dict[str, Any]]:
        """How many trials began each rung, ended there well, failed, or were known before, and
        what it has cost; the lowest first."""
        return [self._rung(place, "") for place in range(len(self.study.fidelities))]

    def _rung(self, rung: int, task: str) -> dict[str, Any]:
        """Of a task; of the study's own with the others under `also`, where there are any."""
        fidelity = self.study.tasks[task].fidelities[rung].model_dump(exclude_defaults=True)
        runs = [r for r in self._runs if (r.rung, r.repeat, r.task) == (rung, 0, task)]
        found = {"fidelity": fidelity, **_tally(runs)}
        if self.study.also and not task:
            found["also"] = {name: self._rung(rung, name) for name in self.study.also}
        return found

    def retraining(self) -> dict[str, Any] | None:
        """The same of the final retraining; None for a study without one."""
        if self.study.final is None:
            return None
        return {**self.study.final.model_dump(), **_tally([r for r in self._runs if r.repeat])}

    def row(self, number: int) -> Row:
        """One trial; ConfigError for a number that the study does not have."""
        found = next((row for row in self.rows if row.number == number), None)
        if found is None:
            last = max((row.number for row in self.rows), default=None)
            has = "none yet" if last is None else f"0 to {last}"
            raise ConfigError(f"study {self.study.name!r} has no trial {number}; it has {has}")
        return found

    def cost_so_far(self) -> dict[str, float]:
        """Wall-clock and GPU hours, and evaluations that were trained (not reused)."""
        trained = [run.evaluation for run in self._runs if run.evaluation and not run.reused]
        return {
            "wall_hours": sum(s.duration_s for s in self.sessions) / 3600,
            "gpu_hours": sum((e.timing.get("gpu_s") or 0.0) for e in trained) / 3600,
            "evaluations": float(len(trained)),
        }

    def front_json(self) -> list[dict[str, Any]]:
        """The front as `hybridnas pareto --json` prints it."""
        return [self.as_json(row) for row in self.front()]

    def as_json(self, row: Row) -> dict[str, Any]:
        metrics = row.metrics
        errors = [STANDARD_ERRORS[name] for name in self.objectives if name in STANDARD_ERRORS]
        measured = [name for name in self.objectives if not is_cost(name)]
        return {
            "trial": row.number,
            "arch": row.digest,
            "values": {name: row.value(name) for name in self.objectives},
            "params": metrics.get("params"),
            **{name: metrics.get(name) for name in errors},
            "stages": row.architecture.short,
            "seeds": row.seeds,
            "spread": {name: row.spread(name) for name in measured},
            "reused": row.reused,
        }


def _tally(runs: Sequence[RunRecord]) -> dict[str, float]:
    ended = [run for run in runs if run.evaluation is not None]
    failed = sum(run.evaluation.status == "failed" for run in ended if run.evaluation)
    trained = (run.evaluation for run in ended if not run.reused)
    return {
        "began": len(runs),
        "ok": len(ended) - failed,
        "failed": failed,
        "reused": sum(run.reused for run in runs),
        "gpu_hours": sum(map(gpu_seconds, trained)) / 3600,
    }


def _fresh(runs: Sequence[RunRecord], figures: Figures) -> list[dict[str, Evaluation]]:
    """The final retrainings of a trial, each by task, that have ended: on all tasks, or badly."""
    found: dict[int, dict[str, Evaluation]] = {}
    for run in runs:
        if run.repeat and run.evaluation is not None:
            found.setdefault(run.repeat, {})[run.task] = run.evaluation
    return [
        each
        for each in found.values()
        if len(each) == len(figures)
        or not all(is_scored(evaluation, figures[task]) for task, evaluation in each.items())
    ]


def _is_whole(found: Evaluations, figures: Figures) -> bool:
    return all(task in found and is_scored(found[task], own) for task, own in figures.items())


def _row(record: TrialRecord, json: str, top: int, figures: Figures, live: bool) -> Row:
    running = record.leased if live and record.reason != "waiting" else None
    return Row(
        record.number,
        record.architecture_digest,
        json,
        state_of(record.runs, top, figures, record.reason, live),
        {run.task: run.evaluation for run in latest(record.runs) if run.evaluation},
        record.runs,
        record.costs,
        record.created_at,
        running=running,
        worker=record.worker if running else None,
    )
