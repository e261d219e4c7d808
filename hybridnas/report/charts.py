"""Plots of a report, as SVG: drawn from its facts, with nothing to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ..counting import number_of
from ..objectives import best
from ..pictures.palette import (
    DOMINATED,
    FRONT,
    INFEASIBLE,
    MIXER_COLOURS,
    REFERENCE,
    mixer_colours,
)
from ..pictures.scale import mark_words
from ..pictures.svg import Drawing, text_width
from ..search.words import rest_words, time_unit
from .axes import SMALL, Frame, linear, logarithmic
from .facts import CandidateFact, ReportFacts

_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 380, 70, 40  # of a plot, and where it begins
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
_MANY = 500  # results, of which each is drawn smaller
_CELL, _ROW = 108, 44  # of the map of mixers


def front_chart(facts: ReportFacts, score: str) -> str:
    """Every result over the cost, with the front drawn through its members."""
    by_kind: dict[str, list[CandidateFact]] = {"dominated": [], "infeasible": [], "front": []}
    for candidate in facts.candidates:
        by_kind[candidate.kind].append(candidate)
    front = sorted(by_kind["front"], key=lambda candidate: candidate.cost)
    name = f"MACs at {facts.sizes}" if facts.cost == "macs" else facts.cost
    errors = {member.trial: member.errors.get(score, 0.0) for member in facts.front}
    ends = [c.scores[score] + sign * errors[c.trial] for c in front for sign in (-1, 1)]
    frame = Frame(
        logarithmic(name, [c.cost for c in facts.candidates], partial(mark_words, facts.cost)),
        linear(score, [*ends, *(c.scores[score] for c in facts.candidates)]),
        _LEFT,
        _TOP,
        _WIDTH,
        _HEIGHT,
    )
    words = f"{number_of(len(facts.candidates), 'result')}, {len(front)} of them on the front"
    drawing = Drawing(f"{score} over {facts.cost} of {facts.study}", words)
    frame.draw(drawing)
    size = 3 if len(facts.candidates) <= _MANY else 1.5
    for candidate in by_kind["infeasible"]:
        _cross(drawing, *frame.at(candidate.cost, candidate.scores[score]), size)
    for candidate in by_kind["dominated"]:
        x, y = frame.at(candidate.cost, candidate.scores[score])
        drawing.dot(x, y, size, colour=DOMINATED, hollow=True)
    _front(drawing, frame, facts, front, score, errors)
    for candidate in facts.candidates:
        if candidate.published is not None:
            x, y = frame.at(candidate.cost, candidate.scores[score])
            drawing.dot(x, y, 8, colour=REFERENCE, hollow=True, words=candidate.published)
            drawing.text(x + 11, y + 4, candidate.published, size=SMALL, look="soft")
    _legend(drawing, facts, by_kind)
    return drawing.finish(_LEFT + _WIDTH + 40, _TOP + _HEIGHT + 84)


def _front(
    drawing: Drawing,
    frame: Frame,
    facts: ReportFacts,
    front: list[CandidateFact],
    score: str,
    errors: Mapping[int, float],
) -> None:
    stages = {member.trial: member.stages for member in facts.front}
    steps: list[tuple[float, float]] = []
    for candidate in front:
        x, y = frame.at(candidate.cost, candidate.scores[score])
        if steps:
            steps.append((x, steps[-1][1]))
        steps.append((x, y))
    bars: list[Box] = []
    for candidate in front:
        x, y = frame.at(candidate.cost, candidate.scores[score])
        error = errors[candidate.trial]
        half = abs(frame.at(candidate.cost, candidate.scores[score] + error)[1] - y)
        bars.append((x - 5, y - max(half, 5), x + 5, y + max(half, 5)))
        if error:  # in ink, for steps are in colour
            drawing.path([(x, y - half), (x, y + half)])
            for end in (y - half, y + half):
                drawing.path([(x - 3, end), (x + 3, end)])
    # With three objectives a front is no line, nor over what is none of the two.
    if len(facts.objectives) == 2 and facts.cost in facts.objectives and len(steps) > 1:
        drawing.path(steps, colour=FRONT)
    for candidate in front:
        x, y = frame.at(candidate.cost, candidate.scores[score])
        value = candidate.scores[score]
        words = f"trial {candidate.trial}: {stages[candidate.trial]}, {score} {value:.4f}"
        drawing.dot(x, y, 5, colour=FRONT, words=words)
    names = [f"{c.trial}: {stages[c.trial]}" for c in front]
    _name(drawing, names, bars, frame.left, best(score) == "maximize")


def _name(
    drawing: Drawing, names: Sequence[str], bars: Sequence[Box], edge: float, above: bool
) -> None:
    """Writes names at the ends of their error bars, on the side that no result is on, the last name
    first, as far as they lie neither on one another nor on bars. edge: left of it is no room."""
    taken = list(bars)
    for name, (start, top, end, bottom) in reversed([*zip(names, bars, strict=True)]):
        width, base = text_width(name, SMALL), top - 3 if above else bottom + SMALL + 1
        left = end - width if end - width > edge else start
        box = left, base - SMALL + 2, left + width, base + 1
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            drawing.text(left, base, name, size=SMALL, look="soft")


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _cross(drawing: Drawing, x: float, y: float, size: float = 3) -> None:
    drawing.path([(x - size, y - size), (x + size, y + size)], colour=INFEASIBLE)
    drawing.path([(x - size, y + size), (x + size, y - size)], colour=INFEASIBLE)


def _legend(drawing: Drawing, facts: ReportFacts, by_kind: dict[str, list[CandidateFact]]) -> None:
    x, y = float(_LEFT), _TOP + _HEIGHT + 66
    other = rest_words(bool(facts.retrained))
    for kind, words in (("front", "front"), ("dominated", other), ("infeasible", "infeasible")):
        if not by_kind[kind]:
            continue
        if kind == "front":
            drawing.dot(x + 5, y - 4, 5, colour=FRONT)
        elif kind == "dominated":
            drawing.dot(x + 5, y - 4, 2.5, colour=DOMINATED, hollow=True)
        else:
            _cross(drawing, x + 5, y - 4)
        drawing.text(x + 16, y, words)
        x += 16 + text_width(words) + 24
    if any(candidate.published for candidate in facts.candidates):
        drawing.dot(x + 8, y - 4, 7, colour=REFERENCE, hollow=True)
        drawing.text(x + 22, y, "reference architecture")


def mixer_map(facts: ReportFacts) -> str:
    """Stages across, mixers down: what share of a stage's blocks they are on the front."""
    stages = sorted({cell.stage for cell in facts.mixers})
    used = {cell.mixer for cell in facts.mixers}
    mixers = [*(m for m in MIXER_COLOURS if m in used), *sorted(used - MIXER_COLOURS.keys())]
    colours = mixer_colours(mixers)
    left = 20 + max(text_width(mixer) for mixer in mixers)
    drawing = Drawing("Mixers by stage", "the share of a stage's blocks on the front")
    for i, stage in enumerate(stages):
        drawing.text(left + i * _CELL + 4, 20, f"stage {stage}", bold=True)
    for j, mixer in enumerate(mixers):
        drawing.text(8, 56 + j * _ROW, mixer)
    for cell in facts.mixers:
        x = left + stages.index(cell.stage) * _CELL
        y = 30.0 + mixers.index(cell.mixer) * _ROW
        shade = round(255 * (0.06 + 0.74 * cell.front))
        drawing.rect(
            x, y, _CELL - 4, _ROW - 4, colour=f"{colours[cell.mixer]}{shade:02x}", words=cell.mixer
        )
        drawing.text(x + 8, y + 18, f"{100 * cell.front:.0f} %", size=13, bold=True)
        drawing.text(x + 8, y + 33, f"{100 * cell.results:.0f} % of all", size=SMALL)
    return drawing.finish(left + len(stages) * _CELL + 8, 38 + len(mixers) * _ROW)


