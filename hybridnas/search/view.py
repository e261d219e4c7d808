"""A study as the database holds it, for reading: trials, front, best, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from ..architecture import Architecture
from ..config import Protocol, Study, parse_study
from ..errors import ConfigError
from ..objectives import BEST, CLOSED_FORM, STANDARD_ERRORS
from ..pareto import hypervolume, non_dominated
from ..store import CalibrationRecord, Evaluation, SessionRecord, Store, TrialRecord, is_alive


@dataclass(frozen=True)
class Row:
    """One trial: its architecture, and its evaluation if there is one."""

    number: int
    architecture: Architecture
    evaluation: Evaluation | None
    waiting: bool
    reused: bool  # the evaluation was known before this trial
    costs: Mapping[str, float]  # the study's own

    @property
    def state(self) -> str:
        """ok, failed, queued or running."""
        if self.evaluation is not None:
            return self.evaluation.status
        return "queued" if self.waiting else "running"

    def value(self, name: str) -> float:
        """An objective of a trial that ended well."""
        found = self.known(name)
        assert found is not None
        return found

    def known(self, name: str) -> float | None:
        """An objective, or None where there is no number for it."""
        if name in self.costs:
            return self.costs[name]
        return None if self.evaluation is None else self.evaluation.metrics.get(name)


class StudyView:
    """A reading of a study at one moment."""

    def __init__(self, name: str, store: Store) -> None:
        """Raises ConfigError for a study that the database does not have, naming those it has."""
        config = store.study_config(name)
        if config is None:
            known = ", ".join(store.study_names()) or "none"
            raise ConfigError(f"no study {name!r} in the database; it has: {known}")
        self.study: Study = parse_study(config, f"study {name!r}")
        self.sessions: list[SessionRecord] = store.sessions(name)
        live = any(is_alive(session, datetime.now(UTC)) for session in self.sessions)
        json_of: dict[str, str | None] = {}
        self.rows: list[Row] = []
        self.protocols: dict[str, Protocol] = {}
        for record in store.trials(name):
            if record.protocol_digest not in self.protocols:
                text = store.protocol_json(record.protocol_digest)
                assert text is not None, "a trial's protocol is put before the trial"
                self.protocols[record.protocol_digest] = Protocol.from_json(text)
            digest = record.architecture_digest
            if digest not in json_of:
                json_of[digest] = store.architecture_json(digest)
            self.rows.append(_row(record, json_of[digest], live))
        self.calibrations = _calibrations(store, self.top_protocols)

    @property
    def top_protocols(self) -> set[str]:
        """Digests of the protocols of trials at the study's top fidelity."""
        top = self.study.fidelity
        return {digest for digest, known in self.protocols.items() if known.fidelity == top}

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

    def losses(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(finished trials, objectives), signs turned so that lower is better."""
        signs = np.array([1.0 if BEST[name] == "minimize" else -1.0 for name in self.objectives])
        table = [[row.value(name) for name in self.objectives] for row in self.finished]
        return np.array(table).reshape(-1, len(self.objectives)) * signs

    def front(self) -> list[Row]:
        """The non-dominated trials, cheapest first where a cost is an objective."""
        if not self.finished:
            return []
        keep = non_dominated(self.losses())
        members = [row for row, kept in zip(self.finished, keep, strict=True) if kept]
        cheap = next((n for n in self.objectives if n in CLOSED_FORM), self.objectives[0])
        return sorted(members, key=lambda row: row.value(cheap))

    def best(self, number: int) -> list[Row]:
        """The trials that are best in the first measured objective; of equals the cheaper ones."""
        costs = [name for name in self.objectives if name in CLOSED_FORM]

        def rank(row: Row) -> list[float]:
            return [-row.value(self.study.measured), *(row.value(name) for name in costs)]

        return sorted(self.finished, key=rank)[:number]

    def hypervolume(self) -> float | None:
        """What the front dominates, as a share of the box up to the reference point.

        The reference is accuracy 0 and, for a cost, its constraint's maximum or else the largest
        finished value; so it is comparable within a study only. None before the first result.
        """
        if not self.finished:
            return None
        bounds = self.study.constraints.bounds()
        losses = self.losses()
        reference = []
        for i, name in enumerate(self.objectives):
            bound = bounds.get(name)
            if BEST[name] == "maximize":
                reference.append(0.0)
            elif bound is not None and bound.max is not None:
                reference.append(bound.max)
            else:
                reference.append(float(losses[:, i].max()))
        box = [1.0 if edge == 0.0 else edge for edge in reference]
        return hypervolume(losses, np.array(reference)) / float(np.prod(box))

    def counts(self) -> Counter[str]:
        """Trials by state."""
        return Counter(row.state for row in self.rows)

    def failures(self) -> Counter[str]:
        """Failed trials by reason."""
        failed = (row.evaluation for row in self.rows if row.state == "failed")
        return Counter(e.reason for e in failed if e is not None and e.reason is not None)

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
        trained = [row.evaluation for row in self.rows if row.evaluation and not row.reused]
        return {
            "wall_hours": sum(s.duration_s for s in self.sessions) / 3600,
            "gpu_hours": sum((e.timing.get("gpu_s") or 0.0) for e in trained) / 3600,
            "evaluations": float(len(trained)),
        }

    def front_json(self) -> list[dict[str, Any]]:
        """The front as `hybridnas pareto --json` prints it."""
        return [self.as_json(row) for row in self.front()]

    def as_json(self, row: Row) -> dict[str, Any]:
        assert row.evaluation is not None
        metrics: Mapping[str, float | None] = row.evaluation.metrics
        errors = [STANDARD_ERRORS[name] for name in self.objectives if name in STANDARD_ERRORS]
        return {
            "trial": row.number,
            "arch": row.architecture.digest,
            "values": {name: row.value(name) for name in self.objectives},
            "params": metrics.get("params"),
            **{name: metrics.get(name) for name in errors},
            "stages": row.architecture.short,
        }


def _calibrations(store: Store, digests: set[str]) -> list[CalibrationRecord]:
    """The latest finished one of each pair of protocols of which one is among the digests."""
    found: dict[tuple[str, str], CalibrationRecord] = {}
    for digest in digests:
        for record in store.calibrations(protocol_digest=digest):
            if record.result is not None:
                found[record.proxy_digest, record.judge_digest] = record
    return sorted(found.values(), key=lambda record: record.id)


def _row(record: TrialRecord, json: str | None, live: bool) -> Row:
    assert json is not None, "a trial's architecture is put before the trial"
    waiting = record.evaluation is None and (record.reason == "waiting" or not live)
    architecture = Architecture.from_json(json)
    return Row(
        record.number,
        architecture,
        record.evaluation,
        waiting,
        record.attempt == 0,
        record.costs,
    )
