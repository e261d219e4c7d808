"""Calibrations of proxies. Each function is the work of one transaction: see `Store`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import StoreError
from .models import CalibrationRow
from .records import CalibrationRecord


def begin(
    session: Session,
    study: str,
    proxy_digest: str,
    judge_digest: str,
    settings: Mapping[str, object],
) -> int:
    row = CalibrationRow(
        study=study,
        proxy_digest=proxy_digest,
        judge_digest=judge_digest,
        settings=dict(settings),
        began_at=datetime.now(UTC),
    )
    session.add(row)
    session.flush()
    return row.id


def end(session: Session, calibration_id: int, result: Mapping[str, object]) -> None:
    row = session.get(CalibrationRow, calibration_id)
    if row is None:
        raise StoreError(f"no calibration {calibration_id} in the database")
    row.result, row.ended_at = dict(result), datetime.now(UTC)


def find(session: Session, study: str | None) -> list[CalibrationRecord]:
    wanted = select(CalibrationRow).order_by(CalibrationRow.id)
    if study is not None:
        wanted = wanted.where(CalibrationRow.study == study)
    return [
        CalibrationRecord(
            id=row.id,
            study=row.study,
            proxy_digest=row.proxy_digest,
            judge_digest=row.judge_digest,
            settings=row.settings,
            result=row.result,
            began_at=row.began_at,
            ended_at=row.ended_at,
        )
        for row in session.scalars(wanted)
    ]
