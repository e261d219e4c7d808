"""Studies side by side: reference point, hypervolume over time, attainment, the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import DATABASE, Cli
from scipy import stats
from search_helpers import finish, plan, start

from hybridnas.counting import in_units
from hybridnas.errors import ConfigError
from hybridnas.pareto import hypervolume, non_dominated
from hybridnas.search import volume as volumes
from hybridnas.search.comparison import compare, matching
from hybridnas.search.core import SearchCore
from hybridnas.search.progress import progress
from hybridnas.search.view import StudyView
from hybridnas.search.volume import (
    FIRST,
    Floats,
    attainment,
    ideal_point,
    reference_point,
    volume,
    volume_words,
)
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]


def searched(store: Store, name: str, **changes: Any) -> StudyView:
    core = start(plan(name=name, sampler={"name": "random"}, **changes), store)
    session = store.begin_session(name)
    train(core)
    store.end_session(session, "trials")
    return StudyView(name, store)


def train(core: SearchCore) -> None:
    """What is left, one after the other; half a GPU, a minute each by what they say."""
    while (candidate := core.ask()) is not None:
        now = datetime.now(UTC)
        timing = {"total_s": 60.0, "gpu_s": 30.0}
        finish(core, candidate, started_at=now, ended_at=now, timing=timing)


@pytest.fixture
def two(study_store: Store) -> tuple[StudyView, StudyView]:
    few = searched(study_store, "few", budget={"trials": 4})
    return few, searched(study_store, "many", seed=3, budget={"trials": 12})


# ---- volume


def test_volume_is_a_share_of_the_box() -> None:
    reference = {"top1": 0.0, "macs": 4e6}
    assert volume(np.array([[-1.0, 0.0]]), reference) == 1
    assert volume(np.array([[-0.5, 1e6]]), reference) == pytest.approx(0.5 * 0.75)
    assert volume(np.array([[-0.5, 5e6]]), reference) == 0
    higher = {"top1": 0.5, "macs": 4e6}
    assert volume(np.array([[-0.75, 2e6]]), higher) == pytest.approx(0.25)
    assert volume(np.array([[-0.3, 1.0, 2.0]]), {"b.miou": 0.0, "loss": 4.0, "macs": 4.0}) == (
        pytest.approx(0.3 * 0.75 * 0.5)
    )


def test_the_box_in_words() -> None:
    point = {"top1": 0.0, "loss": 2.5, "ade20k.macs": 4e7}
    ideal = ideal_point(point)
    assert ideal == {"top1": 1.0, "loss": 0.0, "ade20k.macs": 0.0}
    assert volume(np.array([[-1.0, 0.0, 0.0]]), point) == 1, "the ideal has all of it"
    assert volume_words(0.53816, point) == (
        "0.5382 of the box from top1 0.0000, loss 2.5000, ade20k.macs 40.0 M (reference point) to "
        "top1 1.0000, loss 0.0000, ade20k.macs 0"
    )


def beyond(views: Sequence[StudyView]) -> float:
    scores = [row.value("top1") for view in views for row in view.finished[:FIRST]]
    return min(scores) - 0.1 * (max(scores) - min(scores))


def test_later_results_do_not_move_the_point(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "FIRST", 2)
    early = reference_point([searched(study_store, "early", budget={"trials": 2})])
    late = searched(study_store, "late", budget={"trials": 6})
    scores = [row.value("top1") for row in late.finished]
    assert min(scores) < early["top1"]
    assert (
        reference_point([late])["top1"]
        == early["top1"]
        == pytest.approx(min(scores[:2]) - 0.1 * (max(scores[:2]) - min(scores[:2])))
    )


def test_one_reference_point_for_all(study_store: Store, two: tuple[StudyView, StudyView]) -> None:
    largest = max(row.value("macs") for view in two for row in view.finished)
    assert reference_point(two) == {"top1": beyond(two), "macs": largest}
    limited = searched(study_store, "limited", constraints={"macs": {"max": 2e7}})
    assert reference_point([limited])["macs"] == 2e7
    point = {"top1": beyond([limited]), "macs": 2e7}
    assert limited.hypervolume() == volume(limited.losses(), point)
    assert reference_point([limited, two[0]])["macs"] < 2e7, "not all of them are limited"


# ---- progress


def test_the_front_grows_as_a_brute_force_says(two: tuple[StudyView, StudyView]) -> None:
    view = two[1]
    point = reference_point(two)
    moments = progress(view, point)
    rows = sorted(view.finished, key=lambda row: row.number)
    assert [m.trial for m in moments] == [row.number for row in rows]
    signs, edge = np.array([-1.0, 1.0]), np.array([-point["top1"], point["macs"]])
    box = (1 - point["top1"]) * point["macs"]
    for number, moment in enumerate(moments, 1):
        seen = np.array([[r.value("top1"), r.value("macs")] for r in rows[:number]]) * signs
        assert moment.hypervolume == pytest.approx(hypervolume(seen, edge) / box)
    assert [m.trainings for m in moments] == list(range(1, len(rows) + 1))
    assert [m.results for m in moments] == [m.trainings for m in moments]
    assert moments[-1].hypervolume == pytest.approx(volume(view.losses(), point))


def test_pauses_and_reused_trainings_cost_nothing(study_store: Store) -> None:
    searched(study_store, "first", budget={"trials": 4})
    core = start(plan(name="second", sampler={"name": "random"}, budget={"trials": 6}), study_store)
    session = study_store.begin_session("second")
    train(core)
    study_store.end_session(session, "trials")
    view = StudyView("second", study_store)
    moments = progress(view, reference_point([view]))
    assert [(m.trial, m.trainings) for m in moments] == [(n, 0) for n in range(4)] + [
        (4, 1),
        (5, 2),
    ]
    assert [m.results for m in moments] == [1, 2, 3, 4, 5, 6]
    assert [m.gpu_hours for m in moments[-2:]] == pytest.approx([30 / 3600, 60 / 3600])
    (known,) = view.sessions
    length = known.duration_s / 3600
    assert all(0 <= m.hours <= length for m in moments)
    # Another run of the search, an hour later.
    end = known.ended_at
    assert end is not None
    later = replace(known, started_at=end + timedelta(hours=1), ended_at=end + timedelta(hours=3))
    rows = [replace(view.rows[0], created_at=end + timedelta(hours=2)), *view.rows[1:]]
    paused = StudyView("second", study_store)
    paused.rows, paused.sessions = rows, [known, later]
    assert progress(paused, reference_point([view]))[-1].hours == pytest.approx(length + 1)


# ---- attainment


def test_attainment_against_a_brute_force() -> None:
    rng = np.random.default_rng(0)
    fronts: list[Floats] = []
    for _ in range(5):
        points = rng.random((8, 2))
        fronts.append(points[non_dominated(points)])

    def reached(surface: Floats, point: Floats) -> bool:
        return bool((surface <= point).all(axis=1).any())

    for share in (0.2, 0.5, 1.0):
        surface = attainment(fronts, share)
        assert non_dominated(surface).all()
        for point in rng.random((300, 2)):
            by = sum(reached(front, point) for front in fronts)
            assert reached(surface, point) == (by >= np.ceil(5 * share)), share


def test_one_front_attains_itself() -> None:
    front = np.array([[1.0, 3.0], [2.0, 2.0], [4.0, 1.0]])
    assert attainment([front[::-1]], 0.5).tolist() == front.tolist()
    nowhere = np.array([[5.0, 9.0]])
    assert attainment([front, nowhere], 1.0).tolist() == [[5.0, 9.0]]


# ---- comparison


def test_side_by_side(two: tuple[StudyView, StudyView]) -> None:
    few, many = two
    found = compare({"few": [few], "many": [many], "both": [few, many]})
    first, second, both = found.rows
    assert found.common == 4
    assert both.volumes == [first.volume.value, second.volume.value]
    t = stats.ttest_1samp(both.volumes, 0.0).confidence_interval(0.95)
    assert [both.volume.low, both.volume.high] == pytest.approx([t.low, t.high])
    assert (first.volume.low, first.volume.high) == (None, None), "one study has no interval"
    (alike,) = compare({"alike": [few, few]}).rows
    assert (alike.volume.low, alike.volume.high) == (None, None), "nor have two that agree"
    after = max(m.hypervolume for m in second.moments[0] if m.results <= 4)
    assert second.volume_after(4).value == pytest.approx(after)
    assert first.volume_after(4).value == pytest.approx(first.volume.value)
    every = np.concatenate([v.losses(names=few.objectives) for v in (few, many, few, many)])
    assert sum(found.joint) == non_dominated(every).sum()
    assert not found.notes, "another seed is no other training"


def test_fronts_that_were_trained_anew(cli: Cli) -> None:
    with Store.open(f"sqlite:///{DATABASE}") as store:
        anew = searched(store, "anew", budget={"trials": 9}, final={"retrain": 2, "seeds": 2})
        searched(store, "plain", seed=3, budget={"trials": 4})
    assert len(anew.retrained) == 2
    row, plain = cli.json("compare", "anew", "plain")["rows"]
    point = cli.json("compare", "anew", "plain")["reference"]
    by_search = anew.losses(anew.finished, names=list(point))
    assert row["hypervolume_of_search"]["value"] == pytest.approx(volume(by_search, point))
    assert row["hypervolume"]["value"] != row["hypervolume_of_search"]["value"]
    assert plain["hypervolume"] == plain["hypervolume_of_search"]
    assert "of the few that were trained anew, by fresh seeds" in cli.shown("compare", "anew")
    assert "anew" not in cli.shown("compare", "plain")
    both = (
        "fronts of anew are means over fresh seeds, those of plain the scores that the search "
        "chose by, which flatter: hypervolume and joint front favour them"
    )
    assert both in cli.shown("compare", "anew", "plain")


def test_what_cannot_be_compared(study_store: Store, two: tuple[StudyView, StudyView]) -> None:
    other = searched(study_store, "other", objectives={"top1": "maximize", "params": "minimize"})
    with pytest.raises(ConfigError, match="few has top1, macs, other has top1, params"):
        compare({"few": [two[0]], "other": [other]})
    study_store.put_study("new", plan(name="new").config)
    with pytest.raises(ConfigError, match="study 'new' has no result yet"):
        compare({"new": [StudyView("new", study_store)]})


def test_other_trainings_and_limits_are_noted(
    study_store: Store, two: tuple[StudyView, StudyView]
) -> None:
    long = [{"epochs": 9, "resolution": 32}]
    bounded = {"macs": {"max": 2e7}}
    other = searched(study_store, "long", fidelities=long, constraints=bounded)
    protocols, limits = compare({"few": [two[0]], "long": [other]}).notes
    assert protocols.startswith("their protocols differ, so scores are not of the same training: ")
    assert limits == "their limits on costs differ: none (few); macs at most 20.0 M (long)"


def test_names_and_patterns() -> None:
    names = ["a-1", "a-2", "b"]
    assert matching("b", names) == ["b"]
    assert matching("a-*", names) == ["a-1", "a-2"]
    with pytest.raises(ConfigError, match=r"no study 'c\*' in the database; it has: a-1, a-2, b"):
        matching("c*", names)


def test_the_command(cli: Cli) -> None:
    pytest.importorskip("matplotlib")
    with Store.open(f"sqlite:///{DATABASE}") as store:
        for seed in (1, 2):
            searched(store, f"a-{seed}", seed=seed, budget={"trials": 2 * seed + 2})
        searched(store, "b", seed=5, budget={"trials": 6})
    found = cli.json("compare", "a-*", "b")
    assert [row["studies"] for row in found["rows"]] == [["a-1", "a-2"], ["b"]]
    values = found["rows"][0]["hypervolumes"]
    assert found["rows"][0]["hypervolume"]["value"] == pytest.approx(np.mean(values))
    done = cli("compare", "a-*", "b", "--plot", "compared.svg", "--over", "hours")
    assert (done.code, done.err) == (0, "written: compared.svg\n")
    shown = done.out
    assert f"{np.mean(values):.4f} [" in shown
    assert "hypervolume, mean [95 %]" in shown
    assert "after 4 results, mean [95 %]" in shown
    assert "after 4 results: what each study had after as many as all of them have" in shown
    assert (
        "intervals: Student's t, 95 %, of the mean over 2 studies, none where all agree\n" in shown
    )
    assert "intervals" not in cli.shown("compare", "a-1", "b")
    assert "another hypervolume" not in shown, "up to the dearest network, which all have"
    assert "<svg" in Path("compared.svg").read_text(encoding="utf-8")
    near = cli.json("compare", "b", "--reference", "top1=0.5", "--reference", "macs=1e9")
    assert near["reference"] == {"top1": 0.5, "macs": 1e9}
    with Store.open(f"sqlite:///{DATABASE}") as store:
        dearest = max(row.value("macs") for row in StudyView("b", store).finished)
    far = cli.shown("compare", "b", "--reference", "top1=0", "--reference", "macs=1e9")
    assert "status and report have another hypervolume" in far
    assert "of its own: b top1 0." in far
    assert f", macs {in_units(dearest)}" in far
    for words, message in (
        (["c"], "no study 'c' in the database; it has: a-1, a-2, b"),
        (["b", "--reference", "top1=x"], "--reference takes NAME=VALUE, got 'top1=x'"),
        (["b", "--reference", "top1=0.1"], "one for each objective (top1, macs); macs is missing"),
        (["b", "--reference", "top=0.5"], "b has no objective top (top1?); it has: top1, macs"),
        (["b", "--plot", "x.gif"], "--plot takes a file in .svg, .png, .pdf, got 'x.gif'"),
    ):
        assert message in cli.refused("compare", *words)
