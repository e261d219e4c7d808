"""Studies as tables: against the evaluations that were made up, and read back as a benchmark."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
from cli_helpers import DATABASE, Cli

from hybridnas.architecture import Architecture
from hybridnas.cost import cost
from hybridnas.errors import ConfigError
from hybridnas.search.bench.replay import observed_scores
from hybridnas.search.tabulate import tabulate
from hybridnas.search.view import StudyView
from hybridnas.space import Genome, SearchSpace
from hybridnas.store import Store
from hybridnas.tables import read_table, writing
from hybridnas.tables.writing import card_of, write_table
from hybridnas.whole_files import write_whole

pytest_plugins = ["cli_helpers"]

SPACE = SearchSpace.load(helpers.SIX)


def searched(name: str, *, trials: int = 6, **changes: Any) -> None:
    """A study in the database of the current folder whose every score is made up."""
    plan = helpers.plan(name=name, budget={"trials": trials}, sampler="grid", **changes)
    with Store.open(f"sqlite:///{DATABASE}") as store:
        core = helpers.start(plan, store)
        while (candidate := core.ask()) is not None:
            made = helpers.result(candidate)
            seed = candidate.protocol.seed
            epochs = helpers.protocol(candidate).fidelity.epochs
            top1 = scored(helpers.network(candidate), seed, epochs)
            metrics = {**made.metrics, "top1": top1, "loss": 1 - top1}
            helpers.finish(core, candidate, metrics=metrics, timing={"total_s": 10.0 + seed})


def scored(architecture: Architecture, seed: int, epochs: int) -> float:
    return helpers.score(architecture) - 0.01 * seed - 0.1 / epochs


def truth(genome: Genome, seed: int, epochs: int = 1) -> float:
    return scored(SPACE.decode(genome), seed, epochs)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_two_seeds_become_columns_and_are_read_back(cli: Cli, suffix: str) -> None:
    searched("first")
    searched("second", seed=1)
    done = cli("table", "export", "first", "second", "--out", f"six{suffix}")
    assert done.code == 0
    assert f"six{suffix} (6 architectures) and six.yaml" in done.out
    table = read_table(Path("six.yaml"))
    assert table.size() == 6
    assert table.objectives == {"top1": "maximize", "macs": "minimize"}
    for genome in SPACE.all_genomes():
        row = table.row(genome)
        for seed in (0, 1):
            expected = pytest.approx(truth(genome, seed), abs=1e-12)
            assert table.fidelities[0].scores[row, seed] == expected
        costs = helpers.constrained(SPACE).cost_of(genome)
        assert table.cost_of(genome) == costs
    assert set(observed_scores(table, 0)) <= set(table.fidelities[-1].scores.ravel())


def test_fidelities_are_rungs_by_their_work_and_cost_what_they_took(cli: Cli) -> None:
    searched("long", fidelities=[{"epochs": 4, "resolution": 32}], seed=2)
    searched("short")
    assert cli("table", "export", "long", "short", "--out", "six.csv", "--metric", "loss").code == 0
    table = read_table(Path("six.yaml"))
    assert (table.metric, table.direction) == ("loss", "minimize")
    assert [f.cost for f in table.fidelities] == [pytest.approx(10 / 12, abs=1e-4), 1.0]
    genome = next(SPACE.all_genomes())
    losses = [f.scores[table.row(genome), 0] for f in table.fidelities]
    assert losses == [pytest.approx(1 - truth(genome, 0)), pytest.approx(1 - truth(genome, 2, 4))]


def test_costs_are_all_at_one_resolution(cli: Cli) -> None:
    searched("low")
    searched("high", trials=3, fidelities=[{"epochs": 1, "resolution": 64}])
    assert cli("table", "export", "low", "high", "--out", "six.csv").code == 0
    table = read_table(Path("six.yaml"))
    for genome in SPACE.all_genomes():
        known = cost(SPACE.decode(genome), 64, num_classes=10)
        assert table.cost_of(genome) == {"macs": known.macs, "params": known.params}


def test_what_is_not_whole_is_refused_or_written_without_a_card(cli: Cli) -> None:
    searched("some", trials=4)
    words = cli.refused("table", "export", "some", "--out", "six.csv")
    assert "2 of 6 architectures have no training that ended well" in words
    assert "--partial" in words
    assert not Path("six.csv").exists()
    done = cli("table", "export", "some", "--out", "six.csv", "--partial")
    assert done.code == 0
    assert len(Path("six.csv").read_text().splitlines()) == 1 + 4
    assert not Path("six.yaml").exists()
    assert "without a card, so that `table show` and `bench search` cannot read it" in done.out
    searched("rest", seed=1)
    assert cli("table", "export", "some", "rest", "--out", "six.csv", "--force").code == 0
    table = read_table(Path("six.yaml"))
    assert table.fidelities[0].scores.shape == (6, 1)  # of the other seed two are not there


def test_decisions_that_do_not_always_apply_make_no_card(cli: Cli) -> None:
    stage = {"depth": 1, "width": 8, "mixer": ["gated_conv", "ssm"]}
    options = {"d_state": [1, 4]}  # of the SSM alone: three architectures in four combinations
    space = {**helpers.COMMON, "name": "three", "stages": [stage], "options": options}
    searched("three", space=space, trials=3)
    words = cli.refused("table", "export", "three", "--out", "table.csv")
    assert "several combinations of choices are one architecture" in words
    assert "--resume" not in words
    assert cli("table", "export", "three", "--out", "table.csv", "--partial").code == 0
    assert len(Path("table.csv").read_text().splitlines()) == 1 + 3
    assert not Path("table.yaml").exists()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_figures_stand_for_their_card(cli: Cli, suffix: str) -> None:
    searched("six")
    assert cli("table", "export", "six", "--out", f"table{suffix}").code == 0
    shown = cli.shown("table", "show", f"table{suffix}")
    assert shown == cli.shown("table", "show", "table.yaml")
    bench = ["bench", "search", f"table{suffix}", "--samplers", "random", "--trainings", "2"]
    assert "table: 6 architectures" in cli.shown(*bench, "--seeds", "1", "--jobs", "1")
    Path("table.yaml").unlink()
    words = cli.refused("table", "show", f"table{suffix}")
    assert f"table{suffix} has no card beside it (table.yaml)" in words


@pytest.mark.parametrize("with_card", [True, False])
def test_figures_never_stand_under_the_card_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_card: bool
) -> None:
    """Also where the writing ends at any moment; what a full disk hinders leaves all as it was."""
    file, card = tmp_path / "six.csv", {"genes": [], "metric": "top1", "reference": {}}
    write_table({"top1": [0.1]}, card, file)
    before = file.read_text()

    def full(path: Path, write: Callable[[Path], object]) -> None:
        raise OSError(errno.ENOSPC, "full")

    def killed(path: Path, write: Callable[[Path], object]) -> None:
        write_whole(path, write)
        assert path == file
        raise KeyboardInterrupt

    for ends, error in ((full, ConfigError), (killed, KeyboardInterrupt)):
        monkeypatch.setattr(writing, "write_whole", ends)
        with pytest.raises(error):
            write_table({"top1": [0.9]}, {**card, "name": "new"} if with_card else None, file)
        assert card_of(file).exists() == (file.read_text() == before)
    assert file.read_text() != before


def test_a_file_that_cannot_be_written_is_one_line(cli: Cli) -> None:
    searched("six")
    Path("table.csv").mkdir()
    words = cli.refused("table", "export", "six", "--out", "table.csv")
    assert "--out: table.csv cannot be written (Is a directory)" in words


def test_studies_that_do_not_fit_together_are_refused(cli: Cli) -> None:
    searched("first")
    searched("slower", recipe={"lr": 1e-4})
    words = cli.refused("table", "export", "first", "slower", "--out", "six.csv")
    assert "first and slower were trained by different recipes" in words
    searched("wider", space=helpers.LISTED, trials=1)
    words = cli.refused("table", "export", "first", "wider", "--out", "six.csv")
    assert "wider searched another space than first" in words
    assert "none of the task's: top1, top5, loss" in cli.refused(
        "table", "export", "first", "--out", "six.csv", "--metric", "miou"
    )
    assert "a .parquet or a .csv file" in cli.refused("table", "export", "first", "--out", "a.txt")
    assert "no study 'nobody'" in cli.refused("table", "export", "nobody", "--out", "six.csv")


def test_an_architecture_that_failed_is_no_row(cli: Cli) -> None:
    plan = helpers.plan(name="failing")
    with Store.open(f"sqlite:///{DATABASE}") as store:
        core = helpers.start(plan, store)
        helpers.finish(core, helpers.asked(core), **helpers.FAILED)
        helpers.drive(core)
        found = tabulate([StudyView("failing", store)], "six")
    assert found.lacking == 1
    assert found.card is None
    assert len(found.columns["macs"]) == 5


EQUAL: dict[str, Any] = {
    **helpers.COMMON,
    "name": "nine",
    "blocks": {
        **helpers.BLOCKS,
        "attention": {"form": "metaformer", "expansion": None, "num_heads": 2},
    },
    "stages": [
        {"depth": 2, "width": width, "mixer": ["gated_conv", "ssm", "attention"]}
        for width in (16, 32)
    ],
    "equal_macs": {"macs": 8.0e6, "resolution": 32, "step": 2},
}


def test_samplers_are_replayed_on_a_table_of_equal_macs(cli: Cli) -> None:
    """Of two seeds, made by `grid`, exported, read back; all of it is seen at the end."""
    space = SearchSpace.load(EQUAL)
    for seed in (0, 1):
        searched(f"nine-{seed}", trials=9, space=EQUAL, seed=seed, objectives={"top1": "maximize"})
    assert cli("table", "export", "nine-0", "nine-1", "--out", "nine_table.parquet").code == 0
    table = read_table("nine_table.yaml")
    assert table.objectives == {"top1": "maximize"}
    assert max(table.costs["macs"]) < 1.02 * min(table.costs["macs"])
    names = "ehvi,tpe,evolution,nsga2,random,grid,plain-nsga2"
    words = ["bench", "search", "nine_table.yaml", "--samplers", names, "--trainings", "2,9"]
    words += ["--seeds", "2", "--jobs", "1"]
    found = cli.json(*words)
    assert found["table"]["regret_of"] == "top1"
    assert [row["sampler"] for row in found["summary"]] == names.split(",")
    for row in found["summary"]:
        early, late = (row["regret"][n]["value"] for n in ("2", "9"))
        assert early > 0
        assert late == pytest.approx(0, abs=1e-6) or row["sampler"] == "plain-nsga2"
    best = max(map(space.decode, space.all_genomes()), key=lambda a: scored(a, 0, 1))
    assert table.truth.max() == pytest.approx(scored(best, 0, 1) - 0.005)
    shown = cli.shown(*words, "--out", "nine.csv")
    assert "Regret in top1" in " ".join(shown.split())
    assert Path("nine.csv").read_text().startswith("sampler,seeds,trainings,regret_value,")


def test_equal_macs_are_no_objective_where_they_are_counted_at_another_size(cli: Cli) -> None:
    """Attention costs more at 96 px than others that are its equals at 32 px."""
    searched("large", trials=9, space=EQUAL, fidelities=[{"epochs": 1, "resolution": 96}])
    assert cli("table", "export", "large", "--out", "large_table.csv").code == 0
    table = read_table("large_table.yaml")
    assert max(table.costs["macs"]) > 1.05 * min(table.costs["macs"])
    assert table.objectives == {"top1": "maximize"}


def test_show_says_what_the_exported_table_says(cli: Cli) -> None:
    for seed in (0, 1, 2):
        searched(f"seed-{seed}", seed=seed)
    assert cli("table", "export", "seed-0", "seed-1", "seed-2", "--out", "six.csv").code == 0
    best = max(SPACE.all_genomes(), key=lambda genome: truth(genome, 0))
    words = ",".join(map(str, best.values()))
    found = cli.json("table", "show", "six.yaml", "--rank", words, "--top", "2")
    assert found["noise"] == pytest.approx(0.01)  # seeds cost 0, 0.01 and 0.02
    mean = sum(truth(genome, 1) for genome in SPACE.all_genomes()) / 6
    assert found["mean"] == pytest.approx(mean)
    assert [place["rank"] for place in found["places"]] == [1, 2]
    assert found["places"][0]["choices"] == best
    assert found["places"][0]["score"] == pytest.approx(truth(best, 1))
    told = cli.shown("table", "show", "six.yaml")
    assert "6 architectures x 3 seeds" in told
    assert "stage1.width and stage1.mixer" in told
    assert "(seeds' noise taken off), between seeds 0.0100" in told
    assert "│ +- │" in told.replace("┃", "│")
    assert f"│ {found['places'][0]['score']:.4f} │ 0.0058 │" in told, "0.01 / sqrt(3)"
    assert "chosen among 6, the best were lucky, too" in told
    rows = re.findall(r"([+-]0\.\d{4}) \[([+-]0\.\d{4}), ([+-]0\.\d{4})\]", told)
    assert len(rows) == sum(map(len, SPACE.genes.values()))
    assert all(float(low) <= float(better) <= float(high) for better, low, high in rows)


def test_show_refuses_choices_that_are_none(cli: Cli) -> None:
    assert "names 1 choice, needed is one for each of" in cli.refused(
        "table", "show", "--rank", "ssm"
    )
    words = cli.refused("table", "show", "--rank", "ssm,2,ssm,48,ssm")
    assert "stage3.width is one of 32, 64, got '48'" in words
