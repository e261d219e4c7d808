"""Every number of a report is one of its facts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ablation_helpers as twins
import pytest
import yaml
from cli_helpers import Cli
from report_helpers import Page, members, page_of
from scipy.stats import ttest_1samp

from hybridnas.ablate import Ablation, read_ablations
from hybridnas.ablate.effects import POWER
from hybridnas.ablate.fresh import fresh_words
from hybridnas.config import parse_study
from hybridnas.report import ReportFacts, facts_of
from hybridnas.report.effects import CONFIDENCE
from hybridnas.report.gather import study_yaml
from hybridnas.report.render import drawings_of, to_html, to_markdown
from hybridnas.resources import shipped
from hybridnas.search.studies import read_study
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers", "report_helpers"]

STUDIES = pytest.mark.parametrize("study", ["plain", "rich"])
_FACTORS = {"": 1.0, "%": 0.01, "K": 1e3, "M": 1e6, "G": 1e9}
_FACTORS |= {"s": 1 / 3600, "min": 1 / 60, "hours": 1.0}  # of times, which are hours


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


@pytest.mark.parametrize("study", ["plain", "rich", "both"])
def test_every_number_on_the_page_is_a_fact(reported: Store, study: str) -> None:
    assert_facts(*page_of(reported, study))


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
    markdown = to_markdown(facts, drawings | dict.fromkeys(members(facts), "x.svg"))
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


@pytest.mark.parametrize("name", shipped("studies"))
def test_what_is_left_out_of_the_yaml_is_the_default(name: str) -> None:
    study = read_study(name)
    text = study_yaml(study)
    assert parse_study(yaml.safe_load(text), "page") == study
    assert "null" not in text.replace("expansion: null", "")
    # Who proposes is said in any case: another version may have another default.
    assert f"sampler: {{name: {study.sampler.name}" in text


def test_what_is_no_default_of_its_task_stays_in_the_yaml() -> None:
    task = {
        "task": {"name": "segmentation", "data": "d", "train": "train"},
        "fidelities": [{"epochs": 1, "resolution": 64}],
        "recipe": {"label_smoothing": 0.1},  # classification's, but not segmentation's
    }
    common: dict[str, Any] = {"name": "s", "space": "hybrid_small", "budget": {"trials": 4}}
    common["objectives"] = {"miou": "maximize", "other.miou": "maximize"}
    study = parse_study({**task, **common, "also": {"other": task}}, "here")
    assert parse_study(yaml.safe_load(study_yaml(study)), "page") == study


def test_a_winner_that_can_be_scored_on_other_images(reported: Store, populated: Cli) -> None:
    facts = ReportFacts.model_validate(populated.json("report", "shapes"))
    assert facts.leader is not None
    own, command = f"shapes-{facts.leader.trial}", facts.leader.unseen
    assert command == f"hybridnas evaluate exported/{own} --split test"
    assert (facts.split, facts.protocols[0].train, facts.protocols[0].val) == (
        "val",
        "train",
        "val",
    )
    populated.shown("report", "shapes", "--out", "shapes.html")
    said = " ".join(Page(Path("shapes.html").read_text()).lines)
    assert "All scores are on the split val, which the search chose by" in said
    assert f"export it and run {command}, if the data have such a split" in said
    populated.shown("export", own.replace("-", ":"), "--out", f"exported/{own}")
    found = populated.json(*command.split()[1:])
    assert (found["split"], found["num_images"]) == ("test", 300)
    _, html = page_of(reported, "plain")
    assert "No weights of it are kept to score other images with" in " ".join(Page(html).lines)


def test_a_commit_that_is_not_known_is_said_in_words(reported: Store) -> None:
    facts = facts_of(StudyView("plain", reported))
    pictures = drawings_of(facts) | dict.fromkeys(members(facts), "")
    assert "<td><code>0123456789ab</code></td>" in to_html(facts, pictures)
    bare = [each.model_copy(update={"git_commit": None}) for each in facts.software]
    unknown = facts.model_copy(update={"software": tuple(bare)})
    assert "<td>not known: installed without git</td>" in to_html(unknown, pictures)
    assert "| not known: installed without git |" in to_markdown(unknown, pictures)


def test_a_study_without_results(reported: Store) -> None:
    facts, html = page_of(reported, "empty")
    assert "There is no result yet." in Page(html).lines
    assert "The search was never begun." in Page(html).lines
    assert "the search's training was not calibrated" in " ".join(Page(html).lines)
    assert "There is no result yet." in to_markdown(facts, {})


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> Ablation:
    """Made-up twins of a made-up trial 17 of `plain`."""
    setup = twins.set_up_of(name="plain")
    file = tmp_path_factory.mktemp("twins") / "twins.db"
    with Store.open(f"sqlite:///{file}") as store:
        twins.drive(twins.begin(store, setup))
        (found,) = read_ablations(store, "plain")
    return found


def test_twins(reported: Store, ablation: Ablation) -> None:
    facts, html = page_of(reported, "plain", [ablation])
    said = " ".join(Page(html).lines)
    assert_facts(facts, html)
    assert len(facts.twins) == len(ablation.comparisons) == 3
    for twin, comparison in zip(facts.twins, ablation.comparisons, strict=True):
        effect = comparison.effect
        assert effect is not None
        assert effect.low is not None
        assert twin.unit == "points of top1"
        assert twin.value == pytest.approx(100 * effect.value)
        assert twin.low == pytest.approx(100 * effect.low)
        (ratio,) = twin.ratios
        long = f"L / 6D is {ratio:.2f}: {'long' if ratio > 1 else 'short'} by the paper's criterion"
        assert f"Twin test of trial 17: {twin.words}. {long}." in said
    assert "stage 1: the SSM adds" in said
    words = " ".join(" ".join(Page(html).words).split())
    assert "Of a twin test: Student's paired t over seeds, for all replacements" in words
    table = to_markdown(
        facts, dict.fromkeys(drawings_of(facts) | dict.fromkeys(members(facts)), "")
    )
    assert re.findall(r"\]: (better|worse|cannot tell) \|", table) == [
        {"original": "better", "twin": "worse", "unknown": "cannot tell"}[twin.verdict]
        for twin in facts.twins
    ]
    assert facts.leader is not None
    assert facts.leader.fresh is None, "they are of another trial"


def test_fresh_seeds_of_the_leader(reported: Store, ablation: Ablation) -> None:
    view = StudyView("plain", reported)
    best = view.best(1)[0]
    (protocol,) = {p.seedless().digest: p.seedless() for p in view.protocols.values()}.values()
    trained = replace(ablation.original, architecture=best.architecture, scores={1: 0.5, 2: 0.52})
    own = replace(ablation, original=trained, protocol=protocol)
    facts, html = page_of(reported, "plain", [own])
    assert_facts(facts, html)
    assert facts.leader is not None
    (line,) = fresh_words(view, [own])
    assert line.startswith(f"trial {best.number}, trained anew for its twin test with 2 seeds, has")
    assert line.endswith(
        "has top1 0.5100 on average: the score above, which it was chosen by, flatters"
    )
    fresh = facts.leader.fresh
    assert fresh is not None
    assert fresh.mean == pytest.approx(0.51)
    assert fresh.seeds == 2
    assert fresh.spread == pytest.approx(0.02 / 2**0.5)
    assert fresh.gap == pytest.approx(best.value("top1") - 0.51)
    said = " ".join(Page(html).lines)
    ends = ttest_1samp([0.5, 0.52], 0).confidence_interval(CONFIDENCE)
    assert (fresh.low, fresh.high) == pytest.approx(tuple(ends))
    assert f"0.5100 [{ends.low:.4f}, {ends.high:.4f}] on average, worse by {fresh.gap:.4f}." in said
    second = view.best(2)[1].value("top1")
    assert fresh.apart == pytest.approx(second - 0.51)
    assert not fresh.leads
    assert (
        f"{facts.leader.gap:.4f} behind the score that the best was chosen for, and "
        f"{fresh.apart:.4f} ahead of its mean with fresh seeds. The next best's flatters, too"
    ) in said
    assert "do not tell the two apart" not in said
    assert "By the scores that the search chose by, the cheapest that" in said
    lucky = replace(trained, scores={1: 1.5})
    (line,) = fresh_words(view, [replace(own, original=lucky)])
    assert line.endswith("with 1 seed, has top1 1.5000 on average")
    facts, html = page_of(reported, "plain", [replace(own, original=lucky)])
    assert facts.leader is not None
    assert facts.leader.fresh is not None
    assert (facts.leader.fresh.low, facts.leader.fresh.leads) == (None, True)
    assert f"{1.5 - second:.4f} behind its mean" in " ".join(Page(html).lines)
    assert "a final retraining with fresh seeds would" not in said
    assert page_of(reported, "plain", [ablation])[0].leader == facts.leader.model_copy(
        update={"fresh": None}
    ), "of another training"


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
