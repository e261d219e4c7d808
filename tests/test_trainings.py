"""Given trainings as work: what is known of another study is taken over, and shown as reused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from calibration_helpers import asked, drive, evaluation, finish
from search_helpers import FAILED, Notes, plan

from hybridnas.search.job_forecast import forecast_jobs
from hybridnas.search.plan import Plan, counted_costs, rung_protocol
from hybridnas.search.trainings import Job, Trainings
from hybridnas.search.view import StudyView
from hybridnas.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


def jobs(of: Plan, widths: tuple[int, ...] = (8, 16)) -> list[Job]:
    """Two seeds of an architecture of each width."""
    found = []
    for width in widths:
        architecture = of.space.decode({"stage1.width": width})
        costs = counted_costs(of, architecture, 32)
        for seed in (3, 4):
            protocol = rung_protocol(of, of.study.fidelity, seed)
            found.append(Job(architecture, architecture.digest, protocol, costs, f"seed {seed}"))
    return found


def work(store: Store, of: Plan, wanted: list[Job], observer: Notes | None = None) -> Trainings:
    store.put_study(of.study.name, of.config)
    return Trainings(of.study, store, wanted, observer)


def test_jobs_are_trials_in_their_order(store: Store) -> None:
    of = plan()
    found = drive(work(store, of, jobs(of)))
    assert [(c.number, c.digest, c.protocol.seed, c.stage) for c in found] == [
        (number, job.digest, job.protocol.seed, job.stage) for number, job in enumerate(jobs(of))
    ]
    assert work(store, of, jobs(of)).stop_reason == "done"


def test_what_another_study_knows_is_taken_over(store: Store) -> None:
    first, second = plan(name="first"), plan(name="second")
    other = work(store, first, jobs(first, (8,)))
    for changes in ({}, FAILED):  # a failure is no answer: it is tried again
        finish(other, asked(other), **changes)
    notes = Notes()
    begun = work(store, second, jobs(second), notes)
    assert notes.done_before == 1
    assert [c.number for c in drive(begun)] == [1, 2, 3]
    known = store.trial("second", 0)
    assert known is not None
    assert known.evaluation == store.finished(*jobs(first)[0].key)
    assert [run.reused for run in known.runs] == [True]
    (taken,) = store.trial("second", 1).runs  # type: ignore[union-attr]
    assert not taken.reused


def test_an_evaluation_without_the_score_is_made_again(store: Store) -> None:
    first, second = plan(name="first"), plan(name="second")
    other = work(store, first, jobs(first))
    finish(other, asked(other), metrics={"top1": None})
    again = work(store, second, jobs(second))
    candidate = asked(again)
    assert candidate.number == 0
    store.record(candidate.token, evaluation(candidate))
    assert again.settle(0) is None


def test_a_later_wish_for_more_goes_on_with_the_numbers(store: Store) -> None:
    of = plan()
    drive(work(store, of, jobs(of, (16,))))
    more = drive(work(store, of, jobs(of)))
    assert [(c.number, c.digest) for c in more] == [
        (number, job.digest) for number, job in enumerate(jobs(of, (8,)), 2)
    ]


def test_the_first_job_is_trial_0_whatever_was_known_before(store: Store) -> None:
    """Also where the process died after it had taken over what another study knew."""
    first, second = plan(name="first"), plan(name="second")
    drive(work(store, first, jobs(first, (16,))))
    work(store, second, jobs(second))
    assert [trial.number for trial in store.trials("second")] == [2, 3]
    found = drive(work(store, second, jobs(second)))
    assert [(c.number, c.digest) for c in found] == [
        (number, job.digest) for number, job in enumerate(jobs(second, (8,)))
    ]


def test_what_is_lost_comes_first_under_a_new_lease(store: Store) -> None:
    of = plan()
    begun = work(store, of, jobs(of))
    lost = asked(begun)
    begun.lost(lost.number)
    assert begun.running == {}
    trial = store.trial(of.study.name, lost.number)
    assert trial is not None
    assert trial.reason == "waiting"
    again = asked(begun)
    assert (again.number, again.digest) == (lost.number, lost.digest)
    assert store.record(lost.token, evaluation(lost)) is None
    assert finish(begun, again) is None


def test_what_a_driver_that_died_left_does_not_run(store: Store) -> None:
    """When another one goes on, until it has a lease of its own."""
    of, name = plan(), plan().study.name
    dead = work(store, of, jobs(of))
    left = [asked(dead) for _ in range(3)]
    assert finish(dead, left.pop(0)) is None
    for candidate in left:
        assert store.take_up(candidate.token, "node7, GPU 3")
    store.begin_session(name)
    assert [row.number for row in StudyView(name, store).rows if row.running] == [1, 2]
    begun = work(store, of, jobs(of))
    view = StudyView(name, store)
    assert not any(row.running or row.worker for row in view.rows)
    assert view.counts() == {"ok": 1, "queued": 2}
    again = asked(begun)
    running = [row for row in StudyView(name, store).rows if row.running]
    assert [(row.number, row.worker) for row in running] == [(again.number, None)] == [(1, None)]
    assert work(store, of, jobs(of, (16,))).stop_reason is None
    assert not any(row.running for row in StudyView(name, store).rows)


def test_a_forecast_has_what_would_be_begun(store: Store) -> None:
    """A failure is not, but in another study; what a lost node took along is."""
    of, other = plan(), plan(name="other")
    begun = work(store, of, jobs(of))
    for changes in ({}, FAILED, FAILED | {"reason": "node_lost"}):
        finish(begun, asked(begun), **changes)

    def known(each: Plan) -> int:
        return forecast_jobs(each.study, jobs(each), store.url, None).known

    assert (known(of), known(other)) == (2, 1)
    assert len(drive(work(store, of, jobs(of)))) == 2
    assert (known(of), known(other)) == (4, 3)
