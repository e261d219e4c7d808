"""Plots of a report, as SVG: drawn from its facts, with nothing to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..counting import in_units
from ..objectives import best, parted
from ..pictures.palette import (
    DOMINATED,
    FRONT,
    INFEASIBLE,
    MIXER_COLOURS,
    REFERENCE,
    mixer_colours,
)
from ..pictures.svg import Drawing, text_width
from .axes import SMALL, Frame, linear, logarithmic
from .facts import CandidateFact, ReportFacts

_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 380, 70, 40  # of a plot, and where it begins
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
        logarithmic(name, [c.cost for c in facts.candidates], lambda v: _tick(facts.cost, v)),
        linear(score, [*ends, *(c.scores[score] for c in facts.candidates)]),
        _LEFT,
        _TOP,
        _WIDTH,
        _HEIGHT,
    )
    words = f"{len(facts.candidates)} results, {len(front)} of them on the front"
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


def _tick(name: str, value: float) -> str:
    if parted(name)[1] not in ("macs", "params"):
        return f"{value:g}"
    number, _, unit = in_units(value).partition(" ")
    return f"{float(number):g} {unit}".rstrip()


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
    # With three objectives a front is no line, nor over what is none of the two.
    if len(facts.objectives) == 2 and facts.cost in facts.objectives and len(steps) > 1:
        drawing.path(steps, colour=FRONT)
    for candidate in front:
        value, error = candidate.scores[score], errors[candidate.trial]
        x, y = frame.at(candidate.cost, value)
        half = abs(frame.at(candidate.cost, value + error)[1] - y)
        if error:
            drawing.path([(x, y - half), (x, y + half)], colour=FRONT)
        words = f"trial {candidate.trial}: {stages[candidate.trial]}, {score} {value:.4f}"
        drawing.dot(x, y, 5, colour=FRONT, words=words)
    names = [stages[candidate.trial] for candidate in front]
    _name(drawing, frame, names, [frame.at(c.cost, c.scores[score]) for c in front])


def _name(
    drawing: Drawing, frame: Frame, names: Sequence[str], points: Sequence[tuple[float, float]]
) -> None:
    """Writes names beside their points, where they do not lie on one another."""
    taken: list[tuple[float, float, float]] = []
    for name, (x, y) in zip(names, points, strict=True):
        width = text_width(name, SMALL)
        is_last = x + 7 + width > frame.left + frame.width
        left, base = (x - 9 - width, y - 6) if is_last else (x + 7, y + 16)
        if any(
            left < end and start < left + width and abs(base - o) < 12 for start, end, o in taken
        ):
            continue
        taken.append((left, left + width, base))
        drawing.text(left, base, name, size=SMALL, look="soft")


def _cross(drawing: Drawing, x: float, y: float, size: float = 3) -> None:
    drawing.path([(x - size, y - size), (x + size, y + size)], colour=INFEASIBLE)
    drawing.path([(x - size, y + size), (x + size, y - size)], colour=INFEASIBLE)


def _legend(drawing: Drawing, facts: ReportFacts, by_kind: dict[str, list[CandidateFact]]) -> None:
    x, y = float(_LEFT), _TOP + _HEIGHT + 66
    other = "not retrained, or dominated" if facts.retrained else "dominated"
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
    """By trainings, hours and GPU-hours, side by side."""
    moments, gap = facts.moments, 38
    up = linear("hypervolume", [0.0, *(moment.hypervolume for moment in moments)])
    drawing = Drawing("Hypervolume", "the front's hypervolume as the search went on")
    sides = {
        "trainings": [float(moment.trainings) for moment in moments],
        "hours of search": [moment.hours for moment in moments],
        "GPU-hours": [moment.gpu_hours for moment in moments],
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
        words = f"{effect.choice}: {effect.value:+.4f}, {effect.trials} trials"
        drawing.dot(frame.at(effect.value, 0)[0], y - 4, 4, colour=colour, words=words)
    return drawing.finish(left + 480, height + 62)


def _better(score: str) -> str:
    return "right is better" if best(score) == "maximize" else "left is better"


def importance_chart(facts: ReportFacts, score: str, number: int) -> str:
    """The most important decisions as bars."""
    (found,) = (each for each in facts.decisions if each.score == score)
    shown = found.importances[:number]
    left = 24 + max(text_width(each.decision) for each in shown)
    most = max(each.share for each in shown) or 1.0
    drawing = Drawing(f"Importance for {score}", "PED-ANOVA, shares of the whole")
    for i, each in enumerate(shown):
        y = 24.0 + 22 * i
        drawing.text(8, y, each.decision)
        drawing.rect(left, y - 12, 400 * each.share / most, 15, colour=FRONT)
        words = f"{100 * each.share:.1f} %"
        drawing.text(left + 400 * each.share / most + 6, y, words, size=SMALL, look="soft")
    return drawing.finish(left + 470, 34 + 22 * len(shown))
