"""`hybridnas compare`, where results were known already."""

from __future__ import annotations

from pathlib import Path

import pytest
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


def test_a_plot_says_which_fronts_are_of_fresh_seeds(cli: Cli) -> None:
    pytest.importorskip("matplotlib")
    final = {"retrain": 2, "seeds": 2}
    with Store.open(f"sqlite:///{DATABASE}") as store:
        for name, changes in (("anew", {"final": final}), ("plain", {})):
            drive(start(plan(name=name, budget={"trials": 4}, **changes), store))

    def said(*studies: str) -> str:
        cli("compare", *studies, "--plot", "compared.svg")
        return Path("compared.svg").read_text(encoding="utf-8")

    both = said("anew", "plain", "*n*")
    labels = ("anew, fresh seeds", "plain, scores of the search", "*n*, fresh seeds in 1 of 2")
    for words in (*labels, "of the search, by the scores that it chose by"):
        assert f"<!-- {words} -->" in both
    assert "of the search" not in said("plain")
