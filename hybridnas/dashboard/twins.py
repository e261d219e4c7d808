"""Twin tests of a study, in its note and as a forest plot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..ablate import Ablation
from ..ablate.effects import CONFIDENCE
from ..ablate.results import Comparison
from ..ablate.words import POWER_WORDS, places_words, sentence, subject
from ..pictures.palette import DOMINATED, FRONT, INFEASIBLE
from .figure_parts import Figure, layout, rounded

INTERVALS = f"{100 * CONFIDENCE:g} % for all twins of an architecture together (Bonferroni)"
_COLOURS = {"original": FRONT, "twin": INFEASIBLE, "unknown": DOMINATED}


def twin_lines(ablations: Sequence[Ablation], link: Callable[[int], str]) -> Iterator[str]:
    """A sentence a comparison, in Markdown. link: where the page of a trial is, by its number."""
    for ablation in ablations:
        number, words = ablation.label.partition(".")[0], subject(ablation.label)
        if number.isdecimal():
            words = f"[{words}]({link(int(number))})"
        for comparison in ablation.comparisons:
            yield f"- {words}, {sentence(comparison, ablation.metric)}"
    yield ""
    yield f"In brackets: paired t intervals over seeds, {INTERVALS}. {POWER_WORDS.capitalize()}."


def twin_figures(ablations: Sequence[Ablation]) -> dict[str, Figure]:
    """A forest plot for each score that was compared, the first comparison on top; right of 0 the
    original is better."""
    by_metric: dict[str, list[tuple[str, Comparison]]] = {}
    for ablation in ablations:
        for comparison in ablation.comparisons:
            if comparison.effect is not None:
                label = f"{subject(ablation.label)}<br>{places_words(comparison.places)}"
                by_metric.setdefault(ablation.metric, []).append((label, comparison))
    return {f"twins_{metric}": _forest(metric, rows) for metric, rows in by_metric.items()}


def _forest(metric: str, rows: Sequence[tuple[str, Comparison]]) -> Figure:
    effects = [comparison.effect for _, comparison in rows if comparison.effect]
    places = [*range(len(effects))]
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": [rounded(effect.value) for effect in effects],
                "y": places,
                "error_x": {
                    "type": "data",
                    "array": [rounded(e.half_width or 0.0) for e in effects],
                    "color": DOMINATED,
                },
                "marker": {"size": 10, "color": [_COLOURS[e.verdict] for e in effects]},
                "hovertext": [sentence(comparison, metric) for _, comparison in rows],
                "hovertemplate": "%{hovertext}<extra></extra>",
            }
        ],
        "layout": layout(
            "Twin tests: the mixer against Gated CNN",
            height=160 + 60 * len(rows),
            xaxis={"title": {"text": f"{metric} in favour of the mixer<br>intervals: {INTERVALS}"}},
            yaxis={
                "tickvals": places,
                "ticktext": [label for label, _ in rows],
                "range": [len(rows) - 0.5, -0.5],
                "zeroline": False,
            },
            margin={"l": 170, "b": 70},
            showlegend=False,
        ),
    }
