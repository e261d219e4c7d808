"""A study as it is read: states, front, hypervolume, and what the JSON says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import optuna
import pytest
from search_helpers import FAILED, LISTED, START, asked, drive, finish, plan, result, start

from hybridnas.errors import ConfigError, StoreError
from hybridnas.search import load_study
from hybridnas.search.view import StudyView
from hybridnas.store import SessionRecord, Store, TrialRecord
from hybridnas.store.engine import Database

# Three results worked out by hand: the last is dominated by the second.
METRICS: list[dict[str, float]] = [
    {"top1": 0.9, "top5": 0.91, "macs": 4e5, "params": 300, "top1_se": 0.01},
    {"top1": 0.8, "top5": 0.99, "macs": 2e5, "params": 500},
    {"top1": 0.7, "top5": 0.95, "macs": 3e5, "params": 400},
]


@pytest.fixture
def view(study_store: Store) -> StudyView:
    return searched(study_store)


def searched(store: Store, **changes: Any) -> StudyView:
    """Three results, a failure, one that has no accuracy, one running, one waiting."""
    core = start(plan(budget={"hours": 1}, space=LISTED, **changes), store)
    for metrics in METRICS:
        finish(core, asked(core), metrics=metrics)
    finish(core, asked(core), **FAILED)
    finish(core, asked(core), metrics={"macs": 1.0, "params": 1.0})
    asked(core)
    store.mark("shapes", [asked(core).number], "waiting")
    return StudyView("shapes", store)


def test_states_and_failures(view: StudyView, study_store: Store) -> None:
    states = ["ok", "ok", "ok", "failed", "failed", "queued", "queued"]
    assert [row.state for row in view.rows] == states, "nobody searches"
    study_store.begin_session("shapes")
    live = StudyView("shapes", study_store)
    assert [row.state for row in live.rows] == [*states[:5], "running", "queued"]
    assert live.counts() == {"ok": 3, "failed": 2, "running": 1, "queued": 1}
    assert live.failures() == {"out_of_memory": 1}
    assert [row.number for row in live.finished] == [0, 1, 2], "a missing number is no result"


def test_reading_takes_as_many_transactions_whatever_the_number_of_trials(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = Database.read

    def counted(self: Database, work: Any) -> Any:
        reads.append(str(work))
        return real(self, work)

    monkeypatch.setattr(Database, "read", counted)
    numbers = []
    for name, trials in (("few", 2), ("many", 20)):
        drive(start(plan(name=name, space=LISTED, budget={"trials": trials}), study_store))
        reads.clear()
        assert len(StudyView(name, study_store).rows) == trials
        numbers.append(len(reads))
    assert numbers[0] == numbers[1]


def test_a_trial_may_begin_while_the_study_is_read(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = start(plan(budget={"trials": 4}, space=LISTED), study_store)
    asked(core)
    read = Store.trials

    def trials(store: Store, study: str) -> list[TrialRecord]:
        asked(core)
        return read(store, study)

    monkeypatch.setattr(Store, "trials", trials)
    assert [row.number for row in StudyView("shapes", study_store).rows] == [0, 1]


def test_rows_carry_their_architecture(view: StudyView, study_store: Store) -> None:
    digests = [record.architecture_digest for record in study_store.trials("shapes")]
    assert [row.architecture.digest for row in view.rows] == digests
    assert view.row(6).number == 6
    assert len(view.protocols) == 1


def test_the_front_is_the_cheapest_first(view: StudyView) -> None:
    assert [row.number for row in view.front()] == [1, 0]
    assert view.losses().tolist() == [[-0.9, 4e5], [-0.8, 2e5], [-0.7, 3e5]]


@pytest.mark.parametrize(
    ("objectives", "front"),
    [
        ({"top1": "maximize"}, [0]),
        ({"top1": "maximize", "params": "minimize"}, [0]),
        ({"macs": "minimize", "top5": "maximize"}, [1]),
        ({"top5": "maximize", "params": "minimize"}, [0, 2, 1]),
        ({"top5": "maximize", "top1": "maximize"}, [0, 1]),
        ({"top1": "maximize", "macs": "minimize", "params": "minimize"}, [1, 2, 0]),
    ],
)
def test_fronts_of_other_objectives(
    objectives: dict[str, str], front: list[int], study_store: Store
) -> None:
    view = searched(study_store, objectives=objectives)
    assert [row.number for row in view.front()] == front


def test_the_best_few(view: StudyView, study_store: Store) -> None:
    assert [[row.number for row in view.best(n)] for n in (0, 2, 9)] == [[], [0, 1], [0, 1, 2]]


def test_the_best_few_by_the_measured_objective(study_store: Store) -> None:
    view = searched(study_store, objectives={"macs": "minimize", "top5": "maximize"})
    assert [row.number for row in view.best(2)] == [1, 2]


def test_hypervolume_up_to_the_largest_cost(view: StudyView) -> None:
    """The edge is at 4e5 MACs, where trial 0 is: half of the box is left, and 0.8 of a top1 from
    0.68, a tenth of 0.9 - 0.7 below the worst."""
    assert view.hypervolume() == pytest.approx(0.5 * 0.12 / 0.32)


def test_hypervolume_up_to_the_constraint(study_store: Store) -> None:
    """0.9 - 0.68 wide at 4e5 of 1e6 MACs, 0.8 - 0.68 from 2e5 to 4e5; the third adds nothing."""
    limits = {"macs": {"max": 1e6}}
    view = searched(study_store, constraints=limits)
    assert view.hypervolume() == pytest.approx((0.22 * 0.6 + 0.12 * 0.2) / 0.32)


def test_hypervolume_of_accuracies(study_store: Store) -> None:
    view = searched(study_store, objectives={"top5": "maximize", "top1": "maximize"})
    area = 0.22 * 0.008 + 0.12 * (0.088 - 0.008)  # from 0.68 and 0.91 - 0.1 (0.99 - 0.91)
    assert view.hypervolume() == pytest.approx(area / (0.32 * 0.098))


def test_the_json_of_a_front(view: StudyView) -> None:
    front = view.front_json()
    # The contract's keys, and the standard error beside them.
    keys = ["trial", "arch", "values", "params", "top1_se", "stages"]
    keys += ["seeds", "spread", "reused"]
    assert [list(member) for member in front] == [keys, keys]
    assert [member["trial"] for member in front] == [1, 0]
    assert front[1] == {
        "trial": 0,
        "arch": view.rows[0].architecture.digest,
        "values": {"top1": 0.9, "macs": 4e5},
        "params": 300,
        "top1_se": 0.01,
        "stages": view.rows[0].architecture.short,
        "seeds": 1,
        "spread": {"top1": None},
        "reused": False,
    }
    assert front[0]["top1_se"] is None


def test_before_the_first_result(study_store: Store) -> None:
    start(plan(), study_store)
    view = StudyView("shapes", study_store)
    assert (view.rows, view.front(), view.best(3), view.front_json()) == ([], [], [], [])
    assert view.hypervolume() is None
    assert view.losses().shape == (0, 2)
    assert view.cost_so_far() == {"wall_hours": 0, "gpu_hours": 0, "evaluations": 0}
    with pytest.raises(ConfigError, match=r"'shapes' has no trial 0; it has none yet$"):
        view.row(0)


def test_what_it_has_cost(study_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    session = SessionRecord(
        id=1,
        study="shapes",
        host="here",
        pid=1,
        started_at=START,
        last_seen_at=START + timedelta(minutes=45),
        ended_at=START + timedelta(minutes=30),
        end_reason="lost",
        proposals=0,
        redrawn=0,
    )
    sessions = [session, replace(session, id=2, ended_at=None)]
    monkeypatch.setattr(Store, "sessions", lambda self, study: sessions)
    cost = searched(study_store).cost_so_far()  # five results of a minute each
    assert cost == pytest.approx({"wall_hours": 1.25, "gpu_hours": 5 / 60, "evaluations": 5})


def test_what_was_known_has_cost_nothing(study_store: Store) -> None:
    drive(start(plan(), study_store))
    drive(start(plan(name="second"), study_store))
    cost = StudyView("second", study_store).cost_so_far()
    assert (cost["gpu_hours"], cost["evaluations"]) == (0, 0)
    assert len(StudyView("second", study_store).finished) == 6


def test_unknown_studies_and_trials(view: StudyView, study_store: Store) -> None:
    with pytest.raises(ConfigError, match=r"^no study 'nope' in the database; it has: shapes$"):
        StudyView("nope", study_store)
    with pytest.raises(ConfigError, match=r"^study 'shapes' has no trial 7; it has 0 to 6$"):
        view.row(7)


def test_loading_by_name(view: StudyView, study_store: Store) -> None:
    loaded = load_study("shapes", study_store.url)
    assert loaded.front_json() == view.front_json()
    assert loaded.study == view.study
    with pytest.raises(ConfigError, match=r"no study 'nope' in the database; it has: shapes"):
        load_study("nope", study_store.url)
    with pytest.raises(StoreError, match=r"no database at"):
        load_study("shapes", f"{study_store.url}.other")


def test_who_breaks_a_soft_constraint_is_on_no_front(study_store: Store) -> None:
    limits = {"macs": {"max": 1e9}, "top1": {"min": 0.8}, "train_hours": {"max": 0.5}}
    core = start(plan(constraints=limits), study_store)
    hours = iter((0.1, 0.6, 0.2, 0.3, 0.1, 0.1))  # the second takes too long
    for top1 in (0.9, 0.95, 0.79, 0.85, 0.7, 0.81):
        candidate = asked(core)
        known = result(candidate)
        metrics = {**known.metrics, "top1": top1}
        finish(core, candidate, metrics=metrics, timing={"train_s": 3600 * next(hours)})
    view = StudyView("shapes", study_store)
    assert [row.number for row in view.finished] == [0, 1, 2, 3, 4, 5]
    assert [row.number for row in view.judged] == [0, 3, 5]
    front = {row.number for row in view.front()}
    assert 0 in front
    assert front <= {0, 3, 5}
    assert [row.number for row in view.best(2)] == [0, 3]
    study = optuna.load_study(study_name="shapes", storage=study_store.optuna_storage())
    assert {trial.number for trial in study.best_trials} == front


def test_the_best_by_loss_is_the_lowest(study_store: Store) -> None:
    core = start(plan(objectives={"loss": "minimize"}), study_store)
    for loss in (0.5, 0.3, 0.4):
        candidate = asked(core)
        known = result(candidate)
        finish(core, candidate, metrics={**known.metrics, "loss": loss})
    view = StudyView("shapes", study_store)
    assert [row.number for row in view.best(3)] == [1, 2, 0]
    assert [row.number for row in view.front()] == [1], "the front of one objective is its best"


def test_where_none_keeps_the_constraints_the_best_of_all_is_known(study_store: Store) -> None:
    core = start(plan(constraints={"top1": {"min": 0.99}}), study_store)
    for _ in range(2):
        finish(core, asked(core))
    view = StudyView("shapes", study_store)
    assert (view.front(), view.hypervolume(), len(view.best(1))) == ([], None, 1)
