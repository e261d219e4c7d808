"""Studies side by side as a picture: what their fronts attain, and how they grew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..objectives import is_cost, loss_sign
from ..search.comparison import Compared, Comparison
from ..search.volume import Floats, attainment
from ..search.words import point_words, time_unit
from .plot import mark_in_units, new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TIMES = {"hours": "{} of search", "gpu_hours": "GPU-{}"}


def plot_comparison(found: Comparison, over: str, path: Path) -> None:
    """The left half is for two objectives only; it says which fronts are of fresh seeds, where some
    are. over: a field of Moment. Raises ConfigError."""
    two = len(found.reference) == 2
    figure = new_figure(path, 11 if two else 6, 4.5)
    axes = figure.subplots(1, 2 if two else 1, squeeze=False)[0]
    label, scale = over, 1
    if over in _TIMES:
        last = max(getattr(m[-1], over) for row in found.rows for m in row.moments)
        unit = time_unit(last)
        label, scale = _TIMES[over].format(unit.name), unit.in_hour
    for number, row in enumerate(found.rows):
        colour = f"C{number}"
        if two:
            _draw_attainment(axes[0], row, list(found.reference), colour)
        _draw_growth(axes[-1], row, over, scale, colour)
    axes[-1].set(xlabel=label, ylabel=f"hypervolume from {point_words(found.reference)}")
    axes[-1].grid(alpha=0.3)
    axes[-1].legend()
    anew = any(view.retrained for row in found.rows for view in row.views)
    if anew:
        axes[-1].set_title("of the search, by the scores that it chose by")
    if two:
        x, y = _axes(list(found.reference))
        words = {"macs": "MACs", "params": "parameters"}
        axes[0].set(xlabel=words.get(x, x), ylabel=y, xscale="log" if is_cost(x) else "linear")
        if x in words:
            mark_in_units(axes[0])
        if any(len(row.views) > 1 for row in found.rows):
            axes[0].set_title("attained by half of the studies; thin: by all, by any")
        if anew:
            axes[0].legend()
        axes[0].grid(alpha=0.3)
    write_figure(figure, path)


def _axes(names: list[str]) -> tuple[str, str]:
    """A cost goes to the right, a score up."""
    first, second = names
    return (first, second) if is_cost(first) else (second, first)


def _draw_attainment(axes: Axes, row: Compared, names: list[str], colour: str) -> None:
    order = _axes(names)
    signs = np.array([loss_sign(name) for name in order])
    fronts = [view.losses(view.front(), order) for view in row.views]
    style: dict[str, Any] = {"color": colour, "drawstyle": "steps-post"}
    median = attainment(fronts, 0.5) * signs
    marker = "." if len(fronts) == 1 else None
    axes.plot(median[:, 0], median[:, 1], marker=marker, label=_front_words(row), **style)
    if len(fronts) > 1:
        for share in (1e-9, 1.0):
            edge = attainment(fronts, share) * signs
            axes.plot(edge[:, 0], edge[:, 1], linewidth=0.6, alpha=0.7, **style)


def _front_words(row: Compared) -> str:
    """Of whose scores a front is."""
    anew, number = sum(bool(view.retrained) for view in row.views), len(row.views)
    if anew in (0, number):
        return f"{row.label}, {'fresh seeds' if anew else 'scores of the search'}"
    return f"{row.label}, fresh seeds in {anew} of {number}"


def _draw_growth(axes: Axes, row: Compared, over: str, scale: int, colour: str) -> None:
    """The mean of the studies; of several, each thinly besides."""
    curves = [_steps(row, number, over, scale) for number in range(len(row.views))]
    ends = np.unique(np.concatenate([at for at, _ in curves]))
    values = np.array([_value_at(at, volume, ends) for at, volume in curves])
    axes.plot(ends, values.mean(axis=0), color=colour, drawstyle="steps-post", label=row.label)
    for value in values if len(values) > 1 else ():
        axes.plot(ends, value, color=colour, drawstyle="steps-post", linewidth=0.4, alpha=0.5)


def _steps(row: Compared, number: int, over: str, scale: int) -> tuple[Floats, Floats]:
    moments = row.moments[number]
    at = np.array([scale * float(getattr(moment, over)) for moment in moments])
    return at, np.array([moment.hypervolume for moment in moments])


def _value_at(at: Floats, value: Floats, moments: Floats) -> Floats:
    """Of a curve in steps, 0 before its first."""
    place = np.searchsorted(at, moments, side="right") - 1
    return np.where(place >= 0, value[np.maximum(place, 0)], 0.0)
