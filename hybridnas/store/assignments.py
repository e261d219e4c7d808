"""What a trial is to evaluate: looked up where it is known, else leased.

The work of one transaction, or a part of one: `Store` says what it means to callers.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from . import trials
from .models import ArchitectureRow
from .records import Assignment, Evaluation
from .studies import put_text


def lease_or_reuse(
    session: Session, study: str, number: int, wanted: Assignment, token: str
) -> str | Evaluation:
    """token: of the new lease, should there be one."""
    put_text(session, ArchitectureRow, wanted.architecture_digest, wanted.architecture_json)
    both = (wanted.architecture_digest, wanted.protocol_digest)
    costs, place = wanted.costs, wanted.place
    known = trials.finished(session, *both)
    if known is None or any(known.figure(name) is None for name in wanted.figures):
        return trials.lease(session, study, number, *both, costs, place, token)
    assert known.id is not None, "what is in the database has an id"
    trials.reuse(session, study, number, *both, known.id, costs, place, token)
    return known
