"""Samplers by name: feasible, fresh, taught by seeds; ours, and those by import path."""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.samplers import NSGAIISampler, PartialFixedSampler, TPESampler
from search_helpers import LISTED, constrained, genomes

from hybridnas.config import Bound, Sampler
from hybridnas.errors import ConfigError
from hybridnas.objectives import Direction
from hybridnas.sampler_config import SAMPLER_OPTIONS
from hybridnas.search.feasibility import Feasibility
from hybridnas.search.fresh import FreshProposals, Proposal
from hybridnas.search.proposer import Proposer
from hybridnas.search.samplers import MAKERS, make_sampler
from hybridnas.search.samplers.evolution import EvolutionSampler, mutated
from hybridnas.search.samplers.imported import imported_sampler
from hybridnas.space import Genome, SearchSpace

OBJECTIVES: dict[str, Direction] = {"top1": "maximize", "macs": "minimize"}
SPACE = SearchSpace.load(LISTED)
FREE = constrained(SPACE)
MIXER = "stage1.mixer"


def asked(
    config: dict[str, Any] | str, hard: Feasibility, references: list[Genome] | None = None
) -> tuple[Proposer, FreshProposals]:
    given = {"name": config} if isinstance(config, str) else config
    sampler = make_sampler(Sampler.model_validate(given), hard, OBJECTIVES, seed=0)
    num_hard = len(hard.bounds)  # each of one side
    proposer = Proposer(hard.space.genes, list(OBJECTIVES.values()), sampler, num_hard)
    return proposer, FreshProposals(hard, proposer, 0, references or [])


def worth(genome: Genome) -> list[float]:
    """Only one thing matters."""
    return [float(genome[MIXER] == "ssm"), 1.0]


def run(proposer: Proposer, fresh: FreshProposals, number: int) -> list[Proposal]:
    """So many candidates, one after the other."""
    found: list[Proposal] = []
    while len(found) < number and (proposal := fresh.next()) is not None:
        proposer.link(proposal.mirror, len(found))
        proposer.tell(len(found), worth(proposal.genome))
        found.append(proposal)
    return found


@pytest.fixture(scope="module")
def tight() -> Feasibility:
    """LISTED under a limit on MACs that 5 % of its genomes meet."""
    macs = [FREE.cost_of(genome)["macs"] for genome in genomes(SPACE)]
    return constrained(SPACE, macs=Bound(max=float(np.quantile(macs, 0.05))))


def test_every_option_has_a_sampler() -> None:
    assert MAKERS.keys() == SAMPLER_OPTIONS.keys()


@pytest.mark.parametrize("name", MAKERS)
def test_none_trains_what_breaks_a_constraint_and_none_twice(name: str, tight: Feasibility) -> None:
    proposer, fresh = asked(name, tight)
    number = 16 if name == "gp" else 40
    found = run(proposer, fresh, number)
    assert len({proposal.digest for proposal in found}) == number
    assert all(tight.violation(tight.cost_of(p.genome)) == 0 for p in found)
    assert fresh.num_drawn == number
    if name in ("ehvi", "evolution", "grid"):  # they know the constraint
        assert fresh.num_infeasible == 0
    else:
        assert fresh.num_infeasible > number / 8


@pytest.mark.parametrize("name", [name for name in MAKERS if name not in ("random", "grid")])
def test_seeds_teach_and_are_parents(name: str) -> None:
    """References that were enqueued before the sampler was asked are all that it knows."""
    takes = SAMPLER_OPTIONS[name]
    options = {"startup_trials": 5, "population_size": 10, "tournament_size": 10}
    rng, seeds = random.Random(3), [SPACE.random_genome(random.Random(n)) for n in range(20)]
    known = {SPACE.decode(genome).digest: genome for genome in seeds}
    own = {key: value for key, value in options.items() if key in takes}
    proposer, fresh = asked({"name": name, **own}, FREE, list(known.values()))
    run(proposer, fresh, len(known))
    assert fresh.num_drawn == 0
    drawn = [proposer.propose()[1] for _ in range(8 if name == "gp" else 20)]
    share = sum(genome[MIXER] == "ssm" for genome in drawn) / len(drawn)
    chance = sum(SPACE.random_genome(rng)[MIXER] == "ssm" for _ in range(1000)) / 1000
    assert chance < 0.4 < 0.65 < share


