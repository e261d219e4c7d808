"""The values that cross the store's door. All moments are in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, get_args

from ..errors import StoreError
from ..objectives import figure

Status: TypeAlias = Literal["ok", "failed"]
Reason: TypeAlias = Literal[
    "broken", "diverged", "out_of_memory", "error", "node_lost", "interrupted"
]
Numbers: TypeAlias = Mapping[str, float | None]

_STATUSES: tuple[str, ...] = get_args(Status)
_REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Training and scoring of one architecture under one protocol: one rung of a trial.

    metrics, timing and each epoch of the curve are numbers by name. NaN and infinities are
    stored as None, which says "no usable number": JSON has no other word for them.
    weights: path and sha256 of the trained weights, while they are kept.
    id: the store's number for it; None before it is recorded.
    Raises StoreError for a status or reason that does not exist, or that contradict each other.
    """

    architecture_digest: str
    protocol_digest: str
    status: Status
    seed: int
    started_at: datetime
    ended_at: datetime
    metrics: Numbers = field(default_factory=dict)
    reason: Reason | None = None
    message: str | None = None
    curve: Sequence[Numbers] = ()
    timing: Numbers = field(default_factory=dict)
    machine: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None
    weights: Mapping[str, str] | None = None
    id: int | None = None

    def __post_init__(self) -> None:
        if self.status not in _STATUSES:
            raise StoreError(f"unknown status {self.status!r}; known: {', '.join(_STATUSES)}")
        if self.status == "ok" and self.reason is not None:
            raise StoreError(f"an evaluation that is ok has no reason, got {self.reason!r}")
        if self.status == "failed" and self.reason not in _REASONS:
            raise StoreError(
                f"a failed evaluation has a reason of {', '.join(_REASONS)}; got {self.reason!r}"
            )

    def figure(self, name: str) -> float | None:
        """An objective or a measured constraint by its name (objectives.figure)."""
        return figure(name, self.metrics, self.timing)


class Place(NamedTuple):
    """Which of a trial's evaluations.

    rung: of the study's ladder, 0 the lowest. repeat: 0 is the search's own, the others are
    retrainings with fresh seeds. task: its name in the study; "": the study's own.
    """

    rung: int = 0
    repeat: int = 0
    task: str = ""


FIRST = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One evaluation of a trial. rung, repeat, task: as of Place.

    evaluation: None until it has ended. reused: it was known before.
    """

    rung: int
    repeat: int
    protocol_digest: str
    evaluation: Evaluation | None
    reused: bool
    task: str = ""

    @property
    def place(self) -> Place:
        return Place(self.rung, self.repeat, self.task)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial of Optuna as the store knows it: what was leased last, and all its runs.

    attempt: how many leases were taken on this architecture under this protocol; 0 if reused.
    reason: a word about the trial that the search gave it (`Store.mark`).
    worker: the node and GPU that took up the current lease; None while nobody has.
    evaluation: None while it is being evaluated, or when nobody is left to do so.
    costs: known before training and the study's own, not the evaluation's (latency by its table).
    runs: by rung, then by repeat, then by task.
    """

    study: str
    number: int
    architecture_digest: str
    protocol_digest: str
    token: str
    attempt: int
    created_at: datetime
    reason: str | None
    worker: str | None
    evaluation: Evaluation | None
    costs: Mapping[str, float]
    runs: Sequence[RunRecord]

    @property
    def leased(self) -> RunRecord | None:
        """The run that the lease is for, while nothing was written under it."""
        if self.evaluation is not None:
            return None
        open_runs = (run for run in self.runs if run.evaluation is None)
        return next((r for r in open_runs if r.protocol_digest == self.protocol_digest), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a trial is to evaluate.

    costs: known before training and the study's own. figures: that it must have measured; an
    evaluation that lacks one is made again.
    """

    architecture_digest: str
    architecture_json: str
    protocol_digest: str
    costs: Mapping[str, float] | None = None
    place: Place = FIRST
    figures: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunTrial:
    """A trial that was created. trial_id: Optuna's. lease: as of `Store.lease_or_reuse`."""

    number: int
    trial_id: int
    lease: str | Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One run of the search driver.

    ended_at: None while it runs, or if it died and no later session has noticed.
    redrawn: how many of its proposals broke a hard constraint and were drawn again.
    """

    id: int
    study: str
    host: str
    pid: int
    started_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    end_reason: str | None
    proposals: int
    redrawn: int

    @property
    def duration_s(self) -> float:
        """Wall-clock seconds until its end, or else until its last sign of life."""
        return ((self.ended_at or self.last_seen_at) - self.started_at).total_seconds()


class Training(NamedTuple):
    """A training that ended well. seconds: that it took. macs: of its network; device: its name;
    None where nobody recorded them."""

    architecture_digest: str
    seconds: float
    macs: float | None
    device: str | None


class Ended(NamedTuple):
    """How many runs of a study have ended on a task, at a rung, of the search (retraining False)
    or of its final retraining."""

    task: str
    rung: int
    retraining: bool
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRecord:
    """A study's front at one moment, and what it had cost to get there."""

    id: int
    study: str
    created_at: datetime
    members: Sequence[Mapping[str, object]]
    cost: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecord:
    """How well the proxy's scores rank architectures as the judge's do, both protocols' digests.

    study: what it trained under. settings: what it was asked. result: None while unfinished.
    """

    id: int
    study: str
    proxy_digest: str
    judge_digest: str
    settings: Mapping[str, object]
    result: Mapping[str, object] | None
    began_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What was taken in from another database, and what was here already. studies: names here."""

    studies: tuple[str, ...]
    known_studies: tuple[str, ...]
    evaluations: int
    known_evaluations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContents:
    """What studies hold. evaluations: that no other study has; shared_evaluations: that others
    have, too. weights: of the former, where they are kept (path, sha256)."""

    trials: int
    evaluations: int
    shared_evaluations: int
    weights: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """What a database holds. url: without its password. rows: by table."""

    url: str
    backend: Literal["sqlite", "postgresql"]
    revision: str
    rows: Mapping[str, int]
    size_bytes: int
