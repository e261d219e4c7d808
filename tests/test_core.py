"""The search core, driven in process: what it asks, writes and tells. Nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from search_helpers import (
    FAILED,
    SIX,
    START,
    Notes,
    asked,
    constrained,
    drive,
    finish,
    genomes,
    network,
    optuna_trials,
    plan,
    result,
    score,
    start,
)

from hybridnas.architecture import Architecture
from hybridnas.cost import cost
from hybridnas.reference import REFERENCES, reference
from hybridnas.search import spending
from hybridnas.search.plan import fitting_references
from hybridnas.space import SearchSpace
from hybridnas.store import SessionRecord, Store

MAX_MACS = 2e6
SMALL: dict[str, Any] = {
    "space": "hybrid_small",
    "sampler": {"name": "tpe", "startup_trials": 3},
    "constraints": {"macs": {"max": MAX_MACS}, "params": {"min": 1000}},
    "objectives": {"macs": "minimize", "top1": "maximize"},
}


def test_a_study_runs_to_the_end_of_its_trials(study_store: Store) -> None:
    notes = Notes()
    core = start(plan(**SMALL, budget={"trials": 8}), study_store, notes)
    candidates = drive(core)
    assert (core.stop_reason, core.ask(), core.running) == ("trials", None, {})
    trials = optuna_trials(study_store)
    assert [c.number for c in candidates] == [t.number for t in trials] == list(range(8))
    assert notes.began_numbers == [r.number for r in notes.results] == list(range(8))
    assert (notes.done_before, core.proposals) == (0, 8)
    for candidate, trial in zip(candidates, trials, strict=True):
        assert trial.state == TrialState.COMPLETE
        assert trial.values == [candidate.costs["macs"], score(network(candidate))]
        record = study_store.trial("shapes", trial.number)
        assert record is not None
        assert record.evaluation is not None
        assert record.evaluation == replace(result(candidate), id=record.evaluation.id)
        json = study_store.architecture_json(candidate.digest)
        assert json == candidate.architecture.to_json()
        told = {"top1", "total_s", "evaluation"}
        assert told <= trial.user_attrs.keys()
        assert trial.user_attrs["evaluation"] == record.evaluation.id
        assert "reused" not in trial.user_attrs
    protocol = candidates[0].protocol
    assert study_store.protocol_json(protocol.digest) == protocol.to_json()


def test_a_trial_is_complete_when_it_is_created(study_store: Store) -> None:
    core = start(plan(**SMALL, budget={"trials": 1}), study_store)
    candidate = asked(core)
    (trial,) = optuna_trials(study_store)
    assert trial.state == TrialState.RUNNING
    assert trial.params.keys() == trial.distributions.keys() == core.space.genes.keys()
    architecture = core.space.decode(trial.params)
    assert isinstance(architecture, Architecture)
    assert (candidate.architecture, candidate.digest) == (architecture, architecture.digest)
    known = cost(architecture, 32, num_classes=10)
    assert candidate.costs == {"macs": known.macs, "params": known.params}
    attributes = trial.user_attrs
    assert {name: attributes[name] for name in ("macs", "params")} == candidate.costs
    assert attributes["arch digest"] == architecture.digest
    assert attributes["arch"] == architecture.short
    assert Architecture.from_json(attributes["json"]) == architecture
    lines = [attributes[f"arch stage {i}"] for i in (1, 2, 3)]
    assert lines == architecture.describe()
    # The dashboard reads this list, Optuna 5 the property made of it.
    slacks = [known.macs - MAX_MACS, 1000 - known.params]
    assert trial.system_attrs["constraints"] == slacks
    assert list(trial.constraints.values()) == slacks
    assert max(slacks) <= 0


def test_a_failure_is_an_outcome(study_store: Store) -> None:
    notes = Notes()
    core = start(plan(**SMALL, budget={"trials": 3}), study_store, notes)
    half_way = {**FAILED, "metrics": {"top1": 0.1}}
    assert finish(core, asked(core), **half_way) == "out_of_memory"
    assert finish(core, asked(core)) is None
    drive(core)
    first, *others = optuna_trials(study_store)
    assert [t.state for t in others] == [TrialState.COMPLETE] * 2
    assert (first.state, first.values) == (TrialState.FAIL, None)
    assert first.user_attrs["reason"] == "out_of_memory"
    assert first.user_attrs["message"] == "no room"
    assert [r.reason for r in notes.results] == ["out_of_memory", None, None]


@pytest.mark.parametrize("metrics", [{"top1": nan}, {"top5": 0.5}, {"top1": None}])
def test_without_a_number_a_trial_fails(metrics: dict[str, Any], study_store: Store) -> None:
    core = start(plan(), study_store)
    finish(core, asked(core), metrics=metrics)
    (trial,) = optuna_trials(study_store)
    assert (trial.state, trial.values) == (TrialState.FAIL, None)
    assert asked(core).number == 1


def test_a_lost_node_is_recorded(study_store: Store) -> None:
    core = start(plan(), study_store)
    candidate = asked(core)
    assert core.settle(candidate.number) == "node_lost"
    (trial,) = optuna_trials(study_store)
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, "node_lost")
    record = study_store.trial("shapes", 0)
    assert record is not None
    assert record.evaluation is not None
    assert (record.evaluation.status, record.evaluation.reason) == ("failed", "node_lost")
    assert trial.user_attrs["evaluation"] == record.evaluation.id
    late = study_store.record(candidate.token, result(candidate))
    assert late == record.evaluation.id, "the lease is used up"
    assert study_store.trial("shapes", 0) == record


def test_a_result_in_the_last_moment_stands(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker was given up, yet it writes between the core's look and the core's own write."""
    core = start(plan(), study_store)
    candidate, real = asked(core), Store.record

    def after_the_worker(self: Store, token: str, evaluation: Any) -> int | None:
        real(self, candidate.token, result(candidate))
        return real(self, token, evaluation)

    monkeypatch.setattr(Store, "record", after_the_worker)
    assert core.settle(candidate.number) is None
    (trial,) = optuna_trials(study_store)
    assert trial.state == TrialState.COMPLETE