def hypervolume_chart(facts: ReportFacts) -> str:
    """By trainings, time and GPU time, side by side."""
    moments, gap = facts.moments, 38
    up = linear("hypervolume", [0.0, *(moment.hypervolume for moment in moments)])
    drawing = Drawing("Hypervolume", "the front's hypervolume as the search went on")
    last = moments[-1]
    unit, gpu = time_unit(last.hours), time_unit(last.gpu_hours)
    sides = {
        "trainings": [float(moment.trainings) for moment in moments],
        f"{unit.name} of search": [unit.in_hour * moment.hours for moment in moments],
        f"GPU-{gpu.name}": [gpu.in_hour * moment.gpu_hours for moment in moments],
    }
    shown = {name: values for name, values in sides.items() if values[-1] > 0}
    breadth = _WIDTH / len(shown) - gap
    for i, (name, values) in enumerate(shown.items()):
        left = _LEFT + i * (breadth + gap)
        frame = Frame(linear(name, [0.0, *values]), up, left, _TOP, breadth, 200)
        frame.draw(drawing, up_words=i == 0)
        _steps(drawing, frame, values, [moment.hypervolume for moment in moments])
    return drawing.finish(_LEFT + len(shown) * (breadth + gap), _TOP + 200 + 50)


def _steps(drawing: Drawing, frame: Frame, xs: Sequence[float], ys: Sequence[float]) -> None:
    points: list[tuple[float, float]] = [frame.at(0.0, 0.0)]
    for x, y in zip(xs, ys, strict=True):
        here = frame.at(x, y)
        points += [(here[0], points[-1][1]), here]
    drawing.path(points, colour=FRONT)


