"""The tables. Only this package sees their rows; others get the values of records.py.

Optuna's tables live in the same database. Nothing here points at them: a foreign key into
them makes Optuna's own delete_study do nothing, silently. A trial is found there by the name
of its study and its number.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import final

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .json_values import check

PREFIX = "nas_"


@final
class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its time zone: UTC in the database and out of it.

    SQLite keeps no zone, PostgreSQL answers in the zone of the session.
    Raises ValueError for a moment without zone.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@final
class FiniteJson(TypeDecorator[object]):
    """JSON without NaN and infinities, which PostgreSQL and most readers refuse.

    Checked here, for the drivers differ in when they encode, and in what they raise then.
    """

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> object:
        check(value)
        return value


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012


class StudyRow(Base):
    """A study as its YAML said it."""

    __tablename__ = "nas_study"

    name: Mapped[str] = mapped_column(primary_key=True)
    config: Mapped[dict[str, object]] = mapped_column(FiniteJson)
    created_at: Mapped[datetime]


class SessionRow(Base):
    """One run of the search driver: how long it ran, whether it lives, what it proposed."""

    __tablename__ = "nas_session"

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(ForeignKey("nas_study.name"), index=True)
    host: Mapped[str]
    pid: Mapped[int]
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]
    proposals: Mapped[int] = mapped_column(default=0)
    redrawn: Mapped[int] = mapped_column(default=0)


class ArchitectureRow(Base):
    """An architecture's canonical JSON under its digest."""

    __tablename__ = "nas_architecture"

    digest: Mapped[str] = mapped_column(primary_key=True)
    json: Mapped[str]
    created_at: Mapped[datetime]


class ProtocolRow(Base):
    """A protocol's canonical JSON under its digest."""

    __tablename__ = "nas_protocol"

    digest: Mapped[str] = mapped_column(primary_key=True)
    json: Mapped[str]
    created_at: Mapped[datetime]


class EvaluationRow(Base):
    """One training and scoring, ended well or not; token is the lease it was written under."""

    __tablename__ = "nas_evaluation"
    __table_args__ = (
        CheckConstraint("status IN ('ok', 'failed')", name="status"),
        Index(None, "architecture_digest", "protocol_digest"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    architecture_digest: Mapped[str] = mapped_column(ForeignKey("nas_architecture.digest"))
    protocol_digest: Mapped[str] = mapped_column(ForeignKey("nas_protocol.digest"))
    token: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str]
    reason: Mapped[str | None]
    message: Mapped[str | None]
    metrics: Mapped[dict[str, float | None]] = mapped_column(FiniteJson)
    curve: Mapped[list[dict[str, float | None]]] = mapped_column(FiniteJson)
    timing: Mapped[dict[str, float | None]] = mapped_column(FiniteJson)
    machine: Mapped[dict[str, object]] = mapped_column(FiniteJson)
    versions: Mapped[dict[str, str]] = mapped_column(FiniteJson)
    seed: Mapped[int] = mapped_column(BigInteger)
    git_commit: Mapped[str | None]
    weights: Mapped[dict[str, str] | None] = mapped_column(FiniteJson(none_as_null=True))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime]


class TrialRow(Base):
    """What a trial of Optuna evaluates now: the current lease, and its evaluation once written.

    costs: known before training and the study's own (latency by its table). worker: who took up
    the lease, as a node and its GPU; none while nobody has.
    """

    __tablename__ = "nas_trial"

    study: Mapped[str] = mapped_column(ForeignKey("nas_study.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    architecture_digest: Mapped[str] = mapped_column(ForeignKey("nas_architecture.digest"))
    protocol_digest: Mapped[str] = mapped_column(ForeignKey("nas_protocol.digest"))
    token: Mapped[str] = mapped_column(unique=True)
    attempt: Mapped[int]
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("nas_evaluation.id"), index=True)
    created_at: Mapped[datetime]
    reason: Mapped[str | None]
    worker: Mapped[str | None]
    costs: Mapped[dict[str, float] | None] = mapped_column(FiniteJson(none_as_null=True))


class RunRow(Base):
    """One evaluation of a trial, from its lease on: at which rung of the study's ladder, which
    repeat of it (0: the search's own, others: retrainings with fresh seeds), and on which of the
    study's tasks (empty: its own).

    evaluation_id: none until it has ended. reused: the evaluation was known before.
    """

    __tablename__ = "nas_run"
    __table_args__ = (
        ForeignKeyConstraint(["study", "number"], ["nas_trial.study", "nas_trial.number"]),
    )

    study: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rung: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    repeat: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    task: Mapped[str] = mapped_column(primary_key=True, default="")
    protocol_digest: Mapped[str] = mapped_column(ForeignKey("nas_protocol.digest"))
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("nas_evaluation.id"), index=True)
    reused: Mapped[bool]


class CalibrationRow(Base):
    """How well one protocol's scores rank architectures as another's do; no result: unfinished."""

    __tablename__ = "nas_calibrations"

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(ForeignKey("nas_study.name"), index=True)
    proxy_digest: Mapped[str] = mapped_column(ForeignKey("nas_protocol.digest"), index=True)
    judge_digest: Mapped[str] = mapped_column(ForeignKey("nas_protocol.digest"), index=True)
    settings: Mapped[dict[str, object]] = mapped_column(FiniteJson)
    result: Mapped[dict[str, object] | None] = mapped_column(FiniteJson(none_as_null=True))
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class FrontRow(Base):
    """A study's front at one moment, and what it had cost to get there."""

    __tablename__ = "nas_front"

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(ForeignKey("nas_study.name"), index=True)
    created_at: Mapped[datetime]
    members: Mapped[list[dict[str, object]]] = mapped_column(FiniteJson)
    cost: Mapped[dict[str, object]] = mapped_column(FiniteJson)
