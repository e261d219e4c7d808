"""What is checked before a search starts, and what a resumed study may change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from search_helpers import LISTED, RAW, SIX, asked, constrained, genomes, plan, start

from hybridnas.config import parse_study
from hybridnas.cost import cost
from hybridnas.data import data_digest, open_splits
from hybridnas.errors import ArchitectureError, ConfigError, DataError, SpaceError
from hybridnas.search.plan import (
    Plan,
    feasibility,
    make_plan,
    survey,
)
from hybridnas.search.registration import check_registered
from hybridnas.search.studies import read_study
from hybridnas.space import SearchSpace
from hybridnas.store import Store


def made(**changes: Any) -> Plan:
    return make_plan(parse_study({**RAW, **changes}, "test"))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Three classes in ImageFolder layout, two images each."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("cat", "dog", "owl"):
            folder = tmp_path / "pets" / split / label
            folder.mkdir(parents=True)
            for i in range(2):
                pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "pets"


def test_a_plan_of_digits() -> None:
    found = made(space="hybrid_small")
    assert found.space.name == "hybrid_small"
    assert (found.num_classes, found.study.task.data) == (10, "digits")
    assert found.protocol.data_digest == data_digest(*open_splits(found.study.task))
    assert found.protocol.fidelity == found.study.fidelity


def test_a_plan_makes_the_data_absolute(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pets.parent)
    monkeypatch.setenv("HOME", str(pets.parent))
    for data in ("pets", "./pets", "~/pets", str(pets)):
        found = made(task={"data": data})
        assert found.study.task.data == found.protocol.task.data == str(pets)
        assert found.num_classes == 3


def test_the_study_in_the_database_is_complete() -> None:
    shipped = make_plan(read_study("quickstart", ["budget.trials=3"]))
    again = parse_study(shipped.config, "database")
    assert again.model_copy(update={"space": "hybrid_small"}) == shipped.study
    space = SearchSpace.load(again.space)
    assert (space.name, space.genes) == ("hybrid_small", shipped.space.genes)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"space": "nope"}, ConfigError, "nope"),
        ({"task": {"data": "./nope"}}, DataError, "nope does not exist"),
        ({"constraints": {"macs": {"max": 10}}}, SpaceError, r"macs must keep max 10, the space"),
        ({"references": ["mambaout_femto"]}, SpaceError, r"'mambaout_femto' is not in .* 'six'"),
        ({"references": ["resnet"]}, ArchitectureError, r"'resnet'; known: mambaout_femto"),
    ],
)
def test_bad_input_is_found(changes: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        made(**changes)
    assert "\n" not in str(raised.value)


def test_costs_are_counted_at_the_study_s_resolution() -> None:
    large = plan(space="hybrid", fidelities=[{"epochs": 1, "resolution": 160}])
    hard = feasibility(large)
    genome = {name: values[-1] for name, values in large.space.genes.items()}
    known = cost(large.space.decode(genome), 160, num_classes=10)
    assert hard.cost_of(genome) == {"macs": known.macs, "params": known.params}


def test_a_survey_tells_what_is_left() -> None:
    space = SearchSpace.load(LISTED)
    free = constrained(space)
    costs = [free.cost_of(genome) for genome in genomes(space)]
    macs = sorted(c["macs"] for c in costs)
    macs_limit, params_limit = macs[len(macs) // 3], 9000
    limits = {"macs": {"max": macs_limit}, "params": {"max": params_limit}}
    left = sum(c["macs"] <= macs_limit and c["params"] <= params_limit for c in costs) / len(costs)
    assert 0.1 < left < 0.3
    found = survey(plan(space=LISTED, constraints=limits))
    assert found["feasible_share"] == pytest.approx(left, abs=4 * (left * (1 - left) / 2000) ** 0.5)
    assert (found["smallest_macs"], found["largest_macs"]) == (macs[0], macs[-1])
    assert macs[int(0.45 * len(macs))] < found["median_macs"] < macs[int(0.55 * len(macs))]
    assert survey(plan(space=LISTED))["feasible_share"] == 1


def test_a_study_without_trials_may_begin_anew(study_store: Store) -> None:
    study_store.put_study("shapes", plan().config)
    assert not check_registered(plan(seed=7), study_store, resume=False)
    asked(start(plan(), study_store))
    with pytest.raises(ConfigError, match="in the database already"):
        check_registered(plan(seed=7), study_store, resume=False)


def test_a_study_is_registered_once(study_store: Store) -> None:
    asked(start(plan(), study_store))
    with pytest.raises(ConfigError, match=r"'shapes' is in the database already: .*--resume"):
        check_registered(plan(budget={"trials": 99}), study_store, resume=False)
    assert study_store.study_config("shapes") == plan().config
    assert check_registered(plan(), study_store, resume=True)
    assert not check_registered(plan(name="new"), study_store, resume=True)


def test_a_study_that_runs_is_to_be_waited_for(study_store: Store) -> None:
    asked(start(plan(), study_store))
    session = study_store.begin_session("shapes")
    wait = (
        r"'shapes' is being searched now, by process \d+ on .*: wait until it ends \(`hybridnas st"
    )
    with pytest.raises(ConfigError, match=wait):
        check_registered(plan(), study_store, resume=False)
    study_store.end_session(session, "interrupted")
    with pytest.raises(ConfigError, match="go on with --resume"):
        check_registered(plan(), study_store, resume=False)


CHANGES: dict[str, Any] = {
    "recipe": {"lr": 0.5},
    "space": LISTED,
    "constraints": {"macs": {"max": 1e9}},
    "objectives": {"top1": "maximize", "params": "minimize"},
    "fidelities": [{"epochs": 2, "resolution": 32}],
    "seed": 1,
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_resumed_study_is_the_same(key: str, study_store: Store) -> None:
    asked(start(plan(), study_store))
    with pytest.raises(ConfigError, match=rf"cannot be resumed with changed {key}: its trials"):
        check_registered(
            plan(**{key: CHANGES[key]}, budget={"trials": 9}), study_store, resume=True
        )
    assert study_store.study_config("shapes") == plan().config, "nothing is half-written"


def test_all_changes_are_named(study_store: Store) -> None:
    asked(start(plan(), study_store))
    with pytest.raises(ConfigError, match=r"changed constraints, fidelities, .*, seed, space: "):
        check_registered(plan(**CHANGES), study_store, resume=True)


def test_what_was_changed_is_said_with_both_values(study_store: Store) -> None:
    asked(start(plan(constraints={"macs": {"max": 1e9}}), study_store))
    few = {"recipe": {"lr": 0.5}, "objectives": {"macs": "minimize", "top1": "maximize"}}
    rungs = [{"epochs": 2, "resolution": 32}]
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {**few, "fidelities": rungs},
            "(constraints.macs.max was 1000000000.0, is nothing; fidelities.0.epochs was 1, is 2; "
            "objectives had the order top1, macs, has macs, top1; recipe.lr was "
            "0.001, is 0.5); go on",
        ),
        (
            {"fidelities": [*rungs, {"epochs": 3, "resolution": 32}]},
            'fidelities was [{"epochs": 1, "resolution": 32, "iterations"..., is [{"epochs": 2, ',
        ),
        (CHANGES, "; and 2 more); go on"),
    ]
    for changes, words in cases:
        with pytest.raises(ConfigError, match=re.escape(words)):
            check_registered(plan(**changes), study_store, resume=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("description", "longer"),
        ("budget", {"hours": 2}),
        ("resources", {"cpus": 2}),
        ("sampler", "nsga2"),
        ("artifacts", "s3://bucket"),
        ("keep_weights", 0),
        ("references", []),
    ],
)
def test_a_resumed_study_may_change(key: str, value: Any, study_store: Store) -> None:
    asked(start(plan(), study_store))
    changed = plan(**{key: value})
    assert changed.config != plan().config
    assert check_registered(changed, study_store, resume=True)
    assert study_store.study_config("shapes") == plan().config, "only a running session writes"


def test_a_space_is_what_it_holds_not_its_file(study_store: Store, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[1] / "search_spaces" / "hybrid_small.yaml"
    (tmp_path / "copy.yaml").write_text(shipped.read_text())
    asked(start(plan(space="hybrid_small"), study_store))
    check_registered(plan(space=str(tmp_path / "copy.yaml")), study_store, resume=True)
    (tmp_path / "copy.yaml").write_text(shipped.read_text().replace("[8, 16, 32, 48]", "[8, 16]"))
    with pytest.raises(ConfigError, match="changed space"):
        check_registered(plan(space=str(tmp_path / "copy.yaml")), study_store, resume=True)


def test_data_may_move_but_not_change(study_store: Store, pets: Path) -> None:
    first = made(task={"data": str(pets)})
    asked(start(first, study_store))
    moved = pets.rename(pets.with_name("moved"))
    check_registered(made(task={"data": str(moved)}), study_store, resume=True)
    (moved / "train" / "cat" / "1.png").unlink()
    with pytest.raises(ConfigError, match=rf"has changed since \({moved}; .* db delete shapes`"):
        check_registered(made(task={"data": str(moved)}), study_store, resume=True)
    with pytest.raises(ConfigError, match=r"its data set or task has changed since"):
        check_registered(made(task={"data": "digits"}), study_store, resume=True)
    assert study_store.study_config("shapes") is not None


def test_plans_of_the_tests_are_plans() -> None:
    made_one, given = made(space=SIX), plan(space=SIX)
    assert made_one.study == given.study
    assert made_one.num_classes == given.num_classes
    assert made_one.training_images == given.training_images
