"""What the card of a table may replace, and what it may not."""

from __future__ import annotations

from pathlib import Path

from cli_helpers import Cli
from test_tabulate import searched

from hybridnas.tables import read_table

pytest_plugins = ["cli_helpers"]


def test_a_card_replaces_a_card_and_nothing_else(cli: Cli) -> None:
    searched("six")
    Path("six.yaml").write_text("name: six\nbudget: {trials: 6}\n")  # the study's own file
    words = cli.refused("table", "export", "six", "--out", "six.csv")
    assert "its card would replace six.yaml" in words
    assert "budget" in Path("six.yaml").read_text()
    assert cli("table", "export", "six", "--out", "table.csv").code == 0
    words = cli.refused("table", "export", "six", "--out", "table.csv")
    assert words == "--out table.csv is there already: name another file, or give --force"
    assert cli("table", "export", "six", "--out", "table.csv", "--force").code == 0


def test_the_card_of_another_table_stays(cli: Cli) -> None:
    searched("six")
    assert cli("table", "export", "six", "--out", "table.csv").code == 0
    words = cli.refused("table", "export", "six", "--out", "table.parquet")
    assert words == (
        "--out table.parquet: its card would replace table.yaml, that of table.csv; name another "
        "file, or give --force"
    )
    assert cli("table", "export", "six", "--out", "table.parquet", "--force").code == 0
    assert read_table("table.yaml").size() == 6


def test_a_table_without_a_card_takes_its_older_card_away_and_no_other(cli: Cli) -> None:
    searched("whole")
    searched("some", trials=4)
    assert cli("table", "export", "whole", "--out", "six.csv").code == 0
    done = cli("table", "export", "some", "--out", "six.parquet", "--partial")
    assert "removed" not in done.out
    assert read_table("six.yaml").size() == 6, "the card is of six.csv"
    done = cli("table", "export", "some", "--out", "six.csv", "--partial", "--force")
    assert "removed: six.yaml, the card of what six.csv held before" in done.out
    assert {path.name for path in Path().glob("six*")} == {"six.csv", "six.parquet"}
