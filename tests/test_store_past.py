"""What the database counts and sums of trainings, against what is read of all trials."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from store_databases import (
    ARCHITECTURE,
    EVALUATION,
    FAILED,
    PROTOCOL,
    START,
    STUDY,
    execute,
    lease,
)

from hybridnas.store import Ended, Place, Store, Training

pytest_plugins = ["store_databases"]

HIGH = "0000000000aa"
TIMED = replace(
    EVALUATION,
    metrics={"top1": 0.75, "macs": 2e9},
    timing={"total_s": 12.5, "gpu_s": 6.25},
    machine={"device": "H200"},
)


@pytest.fixture
def filled(store: Store) -> Store:
    """Three trials, of which one failed; one went on to a second rung and was trained again. A
    second study looked one up."""
    store.put_protocol(HIGH, '{"seed": 1}')
    for number, found in enumerate([TIMED, replace(FAILED, timing={"gpu_s": 1.0}), EVALUATION]):
        store.record(lease(store, number), found)
    for place in (Place(1), Place(1, 0, "also")):
        token = store.lease(STUDY, 0, ARCHITECTURE, HIGH, place=place)
        bare = replace(TIMED, protocol_digest=HIGH, machine={}, metrics={"macs": None})
        store.record(token, bare)
    for repeat, seed in ((1, "0000000000bb"), (2, "0000000000cc")):
        store.put_protocol(seed, "{}")
        token = store.lease(STUDY, 0, ARCHITECTURE, seed, place=Place(1, repeat))
        if repeat == 1:  # the second still runs
            store.record(token, replace(FAILED, protocol_digest=seed))
    store.put_study("second", {})
    store.reuse("second", 0, ARCHITECTURE, PROTOCOL, 1)
    return store


def test_trainings_under_protocols(filled: Store) -> None:
    assert filled.protocols().keys() >= {PROTOCOL, HIGH}
    assert filled.protocols()[HIGH] == '{"seed": 1}'
    (one,) = filled.trained([PROTOCOL])  # neither what failed nor what nobody timed
    assert one == Training(ARCHITECTURE, 12.5, 2e9, "H200")
    assert filled.trained([HIGH]) == [Training(ARCHITECTURE, 12.5, None, None)] * 2
    assert len(filled.trained([PROTOCOL, HIGH])) == 3
    assert filled.trained([]) == []
    assert filled.scored(HIGH) == {ARCHITECTURE}
    assert filled.scored("000000000000") == set()


def test_what_has_ended_of_a_study(filled: Store) -> None:
    assert Counter(filled.ended(STUDY)) == Counter(
        [
            Ended("", 0, False, 3),
            Ended("", 1, False, 1),
            Ended("also", 1, False, 1),
            Ended("", 1, True, 1),
        ]
    )
    assert filled.ended("second") == [Ended("", 0, False, 1)]
    runs = [run for trial in filled.trials(STUDY) for run in trial.runs]
    assert filled.terms(STUDY) == {(run.protocol_digest, run.place) for run in runs}
    assert filled.gpu_seconds(STUDY) == 6.25 * 3 + 1.0
    assert filled.gpu_seconds("second") == 0  # it trained nothing itself


def test_how_long_sessions_waited_for_their_first_training(filled: Store, url: str) -> None:
    assert filled.waits() == []  # none has begun
    for begin, end in ((-30, 60), (-600, -500)):
        session = filled.begin_session(STUDY)
        filled.end_session(session, "trials")
        began, seen = (START + timedelta(seconds=s) for s in (begin, end))
        execute(
            url,
            f"UPDATE nas_session SET started_at = '{began:%Y-%m-%d %H:%M:%S.%f}', "
            f"last_seen_at = '{seen:%Y-%m-%d %H:%M:%S.%f}' WHERE id = {session}",
        )
    filled.end_session(filled.begin_session("second"), "trials")
    assert filled.waits() == [30.0]