def test_a_grid_goes_through_all_that_is_feasible_once(tight: Feasibility) -> None:
    feasible = {
        SPACE.decode(genome).digest
        for genome in genomes(SPACE)
        if tight.violation(tight.cost_of(genome)) == 0
    }
    seeds = [g for g in genomes(SPACE) if SPACE.decode(g).digest in feasible][:5]
    proposer, fresh = asked("grid", tight, seeds)
    found = [proposal.digest for proposal in run(proposer, fresh, len(feasible))]
    assert len(found) == len(set(found)) == len(feasible)
    assert set(found) == feasible
    assert fresh.num_drawn == len(feasible) - len({SPACE.decode(g).digest for g in seeds})


def test_a_grid_goes_on_where_trials_exist() -> None:
    first = run(*asked("grid", FREE), 30)
    proposer, fresh = asked("grid", FREE, [proposal.genome for proposal in first])
    rest = run(proposer, fresh, 60)[30:]
    assert {p.digest for p in rest}.isdisjoint(p.digest for p in first)
    macs = [p.costs["macs"] for p in first]
    assert macs != sorted(macs), "in no order of the space's"


def test_a_space_too_large_for_a_grid_is_refused() -> None:
    hard = constrained(SearchSpace.load("hybrid_small"))
    with pytest.raises(ConfigError, match=r"'hybrid_small' has .*; allowed are up to 1,000,000"):
        asked("grid", hard)


def test_a_mutation_is_any_single_change_that_means_something() -> None:
    rng, parent = random.Random(0), SPACE.random_genome(random.Random(5))
    before = SPACE.categories(parent)
    wanted = set()
    for name, value in ((n, v) for n, values in SPACE.genes.items() for v in values):
        after = SPACE.categories({**parent, name: value})
        applies = before[list(SPACE.genes).index(name)] >= 0
        if after != before and applies:
            wanted.add(after)
    assert -1 in before, "some gene does not apply"
    drawn = [mutated(parent, SPACE, rng) for _ in range(600)]
    assert {SPACE.categories(child) for child in drawn if child} == wanted
    genes = Counter(
        name for child in drawn if child for name in parent if child[name] != parent[name]
    )
    assert max(genes.values()) < 1.5 * min(genes.values()), "every gene as often"


@pytest.mark.parametrize(("survival", "left"), [("age", {2, 3, 4, 5}), ("rank", {0, 1, 3, 5})])
def test_who_leaves_a_population(survival: str, left: set[int]) -> None:
    hard = Feasibility(SPACE, {}, FREE.cost_of)
    sampler = EvolutionSampler(hard, 0, 4, 2, survival)
    proposer = Proposer(SPACE.genes, ["minimize"], sampler)
    for number, loss in enumerate([1.0, 2.0, 9.0, 3.0, 8.0, 4.0]):
        mirror, genome = proposer.propose()
        proposer.settle(mirror, genome)
        proposer.link(mirror, number)
        proposer.tell(number, [loss])
    failed, genome = proposer.propose()
    proposer.settle(failed, genome)
    proposer.forget(failed)
    proposer.propose()
    values = [1.0, 2.0, 9.0, 3.0, 8.0, 4.0]
    assert {values.index(m.losses[0]) for m in sampler._population} == left


def test_children_come_from_the_best_of_a_tournament() -> None:
    proposer, _ = asked({"name": "evolution", "population_size": 6, "tournament_size": 6}, FREE)
    drawn = []
    for number, top1 in enumerate([0.1, 0.9, 0.3, 0.2, 0.5, 0.4]):
        mirror, genome = proposer.propose()
        proposer.settle(mirror, genome)
        proposer.link(mirror, number)
        proposer.tell(number, [top1, 1.0])
        drawn.append(genome)
    for _ in range(10):
        child = proposer.propose()[1]
        assert sum(child[name] != drawn[1][name] for name in child) == 1