IN_HYBRID = [name for name, known in REFERENCES.items() if known.family == "MambaOut"]


def test_references_that_fit_go_first(study_store: Store) -> None:
    macs = {n: cost(reference(n), 64, num_classes=10).macs for n in IN_HYBRID}
    limit = sorted(macs.values())[2]
    fitting = [reference(n).digest for n in IN_HYBRID if macs[n] <= limit]
    hybrid = {
        "space": "hybrid",
        "fidelities": [{"epochs": 1, "resolution": 64}],
        "constraints": {"macs": {"max": limit}},
        "budget": {"trials": 5},
    }
    core = start(plan(**hybrid), study_store)
    first = [asked(core) for _ in range(4)]
    assert core.proposals == 1, "references are not the sampler's proposals"
    assert [c.digest for c in first[:3]] == fitting
    assert first[3].digest not in fitting
    trials = optuna_trials(study_store)
    assert [core.space.decode(t.params).digest for t in trials[:3]] == fitting
    core.release()
    again = start(plan(**hybrid), study_store)
    assert [c.digest for c in drive(again)[:4]] == [c.digest for c in first]
    digests = {t.user_attrs["arch digest"] for t in optuna_trials(study_store)}
    assert len(digests) == 5, "a reference that was tried is not tried again"


def test_a_study_names_its_references() -> None:
    base: dict[str, Any] = {"space": "hybrid", "fidelities": [{"epochs": 1, "resolution": 64}]}
    names = ["mambaout_small", "mambaout_femto"]
    chosen = plan(**base, references=names)
    found = [chosen.space.decode(genome) for genome in fitting_references(chosen)]
    assert found == [reference(name) for name in names]
    assert fitting_references(plan(**base, references=[])) == []
    assert len(fitting_references(plan(**base))) == len(IN_HYBRID) == 10


