"""Studies of made-up results that have all that a report can say; a reader of its page.

A plug-in of pytest. PYTEST_DONT_REWRITE: tests import from here before the plug-in loads.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ablation_helpers as twins
import pytest
import search_helpers as helpers

from hybridnas.ablate import Ablation, read_ablations
from hybridnas.ablate.effects import POWER
from hybridnas.config import parse_study
from hybridnas.report import ReportFacts, facts_of
from hybridnas.report.effects import CONFIDENCE
from hybridnas.report.render import drawings_of, to_html
from hybridnas.report.results import pictures
from hybridnas.search.view import StudyView
from hybridnas.store import Evaluation, Store

LADDER = [{"epochs": 1, "resolution": 32}, {"epochs": 4, "resolution": 32}]
BELOW = {"against": {"epochs": 16, "resolution": 32}}
TAU = {"tau": 0.61, "low": 0.32, "high": 0.83}
CALIBRATED: dict[str, Any] = {
    "architectures": 9,
    "tau": {
        "proxy": {"overall": TAU, "equal_macs": None},
        "params": {"overall": TAU, "equal_macs": TAU},
        "macs": {"overall": {"tau": 0.41, "low": 0.11, "high": 0.71}},
    },
}
_FACTORS = {"": 1.0, "%": 0.01, "K": 1e3, "M": 1e6, "G": 1e9}
_FACTORS |= {"s": 1 / 3600, "min": 1 / 60, "hours": 1.0}  # of times, which are hours
SPOILT = "no room <b>for</b> it"


def search(store: Store, **changes: Any) -> None:
    """A whole study; every ninth training fails, each takes a minute, one after the other."""
    plan = helpers.plan(space=helpers.LISTED, **changes)
    core = helpers.start(plan, store)
    session = store.begin_session(plan.study.name)
    for i in itertools.count():
        candidate = core.ask()
        if candidate is None:
            break
        good = helpers.result(candidate)
        begins = helpers.START + timedelta(minutes=i)
        top1 = helpers.score(helpers.network(candidate)) - 0.01 * good.seed
        scored = {**good.metrics, "top1": top1, "top1_se": 0.01 + 0.0001 * i}
        scored |= {"num_images": 497}
        versions = {"torch": "2.14.1", "hybridnas": "0.1.0"}
        made: Evaluation = replace(
            good,
            metrics=scored,
            started_at=begins,
            ended_at=begins + timedelta(minutes=1),
            versions=versions,
            git_commit="0123456789abcdef",
            machine={"device": "cpu", "host": "node1"},
            curve=[
                {"epoch": 1, "seconds": 0.3, "images_per_second": 1280 / 0.3},
                {"epoch": 2, "seconds": 0.7, "images_per_second": 1280 / 0.7},
            ],
        )
        if i % 9 == 4:
            made = replace(made, **{**helpers.FAILED, "message": SPOILT})
        assert store.record(candidate.token, made) is not None
        core.settle(candidate.number)
    store.heartbeat(session, 47, 5)
    store.end_session(session, "trials")


def search_two_tasks(store: Store) -> None:
    """Of digits, and of masks under UperNet."""
    masks = {"name": "segmentation", "data": "masks", "head_width": 8}
    raw = {
        **helpers.RAW,
        "name": "both",
        "space": helpers.LISTED,
        "budget": {"trials": 24},
        "also": {"masks": {"task": masks, "fidelities": [{"epochs": 2, "resolution": 64}]}},
        "objectives": {"top1": "maximize", "masks.miou": "maximize", "masks.macs": "minimize"},
    }
    study = parse_study(raw, "test")
    own, other = (helpers.plan_of(study.alone(task)) for task in ("", "masks"))
    plan = replace(own, study=study, also={"masks": other})
    core = helpers.start(plan, store)
    while (candidate := core.ask()) is not None:
        score = helpers.score(helpers.network(candidate))
        name = "miou" if candidate.place.task else "top1"
        made = helpers.result(candidate, metrics={name: score / 2, **candidate.recorded})
        assert store.record(candidate.token, made) is not None
        core.settle(candidate.number)


def calibrate(store: Store, study: str) -> None:
    """A finished calibration of the study's training against a longer one."""
    top = store.trials(study)[0].runs[-1].protocol_digest
    longer = {"judge": {"epochs": 16, "resolution": 32}, "proxy": LADDER[-1]}
    number = store.begin_calibration(study, top, top, longer)
    store.end_calibration(number, CALIBRATED)


