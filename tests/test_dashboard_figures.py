"""Plots of a study: what stands in them is what the view says, and plotly takes them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import plotly.graph_objects
import pytest
import search_helpers as helpers
from ablation_helpers import begin, drive, set_up_of
from dashboard_helpers import LEAST, searched

from hybridnas.ablate import read_ablations
from hybridnas.dashboard import figures
from hybridnas.dashboard.figure_parts import Figure
from hybridnas.dashboard.twins import twin_figures, twin_lines
from hybridnas.pictures.palette import DOMINATED, FRONT, INFEASIBLE
from hybridnas.search.progress import progress
from hybridnas.search.view import StudyView
from hybridnas.store import Store


@pytest.fixture(scope="module", params=[None, {"retrain": 3, "seeds": 2}], ids=["once", "again"])
def figured_view(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StudyView]:
    """A finished study, without and with a final retraining."""
    folder = tmp_path_factory.mktemp("figures")
    with Store.open(f"sqlite:///{folder / 'studies.db'}") as store:
        searched(store, final=request.param)
        yield StudyView("shapes", store)


def trace(figure: Figure, name: str) -> Any:
    (found,) = (trace for trace in figure["data"] if trace["name"] == name)
    return found


def test_plotly_and_json_take_them_all(figured_view: StudyView) -> None:
    made = figures.figures(figured_view)
    assert list(made) == ["front", "hypervolume", "front_by_stage"]
    for figure in made.values():
        plotly.graph_objects.Figure(figure)  # raises ValueError for a property that there is not
        json.dumps(figure, allow_nan=False)


def test_a_forest_plot_of_twins(study_store: Store) -> None:
    drive(begin(study_store, set_up_of()))
    (ablation,) = read_ablations(study_store, "shapes")
    (made,) = twin_figures([ablation]).values()
    plotly.graph_objects.Figure(made)
    json.dumps(made, allow_nan=False)
    (points,) = made["data"]
    words = "95 % for all twins of an architecture together (Bonferroni)"
    assert words in made["layout"]["xaxis"]["title"]["text"]
    note = [*twin_lines([ablation], str)][-1]
    assert words in note
    assert "Seeds that would: for 80 % power." in note
    effects = [comparison.effect for comparison in ablation.comparisons]
    verdicts = {"original": FRONT, "unknown": DOMINATED, "twin": INFEASIBLE}
    assert [effect and effect.verdict for effect in effects] == list(verdicts)
    assert points["marker"]["color"] == list(verdicts.values())
    for x, half, effect in zip(points["x"], points["error_x"]["array"], effects, strict=True):
        assert effect is not None
        assert effect.low is not None
        assert x == pytest.approx(effect.value, rel=1e-5)
        assert x - half == pytest.approx(effect.low, abs=1e-5)
    assert twin_figures([]) == {}


def test_the_front_shows_every_result_once_and_says_what_it_is(figured_view: StudyView) -> None:
    view = figured_view
    made = figures.front(view)
    assert made is not None
    shown = {t["name"]: t for t in made["data"]}
    broken = f"infeasible (top1 at least {LEAST:.4f})"
    rest = "not retrained: the search's score" if view.retrained else "dominated"
    assert list(shown) == [rest, broken, "front"]
    by_number = {row.number: row for row in view.finished}
    numbers = {name: t["customdata"] for name, t in shown.items()}
    assert sorted(n for each in numbers.values() for n in each) == sorted(by_number)
    assert numbers["front"] == [row.number for row in view.front()]
    assert set(numbers[broken]) == {n for n, r in by_number.items() if r.value("top1") < LEAST}
    assert numbers[broken]
    for t in shown.values():
        rows = [by_number[number] for number in t["customdata"]]
        assert t["x"] == pytest.approx([row.value("macs") for row in rows], rel=1e-5)
        assert t["y"] == pytest.approx([row.value("top1") for row in rows], rel=1e-5)
    axis = made["layout"]["xaxis"]
    assert axis["tickvals"][0] <= min(r.value("macs") for r in by_number.values())
    assert axis["tickvals"][-1] >= max(r.value("macs") for r in by_number.values())
    for mark, words in zip(axis["tickvals"], axis["ticktext"], strict=True):
        number, unit = words.split()
        assert float(number) * {"K": 1e3, "M": 1e6}[unit] == pytest.approx(mark)
    errors = shown["front"]["error_y"]["array"]
    spreads = [row.spread("top1") or 0.01 for row in view.front()]  # 0.01: the standard error
    assert errors == pytest.approx(spreads, rel=1e-5)
    assert (0.01 in errors) == (not view.retrained)
    assert made["layout"]["xaxis"]["title"]["text"] == "MACs at 32 px"
    kind = "standard deviation between fresh seeds" if view.retrained else "standard error"
    assert made["layout"]["title"]["text"].endswith(f" (bars: {kind})")


def test_a_card_tells_what_a_member_is(figured_view: StudyView) -> None:
    member = figured_view.front()[0]
    made = figures.front(figured_view)
    assert made is not None
    text = trace(made, "front")["hovertext"][0]
    assert text.startswith(f"<b>trial {member.number}</b>: {member.architecture.short}<br>top1 ")
    assert f"top1 {member.value('top1'):.4f}" in text
    lines = enumerate(member.architecture.describe(), 1)
    assert all(f"stage {i}: {line}" in text for i, line in lines)
    assert text.count("params ") == 1


def test_published_architectures_go_by_their_names(
    figured_view: StudyView, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = figured_view.front()[-1]
    others = [row for row in figured_view.judged if row not in figured_view.front()][:1]
    names = {member.architecture.digest: "a_net"}
    names |= {row.architecture.digest: "b_net" for row in others}
    monkeypatch.setattr(figures, "PUBLISHED", names)
    made = figures.front(figured_view)
    assert made is not None
    assert set(trace(made, "published")["text"]) == set(names.values())
    assert f"<b>trial {member.number}</b> = a_net: " in trace(made, "front")["hovertext"][-1]


def test_hypervolume_by_time_and_by_gpu_time(
    figured_view: StudyView, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = figures.hypervolume_by_time(figured_view)
    assert made is not None
    moments = progress(figured_view)
    by_time, spent = made["data"]
    assert moments[-1].hours < 2 < moments[-1].gpu_hours
    assert by_time["x"] == pytest.approx([60 * m.hours for m in moments], rel=1e-5)
    assert spent["x"] == pytest.approx([m.gpu_hours for m in moments], rel=1e-5)
    assert by_time["y"] == spent["y"] == pytest.approx([m.hypervolume for m in moments], rel=1e-5)
    names = [made["layout"][axis]["title"]["text"] for axis in ("xaxis", "xaxis2")]
    assert names == ["minutes of search", "GPU-hours"]
    without = [replace(moment, gpu_hours=0.0) for moment in moments]
    monkeypatch.setattr(figures, "progress", lambda view: without)
    made = figures.hypervolume_by_time(figured_view)
    assert made is not None
    assert made["data"] == [by_time]
    assert "xaxis2" not in made["layout"]


def test_the_front_by_stage_reads_back(figured_view: StudyView) -> None:
    made = figures.front_by_stage(figured_view)
    assert made is not None
    (parallel,) = made["data"]
    read = {
        d["label"]: [d["ticktext"][d["tickvals"].index(v)] for v in d["values"]]
        for d in parallel["dimensions"]
        if "ticktext" in d
    }
    members = figured_view.front()
    for i in range(2):
        stages = [row.architecture.stages[i] for row in members]
        assert read[f"depth {i + 1}"] == [str(stage.depth) for stage in stages]
        assert read[f"width {i + 1}"] == [str(stage.width) for stage in stages]
        assert read[f"mixers {i + 1}"] == [stage.short[0] for stage in stages]
    widths = next(d for d in parallel["dimensions"] if d["label"] == "width 1")["ticktext"]
    assert widths == sorted(widths, key=int)
    numbers = {d["label"]: d["values"] for d in parallel["dimensions"] if "ticktext" not in d}
    assert numbers["top1"] == pytest.approx([row.value("top1") for row in members], rel=1e-5)
    assert list(numbers) == ["top1", "macs"]


def test_one_objective_or_no_result(study_store: Store) -> None:
    core = helpers.start(helpers.plan(objectives={"top1": "maximize"}), study_store)
    assert figures.figures(StudyView("shapes", study_store)) == {}
    helpers.finish(core, helpers.asked(core))
    made = figures.figures(StudyView("shapes", study_store))
    assert list(made) == ["hypervolume", "front_by_stage"]
    assert all(math.isfinite(y) for t in made["hypervolume"]["data"] for y in t["y"])


def test_none_that_keeps_its_constraints(study_store: Store) -> None:
    searched(study_store, constraints={"top1": {"min": 0.99}})
    view = StudyView("shapes", study_store)
    made = figures.figures(view)
    assert list(made) == ["front"]
    (broken,) = made["front"]["data"]
    assert broken["name"] == "infeasible (top1 at least 0.9900)"
    assert len(broken["x"]) == len(view.finished) > 0