def test_a_sampler_by_import_path_takes_its_options_and_the_seed() -> None:
    path = "optuna.samplers:NSGAIISampler"
    config = Sampler.model_validate({"name": path, "options": {"population_size": 7}})
    built = make_sampler(config, FREE, OBJECTIVES, seed=4)
    assert isinstance(built, NSGAIISampler)
    assert built.population_size == 7
    drawn = [asked({"name": path}, FREE)[0].propose()[1] for _ in range(2)]
    assert drawn[0] == drawn[1], "by the seed"
    options = {"fixed_params": {}, "base_sampler": built}
    partial = {"name": "optuna.samplers:PartialFixedSampler", "options": options}
    no_seed = make_sampler(Sampler.model_validate(partial), FREE, OBJECTIVES, 0)
    assert isinstance(no_seed, PartialFixedSampler)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("no_such_module:Sampler", {}, r"'no_such_module' cannot be imported \(No module named"),
        (":Sampler", {}, r"sampler :Sampler: '' cannot be imported"),
        ("optuna.samplers:Nothing", {}, r"has no sampler of Optuna's kind 'Nothing'"),
        ("optuna.samplers:intersection_search_space", {}, r"has no sampler of Optuna's kind"),
        ("optuna.samplers:TPESampler", {"x": 1}, r"no option 'x'; allowed: consider_prior, .*seed"),
        (
            "optuna.samplers:NSGAIISampler",
            {"population_size": 1},
            r"NSGAIISampler: ValueError: `population_size` must be greater than or equal to 2",
        ),
        ("optuna.samplers:GridSampler", {}, r"GridSampler: TypeError: .*'search_space'"),
    ],
)
def test_a_wrong_import_path_is_refused(path: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        imported_sampler(path, options, 0)


@pytest.fixture
def a_hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """OptunaHub as its client shows it (load_module, packages with __all__); what was loaded."""
    loaded: list[str] = []
    packages = {
        "samplers/one": SimpleNamespace(__all__=["TPESampler", "x"], TPESampler=TPESampler, x=1),
        "samplers/two": SimpleNamespace(A=TPESampler, B=NSGAIISampler),
    }

    def load_module(package: str) -> SimpleNamespace:
        loaded.append(package)
        return packages[package]

    hub = ModuleType("optunahub")
    hub.load_module = load_module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "optunahub", hub)
    return loaded


def test_a_sampler_of_the_hub(a_hub: list[str]) -> None:
    assert isinstance(imported_sampler("optunahub:one", {}, 0), TPESampler)
    assert isinstance(imported_sampler("optunahub:two:B", {}, 0), NSGAIISampler)
    assert a_hub == ["samplers/one", "samplers/two"]
    with pytest.raises(ConfigError, match=r"samplers/two has A, B; allowed: optunahub:two:CLASS"):
        imported_sampler("optunahub:two", {}, 0)
    with pytest.raises(ConfigError, match=r"sampler optunahub:three: KeyError"):
        imported_sampler("optunahub:three", {}, 0)


def test_the_hub_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optunahub", None)
    with pytest.raises(ConfigError, match=r"sampler optunahub:one: pip install optunahub"):
        imported_sampler("optunahub:one", {}, 0)


def test_constraints_that_some_trials_say_do_not_disturb(tight: Feasibility) -> None:
    """After a resume, old trials carry the list of slacks that the dashboard reads; new do not."""
    proposer, fresh = asked({"name": "gp", "startup_trials": 3}, tight)
    first = run(proposer, fresh, 4)
    again, more = asked({"name": "gp", "startup_trials": 3}, tight)
    for trial in proposer._study.get_trials():
        trial.system_attrs["constraints"] = [-1.0]
        again.remember(trial)
    for number in itertools.islice(itertools.count(len(first)), 2):
        proposal = more.next()
        assert proposal is not None
        again.link(proposal.mirror, number)
        again.tell(number, worth(proposal.genome))
