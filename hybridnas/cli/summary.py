"""What a study has found, as JSON and as people read it."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..config import parent_study
from ..counting import number_of, pixels
from ..objectives import STANDARD_ERRORS, is_cost
from ..search.counted import counted_size
from ..search.pace import alive_session, candidates_per_hour, hours_left, is_left, looked_up
from ..search.proxy_words import proxy_lines
from ..search.rows import Row, error_words
from ..search.unreadable import unreadable, unreadable_words
from ..search.view import StudyView
from ..search.volume import reference_point, volume_words
from ..search.words import run_words, spent_words, time_words
from .bars import WORDS as BARS_WORDS
from .bars import front_bars
from .common import (
    bound_words,
    console,
    fidelity_words,
    in_units,
    objective_text,
    print_facts,
    print_table,
)
from .folding import say

_ROOM_FOR_BARS = 100  # columns of a terminal


def status_json(view: StudyView) -> dict[str, Any]:
    """Counts, best, hypervolume, what runs, failures."""
    best = view.best(1)
    proposals = sum(session.proposals for session in view.sessions)
    redrawn = sum(session.redrawn for session in view.sessions)
    return {
        "study": view.study.name,
        "trials": dict(view.counts()),
        "budget": view.study.budget.model_dump(exclude_none=True),
        "fidelity": view.study.fidelity.model_dump(exclude_defaults=True),
        "latency": view.study.latency and view.study.latency.model_dump(),
        "calibrations": [
            {
                "study": known.record.study,
                "proxy_protocol": known.record.proxy_digest,
                "judge_protocol": known.record.judge_digest,
                **known.record.settings,
                **(known.record.result or {}),
            }
            for known in view.calibrations
        ],
        "rungs": view.rungs(),
        "retraining": view.retraining(),
        "reused": sum(run.reused for row in view.rows for run in row.runs),
        "best": view.as_json(best[0]) if best else None,
        "front_size": len(view.front()),
        "hypervolume": view.hypervolume(),
        "candidates_per_hour": candidates_per_hour(view),
        "looked_up": looked_up(view),
        "hours_left": hours_left(view),
        "running": [row.number for row in view.rows if row.running],
        "workers": {row.number: row.worker for row in view.rows if row.worker},
        "queued": [row.number for row in view.rows if row.state == "queued"],
        "proposals": proposals,
        "redrawn_share": redrawn / proposals if proposals else 0.0,
        "failures": dict(view.failures()),
        "unreadable": unreadable(view),
        "cost": view.cost_so_far(),
        "sessions": [
            {
                "host": session.host,
                "started_at": session.started_at.isoformat(),
                "last_seen_at": session.last_seen_at.isoformat(),
                "ended": session.end_reason,
            }
            for session in view.sessions
        ],
    }


def print_status(view: StudyView) -> None:
    found = status_json(view)
    volume, cost = found["hypervolume"], found["cost"]
    point = reference_point([view])
    best = view.best(1)
    unread = unreadable_words(found["unreadable"])
    print_facts(
        f"Study {view.study.name}",
        [
            ("trials", f"{len(view.rows)}: {_counts(found['trials'])}"),
            ("budget", _counts(found["budget"], after=True)),
            ("fidelity", fidelity_words(view.study.fidelity)),
            *(
                [("latency", f"by table, {view.study.latency.setting}")]
                if view.study.latency
                else []
            ),
            ("proxy", "\n".join(line.removeprefix("proxy: ") for line in proxy_lines(view))),
            *_rungs(view, found),
            ("best", _one_line(view, best[0]) if best else "no result yet"),
            ("front", number_of(found["front_size"], "trial")),
            ("hypervolume", "-" if volume is None else volume_words(volume, point)),
            ("pace", _pace(view, found)),
            ("running", _running(view)),
            ("queued", _numbers(found["queued"])),
            ("proposals", f"{found['proposals']}, {_percent(found['redrawn_share'])} repaired"),
            ("failures", _counts(found["failures"])),
            *([("unreadable", unread)] if unread else []),
            (
                "spent",
                f"{spent_words(cost['wall_hours'], cost['gpu_hours'])}, "
                f"{number_of(round(cost['evaluations']), 'training')}; "
                f"{found['reused']} more were known before",
            ),
            ("runs", "\n".join(map(_session, found["sessions"])) or "none"),
        ],
    )


def _rungs(view: StudyView, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was trained where, for studies with a ladder or a final retraining."""
    lines = []
    own = [("", rung, each) for rung, each in enumerate(found["rungs"])]
    others = [(n, rung, e) for _, rung, each in own for n, e in each.get("also", {}).items()]
    if len(own + others) > 1:
        rows = [
            f"{task and f'{task}, '}{fidelity_words(view.study.tasks[task].fidelities[rung])}: "
            f"{_tally(each)}"
            for task, rung, each in own + others
        ]
        lines.append(("rungs", "\n".join(rows)))
    if (final := found["retraining"]) is not None:
        seeds = number_of(final["seeds"], "fresh seed")
        wanted = f"the best {final['retrain']} again at the end, {seeds} each"
        lines.append(("retraining", f"{wanted}: {_tally(final)}"))
    return lines