def test_hours_end_a_search(study_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(spending, "time", SimpleNamespace(monotonic=lambda: clock.now))
    ended = SessionRecord(
        id=1,
        study="shapes",
        host="here",
        pid=1,
        started_at=START,
        last_seen_at=START,
        ended_at=START.replace(hour=START.hour + 1),
        end_reason="interrupted",
        proposals=0,
        redrawn=0,
    )
    running = replace(ended, id=2, ended_at=None, last_seen_at=START.replace(hour=23))
    monkeypatch.setattr(Store, "sessions", lambda self, study: [ended, running])
    core = start(plan(budget={"hours": 2}), study_store)
    asked(core)
    clock.now += 3599
    asked(core)
    clock.now += 1
    assert (core.ask(), core.stop_reason) == (None, "hours")


def test_hours_of_runs_without_a_result_are_not_spent(study_store: Store) -> None:
    for _ in range(2):
        asked(start(plan(), study_store))
        session = study_store.begin_session("shapes")
        study_store.heartbeat(session, 1, 0)
        study_store.remove_begun("shapes")
        assert {each.duration_s for each in study_store.sessions("shapes")} == {0}
        study_store.end_session(session, "error")


def test_gpu_hours_end_a_search_over_all_runs(study_store: Store) -> None:
    limited = plan(budget={"gpu_hours": 3 * 60 / 3600})  # each result took 60 s
    core = start(limited, study_store)
    for _ in range(2):
        finish(core, asked(core))
    waiting, recorded = asked(core), asked(core)
    assert study_store.record(recorded.token, result(recorded))
    again = start(limited, study_store)
    assert again.stop_reason == "gpu_hours", "three results are paid, one of them not told before"
    states = [t.state for t in optuna_trials(study_store)]
    assert states == [TrialState.COMPLETE] * 2 + [TrialState.WAITING, TrialState.COMPLETE]
    longer = start(plan(budget={"gpu_hours": 3.5 * 60 / 3600}), study_store)
    assert [c.number for c in drive(longer)] == [waiting.number]
    assert longer.stop_reason == "gpu_hours"


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_a_small_space_is_tried_once_and_exhausted(sampler: str, study_store: Store) -> None:
    core = start(plan(sampler=sampler, budget={"trials": 20}), study_store)
    space = SearchSpace.load(SIX)
    assert {c.digest for c in drive(core)} == {space.decode(g).digest for g in genomes(space)}
    assert (core.stop_reason, len(optuna_trials(study_store))) == ("exhausted", 6)


def test_what_constraints_leave_is_exhausted(study_store: Store) -> None:
    space = SearchSpace.load(SIX)
    free = constrained(space)
    macs = sorted((free.cost_of(g)["macs"], space.decode(g).digest) for g in genomes(space))
    limited = plan(constraints={"macs": {"max": macs[2][0]}}, budget={"trials": 20})
    core = start(limited, study_store)
    assert {c.digest for c in drive(core)} == {digest for _, digest in macs[:3]}
    assert core.stop_reason == "exhausted"


def test_a_known_evaluation_is_told_at_once(study_store: Store) -> None:
    first = start(plan(), study_store)
    failed = asked(first)
    finish(first, failed, **FAILED)
    drive(first)
    notes = Notes()
    second = start(plan(name="second"), study_store, notes)
    assert [c.digest for c in drive(second)] == [failed.digest], "a failure is tried again"
    trials = optuna_trials(study_store, "second")
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 6
    reused = [t.user_attrs.get("reused", False) for t in trials]
    assert reused.count(True) == 5
    assert [r.reused for r in sorted(notes.results, key=lambda r: r.number)] == reused
    by_digest = {t.user_attrs["arch digest"]: t for t in optuna_trials(study_store)}
    for trial in (t for t in trials if "reused" in t.user_attrs):
        earlier = by_digest[trial.user_attrs["arch digest"]]
        assert trial.values == earlier.values
        assert trial.user_attrs["evaluation"] == earlier.user_attrs["evaluation"]
    assert study_store.info().rows["nas_evaluation"] == 7


def test_known_evaluations_cost_no_gpu_hours(study_store: Store) -> None:
    drive(start(plan(), study_store))
    limited = plan(name="second", budget={"gpu_hours": 1e-9})
    assert drive(start(limited, study_store)) == []
    assert len(optuna_trials(study_store, "second")) == 6
    assert start(limited, study_store).stop_reason is None, "nor after a resume"


def test_another_protocol_is_trained_again(study_store: Store) -> None:
    drive(start(plan(), study_store))
    other = start(plan(name="second", recipe={"lr": 0.5}), study_store)
    assert len(drive(other)) == 6
