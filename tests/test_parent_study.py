"""Studies that hold the trainings of another one's twin test or calibration."""

from __future__ import annotations

import pytest
import search_helpers as helpers
from cli_helpers import DATABASE, Cli

from hybridnas.config import parent_study
from hybridnas.errors import ConfigError
from hybridnas.search.registration import check_registered
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("shapes", None),
        ("shapes.twins", None),
        ("shapes.twins-17", "shapes"),
        ("shapes.twins-caformer_s18.ade20k", "shapes"),
        ("shapes.calibration", "shapes"),
        ("calibration", None),
    ],
)
def test_whose_trainings_a_study_holds(name: str, parent: str | None) -> None:
    assert parent_study(name) == parent


@pytest.mark.parametrize("name", ["shapes.twins-1", "shapes.calibration"])
def test_it_has_no_report_and_no_resumption_of_its_own(cli: Cli, name: str) -> None:
    plan = helpers.plan(name=name)
    with Store.open(f"sqlite:///{DATABASE}") as store:
        with pytest.raises(ConfigError, match="a search takes another name"):
            check_registered(plan, store, resume=False)  # it would go when `shapes` is deleted
        helpers.drive(helpers.start(plan, store))
        with pytest.raises(ConfigError, match="the command that began it"):
            check_registered(plan, store, resume=True)
    assert "`hybridnas report shapes`" in cli.refused("report", name, "--out", "page.html")