def effects_chart(facts: ReportFacts, score: str, decisions: Sequence[str]) -> str:
    """Effects of the named decisions at equal MACs, with their intervals."""
    (found,) = (each for each in facts.decisions if each.score == score)
    effects = [effect for name in decisions for effect in found.effects if effect.decision == name]
    labels = [f"{effect.decision}  {effect.choice}" for effect in effects]
    left = 24 + max(text_width(label) for label in labels)
    height = 22.0 * len(effects) + 8
    ends = [end for effect in effects for end in (effect.low, effect.high)]
    across = linear(f"effect on {score}", [0.0, *ends])
    frame = Frame(across, linear("", [0, 1]), left, 14, 460, height)
    drawing = Drawing(f"Effects on {score} at equal MACs", "95 % intervals")
    for mark in across.marks:
        x = frame.at(mark, 0)[0]
        drawing.rect(x - 0.25, 14, 0.5, height, look="grid")
        words = across.words(mark)
        centred = x - text_width(words, SMALL) / 2
        drawing.text(centred, height + 30, words, size=SMALL, look="soft")
    zero = frame.at(0.0, 0.0)[0]
    drawing.path([(zero, 14), (zero, 14 + height)])
    drawing.text(left + 100, height + 50, f"{across.name} ({_better(score)})")
    for i, effect in enumerate(effects):
        y = 30.0 + 22 * i
        if i and effect.decision != effects[i - 1].decision:
            drawing.rect(8, y - 16, left + 452, 0.5, look="part")
        colour = FRONT if effect.clear else DOMINATED
        drawing.text(8, y, labels[i], look="" if effect.clear else "soft")
        low, high = (frame.at(end, 0)[0] for end in (effect.low, effect.high))
        drawing.path([(low, y - 4), (high, y - 4)], colour=colour)
        words = f"{effect.choice}: {effect.value:+z.4f}, {number_of(effect.trials, 'trial')}"
        drawing.dot(frame.at(effect.value, 0)[0], y - 4, 4, colour=colour, words=words)
    return drawing.finish(left + 480, height + 62)


def _better(score: str) -> str:
    return "right is better" if best(score) == "maximize" else "left is better"


def importance_chart(facts: ReportFacts, score: str, number: int) -> str:
    """The most important decisions as bars, and those with a clear effect; grey where the interval
    of the importance holds 0."""
    (found,) = (each for each in facts.decisions if each.score == score)
    every = enumerate(found.importances)
    shown = [each for i, each in every if i < number or each.decision in found.clear]
    left = 24 + max(text_width(each.decision) for each in shown)
    most = max(each.share + each.error for each in shown) or 1.0
    words = "PED-ANOVA, shares of the whole with their standard errors"
    drawing = Drawing(f"Importance for {score}", words)
    for i, each in enumerate(shown):
        y = 24.0 + 22 * i
        colour = FRONT if each.clear else DOMINATED
        drawing.text(8, y, each.decision, look="" if each.clear else "soft")
        drawing.rect(left, y - 12, 400 * each.share / most, 15, colour=colour)
        low, high = (max(0.0, each.share + sign * each.error) for sign in (-1, 1))
        drawing.path([(left + 400 * end / most, y - 4.5) for end in (low, high)])
        words = f"{100 * each.share:.1f} ± {100 * each.error:.1f} %"
        drawing.text(left + 400 * high / most + 6, y, words, size=SMALL, look="soft")
    return drawing.finish(left + 490, 34 + 22 * len(shown))
