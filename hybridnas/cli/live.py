"""How a running search looks: a live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment, SegmentLines
from rich.table import Table
from rich.text import Text

from ..config import Protocol, Study
from ..counting import number_of
from ..objectives import STANDARD_ERRORS, loss_sign
from ..search.observer import Candidate, Finished
from ..search.unreadable import passed_over
from ..search.words import FINALISTS
from .common import ECHO, in_units
from .front_so_far import FrontSoFar

_PLOT_HEIGHT = 8  # lines


@dataclass
class _Running:
    candidate: Candidate
    started: float
    total: int | None  # epochs; unknown of a training by iterations until it says so
    epoch: int = 0
    loss: float | None = None
    where: str = ""


class Lines:
    """One plain line an event, for logs and pipes.

    hints: lines to say once the first candidate has started, when nothing is refused any more.
    """

    def __init__(self, study: Study, console: Console, hints: Iterable[str] = ()) -> None:
        self._study, self._console, self._hints = study, console, [*hints]
        self._done = 0
        self._again = False  # whether the best are trained again
        self._began = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None: ...

    def began(self, done: int) -> None:
        self._done = done
        if done:
            what = _firsts(self._study) or "trials "
            self._print(f"{done}{_of(self._study, done)} {what}were done before")

    def started(self, candidate: Candidate) -> None:
        while self._hints:
            self._print(self._hints.pop(0))
        if candidate.place.repeat and not self._again:
            self._again = True
            self._print(_again(self._study))
        short, macs = candidate.architecture.short, in_units(candidate.costs["macs"])
        stage = f" ({candidate.stage})" if candidate.stage else ""
        self._print(f"trial {candidate.number} started: {short}, {macs} MACs{stage}")

    def epoch(self, number: int, done: int, total: int, loss: float, where: str) -> None: ...

    def finished(self, result: Finished) -> None:
        self._done += result.begins
        done = f"{self._done} {_firsts(self._study)}done{_of(self._study, self._done)}"
        self._print(f"{_ending(result, self._study.measured)}, {done}")

    def note(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(f"[{_clock(time.monotonic() - self._began)}] {text}", markup=False)


class LiveView:
    """What runs, with a bar over its epochs; what ended last; how far the search is.

    hints: as `Lines` has them; they stay above.
    """

    def __init__(self, study: Study, console: Console, hints: Iterable[str] = ()) -> None:
        self._study, self._console, self._hints = study, console, [*hints]
        self._running: dict[int, _Running] = {}
        self._last: list[Finished] = []
        self._done = self._trained = self._failed = 0
        self._best: Finished | None = None
        self._again = False  # whether the best are trained again
        self._note = self._note_of_start = ""
        self._front = FrontSoFar(study)
        self._began = time.monotonic()
        self._waited: float | None = None  # until the first training began, which comes once
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def began(self, done: int) -> None:
        self._done = done

    def started(self, candidate: Candidate) -> None:
        while self._hints:
            self._console.print(self._hints.pop(0))
        assert isinstance(candidate.protocol, Protocol)
        self._again |= candidate.place.repeat > 0
        fidelity = candidate.protocol.fidelity
        total = fidelity.epochs if fidelity.iterations is None else None
        self._running[candidate.number] = _Running(candidate, time.monotonic(), total)

    def epoch(self, number: int, done: int, total: int, loss: float, where: str) -> None:
        if number in self._running:
            run = self._running[number]
            run.epoch, run.total, run.loss, run.where = done, total, loss, where
            self._start_is_over()

    def finished(self, result: Finished) -> None:
        self._running.pop(result.number, None)
        self._done += result.begins
        self._trained += result.begins and not result.reused
        self._failed += result.reason is not None
        if self._waited is None and not result.reused:
            self._waited = max(0.0, time.monotonic() - self._began - result.seconds)
            self._start_is_over()
        self._last = [*self._last[-7:], result]
        self._front.add(result)
        score = result.metrics.get(self._study.measured)
        before = self._best.metrics.get(self._study.measured) if self._best else None
        sign = -loss_sign(self._study.measured)
        if result.counts and score is not None and (before is None or sign * (score - before) > 0):
            self._best = result

    def note(self, text: str) -> None:
        self._note = text
        if not self._running:
            self._note_of_start = text

    def _start_is_over(self) -> None:
        """A candidate trains: what was said before it leaves its lines to others."""
        if self._note == self._note_of_start:
            self._note = ""

    def _render(self) -> RenderableType:
        """No higher than the screen, for what has left it cannot be taken away at the end: of what
        there is no room for the oldest endings go first, then the plot."""
        room = self._console.height - 1
        shown = self._lines(self._heading(), self._running_table())
        free, ended = room - len(shown), list[list[Segment]]()
        for result in reversed(self._last):
            lines = self._lines(_last_line(result, self._study.measured))
            if len(lines) + len(ended) > free // 2:
                break
            ended = lines + ended
        plot = self._front.lines(min(_PLOT_HEIGHT, free - len(ended)))
        shown += self._lines(*plot) + ended
        if len(shown) > room:
            shown[room - 1 :] = [[Segment("...")]]
        return SegmentLines(shown, new_lines=True)

    def _lines(self, *parts: RenderableType) -> list[list[Segment]]:
        """As they come out on the screen, those that are too long folded."""
        options = self._console.options.update(width=max(1, self._console.width - ECHO))
        return self._console.render_lines(Group(*parts), options, pad=False) if parts else []

    def _heading(self) -> Text:
        elapsed = time.monotonic() - self._began
        text = Text(f"{self._study.name}  ", style="bold")
        done = f"{self._done}{_of(self._study, self._done)} {_firsts(self._study)}done"
        text.append(done, style="green")
        if self._failed:
            text.append(f", {self._failed} failed", style="red")
        text.append(f"   {_clock(elapsed)}{self._remaining(elapsed)}", style="dim")
        if self._best is not None:
            macs = in_units(self._best.costs["macs"])
            name = self._study.measured
            score = f"{name} {self._best.metrics[name]:.4f}"
            text.append(f"   best {score} ({self._best.short}, {macs} MACs)")
        if self._again:
            text.append(f"\n{_again(self._study)}")
        if self._note:
            text.append(f"\n{self._note}", style="dim")
        return text

    def _remaining(self, elapsed: float) -> str:
        """How fast it goes, and how long it will; nothing before something has ended."""
        budget, here = self._study.budget, self._trained  # what is known already takes no time
        searched = elapsed - (self._waited or 0.0)
        left = []
        if budget.hours:
            left.append(max(0.0, budget.hours * 3600 - elapsed))
        one_training_each = len(self._study.fidelities) == 1 and self._study.final is None
        if budget.trials and here and one_training_each:
            left.append(searched / here * max(0, budget.trials - self._done))
        rate = f", {_rate(3600 * here / searched)} an hour" if here and searched > 0 else ""
        if left:
            return f"{rate}, about {_clock(min(left))} left"
        return f"{rate}, time left unknown" if here else rate

    def _running_table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        placed = any(run.where for run in self._running.values())
        names = ("trial", "stages", "MACs", "epochs", "", "loss", "time")
        for column in (*names, "where") if placed else names:
            table.add_column(column)
        for number, run in sorted(self._running.items()):
            table.add_row(
                str(number),
                f"{run.candidate.architecture.short} {run.candidate.stage}".rstrip(),
                in_units(run.candidate.costs["macs"]),
                f"{run.epoch}/{run.total or '?'}",
                ProgressBar(total=run.total or 1, completed=run.epoch, width=20),
                "" if run.loss is None else f"{run.loss:.3f}",
                _clock(time.monotonic() - run.started),
                *([run.where] if placed else []),
            )
        return table


def _again(study: Study) -> str:
    final = study.final
    assert final is not None, "only what a final retraining is asked for has"
    seeds = number_of(final.seeds, "fresh seed")
    return f"the best {final.retrain} are trained again, {seeds} each ({FINALISTS})"


def _last_line(result: Finished, measured: str) -> Text:
    return Text(_ending(result, measured), style="red" if result.reason else "dim")


def _ending(result: Finished, measured: str) -> str:
    stage = f" ({result.stage})" if result.stage else ""
    start = f"trial {result.number} {result.short}, {in_units(result.costs['macs'])} MACs{stage}"
    if result.reason is not None:
        return f"{start}: failed, {result.reason} ({result.message})"
    value = result.metrics.get(measured)
    score = f"no {measured}" if value is None else f"{measured} {value:.4f}"
    if (error := result.metrics.get(STANDARD_ERRORS.get(measured, ""))) is not None:
        score += f" (SE {error:.4f})"
    if unread := passed_over(result.metrics):
        score += f", {number_of(unread, 'image')} unreadable"
    return f"{start}: {score}, {'known already' if result.reused else f'{result.seconds:.1f} s'}"


def _firsts(study: Study) -> str:
    """What is counted where a trial has several trainings: the budget has it with the first."""
    return "" if len(study.fidelities) == 1 and not study.also else "first trainings "


def _of(study: Study, done: int) -> str:
    """Empty also where a resumed study has more than its new budget."""
    most = study.budget.trials
    return f" of {most}" if most is not None and done <= most else ""


def _rate(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
