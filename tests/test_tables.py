"""Tables of results: looked up, read from files, refused where they do not fit."""

from __future__ import annotations

import csv
import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml

from hybridnas.config import Bound
from hybridnas.cost import cost
from hybridnas.errors import ConfigError, DataError
from hybridnas.resources import shipped
from hybridnas.search.feasibility import Space
from hybridnas.space import Genome, SearchSpace
from hybridnas.tables import read_table

CARD: dict[str, Any] = {
    "name": "small",
    "genes": ["mixer", "depth"],
    "costs": ["macs"],
    "metric": "top1",
    "fidelities": [{"scores": ["quick"], "cost": 0.25}, {"scores": ["run0", "run1"]}],
    "constraints": {"macs": {"max": 30}},
    "reference": {"top1": 0.5, "macs": 30},
}
COLUMNS = ["mixer", "depth", "macs", "quick", "run0", "run1"]
ROWS: list[list[Any]] = [
    ["ssm", 1, 10, 0.5, 0.6, 0.8],
    ["ssm", 2, 20, 0.5, 0.7, 0.7],
    ["conv", 1, 30, 0.4, 0.9, 0.8],
    ["conv", 2, 40, 0.3, 0.95, 0.95],
]


def written(folder: Path, suffix: str = ".csv", rows: list[list[Any]] = ROWS, **card: Any) -> Path:
    """A card beside its figures."""
    file = folder / f"figures{suffix}"
    if suffix == ".parquet":
        columns = [list(column) for column in zip(*rows, strict=True)]
        pa.parquet.write_table(pa.table(columns, COLUMNS), file)
    else:
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([COLUMNS, *rows])
    path = folder / "card.yaml"
    path.write_text(yaml.safe_dump({**CARD, "file": file.name, **card}))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_says_what_its_file_holds(suffix: str, tmp_path: Path) -> None:
    table = read_table(written(tmp_path, suffix))
    assert table.genes == {"mixer": ("ssm", "conv"), "depth": (1, 2)}
    assert table.objectives == {"top1": "maximize", "macs": "minimize"}
    assert table.bounds == {"macs": Bound(max=30)}
    for mixer, depth, macs, quick, run0, run1 in ROWS:
        genome: Genome = {"depth": depth, "mixer": mixer}
        assert table.cost_of(genome) == {"macs": macs}
        assert table.truth[table.row(genome)] == pytest.approx((run0 + run1) / 2)
        assert [table.evaluate(genome, run) for run in (0, 1)] == [run0, run1]
        assert table.evaluate(genome, fidelity=0) == quick
        assert table.genome(table.row(genome)) == genome
    assert [fidelity.cost for fidelity in table.fidelities] == [0.25, 1]


def test_a_table_is_a_space(tmp_path: Path) -> None:
    table = read_table(written(tmp_path))
    space: Space = table
    genomes = [
        dict(zip(space.genes, values, strict=True))
        for values in itertools.product(*space.genes.values())
    ]
    assert space.size() == len(genomes) == 4
    assert [space.categories(genome) for genome in genomes] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    subjects = [space.decode(genome) for genome in genomes]
    assert len({subject.digest for subject in subjects}) == 4
    assert subjects[3].short == "conv-2"
    assert subjects[3].describe() == ["mixer conv", "depth 2"]
    assert all(space.random_genome(random.Random(n)) in genomes for n in range(9))


@pytest.mark.parametrize(
    ("rows", "card", "message"),
    [
        (ROWS[:3], {}, r"'small': its genes have 4 combinations, it has 3 rows for 3 of them"),
        ([*ROWS, ROWS[0]], {}, r"it has 5 rows for 4 of them; allowed is one row each"),
        (ROWS, {"costs": ["flops"]}, r"costs: flops is none; allowed: latency_ms, macs, params"),
        (ROWS, {"reference": {"macs": 1}}, r"reference: name top1, and those costs that are"),
        (ROWS, {"reference": {"top1": 1, "params": 1}}, r"reference: the table has no params"),
        (ROWS, {"constraints": {"params": {"max": 1}}}, r"constraints: the table has no params"),
        (ROWS, {"constraints": {"top1": {"min": 0.6}}}, r"limits are on costs only, got top1"),
        ([], {}, r"'small': its genes have 0 combinations, it has 0 rows"),
        (ROWS, {"seeds": 3}, r"unknown key 'seeds'; allowed: name, "),
        (ROWS, {"file": None}, r"table 'small' does not ship its figures .*--data FILE"),
    ],
)
def test_a_wrong_table_is_refused(
    rows: list[list[Any]], card: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_table(written(tmp_path, rows=rows, **card))


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    card = written(tmp_path, genes=["mixer", "width"])
    with pytest.raises(DataError, match=r"figures.csv: no column width \(table 'small'\)"):
        read_table(card)
    with pytest.raises(DataError, match=r"nothing.csv: cannot be read"):
        read_table(card, tmp_path / "nothing.csv")
    with pytest.raises(DataError, match=r"a table is a file in .csv, .parquet"):
        read_table(card, tmp_path / "card.yaml")
    holes = [[*row[:-1], ""] for row in ROWS]
    with pytest.raises(DataError, match=r"run0, run1 must hold a number in every row"):
        read_table(written(tmp_path, rows=holes))
    with pytest.raises(ConfigError, match=r"no table 'what': .*shipped ones \(digits, layouts81"):
        read_table("what")


def test_the_shipped_table_of_digits() -> None:
    """Its card and figures fit; seeds differ by less than architectures do."""
    table = read_table("digits")
    assert table.size() == 108
    scores = table.fidelities[-1].scores
    assert scores.shape == (108, 3)
    assert 0.8 < scores.min() < scores.max() < 1
    noise, spread = scores.std(axis=1, ddof=1), table.truth.std(ddof=1)
    assert np.sqrt((noise**2).mean() / 3) < spread, "of the mean of three"
    assert shipped("tables")["digits"].with_suffix(".csv").stat().st_size < 100_000


def test_the_shipped_table_of_layouts() -> None:
    """Its costs are what the space says of each layout today, MACs within 1.5 %; its best differ
    by less than their noise, its best and worst by much more."""
    table, space = read_table("layouts81"), SearchSpace.load("layouts81")
    assert (table.size(), table.objectives) == (81, {"top1": "maximize"})
    for row in range(81):
        genome = table.genome(row)
        found = cost(space.decode(genome), 64, num_classes=20)
        assert table.cost_of(genome) == {"macs": found.macs, "params": found.params}
    assert np.ptp(table.costs["macs"]) < 0.015 * table.costs["macs"].min()
    scores = table.fidelities[-1].scores
    assert scores.shape == (81, 3)
    assert 0.5 < scores.min() < scores.max() < 0.7
    error = np.sqrt(scores.var(axis=1, ddof=1).mean() / 3)
    ranked = np.sort(table.truth)
    assert ranked[-1] - ranked[-2] < error < 0.1 * np.ptp(ranked)
