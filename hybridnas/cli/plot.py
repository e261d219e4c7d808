"""Pictures with matplotlib, where it is installed: the front."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..counting import pixels
from ..errors import ConfigError
from ..objectives import STANDARD_ERRORS, best, is_cost
from ..search.plan import counted_size
from ..search.view import StudyView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    """Accuracy over cost of all finished trials with the front drawn through its members.

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
    front = sorted(view.front(), key=lambda row: row.value(cost))
    rest = [row for row in view.finished if row not in front]
    axes.scatter([r.value(cost) for r in rest], [r.value(score) for r in rest], c="0.7", s=18)
    xs, ys = [row.value(cost) for row in front], [row.value(score) for row in front]
    error = STANDARD_ERRORS.get(score, "")
    errors = [r.spread(score) or r.metrics.get(error) or 0.0 for r in front]
    # A member attains its score from its own place on where x is to be low, else up to it.
    steps = "steps-post" if best(cost) == "minimize" else "steps-pre"
    axes.errorbar(xs, ys, yerr=errors, fmt="o-", c="tab:blue", capsize=2, drawstyle=steps)
    for row, x, y in zip(front, xs, ys, strict=True):
        axes.annotate(row.architecture.short, (x, y), (4, -10), textcoords="offset points", size=7)
    labels = {"macs": f"MACs at {pixels(counted_size(view.study))}", "params": "parameters"}
    if view.study.latency is not None:
        labels["latency_ms"] = f"latency_ms ({view.study.latency.setting})"
    axes.set(
        xlabel=labels.get(cost, cost),
        ylabel=score,
        xscale="log" if is_cost(cost) else "linear",
        title=f"Pareto front of {view.study.name}",
    )
    axes.grid(alpha=0.3)
    write_figure(figure, path)
