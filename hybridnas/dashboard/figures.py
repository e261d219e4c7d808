"""Plots of a study as plotly reads them: {"data": [...], "layout": {...}}, plain JSON.

No plotly is needed to make them: the page that shows them brings its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..counting import number_of, pixels
from ..objectives import best, is_cost
from ..pictures.palette import DOMINATED, ERRORS, FRONT, INFEASIBLE, REFERENCE
from ..pictures.scale import log_ticks, mark_words
from ..reference import PUBLISHED
from ..search.counted import counted_size
from ..search.progress import progress
from ..search.rows import Row, error_words
from ..search.view import StudyView
from ..search.volume import reference_point
from ..search.words import TimeUnit, bound_words, objective_text, point_words, time_unit
from .figure_parts import Figure, layout, rounded


def figures(view: StudyView) -> dict[str, Figure]:
    """Those that a study has results for, by a name that HTML takes as an id."""
    made = {
        "front": front(view),
        "hypervolume": hypervolume_by_time(view),
        "front_by_stage": front_by_stage(view),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def front(view: StudyView) -> Figure | None:
    """All results over the cost, the front drawn through its members, published architectures and
    those that break a constraint marked; None without results or a second objective."""
    if not view.finished or len(view.objectives) < 2:
        return None
    score = view.study.measured
    others = [name for name in view.objectives if name != score]
    cost = next((name for name in others if is_cost(name)), others[0])
    members = view.front()
    on_front = {row.number for row in members}
    judged = {row.number for row in view.judged}
    soft = view.study.soft()
    rest = [row for row in view.finished if row.number not in on_front]
    broken = [row for row in rest if not row.keeps(soft)]
    kept = [row for row in rest if row.keeps(soft)]
    known = [row for row in rest if row.number in judged and row.digest in PUBLISHED]
    known += [row for row in members if row.digest in PUBLISHED]
    name = "not retrained: the search's score" if view.retrained else "dominated"
    traces = [_points(view, kept, cost, name, DOMINATED, "circle-open", 6)]
    if broken:
        words = f"infeasible ({bound_words(soft)})"
        traces.append(_points(view, broken, cost, words, INFEASIBLE, "x-thin-open", 7))
    if known:
        published = _points(view, known, cost, "published", REFERENCE, "diamond-open", 15)
        published["mode"] = "markers+text"
        published["textposition"] = "top center"
        traces.append(published)
    last = _front_trace(view, members, cost)
    traces.append(last)
    bars = f" (bars: {error_words(members, [score])})" * any(last["error_y"]["array"])
    of = (
        f"{len(view.retrained)} retrained"
        if view.retrained
        else number_of(len(view.finished), "result")
    )
    return {
        "data": [trace for trace in traces if trace["x"]],
        "layout": layout(
            f"Pareto front: {len(members)} of {of}{bars}",
            xaxis={"title": {"text": axis_words(view, cost)}, **_scale(view, cost)},
            yaxis={"title": {"text": score}},
        ),
    }


def _scale(view: StudyView, name: str) -> Figure:
    """Of an axis: of costs logarithmic, with marks in words, where plotly's own are `5, 1M, 2`."""
    if not is_cost(name):
        return {"type": "linear"}
    values = [row.value(name) for row in view.finished]
    marks = log_ticks(min(values), max(values))
    words = [mark_words(name, mark) for mark in marks]
    return {"type": "log", "tickvals": marks, "ticktext": words}


def _points(
    view: StudyView, rows: Sequence[Row], cost: str, name: str, colour: str, symbol: str, size: int
) -> Figure:
    """Markers with a short card each, for there may be thousands."""
    score = view.study.measured
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [rounded(row.value(cost)) for row in rows],
        "y": [rounded(row.value(score)) for row in rows],
        "text": [PUBLISHED.get(row.digest, row.architecture.short) for row in rows],
        "customdata": [row.number for row in rows],
        "hovertemplate": (
            f"trial %{{customdata}}: %{{text}}<br>{score} %{{y}}<br>{cost} %{{x}}<extra></extra>"
        ),
        "marker": {"color": colour, "symbol": symbol, "size": size},
    }


