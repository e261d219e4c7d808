"""Pictures with matplotlib, where it is installed: the front."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..counting import pixels
from ..errors import ConfigError
from ..objectives import best, is_cost
from ..pictures.palette import DOMINATED, ERRORS, FRONT, INFEASIBLE, REFERENCE
from ..pictures.scale import log_ticks, round_words
from ..reference import PUBLISHED
from ..search.counted import counted_size
from ..search.rows import Row, error_words
from ..search.view import StudyView
from ..search.words import rest_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Bar = tuple[tuple[float, float], tuple[float, float]]
_FORMATS = (".svg", ".png", ".pdf")


def new_figure(path: Path, width: float, height: float) -> Figure:
    """An empty one, in inches, that is to be written there.

    Raises ConfigError without matplotlib, or for another file format.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--plot takes a file in {', '.join(_FORMATS)}, got {path.name!r}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("--plot needs matplotlib: pip install 'hybridnas[plots]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def write_figure(figure: Figure, path: Path) -> None:
    """Raises ConfigError where the file cannot be written."""
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ConfigError(f"--plot: {path} cannot be written ({error.strerror})") from None


def plot_front(view: StudyView, path: Path) -> None:
    """The score over the cost: all results, in grey those that are on no front, those that break a
    soft constraint crossed, reference architectures named, the front drawn through its members.

    Raises ConfigError as `new_figure` and `write_figure` do, for other than two objectives, and
    before the first result.
    """
    figure = new_figure(path, 7, 4.5)
    if len(view.objectives) != 2:
        raise ConfigError(f"--plot draws two objectives, the study has {len(view.objectives)}")
    if not view.finished:
        raise ConfigError(f"--plot: study {view.study.name!r} has no results yet")
    score = view.study.measured
    (cost,) = (name for name in view.objectives if name != score)
    axes = figure.subplots()
    _draw_results(axes, view, cost, score)
    names, bars = _draw_members(axes, view, cost, score)
    labels = {"macs": f"MACs at {pixels(counted_size(view.study))}", "params": "parameters"}
    if view.study.latency is not None:
        labels["latency_ms"] = f"latency_ms ({view.study.latency.setting})"
    axes.set(
        xlabel=labels.get(cost, cost),
        ylabel=f"{score} (bars: {error_words(view.front(), [score])})" if bars else score,
        xscale="log" if is_cost(cost) else "linear",
        title=f"Pareto front of {view.study.name}",
    )
    axes.grid(alpha=0.3)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=8, loc="lower right")
    if cost in ("macs", "params"):
        mark_in_units(axes)
    _thin_out(figure, names, bars)
    write_figure(figure, path)


def mark_in_units(axes: Axes) -> None:
    """MACs or parameters across: 20 M, not 2 times a power of ten."""
    low, high = axes.get_xlim()
    marks = [mark for mark in log_ticks(low, high) if low <= mark <= high]
    axes.set_xticks(marks, [round_words(mark) for mark in marks])
    axes.minorticks_off()


def _thin_out(figure: Figure, names: Sequence[Text], bars: Sequence[Bar]) -> None:
    """Takes away names that lie on others or on error bars; the dearest member is served first.
    bars: from (x, low) to (x, high)."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # only now words have a place
    (axes,) = figure.axes
    taken = [Bbox(axes.transData.transform(bar)).padded(1) for bar in bars]
    for name in reversed(names):
        if name.get_window_extent().x0 < axes.bbox.x0:
            name.set_horizontalalignment("left")
        box = name.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            name.remove()
        else:
            taken.append(box)


def _draw_results(axes: Axes, view: StudyView, cost: str, score: str) -> None:
    """Those that are on no front, and rings around reference architectures."""
    members, soft = {row.number for row in view.front()}, view.study.soft()
    rest = [row for row in view.finished if row.number not in members]
    kept, broken = ([r for r in rest if r.keeps(soft) == wanted] for wanted in (True, False))
    known = [row for row in view.finished if row.digest in PUBLISHED]
    looks: list[tuple[str, list[Row], dict[str, Any]]] = [
        (rest_words(bool(view.retrained)), kept, {"c": DOMINATED, "s": 14, "alpha": 0.6}),
        ("infeasible", broken, {"c": INFEASIBLE, "s": 16, "alpha": 0.6, "marker": "x"}),
        ("reference", known, {"ec": REFERENCE, "fc": "none", "s": 110}),
    ]
    for name, rows, look in looks:
        if rows:
            xs, ys = [row.value(cost) for row in rows], [row.value(score) for row in rows]
            axes.scatter(xs, ys, label=name, **look)
    for row in known:
        where = row.value(cost), row.value(score)
        axes.annotate(PUBLISHED[row.digest], where, (7, 5), textcoords="offset points", size=7)


def _draw_members(
    axes: Axes, view: StudyView, cost: str, score: str
) -> tuple[list[Text], list[Bar]]:
    """Their names, on the side of the front where nothing is, and their error bars."""
    front = sorted(view.front(), key=lambda row: row.value(cost))
    xs, ys = [row.value(cost) for row in front], [row.value(score) for row in front]
    errors = [row.error(score) or 0.0 for row in front]
    # A member attains its score from its own place on where x is to be low, else up to it.
    steps = "steps-post" if best(cost) == "minimize" else "steps-pre"
    axes.plot(xs, ys, "o-", c=FRONT, ms=5, lw=1.5, drawstyle=steps, label="front", zorder=3)
    lines: dict[str, Any] = {"fmt": "none", "ecolor": ERRORS, "elinewidth": 0.8, "capsize": 2}
    axes.errorbar(xs, ys, yerr=errors, zorder=2.5, **lines)
    side = 1 if best(score) == "maximize" else -1
    look: dict[str, Any] = {"textcoords": "offset points", "size": 7, "ha": "right"}
    look |= {"va": "bottom" if side > 0 else "top"}
    names: list[Text] = [
        axes.annotate(f"{r.number}: {r.architecture.short}", (x, y + side * e), (3, side), **look)
        for r, x, y, e in zip(front, xs, ys, errors, strict=True)
    ]
    bars = [((x, y - e), (x, y + e)) for x, y, e in zip(xs, ys, errors, strict=True) if e]
    return names, bars
