"""A report's facts as a page, and as Markdown: both say the same, in the same words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..ablate.effects import POWER
from ..counting import in_units, number_of
from ..search.rows import ERROR_WORDS
from ..search.words import ENDED, FINALISTS, export_command, objective_text, time_words
from .charts import (
    effects_chart,
    front_chart,
    hypervolume_chart,
    importance_chart,
    mixer_map,
)
from .choices import JOINED
from .effects import CONFIDENCE
from .facts import DecisionFacts, EffectFact, ReportFacts
from .importance import FEWEST_TRIALS

_MOST_IMPORTANT = 6  # decisions whose effects are drawn, besides those about mixers
_SAID = 4  # clear decisions that the summary names, whose effects are drawn too
_BARS = 12
_SECTIONS = {
    "summary": "Summary",
    "front": "The front",
    "decisions": "Which decisions mattered",
    "twins": "Twin tests",
    "dynamics": "How the search went",
    "trust": "How far to trust it",
    "protocol": "Protocols",
    "again": "How to repeat it",
}
_READ = {"macs": "MACs", "params": "parameters"}

Marked = Callable[[float, str], str]


def drawings_of(facts: ReportFacts) -> dict[str, str]:
    """The plots as SVG, by name; the front's members (`trial-N`) are not among them."""
    found = {}
    last = facts.moments[-1] if facts.moments else None
    if last and (last.trainings or last.hours):  # else all was known before, and no search ran
        found["hypervolume"] = hypervolume_chart(facts)
    if not facts.candidates:
        return found
    found["mixers"] = mixer_map(facts)
    for each in facts.decisions:
        found[f"front-{each.score}"] = front_chart(facts, each.score)
        if shown := _decisions_shown(each):
            found[f"effects-{each.score}"] = effects_chart(facts, each.score, shown)
        if each.importances:
            found[f"importance-{each.score}"] = importance_chart(facts, each.score, _BARS)
    return found


def to_html(facts: ReportFacts, drawings: Mapping[str, str]) -> str:
    """One page that loads nothing. drawings: SVG by name, members of the front too.

    Every number outside of plots and listings is a `data` element whose value is the fact's.
    """

    def marked(value: float, text: str) -> str:
        return Markup('<data value="{}">{}</data>').format(repr(value), text)

    environment = _environment(marked, autoescape=True)
    environment.filters |= {
        "code": Markup("<code>{}</code>").format,
        "word": lambda name: Markup("<span>{}</span>").format(_READ.get(name, name)),
        "cite": Markup("<cite>{}</cite>").format,
        "moment": lambda at: Markup("<time>{}</time>").format(_moment(at)),
    }
    css = (files(__package__) / "templates" / "report.css").read_text(encoding="utf-8")
    css = Markup(css)
    return _render(environment, "report.html.j2", facts, drawings, css=css)


def to_markdown(facts: ReportFacts, drawings: Mapping[str, str]) -> str:
    """drawings: where the pictures are, by name."""
    environment = _environment(lambda value, text: text, autoescape=False)
    environment.filters |= {
        "code": "`{}`".format,
        "word": lambda name: _READ.get(name, name),
        "cite": str,
        "moment": _moment,
        "cell": lambda text: text.replace("|", "/").replace("\n", " "),
    }
    return _render(environment, "report.md.j2", facts, drawings)


def _render(
    environment: Environment,
    template: str,
    facts: ReportFacts,
    drawings: Mapping[str, str],
    **more: Any,
) -> str:
    absent = set() if facts.candidates else {"front", "decisions"}
    absent |= set() if facts.twins else {"twins"}
    return environment.get_template(template).render(
        f=facts,
        drawings=drawings,
        scores=[each.score for each in facts.decisions],
        shown={each.score: _decisions_shown(each) for each in facts.decisions},
        surest=_surest,
        joined=lambda each: any(e.decision.endswith(JOINED) for e in each.effects),
        at_once=_SAID,
        sections=[s for s in _SECTIONS.items() if s[0] not in absent],
        commands=_commands(facts),
        twin_scores=list(dict.fromkeys(twin.metric for twin in facts.twins)),
        intervals=_intervals(facts),
        power=POWER,
        ENDED=ENDED,
        FINALISTS=FINALISTS,
        ERROR_WORDS=ERROR_WORDS,
        fewest_trials=FEWEST_TRIALS,
        confidence=CONFIDENCE,
        **more,
    )