def _front_trace(view: StudyView, members: Sequence[Row], cost: str) -> Figure:
    score = view.study.measured
    members = sorted(members, key=lambda row: row.value(cost))  # whatever the front goes by
    trace = _points(view, members, cost, "front", FRONT, "circle", 9)
    errors = [row.error(score) or 0.0 for row in members]
    joined = len(view.objectives) == 2  # with three a front is no line
    shape = "hv" if best(cost) == "minimize" else "vh"
    return trace | {
        "mode": "lines+markers" if joined else "markers",
        "line": {"shape": shape, "color": FRONT, "width": 1.5},
        "error_y": {
            "type": "data",
            "array": [rounded(e) for e in errors],
            "width": 3,
            "thickness": 1,
            "color": ERRORS,
        },
        "hovertext": [card(view, row) for row in members],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def card(view: StudyView, row: Row) -> str:
    """All that matters of a trial, as HTML lines."""
    digest = row.digest
    known = f" = {PUBLISHED[digest]}" if digest in PUBLISHED else ""
    lines = [f"<b>trial {row.number}</b>{known}: {row.architecture.short}"]
    for name in dict.fromkeys((*view.objectives, *view.study.soft(), "params")):
        value = row.known(name) if name != "params" else row.metrics.get(name)
        if value is not None:
            lines.append(f"{name} {objective_text(name, value)}{spread_words(row, name)}")
    lines += [f"stage {i}: {line}" for i, line in enumerate(row.architecture.describe(), 1)]
    return "<br>".join(lines)


def spread_words(row: Row, name: str) -> str:
    """` +- 0.0071`: as `Row.error` says; nothing for what has none."""
    around = row.error(name)
    return f" ± {objective_text(name, around)}" if around else ""


def axis_words(view: StudyView, name: str) -> str:
    """An objective with its unit."""
    if name == "macs":
        return f"MACs at {pixels(counted_size(view.study))}"
    if name == "latency_ms" and view.study.latency is not None:
        return f"latency_ms ({view.study.latency.setting})"
    return {"params": "parameters"}.get(name, name)


def hypervolume_by_time(view: StudyView) -> Figure | None:
    """By time of search and, where a GPU was used, beside it by GPU time; None before the first
    result."""
    moments = progress(view)
    if not moments:
        return None
    volumes = [rounded(moment.hypervolume) for moment in moments]
    unit, hours = time_unit(moments[-1].hours), [moment.hours for moment in moments]
    data = [_grown(hours, volumes, f"after %{{x:.3g}} {unit.name}", unit)]
    axes: dict[str, Figure] = {"yaxis": {}}
    axes["xaxis"] = {"title": {"text": f"{unit.name} of search"}, "rangemode": "tozero"}
    if (spent := moments[-1].gpu_hours) > 0:
        unit, hours = time_unit(spent), [moment.gpu_hours for moment in moments]
        beside = {"xaxis": "x2", "yaxis": "y2"}
        data.append(_grown(hours, volumes, f"for %{{x:.3g}} GPU-{unit.name}", unit) | beside)
        axes["xaxis"]["domain"] = [0, 0.46]
        axes["xaxis2"] = {"title": {"text": f"GPU-{unit.name}"}, "domain": [0.54, 1]}
        axes["xaxis2"]["rangemode"] = "tozero"
        axes["yaxis2"] = {"anchor": "x2", "matches": "y"}
    of = " of the search" if view.retrained else ""
    title = f"Hypervolume{of} from {point_words(reference_point([view]))}"
    looks = layout(title, showlegend=False, **axes)
    return {"data": data, "layout": looks}


def _grown(hours: Sequence[float], volumes: Sequence[float], when: str, unit: TimeUnit) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "line": {"shape": "hv", "color": FRONT},
        "x": [rounded(unit.in_hour * hour) for hour in hours],
        "y": volumes,
        "hovertemplate": f"{when}: %{{y:.4f}}<extra></extra>",
    }


def front_by_stage(view: StudyView) -> Figure | None:
    """Parallel coordinates of the front's members: width, depth and mixers stage by stage, then
    the objectives; None where there is no front."""
    members = view.front()
    if not members:
        return None
    dimensions: list[Figure] = []
    for i in range(max(len(row.architecture.stages) for row in members)):
        stages = [row.architecture.stages[i : i + 1] for row in members]
        columns: Mapping[str, Sequence[str | int]] = {
            "mixers": ["-".join(dict.fromkeys(_letters(s[0].short))) if s else "" for s in stages],
            "depth": [s[0].depth if s else 0 for s in stages],
            "width": [s[0].width if s else 0 for s in stages],
        }
        for name, values in columns.items():
            dimensions.append(_choices(f"{name} {i + 1}", values))
    for name in view.objectives:
        dimensions.append({"label": name, "values": [rounded(row.value(name)) for row in members]})
    score = [rounded(row.value(view.study.measured)) for row in members]
    line = {"color": score, "colorscale": "Viridis", "showscale": True}
    line["colorbar"] = {"title": {"text": view.study.measured}}
    return {
        "data": [{"type": "parcoords", "dimensions": dimensions, "line": line}],
        "layout": layout("The front's members, stage by stage", margin={"t": 90}),
    }


def _letters(short: str) -> str:
    """G3S9 -> GS."""
    return "".join(letter for letter in short if letter.isalpha())


def _choices(label: str, values: Sequence[str | int]) -> Figure:
    """A dimension whose values are few and named: evenly spaced, in order."""
    each = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    return {
        "label": label,
        "values": [each.index(value) for value in values],
        "tickvals": list(range(len(each))),
        "ticktext": [str(value) for value in each],
    }
