"""What became of a candidate that was leased."""

from __future__ import annotations

from datetime import UTC, datetime

from ..store import Evaluation, Store


def evaluation_of(store: Store, study: str, number: int, seed: int) -> Evaluation:
    """The evaluation of a leased trial; where nobody wrote one, that its node was lost, written."""
    record = store.trial(study, number)
    assert record is not None, "a candidate was leased before it was given out"
    if record.evaluation is not None:
        return record.evaluation
    evaluation = Evaluation(
        architecture_digest=record.architecture_digest,
        protocol_digest=record.protocol_digest,
        status="failed",
        reason="node_lost",
        message="the process that evaluated it ended without a result",
        seed=seed,
        started_at=record.created_at,
        ended_at=datetime.now(UTC),
    )
    store.record(record.token, evaluation)
    # What a worker that was given up wrote in the last moment stands.
    record = store.trial(study, number)
    assert record is not None
    return record.evaluation or evaluation
