"""An evaluator that trains nothing: it sleeps, makes a score up, and keeps a journal.

For drills and simulations (`run_study(..., evaluate="simulated_evaluator:evaluate")`). The
environment says where the journal is (HYBRIDNAS_JOURNAL) and the longest sleep in seconds
(HYBRIDNAS_SLEEP). Each training writes two lines: begin and end, with digest, process and time.
"""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime
from typing import Any

from hybridnas.architecture import Architecture
from hybridnas.config import Protocol
from hybridnas.evaluate import Outcome


def evaluate(architecture: Architecture, protocol: Protocol, **_: Any) -> Outcome:
    """What an architecture and a protocol always get, after a while that they always take."""
    rng = random.Random(f"{architecture.digest} {protocol.digest}")
    seconds = rng.uniform(0.1, 1.0) * float(os.environ.get("HYBRIDNAS_SLEEP", "1"))
    began = datetime.now(UTC)
    _note("begin", architecture.digest)
    time.sleep(seconds)
    _note("end", architecture.digest)
    return Outcome(
        status="ok",
        reason=None,
        message=None,
        metrics={"top1": rng.random(), "top5": 0.9, "loss": 1.0},
        curve=[],
        timing={"total_s": seconds},
        machine={"device": "none"},
        versions={},
        seed=protocol.seed,
        git_commit=None,
        started_at=began,
        ended_at=datetime.now(UTC),
    )


def _note(what: str, digest: str) -> None:
    # Opened to append, so that lines of several processes do not mix.
    with open(os.environ["HYBRIDNAS_JOURNAL"], "a", encoding="utf-8") as journal:
        journal.write(f"{what} {digest} {os.getpid()} {time.time()}\n")
