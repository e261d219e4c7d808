"""A session's signs of life while its driver is busy with something else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from search_helpers import plan
from store_databases import STUDY, execute

from hybridnas.errors import ConfigError, StoreError
from hybridnas.search import driver
from hybridnas.search.heartbeat import Heartbeat
from hybridnas.store import Store
from hybridnas.store.records import SessionRecord

pytest_plugins = ["store_databases"]

_OFTEN_S = 0.02


def wait_for(enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not enough():
        assert time.monotonic() < deadline, "it did not come within 20 s"
        time.sleep(0.01)


def latest(store: Store, study: str = STUDY) -> SessionRecord:
    return store.sessions(study)[-1]


def test_it_beats_beside_other_writes_and_ends_with_the_last_counts(store: Store) -> None:
    with Heartbeat(store, store.begin_session(STUDY), _OFTEN_S) as heart:
        heart.counts = lambda: (7, 2)
        before, written = latest(store), 0

        def seen_thrice() -> bool:
            nonlocal before, written
            store.put_architecture(f"{written:012d}", "{}")
            now = latest(store)
            written += now.last_seen_at > before.last_seen_at
            before = now
            return written > 3

        wait_for(seen_thrice)
        assert (before.proposals, before.redrawn) == (7, 2)
        heart.counts = lambda: (8, 3)
    assert (latest(store).proposals, latest(store).redrawn) == (8, 3)


def test_a_refusal_is_told_and_not_the_end(store: Store, url: str) -> None:
    told: list[StoreError] = []
    with Heartbeat(store, store.begin_session(STUDY), _OFTEN_S) as heart:
        heart.on_error = told.append
        began, ended = "UPDATE nas_session SET ended_at = ", " WHERE ended_at IS NULL"
        execute(url, began + "last_seen_at" + ended)
        wait_for(lambda: len(told) > 1)
        execute(url, began + "NULL")
        number = len(told)
        seen = latest(store).last_seen_at
        wait_for(lambda: latest(store).last_seen_at > seen)
    assert "another run took this one for dead" in str(told[0])
    assert len(told) <= number + 1


def test_a_driver_beats_while_ray_starts(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan()

    @contextmanager
    def slow(*_: Any) -> Iterator[None]:
        seen = latest(study_store, made.study.name).last_seen_at
        wait_for(lambda: latest(study_store, made.study.name).last_seen_at > seen)
        raise ConfigError("Ray cannot be reached")
        yield

    monkeypatch.setattr(driver, "ray_session", slow)
    monkeypatch.setattr(driver, "Heartbeat", partial(Heartbeat, every_s=_OFTEN_S))
    with pytest.raises(ConfigError, match="Ray cannot be reached"):
        driver.run_study(made, study_store)
    session = latest(study_store, made.study.name)
    assert (session.end_reason, session.ended_at is not None) == ("error", True)
