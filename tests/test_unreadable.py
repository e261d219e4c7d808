"""What is said of images that could not be read and were passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import run_helpers
import search_helpers as helpers
from cli_helpers import Cli
from PIL import Image

from hybridnas.cli.ending import print_end
from hybridnas.report import facts_of
from hybridnas.report.render import drawings_of, to_markdown
from hybridnas.search.unreadable import passed_over, unreadable_words
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

SAID = "2 images of train, 1 image of val"


@pytest.fixture
def searched(cli: Cli) -> StudyView:
    """A study in the current folder's database: two trainings met such images, one met none."""
    with Store.open("sqlite:///hybridnas.db") as store:
        core = helpers.start(helpers.plan(), store)
        for met in ((1, 1), (2, 1), (0, 0)):
            candidate = helpers.asked(core)
            good = helpers.result(candidate)
            numbers = dict(zip(("num_corrupt_train", "num_corrupt"), met, strict=True))
            store.record(
                candidate.token, helpers.result(candidate, metrics={**good.metrics, **numbers})
            )
            core.settle(candidate.number)
        return StudyView("shapes", store)


def test_status_and_the_end_of_a_search_say_how_many(
    searched: StudyView, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = " ".join(cli.shown("status", "shapes").split())
    assert f"unreadable {SAID}" in shown
    assert cli.json("status", "shapes")["unreadable"] == {"": {"train": 2, "val": 1}}
    print_end(searched, "trials", "sqlite:///hybridnas.db")
    assert f"Could not be read, and were passed over: {SAID}.\n" in capsys.readouterr().out


def test_a_report_says_it_of_the_protocol(searched: StudyView) -> None:
    facts = facts_of(searched)
    of_members = dict.fromkeys((f"trial-{row.number}" for row in searched.rows), "")
    text = to_markdown(facts, drawings_of(facts) | of_members)
    assert "without 2 images that could not be read, scored on" in text
    assert "without 1 image that could not be read, which the search chose by" in text


def test_nothing_is_said_where_all_can_be_read(populated: Cli) -> None:
    assert "unreadable" not in populated.shown("status", "shapes")
    assert populated.json("status", "shapes")["unreadable"] == {}


def test_tasks_are_told_apart() -> None:
    assert unreadable_words({"": {"train": 1}, "roads": {"val": 3}}) == (
        "1 image of train, roads: 3 images of val"
    )
    assert passed_over({"top1": 0.5, "num_corrupt": 1, "roads.num_corrupt_train": 3}) == 4
    assert passed_over({"top1": 0.5, "num_corrupt": None}) == 0


def test_train_says_it_too_and_logs_it(cli: Cli) -> None:
    for place in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (Path("pets") / place).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8)).save(Path("pets") / place / f"{number}.png")
    for broken in ("train/cat/0.png", "val/cat/1.png", "val/dog/2.png"):
        (Path("pets") / broken).write_text("no picture")
    Path("small.json").write_text(run_helpers.ARCHITECTURE.to_json(), encoding="utf-8")
    run_helpers.write_recipe(Path("plain.yaml"), run_helpers.PLAIN, resolution=8, epochs=1)
    words = ["--recipe", "plain.yaml", "--data", "pets", "--out", "run", "--device", "cpu"]
    allowed = ["--set", "task.max_corrupt=0.3", "--set", "recipe.batch_size=4"]
    done = cli("train", "small.json", *words, *allowed)
    assert done.code == 0, done.err
    assert "could not be read, and were passed over: 1 image of train, 2 images of val" in done.err
    (row,) = run_helpers.log(Path("run"))
    assert (row["num_corrupt_train"], row["num_corrupt"]) == ("1", "2")
