"""A forest plot: the effect of each replacement with its interval."""

from __future__ import annotations

from pathlib import Path

from ..ablate import Ablation
from ..ablate.words import criterion, places_words, scale
from ..objectives import BEST
from .plot import new_figure, write_figure

_COLOURS = {"original": "tab:blue", "twin": "tab:orange", "unknown": "0.5"}


def plot_effects(ablation: Ablation, path: Path) -> None:
    """A row a twin, the first on top; to the right of 0 the original is better.

    Raises ConfigError as `new_figure` and `write_figure` do.
    """
    rows = [comparison for comparison in ablation.comparisons if comparison.effect is not None]
    figure = new_figure(path, 7, 1.4 + 0.5 * len(rows))
    axes = figure.subplots()
    factor, unit = scale(ablation.metric)
    for y, comparison in enumerate(rows):
        effect = comparison.effect
        assert effect is not None, "rows have effects"
        value, half = factor * effect.value, factor * (effect.half_width or 0.0)
        colour = _COLOURS[effect.verdict]
        axes.errorbar([value], [y], xerr=[half], fmt="o", capsize=3, c=colour)
    axes.axvline(0, c="0.7", lw=1)
    labels = []
    for comparison in rows:
        words = places_words(comparison.places)
        if len(comparison.places) == 1:
            stage = ablation.original.cost.stages[comparison.places[0].stage - 1]
            words += f"\nL/6D {criterion(stage)}"
        labels.append(words)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    lower = ", lower is better" * (BEST[ablation.metric] == "minimize")
    axes.set(
        xlabel=f"original better than its Gated CNN twin by, {unit}{lower}",
        title=f"{ablation.study.replace('.twins-', ':')} ({ablation.original.architecture.short})",
    )
    axes.grid(axis="x", alpha=0.3)
    write_figure(figure, path)