def _tally(runs: Mapping[str, float]) -> str:
    counts = {name: int(runs[name]) for name in ("began", "ok", "failed", "reused")}
    spent = runs["gpu_hours"]
    return _counts(counts) + (f", {time_words(spent)} of GPU time" if spent else "")


def print_front(view: StudyView) -> None:
    """The front as a table, cheapest first; or why there is none."""
    name = view.study.name
    if not view.finished:
        say(f"Study {name} has no results yet; its trials: {_counts(view.counts())}.")
        return
    soft = view.study.soft()
    if not view.judged:
        best, again = _one_line(view, view.best(1)[0]), len(view.retrained)
        those = f"{again} retrained" if again else number_of(len(view.finished), "result")
        say(f"None of the {those} of {name} keeps {bound_words(soft)}; the best of all: {best}")
        return
    rows = []
    front = view.front()
    drawn = _bars(view, front)
    for row, bars in zip(front, drawn, strict=True):
        member = view.as_json(row)
        values: list[str] = []
        for key, value in member["values"].items():
            values.append(objective_text(key, value))
            if key in STANDARD_ERRORS:
                values.append(_error(row.error(key)))
        seeds = [row.seeds] if view.retrained else []
        tail = [in_units(member["params"]), member["stages"], *bars.values()]
        rows.append([row.number, *values, *seeds, *tail])
    headings = [word for key in view.objectives for word in _headings(key)]
    columns = ["trial", *headings, *(["seeds"] if view.retrained else []), "params", "stages"]
    columns += [f"{_headings(name)[0]} bar" for name in drawn[0]]
    of = f"of {number_of(len(view.finished), 'result')}"
    if view.retrained:
        of = f"of {len(view.retrained)} retrained ({of})"
    title = f"Pareto front of {name}: {len(rows)} {of}"
    print_table(f"{title}, MACs at {pixels(counted_size(view.study))}", columns, rows)
    erring = [name for name in view.objectives if name in STANDARD_ERRORS]
    if view.retrained:
        around = f", +- the {error_words(front, erring)}" if erring else ""
        say(f"scores: means over fresh seeds{around}")
    elif erring:
        say("scores: +- the standard error that comes from the number of validation images")
    if soft:
        judged = len(view.retrained or view.finished)
        say(f"{len(view.judged)} of {judged} keep {bound_words(soft)}")
    if view.study.latency is not None:
        say(f"latency_ms: of one batch by table, {view.study.latency.setting}")
    if drawn[0]:
        say(BARS_WORDS)
    for line in proxy_lines(view):
        say(line)


def _bars(view: StudyView, front: Sequence[Row]) -> list[dict[str, str]]:
    """By objective, where a terminal has room for them; else none for each member."""
    out = console()
    if not out.is_terminal or out.width < _ROOM_FOR_BARS:
        return [{} for _ in front]
    return front_bars([{name: row.value(name) for name in view.objectives} for row in front])