def _environment(marked: Marked, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=autoescape,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )

    def number(text: Callable[..., str], value: float | None, *more: Any) -> str:
        return "-" if value is None else marked(value, text(value, *more))

    def many(value: float, what: str) -> str:
        count, _, noun = number_of(round(value), what).partition(" ")
        return marked(value, count) + f" {noun}"

    texts: dict[str, Callable[..., str]] = {
        "plain": str,
        "num": lambda value: f"{value:,.10g}",
        "objective": lambda value, name: objective_text(name, value),
        "signed": _signed,
        "percent": lambda share: f"{100 * share:.0f} %",
        "finely": lambda share: f"{100 * share:+z.2f} %",
        "duration": time_words,
        "rough": lambda value: f"{value:.2g}" if abs(value) < 10 else f"{value:,.0f}",
        "fixed": lambda value, decimals: f"{value:z.{decimals}f}",
        "units": in_units,
        "large": lambda value: f"{value:,}" if value < 10**7 else f"{value:.1e}",
    }
    environment.filters |= {name: partial(number, text) for name, text in texts.items()}
    environment.filters["as_yaml"] = _settings
    environment.filters["many"] = many
    return environment


def _settings(values: Mapping[str, Any]) -> str:
    """As YAML, without those that are not set."""
    return yaml.safe_dump(_set(values), sort_keys=False, default_flow_style=None, width=100)


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _set(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def _signed(value: float, score: str) -> str:
    text = objective_text(score, value)
    return text if text.startswith("-") else f"+{text}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _decisions_shown(each: DecisionFacts) -> list[str]:
    """Whose effects are drawn: all about mixers, the most important, and those that the summary
    names; in the space's order."""
    important = [found.decision for found in each.importances[:_MOST_IMPORTANT]]
    important += each.clear[:_SAID]
    known = dict.fromkeys(effect.decision for effect in each.effects)
    mixers = [name for name in known if name.endswith((".mixer", JOINED))]
    return [name for name in known if name in mixers or name in important]


def _surest(each: DecisionFacts) -> list[EffectFact]:
    """Of the decisions that the summary names the clearest effect of each."""
    return [
        min((e for e in each.effects if e.decision == name), key=lambda e: e.p)
        for name in each.clear[:_SAID]
    ]


def _intervals(facts: ReportFacts) -> list[str]:
    """Kinds of intervals that the report has, in the order of its parts."""
    leader, decisions = facts.leader, facts.decisions
    fresh = [leader.fresh, leader.runner_up_fresh] if leader else []
    between = leader is not None and leader.clear is not None and leader.fresh is None
    there = {
        "other": between or (leader is not None and leader.thrifty is not None),
        "fresh": any(each is not None and each.low is not None for each in fresh),
        "effect": any(each.effects for each in decisions),
        "importance": any(each.importances for each in decisions),
        "twin": any(twin.low is not None for twin in facts.twins),
        "tau": any(each.overall is not None for each in facts.calibrations),
    }
    return [kind for kind, has in there.items() if has]


def _commands(facts: ReportFacts) -> str:
    """In a new database, for in the old one the study is there already."""
    name = facts.study
    lines = [
        f"export HYBRIDNAS_STORAGE=sqlite:///{name}-again.db",
        f"hybridnas search {name}.yaml --dry-run    # checks everything, says what would run",
        f"hybridnas search {name}.yaml",
        f"hybridnas pareto {name}",
        f"hybridnas report {name} --out {name}.html",
    ]
    if facts.leader is not None:
        lines.append(export_command(name, facts.leader.trial))
    lines += dict.fromkeys(t.command for t in facts.twins if t.command is not None)
    return "\n".join(lines) + "\n"
