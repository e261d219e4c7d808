"""A forest plot: the effect of each replacement with its interval."""

from __future__ import annotations

from pathlib import Path

from ..ablate import Ablation
from ..ablate.effects import CONFIDENCE
from ..ablate.results import Comparison
from ..ablate.words import criterion, places_words
from .plot import new_figure, write_figure

_COLOURS = {"original": "tab:blue", "twin": "tab:orange", "unknown": "0.5"}


def plot_effects(ablation: Ablation, path: Path) -> None:
    """A row a twin, the first on top; to the right of 0 the original is better.

    Raises ConfigError as `new_figure` and `write_figure` do.
    """
    rows = ablation.comparisons
    figure = new_figure(path, 7, 1.5 + 0.5 * len(rows))
    axes = figure.subplots()
    for y, comparison in enumerate(rows):
        effect = comparison.effect
        if effect is not None:
            x, half = effect.value, effect.half_width or 0.0
            axes.errorbar([x], [y], xerr=[half], fmt="o", capsize=3, c=_COLOURS[effect.verdict])
    axes.axvline(0, c="0.7", lw=1)
    axes.set_yticks(range(len(rows)), [_label(ablation, row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    together = ", all together" * (len(rows) > 1)
    axes.set(
        xlabel=f"{ablation.metric} in favour of the original ({100 * CONFIDENCE:g} %{together})",
        title=f"{ablation.original.architecture.short} and its twins ({ablation.study})",
    )
    axes.grid(axis="x", alpha=0.3)
    write_figure(figure, path)


def _label(ablation: Ablation, comparison: Comparison) -> str:
    words = places_words(comparison.places)
    if len(comparison.places) > 1:
        return words.replace(", ", "\n")
    stage = ablation.original.cost.stages[comparison.places[0].stage - 1]
    return f"{words}\nL/6D {criterion(stage)}"