@pytest.fixture(scope="session")
def reported_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of `plain` (one rung), of `both` (two tasks), and of `rich`: a ladder, a soft
    constraint, a final retraining, and evaluations that `plain` made before."""
    file = tmp_path_factory.mktemp("reported") / "hybridnas.db"
    with Store.open(f"sqlite:///{file}") as store:
        search(store, name="plain", fidelities=LADDER[1:], budget={"trials": 40})
        search(
            store,
            name="rich",
            description="<script>alert(1)</script>",
            fidelities=LADDER,
            budget={"trials": 45},
            constraints={"top1": {"min": 0.8}, "macs": {"max": 3e6}},
            final={"retrain": 3, "seeds": 2},
        )
        calibrate(store, "plain")
        search_two_tasks(store)
        empty = helpers.plan(name="empty")
        helpers.start(empty, store)
    return file


@pytest.fixture(scope="session")
def twins_of_plain(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    """Made-up twins of a made-up trial 17 of `plain`."""
    setup = twins.set_up_of(name="plain")
    file = tmp_path_factory.mktemp("twins") / "twins.db"
    with Store.open(f"sqlite:///{file}") as store:
        twins.drive(twins.begin(store, setup))
        (found,) = read_ablations(store, "plain")
    return found


@pytest.fixture
def reported(reported_file: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{reported_file}", create=False) as store:
        yield store


def page_of(
    store: Store, study: str, ablations: Sequence[Ablation] = ()
) -> tuple[ReportFacts, str]:
    view = StudyView(study, store)
    facts = facts_of(view, ablations)
    of_members = {f"trial-{number}": svg for number, svg in pictures(view).items()}
    return facts, to_html(facts, drawings_of(facts) | of_members)


def members(facts: ReportFacts) -> list[str]:
    """The names of the pictures of the front's members."""
    return [f"trial-{member.trial}" for member in facts.front]


class Page(HTMLParser):
    """What a page says: `numbers` are (value, text) of its data elements, `words` what stands
    outside of them and of code, listings, names, dates, plots and style sheets; `lines` the list
    items. `loads`: what it would fetch."""

    _APART = ("style", "svg", "title", "code", "pre", "span", "cite", "time")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.numbers: list[tuple[float, str]] = []
        self.words: list[str] = []
        self.lines: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self._value: str | None = None
        self._apart: list[str] = []
        self._line: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        known = dict(attrs)
        self.loads += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]
        if tag in self._APART:
            self._apart.append(tag)
        if tag == "data":
            self._value = known["value"]
        if tag == "li":
            self._line = []

    def handle_endtag(self, tag: str) -> None:
        if self._apart and self._apart[-1] == tag:
            self._apart.pop()
        if tag == "data":
            self._value = None
        if tag == "li" and self._line is not None:
            self.lines.append(" ".join("".join(self._line).split()))
            self._line = None

    def handle_data(self, data: str) -> None:
        if self._line is not None:
            self._line.append(data)
        if self._value is not None:
            self.numbers.append((float(self._value), data))
        elif not self._apart:
            self.words.append(data)


def numbers_in(value: Any) -> Iterator[float]:
    """All of a structure, with how many there are of whatever there are several of."""
    if isinstance(value, dict):
        yield from numbers_in([*value.values()])
        yield sum(v for v in value.values() if isinstance(v, int))
    elif isinstance(value, list | tuple):
        yield len(value)
        for key in ("clear", "published"):
            yield sum(bool(isinstance(each, dict) and each.get(key)) for each in value)
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, int | float):
        yield float(value)


def assert_facts(facts: ReportFacts, html: str) -> None:
    """Of every number that a page shows."""
    known, page = set(numbers_in(facts.model_dump())), Page(html)
    # Results that an importance needs; of every interval; of forecasts of seeds.
    known |= {20.0, CONFIDENCE, POWER}
    known.add(sum(r.trial in {m.trial for m in facts.front} for r in facts.references))
    assert len(page.numbers) > 150
    for value, text in page.numbers:
        assert value in known, text
        found = re.fullmatch(r"([+-]?[\d,]+)(\.\d+)?(e[+-]?\d+)? ?(\D*)", text)
        assert found, text
        whole, part, power, unit = (group or "" for group in found.groups())
        factor = _FACTORS[unit] * float(f"1{power}")
        shown = float(f"{whole.replace(',', '')}{part}") * factor
        digits = 10.0 ** -max(0, len(part) - 1) * factor
        assert abs(shown - value) <= 0.501 * digits, text
    assert not re.search(r"\d", " ".join(page.words)), "a number that is no fact"
