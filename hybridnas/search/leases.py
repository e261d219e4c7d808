"""What became of a candidate that was leased."""

from __future__ import annotations

from datetime import UTC, datetime

from ..errors import StoreError
from ..store import Evaluation, Store, TrialRecord
from .observer import Candidate


def evaluation_of(store: Store, study: str, candidate: Candidate) -> Evaluation:
    """The candidate's evaluation; where nobody wrote one, that its node was lost, written.

    Raises StoreError where another run of the study has leased its trial since: what comes of
    that is the other run's to tell.
    """
    record = _leased(store, study, candidate)
    if record.evaluation is None:
        lost = Evaluation(
            architecture_digest=candidate.digest,
            protocol_digest=candidate.protocol.digest,
            status="failed",
            reason="node_lost",
            message="the process that evaluated it ended without a result",
            seed=candidate.protocol.seed,
            started_at=record.created_at,
            ended_at=datetime.now(UTC),
        )
        store.record(candidate.token, lost)
        # What a worker that was given up wrote in the last moment stands.
        record = _leased(store, study, candidate)
    assert record.evaluation is not None, "it was written under this lease"
    return record.evaluation


def _leased(store: Store, study: str, candidate: Candidate) -> TrialRecord:
    """The candidate's trial, as long as its lease is good."""
    record = store.trial(study, candidate.number)
    assert record is not None, "a candidate was leased before it was given out"
    if record.token != candidate.token:
        raise StoreError(
            f"another run of study {study!r} has taken trial {candidate.number} up: this one stops"
        )
    return record
