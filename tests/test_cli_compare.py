"""`hybridnas compare`, where results were known already."""

from __future__ import annotations

from cli_helpers import DATABASE, Cli
from search_helpers import drive, plan, start

from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]


def test_a_study_that_trained_nothing_says_why(cli: Cli) -> None:
    with Store.open(f"sqlite:///{DATABASE}") as store:
        for name in ("first", "second"):
            drive(start(plan(name=name, budget={"trials": 4}), store))
    first, second = cli.json("compare", "first", "second")["rows"]
    assert (first["results"], first["trainings"]) == ([4], [4])
    assert (second["results"], second["trainings"]) == ([4], [0])
    shown = cli.shown("compare", "first", "second")
    assert "results ┃ trained here ┃" in " ".join(shown.split())
    assert "trained here: by the search itself; results that were known already" in shown
    assert "trained here: " not in cli.shown("compare", "first")
