"""Every number of a report is one of its facts, and every fact is what the database holds."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import ablation_helpers as twins
import pytest
import yaml
from cli_helpers import Cli
from report_helpers import CALIBRATED, SPOILT, Page

from hybridnas.ablate import read_ablations
from hybridnas.config import parse_study
from hybridnas.report import ReportFacts, facts_of
from hybridnas.report.facts import MemberFact
from hybridnas.report.render import drawings_of, to_html, to_markdown
from hybridnas.report.results import pictures
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers", "report_helpers"]

STUDIES = pytest.mark.parametrize("study", ["plain", "rich"])
_FACTORS = {"": 1.0, "%": 0.01, "K": 1e3, "M": 1e6, "G": 1e9}


def page_of(store: Store, study: str) -> tuple[ReportFacts, str]:
    view = StudyView(study, store)
    facts = facts_of(view)
    members = {f"trial-{number}": svg for number, svg in pictures(view).items()}
    return facts, to_html(facts, drawings_of(facts) | members)


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


# ---------------------------------------------------------------- the page says its facts


@STUDIES
def test_every_number_on_the_page_is_a_fact(reported: Store, study: str) -> None:
    facts, html = page_of(reported, study)
    known, page = set(numbers_in(facts.model_dump())), Page(html)
    known.add(20.0)  # results that an importance needs
    known.add(sum(r.trial in {m.trial for m in facts.front} for r in facts.references))
    assert len(page.numbers) > 150
    for value, text in page.numbers:
        assert value in known, text
        found = re.fullmatch(r"([+-]?[\d,]+)(\.\d+)?(e[+-]?\d+)? ?([%KMG]?)", text)
        assert found, text
        whole, part, power, unit = (group or "" for group in found.groups())
        factor = _FACTORS[unit] * float(f"1{power}")
        shown = float(f"{whole.replace(',', '')}{part}") * factor
        digits = 10.0 ** -max(0, len(part) - 1) * factor
        assert abs(shown - value) <= 0.501 * digits, text
    assert not re.search(r"\d", " ".join(page.words)), "a number that is no fact"


@STUDIES
def test_the_page_loads_nothing_and_runs_nothing(reported: Store, study: str) -> None:
    _, html = page_of(reported, study)
    page = Page(html)
    assert page.loads == []
    assert not page.tags & {"script", "link", "img", "iframe", "b"}
    assert not re.search(r"url\(|@import", html)
    assert ("&lt;script&gt;alert(1)&lt;/script&gt;" in html) == (study == "rich")


@STUDIES
def test_markdown_says_the_same(reported: Store, study: str) -> None:
    facts, html = page_of(reported, study)
    drawings = {name: f"{name}.svg" for name in drawings_of(facts)}
    members = {f"trial-{member.trial}": "x.svg" for member in facts.front}
    markdown = to_markdown(facts, drawings | members)
    summary = markdown.partition("\nObjectives: ")[0]
    bullets = [" ".join(b.split()) for b in re.findall(r"^- (.*(?:\n .*)*)", summary, re.M)]
    assert [bullet.replace("`", "") for bullet in bullets] == Page(html).lines
    for name in drawings:
        assert f"({name}.svg)" in markdown
    for member in facts.front:
        assert f"| {member.trial} | {member.values['top1']:.4f} ± " in markdown


def test_the_yaml_on_the_page_is_the_study(reported: Store) -> None:
    view = StudyView("rich", reported)
    assert parse_study(yaml.safe_load(facts_of(view).yaml), "page") == view.study


def test_words_of_the_summary(reported: Store) -> None:
    _, html = page_of(reported, "plain")
    said = " ".join(Page(html).lines)
    assert "Each score is of one training, and the best of many noisy scores flatters" in said
    assert "so their scores do not tell the two apart." in said
    assert "ranks 9 architectures with Kendall's tau 0.61 [0.32, 0.83], at equal MACs none" in said
    assert "The search ended: the budget of trials is spent." in said
    _, html = page_of(reported, "rich")
    said = " ".join(Page(html).lines)
    assert "drawn among the 3 that were trained again with fresh seeds" in said
    assert "break a soft constraint and are on no front" in said
    assert "ranks 9 architectures" in said, "its training is that of plain"
    assert "best of many noisy scores" not in said


def test_a_study_without_results(reported: Store) -> None:
    facts, html = page_of(reported, "empty")
    assert "There is no result yet." in Page(html).lines
    assert "The search was never begun." in Page(html).lines
    assert "the search's training was not calibrated" in " ".join(Page(html).lines)
    assert "There is no result yet." in to_markdown(facts, {})


# ---------------------------------------------------------------- the facts are the database's


@pytest.fixture
def rows(reported_file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(reported_file)
    yield connection
    connection.close()


def results(rows: sqlite3.Connection, study: str, repeats: bool = False) -> dict[int, list[Any]]:
    """Metrics of what ended well at the top rung, by trial."""
    found: dict[int, list[Any]] = {}
    top = 1 if study == "rich" else 0
    for number, metrics in rows.execute(
        "SELECT r.number, e.metrics FROM nas_run r JOIN nas_evaluation e ON e.id = r.evaluation_id "
        "WHERE r.study = ? AND r.rung = ? AND (r.repeat > 0) = ? AND e.status = 'ok' "
        "ORDER BY r.number, r.repeat",
        (study, top, repeats),
    ):
        found.setdefault(number, []).append(json.loads(metrics))
    return found


@STUDIES
def test_counts_and_costs(reported: Store, rows: sqlite3.Connection, study: str) -> None:
    facts = facts_of(StudyView(study, reported))

    def one(query: str) -> Any:
        return rows.execute(query, (study,)).fetchone()[0]

    joined = "FROM nas_run r JOIN nas_evaluation e ON e.id = r.evaluation_id WHERE r.study = ?"
    assert sum(facts.trials.values()) == one("SELECT count(*) FROM nas_trial WHERE study = ?")
    assert facts.runs == one("SELECT count(*) FROM nas_run WHERE study = ?")
    assert facts.reused == one("SELECT sum(reused) FROM nas_run WHERE study = ?")
    assert (facts.reused > 0) == (study == "rich")
    trained = one(f"SELECT count(*) {joined} AND NOT r.reused")
    assert facts.cost_so_far.trainings == trained
    seconds = one(f"SELECT sum(json_extract(e.timing, '$.gpu_s')) {joined} AND NOT r.reused")
    assert facts.cost_so_far.gpu_hours == pytest.approx(seconds / 3600)
    assert sum(rung.gpu_hours for rung in facts.rungs) == pytest.approx(seconds / 3600)
    assert sum(rung.began for rung in facts.rungs) == facts.runs
    failed = one(f"SELECT count(*) {joined} AND e.status = 'failed'")
    (failure,) = facts.failures
    assert (failure.number, failure.reason, failure.message) == (failed, "out_of_memory", SPOILT)
    assert sum(rung.failed for rung in facts.rungs) == failed
    assert facts.proposals == one("SELECT sum(proposals) FROM nas_session WHERE study = ?") == 47
    assert facts.redrawn == one("SELECT sum(redrawn) FROM nas_session WHERE study = ?") == 5
    (software,) = facts.software
    assert (software.evaluations, software.hosts) == (trained, ("node1",))
    protocols = one("SELECT count(DISTINCT protocol_digest) FROM nas_run WHERE study = ?")
    assert sum(len(protocol.digests) for protocol in facts.protocols) == protocols
    hours = facts.cost_so_far.wall_hours
    ended = [n for n, state in facts.trials.items() if n in ("ok", "failed", "pruned") and state]
    known = one(
        "SELECT count(*) FROM (SELECT number FROM nas_run WHERE study = ? GROUP BY number "
        "HAVING min(reused) = 1)"
    )
    number = sum(facts.trials[state] for state in ended) - known
    assert facts.cost_so_far.candidates_per_hour == pytest.approx(number / hours)


def dominated(mine: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    return any(o != mine and o[0] >= mine[0] and o[1] <= mine[1] for o in others)


def test_the_front_of_one_training_each(reported: Store, rows: sqlite3.Connection) -> None:
    facts = facts_of(StudyView("plain", reported))
    found = {n: (m[0]["top1"], m[0]["macs"]) for n, m in results(rows, "plain").items()}
    front = [n for n, mine in found.items() if not dominated(mine, [*found.values()])]
    assert facts.results == len(found)
    assert [m.trial for m in facts.front] == sorted(front, key=lambda n: found[n][1])
    errors = {n: m[0]["top1_se"] for n, m in results(rows, "plain").items()}
    for member in facts.front:
        assert (member.values["top1"], member.values["macs"]) == found[member.trial]
        assert member.errors == {"top1": errors[member.trial]}
    first, second, *_ = sorted(found, key=lambda n: -found[n][0])
    assert facts.leader is not None
    assert (facts.leader.trial, facts.leader.runner_up) == (first, second)
    assert facts.leader.gap == pytest.approx(found[first][0] - found[second][0])
    together = (errors[first] ** 2 + errors[second] ** 2) ** 0.5
    assert facts.leader.gap_error == pytest.approx(together)
    kinds = Counter(candidate.kind for candidate in facts.candidates)
    assert kinds == {"front": len(front), "dominated": len(found) - len(front)}
    # The area under the steps, up to accuracy 0 and the dearest.
    steps = sorted((found[n][1], found[n][0]) for n in front)
    dearest = max(macs for _, macs in found.values())
    edges = [*(macs for macs, _ in steps[1:]), dearest]
    area = sum((edge - macs) * top1 for (macs, top1), edge in zip(steps, edges, strict=True))
    assert facts.hypervolume == pytest.approx(area / dearest)
    assert facts.moments[-1].hypervolume == pytest.approx(area / dearest)
    assert facts.moments[-1].trainings == max(
        i for i, run in enumerate(StudyView("plain", reported).rows, 1) if run.state == "ok"
    )


def test_the_front_of_the_retrained(reported: Store, rows: sqlite3.Connection) -> None:
    facts = facts_of(StudyView("rich", reported))
    again = results(rows, "rich", repeats=True)
    means = {n: (fmean(m["top1"] for m in ms), ms[0]["macs"]) for n, ms in again.items()}
    assert facts.retrained == len(means) == 3
    assert facts.error_kind == "standard_deviation"
    kept = [mine for mine in means.values() if mine[0] >= 0.8]
    front = [n for n, m in means.items() if m[0] >= 0.8 and not dominated(m, kept)]
    assert {member.trial for member in facts.front} == set(front)
    for member in facts.front:
        scores = [m["top1"] for m in again[member.trial]]
        assert member.values["top1"] == pytest.approx(fmean(scores))
        assert member.seeds == len(scores)
        assert member.errors.get("top1") == (
            stdev(scores) if len(scores) > 1 else member.errors.get("top1")
        )
    first = results(rows, "rich")
    broken = [n for n, m in first.items() if (means.get(n) or (m[0]["top1"],))[0] < 0.8]
    assert facts.infeasible == len(broken) > 0
    assert {c.trial for c in facts.candidates if c.kind == "infeasible"} == set(broken)


def test_mixers_by_stage(reported: Store, rows: sqlite3.Connection) -> None:
    facts = facts_of(StudyView("plain", reported))
    texts = dict(rows.execute("SELECT digest, json FROM nas_architecture"))
    totals: Counter[tuple[int, str]] = Counter()
    for member in facts.front:
        for i, stage in enumerate(json.loads(texts[member.arch])["stages"], 1):
            blocks = stage["blocks"]
            for block in blocks:
                mixer = block["mixer"]
                name = mixer if isinstance(mixer, str) else mixer["name"]
                share = block.get("repeat", 1) / sum(b.get("repeat", 1) for b in blocks)
                totals[i, name] += share / len(facts.front)
    for cell in facts.mixers:
        assert cell.front == pytest.approx(totals[cell.stage, cell.mixer])


def test_calibrations(reported: Store) -> None:
    (found,) = facts_of(StudyView("plain", reported)).calibrations
    assert (found.against, found.longer) == ("16 epochs at 32 px", True)
    assert found.overall is not None
    assert found.overall.model_dump() == CALIBRATED["tau"]["proxy"]["overall"]
    assert found.equal_macs is None


def test_twins(reported: Store, tmp_path: Path) -> None:
    setup = twins.set_up_of(name="plain")
    with Store.open(f"sqlite:///{tmp_path / 'twins.db'}") as store:
        twins.drive(twins.begin(store, setup))
        ablations = read_ablations(store, "plain")
    facts = facts_of(StudyView("plain", reported), ablations)
    html = to_html(facts, drawings_of(facts) | dict.fromkeys(map(member_name, facts.front), ""))
    said = " ".join(Page(html).lines)
    (ablation,) = ablations
    assert len(facts.twins) == len(ablation.comparisons) == 3
    for twin, comparison in zip(facts.twins, ablation.comparisons, strict=True):
        assert comparison.effect is not None
        assert (twin.value, twin.low, twin.high) == (
            comparison.effect.value,
            comparison.effect.low,
            comparison.effect.high,
        )
        assert f"Twin test of 17: {twin.words}." in said
    assert "stage 1: the SSM adds" in said


def member_name(member: MemberFact) -> str:
    return f"trial-{member.trial}"


# ---------------------------------------------------------------- the command


def test_the_command(cli: Cli, reported_file: Path) -> None:
    storage = f"sqlite:///{reported_file}"
    done = cli("report", "rich", "--out", "rich.html", "--storage", storage)
    assert (done.code, done.out, done.err) == (0, "", "written: rich.html\n")
    assert Page(Path("rich.html").read_text()).loads == []
    cli("report", "rich", "--out", "rich.md", "--storage", storage)
    links = re.findall(r"\((rich_files/[^)]*)\)", Path("rich.md").read_text())
    assert set(links) == {str(path) for path in Path("rich_files").iterdir()}
    facts = cli.json("report", "rich", "--storage", storage)
    assert ReportFacts.model_validate(facts).study == "rich"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give --out FILE.html, --out FILE.md, or --json"),
        (("--out", "r.pdf"), "--out takes a file in .html or .md, got 'r.pdf'"),
        (("--out", "no/r.html"), "--out: no/r.html cannot be written (No such file"),
    ],
)
def test_a_bad_report_is_refused(populated: Cli, words: tuple[str, ...], message: str) -> None:
    assert message in populated.refused("report", "shapes", *words)