def write_csv(view: StudyView) -> None:
    """The front on stdout, one line a member."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    errors = [STANDARD_ERRORS[name] for name in view.objectives if name in STANDARD_ERRORS]
    measured = [name for name in view.objectives if not is_cost(name)]
    spreads = [f"{name}_spread" for name in measured]
    tail = [*errors, "stages", "seeds", *spreads]
    writer.writerow(["trial", "arch", *view.objectives, "params", *tail])
    for member in view.front_json():
        head = [member["trial"], member["arch"], *member["values"].values(), member["params"]]
        tail = [*(member[name] for name in errors), member["stages"], member["seeds"]]
        writer.writerow([*head, *tail, *(member["spread"][name] for name in measured)])


def _one_line(view: StudyView, row: Row) -> str:
    member = view.as_json(row)
    values = (f"{key} {objective_text(key, v)}" for key, v in member["values"].items())
    return f"trial {row.number}: {', '.join(values)}, {member['stages']}"


def _headings(objective: str) -> list[str]:
    name = {"macs": "MACs"}.get(objective, objective)
    return [name, "+-"] if objective in STANDARD_ERRORS else [name]


def _error(error: float | None) -> str:
    return "" if error is None else f"{error:.4f}"


def _counts(counts: Mapping[str, float], after: bool = False) -> str:
    """`3 ok, 1 failed`; after: `trials 24, hours 2`."""
    words = (f"{k} {v:g}" if after else f"{v} {k}" for k, v in counts.items())
    return ", ".join(words) or "none"


def _numbers(trials: Sequence[int | str]) -> str:
    words = ", ".join(map(str, trials))
    return f"{'trial' if len(trials) == 1 else 'trials'} {words}" if trials else "none"


def _pace(view: StudyView, found: Mapping[str, Any]) -> str:
    """`12 candidates an hour trained, 3 more looked up, about 1.5 hours left`."""
    rate, left, known = (found[k] for k in ("candidates_per_hour", "hours_left", "looked_up"))
    words = "-" if rate is None else f"{rate:,.{rate < 100:d}f} candidates an hour"
    if known:
        words = f"{words} trained, {known} more" if rate else f"none trained, {known}"
        words += " looked up"
    if alive_session(view) is None:
        return words
    return f"{words}, " + (
        "time left unknown" if left is None else f"about {time_words(left)} left"
    )


def _running(view: StudyView) -> str:
    """By node and GPU, as far as they are known: `node7, GPU 3: trials 4, 9`."""
    if is_left(view):
        words, name = "none: nothing drives the study now", view.study.name
        searched = parent_study(name) is None
        return f"{words}; hybridnas search {name} --resume goes on" if searched else words
    running = [row for row in view.rows if row.running]
    if not any(row.worker for row in running):
        return _trials(view, running)
    at: dict[str, list[Row]] = {}
    for row in sorted(running, key=lambda row: (row.worker is None, row.worker, row.number)):
        at.setdefault(row.worker or "starting", []).append(row)
    return "\n".join(f"{worker}: {_trials(view, rows)}" for worker, rows in at.items())


def _trials(view: StudyView, rows: Sequence[Row]) -> str:
    """`trial 4`; where there are several rungs or tasks, `trial 4 (4 epochs at 32 px)`."""
    simple = len(view.study.fidelities) == 1 and not view.study.also and view.study.final is None
    words = []
    for row in rows:
        run = None if simple else row.running
        at = run and run_words(run, view.protocols[run.protocol_digest].fidelity)
        words.append(f"{row.number} ({at})" if at else f"{row.number}")
    return _numbers(words)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _session(session: Mapping[str, Any]) -> str:
    began = session["started_at"][:16].replace("T", " ")
    seen = session["last_seen_at"][11:19]
    end = f"ended by: {session['ended']}" if session["ended"] else f"last seen {seen}"
    return f"{began} UTC on {session['host']}, {end}"
