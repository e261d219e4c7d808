"""Comparing samplers on tables: what a replay does, how it is judged, what the figures say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import made_up_table
from cli_helpers import Cli
from coco_helpers import PACKS

from hybridnas.errors import ConfigError
from hybridnas.pareto import hypervolume
from hybridnas.search.bench.arms import PLAIN_SAMPLERS, read_arm
from hybridnas.search.bench.quality import FrontJudge, front_of, judge_of
from hybridnas.search.bench.replay import feasibility_of, first_points, observed_scores, replay
from hybridnas.search.bench.results import Result, Results, summarise
from hybridnas.tables import Table, Trainings, read_table

pytest_plugins = ["cli_helpers"]

NB_MACRO = PACKS / "nb_macro" / "nb_macro.parquet"


TABLE = made_up_table()


@pytest.mark.parametrize("name", ["random", "nsga2+population_size=6", "evolution", "grid"])
def test_a_replay_trains_what_is_feasible_once(name: str) -> None:
    done = replay(TABLE, read_arm(name), seed=3, trainings=40)
    assert len(done.rows) == len(set(done.rows)) == 40
    assert max(TABLE.costs["macs"][done.rows]) <= np.median(TABLE.costs["macs"])
    assert done.infeasible == 0
    assert replay(TABLE, read_arm(name), seed=3, trainings=40).rows == done.rows
    assert replay(TABLE, read_arm(name), seed=4, trainings=40).rows != done.rows


def test_a_replay_ends_where_nothing_is_left() -> None:
    done = replay(TABLE, read_arm("grid"), seed=0, trainings=200)
    assert len(done.rows) == FrontJudge(TABLE).num_feasible < 200


def test_paired_replays_begin_alike_and_see_the_same() -> None:
    first = [TABLE.row(genome) for genome in first_points(feasibility_of(TABLE), 20, seed=5)]
    starts = {"tpe": 10, "nsga2": 20, "evolution": 20, "random": 10, "ehvi": 10}
    for name, number in starts.items():
        assert replay(TABLE, read_arm(name), 5, 22).rows[:number] == first[:number]
    seen = observed_scores(TABLE, seed=5)
    runs = TABLE.fidelities[0].scores
    assert (np.isclose(runs, seen[:, None]).any(axis=1)).all()
    picked = np.isclose(runs, seen[:, None]).argmax(axis=1)
    assert set(picked) == {0, 1, 2}
    assert (observed_scores(TABLE, seed=6) != seen).any()


@pytest.mark.parametrize("name", [name for name in PLAIN_SAMPLERS if name != "gp"])
def test_a_plain_sampler_trains_what_breaks_the_constraint(name: str) -> None:
    done = replay(TABLE, read_arm(f"plain-{name}"), seed=0, trainings=30)
    broken = TABLE.costs["macs"][done.rows] > np.median(TABLE.costs["macs"])
    assert done.infeasible == broken.sum() > 5
    assert len(done.rows) == 30


def test_the_judge_chooses_by_what_was_seen_and_values_by_the_truth() -> None:
    """Against the definition, after every training."""
    rng = np.random.default_rng(1)
    rows = rng.permutation(TABLE.size())[:30].tolist()
    seen, truth, macs = observed_scores(TABLE, 2), TABLE.truth, TABLE.costs["macs"]
    cap = TABLE.reference["macs"]
    point = np.array([1.0, cap])

    def volume(members: list[int]) -> float:
        return hypervolume(np.array([[-truth[r], macs[r]] for r in members]).reshape(-1, 2), point)

    best = volume([row for row in range(TABLE.size()) if macs[row] <= cap])
    curve = FrontJudge(TABLE).curve(rows, seed=2)
    for number in range(1, 31):
        had = [row for row in rows[:number] if macs[row] <= cap]
        front = [
            row
            for row in had
            if not any(
                seen[o] >= seen[row]
                and macs[o] <= macs[row]
                and (seen[o] > seen[row] or macs[o] < macs[row])
                for o in had
            )
        ]
        assert curve[number - 1] == pytest.approx(100 * volume(front) / best)


def test_the_best_of_one_objective_is_chosen_by_what_was_seen_and_valued_by_the_truth() -> None:
    table = made_up_table()
    del table.reference["macs"]
    judge = judge_of(table)
    assert judge.regret_of == "top1"
    rows = np.random.default_rng(4).permutation(table.size())[:40].tolist()
    seen, truth, macs = observed_scores(table, 2), table.truth, table.costs["macs"]
    allowed = {row for row in range(table.size()) if macs[row] <= np.median(macs)}
    best, worst = (f(truth[row] for row in allowed) for f in (max, min))
    curve = judge.curve(rows, seed=2)
    for number in range(1, 41):
        had = [row for row in rows[:number] if row in allowed]
        value = truth[max(had, key=lambda row: seen[row])] if had else worst
        assert curve[number - 1] == pytest.approx(best - value)
    ends = [judge.curve(sorted(allowed), seed)[-1] for seed in range(20)]
    assert min(ends) == 0 < max(ends), "the luckiest is not always the best"


def test_a_loss_is_regretted_as_far_as_it_is_above_the_least() -> None:
    table = made_up_table()
    falling = Table(
        table.name,
        table.genes,
        np.array(list(np.ndindex(*[3] * 5))),
        table.costs,
        [Trainings(1.0, -table.fidelities[0].scores)],
        "loss",
        "minimize",
        table.bounds,
        {"loss": 0.0},
    )
    del table.reference["macs"]
    rows = list(range(0, table.size(), 3))
    expected = judge_of(table).curve(rows, seed=1)
    assert judge_of(falling).curve(rows, seed=1) == pytest.approx(expected)


def test_less_regret_equals_more() -> None:
    def result(arm: str, seed: int, *curve: float) -> Result:
        return Result(arm, seed, [*curve], 3, redrawn=0, infeasible=0, proposal_s=0.1)

    curves = {"a": (0.4, 0.2, 0.1), "b": (0.5, 0.3, 0.2), "c": (0.5, 0.4, 0.3)}
    found = [result(arm, seed, *curve) for arm, curve in curves.items() for seed in (0, 1)]
    a, b, c = summarise(Results({"regret_of": "top1"}, 3, found), [1, 3], "a", 2)
    assert a["regret"][3]["value"] == pytest.approx(0.1)
    assert b["difference"][3]["value"] == pytest.approx(0.1)
    assert (b["to_equal"]["value"], c["to_equal"]["value"]) == (3, np.inf)


@pytest.mark.parametrize(
    ("table", "measure", "ends"),
    [({"regret_of": "top1"}, "regret", (0, None)), ({}, "hypervolume", (None, 100))],
)
def test_intervals_hold_no_impossible_regret_and_no_more_than_the_whole(
    table: dict[str, str], measure: str, ends: tuple[float | None, float | None]
) -> None:
    last = 0.0 if table else 100.0
    found = [
        Result("a", seed, [1.0, end], 2, redrawn=0, infeasible=0, proposal_s=0.1)
        for seed, end in enumerate((last, last, 50.0))
    ]
    (row,) = summarise(Results(table, 2, found), [1, 2], "a", 2)
    assert row[measure][1] == {"value": 1, "low": None, "high": None}, "all seeds agree"
    given = row[measure][2]
    for name, end in zip(("low", "high"), ends, strict=True):
        assert given[name] == end if end is not None else 0 < given[name] < 200


def test_a_reference_that_leaves_nothing_is_refused() -> None:
    table = made_up_table()
    table.reference["top1"] = 100.0
    with pytest.raises(ConfigError, match=r"better than its reference \(top1 100, macs "):
        FrontJudge(table)


def test_the_front_of_many_is_found_block_by_block() -> None:
    losses = np.random.default_rng(0).normal(size=(1300, 2))
    point = np.array([4.0, 4.0])
    front = front_of(losses)
    assert hypervolume(front, point) == pytest.approx(hypervolume(losses, point))
    assert len(front) < 40


def test_replays_stand_as_their_samplers_are_named() -> None:
    ended = [("c", 0), ("b", 1), ("a", 0), ("b", 0)]
    results = Results({}, 1, [Result(arm, seed, [1.0], 1, 0, 0, 0.1) for arm, seed in ended])
    results.put_in_order(["b", "a"])
    assert [(r.arm, r.seed) for r in results.replays] == [("b", 0), ("b", 1), ("a", 0), ("c", 0)]
    assert results.arms == ["b", "a", "c"]


def test_a_summary_needs_all_seeds_in_a_row() -> None:
    def result(arm: str, seed: int) -> Result:
        return Result(
            arm, seed, [50.0 + seed, 60.0 + seed], 2, redrawn=1, infeasible=0, proposal_s=0.1
        )

    results = Results({}, 2, [result("a", s) for s in (1, 0)] + [result("b", s) for s in (0, 2)])
    a, b = summarise(results, [1, 2], "a", 2)
    assert (a["seeds"], b["seeds"]) == (2, 1)
    assert a["hypervolume"][2]["value"] == 60.5
    assert (a["redrawn_per_training"], a["proposal_ms"]) == (0.5, 50)
    assert "difference" not in a
    assert b["difference"][1] == {"value": 0, "low": None, "high": None}
    assert b["to_equal"]["value"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cmaes", r"sampler 'cmaes': no sampler 'cmaes'; allowed: ehvi, "),
        ("tpe+startup_trials", r"\+ adds option=value, got 'startup_trials'"),
        ("tpe+population_size=3", r"tpe has no option 'population_size'; allowed: startup_trials"),
        ("nsga2+population_size=1", r"population_size: must be greater than or equal to 2"),
        ("nsga2+population_size={a", r"'\{a' is no value in YAML"),
        ("gp@many", r"behind @ stands how many seeds, got 'many'"),
        ("plain-ehvi", r"no sampler 'plain-ehvi' of Optuna's; allowed: plain-random, "),
    ],
)
def test_a_wrong_sampler_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_arm(text)


def test_the_command_compares_and_goes_on(cli: Cli) -> None:
    words = ("bench", "search", "--trainings", "10,20", "--jobs", "2", "--out", "found.json")
    shown = cli.shown(*words, "--samplers", "evolution,random@1", "--seeds", "2")
    assert "digits: 108 architectures" in shown
    first = json.loads(Path("found.json").read_text())
    assert [(r["arm"], r["seed"]) for r in first["replays"]] == [
        ("evolution", 0),
        ("evolution", 1),
        ("random", 0),
    ]
    found = cli.json(*words, "--samplers", "evolution,random", "--seeds", "2", "--keep")
    evolution, chance = found["summary"]
    assert (evolution["seeds"], chance["seeds"]) == (2, 2)
    assert evolution["hypervolume"].keys() == {"10", "20"}
    assert chance["difference"].keys() == {"10", "20"}
    again = json.loads(Path("found.json").read_text())
    assert again["replays"][:3] == first["replays"], "not run again"
    assert len(again["replays"]) == 4


def test_the_command_spreads_over_processes_and_draws(cli: Cli) -> None:
    words = ("bench", "search", "--trainings", "10", "--samplers", "grid,evolution", "--seeds", "2")
    alone = cli.json(*words, "--jobs", "1")["summary"]
    done = cli(*words, "--jobs", "2", "--out", "found.csv", "--plot", "found.svg", "--json")
    assert done.err.endswith("written: found.csv\nwritten: found.svg\n")
    many = json.loads(done.out)["summary"]
    assert [row["hypervolume"] for row in many] == [row["hypervolume"] for row in alone]
    lines = Path("found.csv").read_text().splitlines()
    assert len(lines) == 3
    assert [line.split(",")[0] for line in lines[1:]] == ["grid", "evolution"]
    assert "<svg" in Path("found.svg").read_text()


def test_the_default_ends_where_a_small_table_does(cli: Cli) -> None:
    words = ("bench", "search", "layouts81", "--samplers", "grid", "--seeds", "1", "--jobs", "1")
    done = cli(*words, "--json")
    assert "--trainings 25,50,81: the table has 81 architectures" in done.err
    assert [*json.loads(done.out)["summary"][0]["regret"]] == ["25", "50", "81"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainings", "ten"], "--trainings takes numbers with commas between, got 'ten'"),
        (["--trainings", "500"], "--trainings: 500 are too many, the table has "),
        (["--out", "x.txt"], "--out takes a file in .json or .csv, got 'x.txt'"),
        (["--out", "no/x.json"], "--out: there is no folder "),
        (["--keep"], "--keep goes on with a .json file of --out"),
        (["--plot", "x.gif"], "--plot takes a file in .svg, .png, .pdf, got 'x.gif'"),
        (["nas_bench_macro"], "table 'nas_bench_macro' does not ship its figures"),
    ],
)
def test_what_the_command_refuses(words: list[str], message: str, cli: Cli) -> None:
    assert message in cli.refused("bench", "search", *words)


def test_results_of_something_else_are_refused(cli: Cli) -> None:
    Path("found.json").write_text("{}")
    words = ("bench", "search", "--samplers", "random", "--seeds", "1", "--jobs", "1")
    refused = cli.refused(*words, "--out", "found.json", "--keep")
    assert "no results of `hybridnas bench search`" in refused
    cli.shown(*words, "--out", "found.json", "--trainings", "10")
    refused = cli.refused(*words, "--out", "found.json", "--keep", "--trainings", "20")
    assert "is of digits with 10 trainings, and this is digits with 20" in refused


@pytest.mark.skipif(not NB_MACRO.is_file(), reason=f"needs {NB_MACRO}")
def test_nas_bench_macro() -> None:
    """Figures that search_methods.md's measurements and the table's own paper agree with."""
    table = read_table("nas_bench_macro", NB_MACRO)
    assert table.size() == 6561
    assert table.truth.max() == pytest.approx(93.13, abs=0.01)
    judge = FrontJudge(table)
    assert judge.num_feasible == 4075
    done = replay(table, read_arm("evolution"), seed=1000, trainings=200)
    assert 90 < judge.curve(done.rows, 1000)[-1] < 100
