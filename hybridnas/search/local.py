"""A search in this process, without Ray and without training: tables of results, replays, tests.

What it takes: a Space, a Feasibility over it, a Problem, and a function that evaluates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from ..store import Evaluation
from .core import SearchCore
from .observer import Candidate


@dataclass(frozen=True, slots=True)
class TableTerms:
    """What a score of a table means: which table, at which rung of it, with which seed."""

    table: str
    rung: int
    seed: int

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """12 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]


def run_here(core: SearchCore, evaluate: Callable[[Candidate], Evaluation]) -> str:
    """Searches to the end of the budget, one candidate after the other; returns why it ended.

    evaluate: what is found of a candidate (`scored` makes an evaluation of a table's numbers).
    """
    if core.store.study_config(core.name) is None:
        core.store.put_study(core.name, {"objectives": dict(core.problem.objectives)})
    while (candidate := core.ask()) is not None:
        core.store.record(candidate.token, evaluate(candidate))
        core.settle(candidate.number)
    core.close()
    reason = core.stop_reason
    assert reason is not None, "nothing runs, so that nothing is waited for"
    return reason


def scored(
    candidate: Candidate, metrics: Mapping[str, float], seconds: float = 0.0, gpus: float = 0.0
) -> Evaluation:
    """An evaluation with these scores, that took (or would have taken) so long on so many GPUs."""
    now = datetime.now(UTC)
    return Evaluation(
        architecture_digest=candidate.digest,
        protocol_digest=candidate.protocol.digest,
        status="ok",
        seed=candidate.protocol.seed,
        started_at=now - timedelta(seconds=seconds),
        ended_at=now,
        metrics={**metrics, **candidate.recorded},
        timing={"total_s": seconds, "gpu_s": seconds * gpus},
    )
