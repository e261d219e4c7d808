"""A picture of how an architecture's trainings went, as SVG: loss by epoch, and in words how each
ended."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from .palette import MIXER_COLOURS, SPARE_COLOURS
from .scale import round_ticks
from .svg import Drawing, text_width

_COLOURS = (*MIXER_COLOURS.values(), *SPARE_COLOURS)
_WIDTH, _HEIGHT, _MARGIN = 560, 170, 16  # of the plot, and around all
_LEFT, _TOP = 70, 62  # where the plot begins
_LINE = 17  # from one line of words to the next


@dataclass(frozen=True)
class Curve:
    """One training: what it was, how it ended, and its loss after each epoch, as far as it came
    (None: not a number)."""

    name: str
    outcome: str
    losses: Sequence[float | None]
    num_epochs: int


def draw_curves(title: str, curves: Sequence[Curve], words: str = "") -> str:
    """The picture as an SVG document; without an epoch anywhere, words alone.

    words: said below the curves (why a training failed).
    """
    outcomes = [f"{curve.name}: {curve.outcome}" for curve in curves]
    said = textwrap.wrap(words, 88)[:6]
    drawing = Drawing(title, ". ".join([*outcomes, words]).strip())
    drawing.text(_MARGIN, 26, title, size=15, bold=True)
    has_plot = any(loss is not None for curve in curves for loss in curve.losses)
    y = float(_TOP - 20)
    if has_plot:
        drawing.text(_MARGIN, 45, "mean training loss by epoch", look="soft")
        _plot(drawing, curves)
        y = float(_TOP + _HEIGHT + 30)
    for i, line in enumerate(outcomes):
        y += _LINE
        if has_plot:
            drawing.rect(_MARGIN, y - 9, 10, 10, colour=_COLOURS[i % len(_COLOURS)])
        drawing.text(_MARGIN + 18 * has_plot, y, line)
    y += 6 * bool(said)
    for line in said:
        y += _LINE
        drawing.text(_MARGIN, y, line, look="soft")
    lines = [(title, 15), *((line, 12) for line in (*outcomes, *said))]
    widest = max(text_width(line, size, bold=size > 12) for line, size in lines)
    return drawing.finish(max(_LEFT + _WIDTH, widest + 18 + _MARGIN) + _MARGIN, y + 14)


def _plot(drawing: Drawing, curves: Sequence[Curve]) -> None:
    losses = [loss for curve in curves for loss in curve.losses if loss is not None]
    marks = round_ticks(min(losses), max(losses))
    low, high = marks[0], marks[-1]
    longest = max(curve.num_epochs for curve in curves)

    def at(epoch: float, loss: float) -> tuple[float, float]:
        across = _LEFT + _WIDTH * (epoch - 1) / max(longest - 1, 1)
        return across, _TOP + _HEIGHT * (high - loss) / (high - low)

    for mark in marks:
        y = at(1, mark)[1]
        drawing.rect(_LEFT, y - 0.25, _WIDTH, 0.5, look="grid")
        words = f"{mark:.4g}"
        drawing.text(_LEFT - 8 - text_width(words, 11), y + 4, words, size=11, look="soft")
    for epoch in sorted({1, (1 + longest) // 2, longest}):
        x = at(epoch, low)[0]
        centred = x - text_width(str(epoch), 11) / 2
        drawing.text(centred, _TOP + _HEIGHT + 16, str(epoch), size=11, look="soft")
    for i, curve in enumerate(curves):
        known = [(n, loss) for n, loss in enumerate(curve.losses, 1) if loss is not None]
        colour = _COLOURS[i % len(_COLOURS)]
        if len(known) > 1:
            drawing.path([at(n, loss) for n, loss in known], colour=colour)
        elif known:
            x, y = at(*known[0])
            drawing.rect(x - 3, y - 3, 6, 6, colour=colour)
