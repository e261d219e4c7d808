"""Calibrations: what is trained, what is looked up, and the answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import search_helpers
from calibration_helpers import (
    LONG,
    SHORT,
    asked,
    calibration_plan,
    drive,
    evaluation,
    finish,
    planned,
    score,
    work,
)
from scipy.stats import kendalltau
from search_helpers import FAILED, Notes, protocol

from hybridnas.config import Fidelity
from hybridnas.cost import cost
from hybridnas.dashboard.artifacts import TrialFiles
from hybridnas.errors import ConfigError
from hybridnas.search.calibration import Calibration, Setting
from hybridnas.search.view import StudyView
from hybridnas.store import Place, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


def test_every_architecture_is_trained_at_both_fidelities(store: Store) -> None:
    notes = Notes()
    found = drive(work(store, planned(store, archs=9, seeds=2), notes))
    trained = {(c.digest, protocol(c).fidelity.epochs, c.protocol.seed) for c in found}
    archs = {c.digest for c in found}
    assert len(archs) == 9
    assert trained == {
        (arch, epochs, seed) for arch in archs for epochs in (1, 4) for seed in (0, 1)
    }
    assert len(found) == len(notes.results) == 36
    assert [c.number for c in found] == list(range(36))


@pytest.mark.parametrize(("seeds", "seed"), [(1, ""), (2, ", seed 1")])
def test_who_watches_is_told_of_which_fidelity_a_training_is(
    seeds: int, seed: str, store: Store
) -> None:
    notes = Notes()
    drive(work(store, planned(store, seeds=seeds), notes))
    stages = [result.stage for result in notes.results]
    assert stages.count(f"1 epoch at 32 px{seed}") == stages.count(f"4 epochs at 32 px{seed}") == 8
    assert len({*stages}) == 2 * seeds


def test_shares_of_the_study_do_not_hinder_a_longer_judge() -> None:
    judge = LONG.model_copy(update={"epochs": 9})
    plan = calibration_plan(Setting(8, 1, LONG, judge), halving={"shares": [0.5, 0.5]})
    assert plan.study.fidelities == (SHORT, LONG, judge)


def test_its_trials_are_shown_after_another_one_with_fewer_rungs(store: Store) -> None:
    """The study is put anew each time; what was trained at a rung that it had then stays."""
    longer = LONG.model_copy(update={"epochs": 9})
    for setting in (Setting(8, 1, LONG, longer), Setting(8, 1, SHORT, LONG)):
        plan = calibration_plan(setting)
        store.put_study(plan.study.name, plan.config)
        drive(work(store, Calibration(plan, setting)))
    with TrialFiles(store, {1: plan.study.name}).open_reader("1-0-1") as picture:
        assert "9 epochs at 32 px" in picture.read().decode()


def test_the_answer_against_scipy(store: Store) -> None:
    calibration = planned(store, archs=12)
    members = {c.digest: c for c in drive(work(store, calibration))}
    result = calibration.result(store)
    assert (result["architectures"], result["failed"], result["between_seeds"]) == (12, 0, None)
    assert result["seconds"] == {"proxy": 1.0, "judge": 4.0}
    judge = np.array([row["judge"] for row in result["scores"]])
    truth = [
        search_helpers.score(search_helpers.network(members[row["arch"]]))
        for row in result["scores"]
    ]
    assert judge.tolist() == truth
    for name in ("macs", "params"):
        costs = [members[row["arch"]].costs[name] for row in result["scores"]]
        overall = result["tau"][name]["overall"]
        assert overall["tau"] == pytest.approx(kendalltau(costs, judge).statistic)
        assert overall["low"] <= overall["tau"] <= overall["high"]
    # This proxy is a function of MACs: it ranks as they do, and at equal MACs it is worth little.
    assert result["tau"]["proxy"]["overall"] == result["tau"]["macs"]["overall"]
    macs = np.log([row["macs"] for row in result["scores"]])
    rest = [
        x - np.polyval(np.polyfit(macs, x, 2), macs)
        for x in (np.array([row["proxy"] for row in result["scores"]]), judge)
    ]
    equal = result["tau"]["proxy"]["equal_macs"]["tau"]
    assert equal == pytest.approx(kendalltau(*rest).statistic)


def test_several_seeds_give_the_mean_and_their_agreement(store: Store) -> None:
    calibration = planned(store, archs=9, seeds=2)
    last = {(c.digest, protocol(c).fidelity): score(c) for c in drive(work(store, calibration))}
    result = calibration.result(store)
    assert result["between_seeds"]["tau"] == 1
    for row in result["scores"]:
        for side, fidelity in (("proxy", SHORT), ("judge", LONG)):
            # The second seed's score, which came last, is 1e-6 above the first one's.
            assert row[side] == pytest.approx(last[row["arch"], fidelity] - 0.5e-6, abs=1e-9)


def test_it_goes_on_where_it_was_interrupted(store: Store) -> None:
    calibration = planned(store, archs=9)
    begun = work(store, calibration)
    done = [asked(begun) for _ in range(3)]
    for candidate in done:
        finish(begun, candidate)
    orphan = asked(begun)
    begun.release()
    trial = store.trial(begun.study.name, orphan.number)
    assert trial is not None
    assert trial.reason == "waiting"

    notes = Notes()
    later = work(store, calibration, notes)
    assert notes.done_before == 3
    found = drive(later)
    assert len(found) == 15
    assert (found[0].number, found[0].digest) == (orphan.number, orphan.digest)
    assert store.record(orphan.token, evaluation(orphan)) is None  # its lease is void
    assert calibration.result(store)["architectures"] == 9
    assert work(store, planned(store, archs=9)).stop_reason == "done"
    assert planned(store, archs=9).result(store) == calibration.result(store)


def test_a_failed_architecture_is_left_out_and_not_tried_again(store: Store) -> None:
    calibration = planned(store, archs=9)
    begun = work(store, calibration)
    broken, lost, *_ = candidates = list(iter(begun.ask, None))
    assert finish(begun, broken, **FAILED) == "out_of_memory"
    assert begun.settle(lost.number) == "node_lost"
    for candidate in candidates[2:]:
        finish(begun, candidate)
    assert broken.digest == lost.digest
    result = calibration.result(store)
    assert (result["architectures"], result["failed"]) == (8, 1)
    assert [c.number for c in drive(work(store, calibration))] == [
        lost.number
    ]  # a node may do better


def test_too_few_for_an_order(store: Store) -> None:
    calibration = planned(store, archs=8)
    begun = work(store, calibration)
    first, *others = list(iter(begun.ask, None))
    finish(begun, first, **FAILED)
    for candidate in others:
        finish(begun, candidate)
    with pytest.raises(ConfigError, match=r"1 of 8 architectures failed .* too few"):
        calibration.result(store)


def test_limits_hold_at_the_study_s_top_and_costs_are_those_of_each_fidelity(store: Store) -> None:
    """The two rungs compared are below the top one, where the study counts MACs."""
    low, middle, top = (Fidelity(epochs=1, resolution=size) for size in (16, 32, 64))
    ladder = [rung.model_dump() for rung in (low, middle, top)]
    setting, limit = Setting(12, 1, low, middle), 3e6
    plan = calibration_plan(setting, fidelities=ladder, constraints={"macs": {"max": limit}})
    store.put_study(plan.study.name, plan.config)
    candidates = drive(work(store, Calibration(plan, setting)))
    assert {protocol(c).fidelity for c in candidates} == {low, middle}
    for candidate in candidates:
        own, counted = (
            cost(search_helpers.network(candidate), size, num_classes=10).macs
            for size in (protocol(candidate).fidelity.resolution, 64)
        )
        assert counted <= limit
        known = store.finished(candidate.digest, candidate.protocol.digest)
        assert known is not None
        assert known.metrics["macs"] == own


def test_a_search_looks_up_what_a_calibration_trained(store: Store) -> None:
    calibration = planned(store, archs=9)
    drive(work(store, calibration))
    raw = {"space": search_helpers.LISTED, "fidelities": [SHORT.model_dump(), LONG.model_dump()]}
    core = search_helpers.start(search_helpers.plan(**raw), store)
    terms = [core.problem.terms(Place(rung)).digest for rung in (0, 1)]
    assert terms == [calibration.proxies[0].digest, calibration.judges[0].digest]
    architecture, _ = calibration.members[0]
    assert all(store.finished(architecture.digest, digest) for digest in terms)


def test_a_view_knows_the_calibrations_of_its_fidelity(store: Store) -> None:
    raw = {"space": search_helpers.LISTED, "fidelities": [SHORT.model_dump()]}
    search_helpers.drive(search_helpers.start(search_helpers.plan(**raw), store))
    assert StudyView("shapes", store).calibrations == []
    calibration = planned(store, archs=9)
    drive(work(store, calibration))
    digests = calibration.proxies[0].digest, calibration.judges[0].digest
    asked = calibration.setting.as_json("top1")
    store.begin_calibration(calibration.study.name, *digests, asked)
    assert StudyView("shapes", store).calibrations == []  # not finished
    for _ in range(2):
        number = store.begin_calibration(calibration.study.name, *digests, asked)
        store.end_calibration(number, calibration.result(store))
    (known,) = StudyView("shapes", store).calibrations
    assert (known.record.id, known.record.proxy_digest) == (number, digests[0])
    assert known.as_proxy
    # A study with another seed trains alike; one of another space has other architectures.
    for name, other in (("seed", {"seed": 9}), ("space", {"space": search_helpers.SIX})):
        core = search_helpers.start(search_helpers.plan(**{**raw, "name": name, **other}), store)
        search_helpers.drive(core)
    assert StudyView("seed", store).calibrations == [known]
    assert StudyView("space", store).calibrations == []
    # The calibration's own trials at the lower rung are no part of its front.
    own = StudyView(calibration.study.name, store)
    assert len(own.rows) == 18
    assert len(own.finished) == 9
