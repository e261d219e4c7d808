"""Every number of a report is one of its facts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_helpers import Cli
from report_helpers import Page, assert_facts, members, page_of

from hybridnas.ablate import Ablation
from hybridnas.config import parse_study
from hybridnas.report import ReportFacts, facts_of
from hybridnas.report.gather import study_yaml
from hybridnas.report.render import drawings_of, to_html, to_markdown
from hybridnas.resources import shipped
from hybridnas.search.studies import read_study
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers", "report_helpers"]

STUDIES = pytest.mark.parametrize("study", ["plain", "rich"])

# ---------------------------------------------------------------- the page says its facts


@pytest.mark.parametrize("study", ["plain", "rich", "both"])
def test_every_number_on_the_page_is_a_fact(reported: Store, study: str) -> None:
    assert_facts(*page_of(reported, study))


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
    bare = facts.leader.model_copy(update={"unseen": None})
    drawings = dict.fromkeys([*drawings_of(facts), *members(facts)], "")
    page = to_html(facts.model_copy(update={"leader": bare}), drawings)
    assert (
        "so the best score flatters, with fresh seeds too. The data have no other split."
        in " ".join(Page(page).lines)
    )


def test_a_commit_that_is_not_known_is_said_in_words(reported: Store) -> None:
    facts = facts_of(StudyView("plain", reported))
    pictures = drawings_of(facts) | dict.fromkeys(members(facts), "")
    assert "<td><code>0123456789ab</code></td>" in to_html(facts, pictures)
    bare = [each.model_copy(update={"git_commit": None}) for each in facts.software]
    unknown = facts.model_copy(update={"software": tuple(bare)})
    assert "<td>not known</td>" in to_html(unknown, pictures)
    assert "| not known |" in to_markdown(unknown, pictures)


def test_a_study_without_results(reported: Store) -> None:
    facts, html = page_of(reported, "empty")
    assert "There is no result yet." in Page(html).lines
    assert "The search was never begun." in Page(html).lines
    assert "the search's training was not calibrated" in " ".join(Page(html).lines)
    assert "There is no result yet." in to_markdown(facts, {})


def test_twins(reported: Store, twins_of_plain: Ablation) -> None:
    facts, html = page_of(reported, "plain", [twins_of_plain])
    said = " ".join(Page(html).lines)
    assert_facts(facts, html)
    assert len(facts.twins) == len(twins_of_plain.comparisons) == 3
    for twin, comparison in zip(facts.twins, twins_of_plain.comparisons, strict=True):
        effect = comparison.effect
        assert effect is not None
        assert effect.low is not None
        assert twin.value == effect.value
        assert twin.low == effect.low
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


# ---------------------------------------------------------------- the command


def test_the_command(cli: Cli, reported_file: Path) -> None:
    storage = f"sqlite:///{reported_file}"
    done = cli("report", "rich", "--out", "rich.html", "--storage", storage)
    assert (done.code, done.out, done.err) == (0, "", "written: rich.html\n")
    assert Page(Path("rich.html").read_text()).loads == []
    done = cli("report", "rich", "--out", "rich.md", "--storage", storage)
    assert done.err.endswith("written: rich.md and rich_files\n")
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
