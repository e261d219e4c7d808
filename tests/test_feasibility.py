"""Hard constraints: against enumeration, and over hundreds of proposals of every sampler."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping

import pytest
from search_helpers import (
    LISTED,
    constrained,
    drive,
    genomes,
    network,
    optuna_trials,
    plan,
    score,
    start,
)

from hybridnas.config import Bound, Sampler
from hybridnas.errors import SpaceError
from hybridnas.objectives import Direction
from hybridnas.search.feasibility import Feasibility, neighbours
from hybridnas.search.fresh import FreshProposals, Proposal
from hybridnas.search.proposer import Proposer
from hybridnas.search.samplers import make_sampler
from hybridnas.space import Genome, SearchSpace
from hybridnas.store import Store

_log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def small() -> SearchSpace:
    return SearchSpace.load("hybrid_small")


@pytest.fixture(scope="module")
def listed() -> SearchSpace:
    return SearchSpace.load(LISTED)


@pytest.fixture(scope="module")
def all_costs(listed: SearchSpace) -> list[Mapping[str, float]]:
    free = constrained(listed)
    return [free.cost_of(genome) for genome in genomes(listed)]


@pytest.fixture(scope="module")
def tight(small: SearchSpace) -> float:
    """MACs that about 5 % of hybrid_small keep."""
    rng, free = random.Random(5), constrained(small)
    macs = sorted(free.cost_of(small.random_genome(rng))["macs"] for _ in range(2000))
    return macs[100]


def changed(a: Genome, b: Genome) -> int:
    return sum(a[name] != b[name] for name in a)


def test_violations_and_slacks_by_hand() -> None:
    bounds = {"macs": Bound(max=100), "params": Bound(min=10, max=20)}
    hard = Feasibility(SearchSpace.load(LISTED), bounds, lambda genome: {})
    assert hard.violation({"macs": 100, "params": 10}) == 0
    assert hard.violation({"macs": 150, "params": 20}) == pytest.approx(0.5)
    assert hard.violation({"macs": 150, "params": 5}) == pytest.approx(0.5 + 0.5)
    assert hard.violation({"macs": 50, "params": 30}) == pytest.approx(0.5)
    assert hard.slacks({"macs": 150, "params": 5}) == [50, -15, 5]
    assert hard.slacks({"macs": 100, "params": 10}) == [0, -10, 0]


def test_neighbours_are_all_single_changes(listed: SearchSpace) -> None:
    genome = listed.random_genome(random.Random(0))
    want = [other for other in genomes(listed) if changed(genome, other) == 1]
    found = list(neighbours(listed, genome))
    assert len(found) == len(want)
    assert all(other in want for other in found)


WINDOWS = {
    "macs at most": {"macs": (None, 0.05)},
    "macs at least": {"macs": (0.95, None)},
    "macs between": {"macs": (0.48, 0.52)},
    "params between": {"params": (0.2, 0.25)},
    "both at most": {"macs": (None, 0.2), "params": (None, 0.2)},
    "few params, many macs": {"macs": (0.5, None), "params": (None, 0.5)},
}


def window(
    costs: list[Mapping[str, float]], limits: Mapping[str, tuple[float | None, float | None]]
) -> dict[str, Bound]:
    """Bounds at the quantiles of the costs."""
    bounds = {}
    for name, (low, high) in limits.items():
        values = sorted(c[name] for c in costs)
        at = [None if q is None else values[int(q * len(values))] for q in (low, high)]
        bounds[name] = Bound(min=at[0], max=at[1])
    return bounds


@pytest.mark.parametrize("limits", WINDOWS.values(), ids=WINDOWS)
def test_repair_ends_near_the_proposal(
    limits: dict[str, tuple[float | None, float | None]],
    listed: SearchSpace,
    all_costs: list[Mapping[str, float]],
) -> None:
    hard = constrained(listed, **window(all_costs, limits))
    feasible = [g for g in genomes(listed) if hard.violation(hard.cost_of(g)) == 0]
    assert 0 < len(feasible) < 0.6 * len(all_costs)
    rng = random.Random(0)
    repaired_by, drawn_by = [], []
    for _ in range(100):
        genome = listed.random_genome(rng)
        before = dict(genome)
        nearest = min(changed(genome, other) for other in feasible)
        found = hard.repair(genome, rng)
        assert genome == before, "the proposal itself is left as it was"
        if found is None:  # every single step leads further away
            assert nearest > 1
            continue
        assert found in feasible
        if nearest <= 1:
            assert changed(genome, found) == nearest, "itself, or the one step that is enough"
        repaired_by.append(changed(genome, found))
        drawn_by.append(changed(genome, rng.choice(feasible)))
    one_sided = all(low is None or high is None for low, high in limits.values())
    assert len(repaired_by) == 100 if one_sided and len(limits) == 1 else len(repaired_by) >= 75
    assert sum(repaired_by) < 0.5 * sum(drawn_by)
    assert hard.draw(rng) in feasible, "where one proposal cannot be repaired, another can"


def test_repaired_proposals_stay_diverse(small: SearchSpace, tight: float) -> None:
    hard, rng = constrained(small, macs=Bound(max=tight)), random.Random(0)
    genome = {name: values[-1] for name, values in small.genes.items()}
    assert hard.violation(hard.cost_of(genome)) > 1
    found = {small.decode(hard.repair(genome, rng) or genome).digest for _ in range(20)}
    assert len(found) >= 15


def test_nothing_to_repair_towards(
    listed: SearchSpace, all_costs: list[Mapping[str, float]]
) -> None:
    least = min(c["macs"] for c in all_costs)
    hard, rng = constrained(listed, macs=Bound(max=least - 1)), random.Random(0)
    assert hard.repair(listed.random_genome(rng), rng) is None
    assert hard.draw(rng, tries=3) is None
    possible = constrained(listed, macs=Bound(max=least))
    drawn = possible.draw(rng)
    assert drawn is not None
    assert possible.cost_of(drawn)["macs"] == least
    possible.check()
    constrained(listed).check()


@pytest.mark.parametrize("name", ["macs", "params"])
@pytest.mark.parametrize("side", ["max", "min"])
def test_an_impossible_bound_is_told_what_can_be_reached(
    name: str, side: str, listed: SearchSpace, all_costs: list[Mapping[str, float]]
) -> None:
    low, high = min(c[name] for c in all_costs), max(c[name] for c in all_costs)
    bound = Bound(max=low * 0.9) if side == "max" else Bound(min=high * 1.1)
    value = low * 0.9 if side == "max" else high * 1.1
    other = "params" if name == "macs" else "macs"
    hard = constrained(listed, **{name: bound, other: Bound(min=1, max=1e12)})
    with pytest.raises(SpaceError) as error:
        hard.check()
    assert str(error.value) == (
        f"no architecture of 'listed' meets the constraints: {name} must keep {side} {value:.4g}, "
        f"the space reaches {low:.4g} to {high:.4g}"
    )


def test_bounds_that_exclude_each_other_are_both_named(
    listed: SearchSpace, all_costs: list[Mapping[str, float]]
) -> None:
    most_macs, least_params = (
        max(c["macs"] for c in all_costs),
        min(c["params"] for c in all_costs),
    )
    hard = constrained(listed, macs=Bound(min=most_macs), params=Bound(max=least_params))
    with pytest.raises(SpaceError, match=r"macs must .* params must .*keeps all of it\)$"):
        hard.check()


def test_an_extreme_of_many_choices_takes_a_few_looks_at_each() -> None:
    space = SearchSpace.load("local_scan")
    looks = 0

    def cost_of(genome: Genome) -> Mapping[str, float]:
        nonlocal looks
        looks += 1
        return {"sum": sum(space.categories(genome))}

    largest = sum(len(choices) - 1 for choices in space.genes.values())
    found = Feasibility(space, {}, cost_of).extreme("sum", random.Random(0), -1, starts=1)
    assert found == largest
    assert looks < 5 * sum(map(len, space.genes.values()))


def test_the_reachable_extremes_are_the_true_ones(
    listed: SearchSpace, all_costs: list[Mapping[str, float]]
) -> None:
    free, rng = constrained(listed), random.Random(0)
    for name in ("macs", "params"):
        values = [c[name] for c in all_costs]
        assert free.extreme(name, rng, 1) == min(values)
        assert free.extreme(name, rng, -1) == max(values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "number"),
    # What learns nothing needs fewer; TPE's work grows with the square of their number.
    [("tpe", 400), ("nsga2", 1000), ("random", 100)],
)
def test_hundreds_of_proposals_keep_the_constraint(
    sampler: str, number: int, small: SearchSpace, tight: float
) -> None:
    """Acceptance: none that violates it becomes a trial, none comes twice, each is fast."""
    hard = constrained(small, macs=Bound(max=tight))
    config = Sampler.model_validate({"name": sampler})
    objectives: dict[str, Direction] = {"top1": "maximize", "macs": "minimize"}
    asked = make_sampler(config, hard, objectives, seed=0)
    proposer = Proposer(small.genes, list(objectives.values()), asked)
    fresh = FreshProposals(hard, proposer, seed=0)
    proposals: list[Proposal] = []
    spent_s = 0.0
    for at in range(number):
        before = time.perf_counter()
        proposal = fresh.next()
        spent_s += time.perf_counter() - before
        assert proposal is not None
        proposer.link(proposal.mirror, at)
        proposer.tell(at, [score(network(proposal)), proposal.costs["macs"]])
        proposals.append(proposal)
    _log.info("%s: %.1f ms a proposal", sampler, 1000 * spent_s / number)
    assert spent_s / number < 0.2
    assert max(hard.cost_of(p.genome)["macs"] for p in proposals) <= tight
    assert len({p.architecture for p in proposals}) == number
    assert all(p.architecture == small.decode(p.genome) for p in proposals)
    assert fresh.num_drawn == number
    # The constraint bites; what a sampler learns from repaired trials makes it bite less.
    share = fresh.num_infeasible / number
    assert share > 0.9 if sampler == "random" else 0.02 < share < 0.9


def test_infeasible_proposals_never_reach_the_database(
    small: SearchSpace, tight: float, study_store: Store
) -> None:
    core = start(
        plan(
            space="hybrid_small",
            constraints={"macs": {"max": tight}},
            sampler={"name": "tpe", "startup_trials": 20},
            budget={"trials": 60},
        ),
        study_store,
    )
    drive(core)
    trials = optuna_trials(study_store)
    free = constrained(small)
    macs = [free.cost_of(dict(trial.params))["macs"] for trial in trials]
    assert len(trials) == 60
    assert max(macs) <= tight
    assert [trial.user_attrs["macs"] for trial in trials] == macs
    assert len({trial.user_attrs["arch digest"] for trial in trials}) == 60
    assert core.proposals == 60
    assert 20 * 0.8 < core.redrawn < 60, "of the random ones nearly all, of the learned ones fewer"
