"""The sampler `ehvi`: what it proposes, from what it is told, for every kind of study."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from ehvi_helpers import DIGITS, TWO, VALUES, Search, Table, accuracy, macs, named, table
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from search_helpers import SIX, constrained, genomes

from hybridnas.config import Bound
from hybridnas.errors import ConfigError
from hybridnas.objectives import Direction
from hybridnas.pareto import hypervolume
from hybridnas.parts import Option
from hybridnas.search.feasibility import Feasibility
from hybridnas.search.samplers.ehvi_sampler import EhviSampler
from hybridnas.search.samplers.encoding import Encoder
from hybridnas.search.samplers.history import RUNGS, Goals, read_history
from hybridnas.space import Genome, SearchSpace


def front() -> dict[float, float]:
    """The best accuracy of the table at every cost."""
    best: dict[float, float] = {}
    for digits in itertools.product(range(VALUES), repeat=DIGITS):
        genome = named(digits)
        best[macs(genome)] = max(best.get(macs(genome), 0.0), accuracy(genome))
    return best


def share_of_front(found: list[Genome], limit: float = np.inf) -> float:
    """Of the costs, how many have an architecture as good as the best there."""
    best = {cost: value for cost, value in front().items() if cost <= limit}
    reached = {macs(genome) for genome in found if accuracy(genome) == best.get(macs(genome))}
    return len(reached) / len(best)


def test_it_finds_the_front_of_a_table() -> None:
    ours = Search(table()).run(60)
    drawn = [Table().random_genome(random.Random(i)) for i in range(60)]
    assert share_of_front(ours) > 0.6
    assert share_of_front(drawn) < 0.3


def test_bounds_are_kept_and_nothing_comes_twice() -> None:
    hard = table(macs=Bound(min=4e6, max=8e6))
    search = Search(hard)
    found = search.run(60)
    assert all(4e6 <= macs(genome) <= 8e6 for genome in found)
    assert len({Table().categories(genome) for genome in found}) == 60
    assert search.fresh.num_infeasible == 0


@pytest.mark.parametrize(
    "objectives",
    [
        {"top1": "maximize"},
        {"loss": "minimize"},
        {"macs": "minimize", "loss": "minimize"},
        {"top1": "maximize", "macs": "minimize", "params": "minimize"},
        {"top1": "maximize", "macs": "maximize"},
    ],
)
def test_every_kind_of_study_with_one_measured_objective(
    objectives: Mapping[str, Direction],
) -> None:
    """Nearly all of the hypervolume under the cap, with every 17th of the architectures."""
    hard = table(macs=Bound(max=11e6))
    found = Search(hard, objectives, seed=1).run(50)
    drawn = [hard.draw(random.Random(i)) for i in range(50)]
    everything: list[Genome] = [
        genome
        for digits in itertools.product(range(VALUES), repeat=DIGITS)
        if macs(genome := named(digits)) <= 11e6
    ]
    whole = volume(everything, objectives)
    assert volume(found, objectives) > 0.95 * whole
    assert volume([genome for genome in drawn if genome], objectives) < 0.93 * whole


def volume(found: list[Genome], objectives: Mapping[str, Direction]) -> float:
    """Hypervolume, from accuracy 0.5 and the least useful costs on."""
    worst = {"macs": 11e6, "params": 5.0} if objectives.get("macs") != "maximize" else {"macs": 0.0}
    losses, reference = [], []
    for name, direction in objectives.items():
        sign = 1 if direction == "minimize" else -1
        known = [{"top1": accuracy(g), "loss": -accuracy(g), **table().cost_of(g)} for g in found]
        losses.append([sign * values[name] for values in known])
        reference.append(sign * {"top1": 0.5, "loss": -0.5, **worst}[name])
    return hypervolume(np.array(losses).T, np.array(reference))


def test_the_first_trials_are_random_and_the_seed_decides() -> None:
    runs = [Search(table(), seed=seed).run(14) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0][:8] != runs[2][:8]


def trials(search: Search, number: int) -> list[FrozenTrial]:
    """A history as a database would give it."""
    rng, found = random.Random(5), []
    for index in range(number):
        genome = Table().random_genome(rng)
        trial = create_trial(
            params=genome,
            distributions=dict(search.proposer.distributions),
            values=search.values(genome),
        )
        trial.number = index
        found.append(trial)
    return found


def test_a_resumed_search_goes_on_as_the_one_that_was_not_stopped() -> None:
    whole, resumed = Search(table()), Search(table())
    whole.run(20)
    for trial in whole.proposer._study.get_trials():
        resumed.proposer.remember(trial)
    assert resumed.sample() == whole.sample()
    assert resumed.turn() == whole.turn(), "also with what was forgotten in between"


def test_a_proposal_that_was_changed_is_known_as_what_it_became() -> None:
    search, resumed = Search(table()), Search(table())
    search.run(12)
    mirror, drawn = search.proposer.propose()
    search.proposer.settle(mirror, drawn)
    before = search.sample()
    search.proposer.settle(mirror, before)
    assert search.sample() != before, "seen now"
    for trial in search.proposer._study.get_trials():
        resumed.proposer.remember(trial)
    assert resumed.sample() == search.sample()


def test_what_runs_is_not_proposed_again() -> None:
    search = Search(table())
    search.run(12)
    asked = [search.ask()[1] for _ in range(8)]
    assert len({Table().categories(genome) for genome in asked}) == 8
    apart = [sum(a[n] != b[n] for n in a) for a, b in itertools.combinations(asked, 2)]
    assert np.mean(apart) > 1.5, "and what is believed of it leads elsewhere"


def test_failures_teach_nothing_and_are_not_proposed_again() -> None:
    search, other = Search(table()), Search(table())
    search.run(12)
    for trial in search.proposer._study.get_trials():
        other.proposer.remember(trial)
    number, failed = search.ask()
    search.proposer.tell(number, None)
    number, ran = other.ask()
    assert ran == failed
    other.proposer.tell(number, [0.0, macs(ran)])
    after_failure, after_result = search.sample(), other.sample()
    assert failed not in (after_failure, after_result)
    assert after_failure != after_result, "a bad result would have taught"


def low(genome: Genome) -> float:
    """What a cheap training says: another scale, the same order."""
    return 2 * accuracy(genome) - 0.7


def mediocre(number: int) -> list[Genome]:
    """Random ones that are not among the best."""
    drawn = (Table().random_genome(random.Random(i)) for i in itertools.count())
    return list(itertools.islice((genome for genome in drawn if accuracy(genome) < 0.75), number))


def remember(search: Search, genome: Genome, number: int, **known: Any) -> None:
    """A trial that has a result at the rung below the top."""
    trial = create_trial(
        params=genome,
        distributions=dict(search.proposer.distributions),
        system_attrs={RUNGS: [[low(genome)]]},
        **known,
    )
    trial.number = number
    search.proposer.remember(trial)
    search.count = number + 1


@pytest.mark.parametrize("state", [TrialState.PRUNED, TrialState.RUNNING])
def test_lower_rungs_tell_of_the_top(state: TrialState) -> None:
    """Six results at the top, 150 at the rung below it: the best is known, though not seen."""
    taught, alone = (Search(table(), {"top1": "maximize"}) for _ in range(2))
    for number, genome in enumerate(mediocre(150)):
        known: dict[str, Any] = {"state": state}
        if number < 6:
            known = {"values": [accuracy(genome)]}
            remember(alone, genome, number, **known)
        remember(taught, genome, number, **known)
    best = max(front().values())
    assert max(accuracy(genome) for genome in taught.run(3)) == best
    assert max(accuracy(genome) for genome in alone.run(3)) < best


def test_without_a_top_the_rung_below_it_leads() -> None:
    search = Search(table(), {"top1": "maximize"})
    for number, genome in enumerate(mediocre(150)):
        remember(search, genome, number, state=TrialState.RUNNING)
    assert accuracy(search.sample()) > 0.9 * max(front().values())


def test_a_lower_rung_of_a_failed_trial_does_not_teach() -> None:
    search = Search(table())
    (genome,) = mediocre(1)
    for number, state in enumerate([TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING]):
        remember(search, genome, number, state=state)
    read = read_history(search.proposer._study.get_trials(), Goals.of(TWO))
    assert [(r.rungs, r.running, r.failed) for r in read] == [
        ((), False, True),
        (((-low(genome),),), False, False),
        (((-low(genome),),), True, False),
    ]


def test_a_small_space_is_proposed_once_and_then_at_random() -> None:
    space = SearchSpace.load(SIX)
    search = Search(constrained(space), startup_trials=2)
    search.values = lambda genome: [0.5, search.hard.cost_of(genome)["macs"]]  # type: ignore[method-assign]
    found = [space.decode(search.turn()).digest for _ in range(6)]
    assert set(found) == {space.decode(genome).digest for genome in genomes(space)}
    assert search.sample() in list(genomes(space))
    assert search.fresh.next() is None


def test_real_spaces_with_hard_bounds_are_searched() -> None:
    space = SearchSpace.load("hybrid_small")
    hard = constrained(space, macs=Bound(max=2e6), params=Bound(max=60_000))
    search = Search(hard, startup_trials=6)
    search.values = lambda genome: [  # type: ignore[method-assign]
        str(space.decode(genome).short).count("S"),
        hard.cost_of(genome)["macs"],
    ]
    found = search.run(14)
    assert all(hard.violation(hard.cost_of(genome)) == 0 for genome in found)
    assert len({space.categories(genome) for genome in found}) == 14


def test_costs_alone_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs an objective that is measured, got macs"):
        EhviSampler(table(), {"macs": "minimize"}, 0)


@pytest.mark.parametrize("name", ["hybrid_small", "hybrid"])
def test_what_is_encoded_is_what_the_space_says(name: str) -> None:
    space = SearchSpace.load(name)
    hard, rng = constrained(space, macs=Bound(max=1e7)), random.Random(0)
    encoder, drawn = Encoder(hard), [space.random_genome(rng) for _ in range(40)]
    rows = encoder.choices(drawn)
    assert [encoder.genome(row) for row in rows] == drawn
    inputs = encoder.inputs(rows)
    assert [tuple(row) for row in inputs.categories] == [space.categories(g) for g in drawn]
    costs = [hard.cost_of(genome) for genome in drawn]
    assert encoder.feasible(rows).tolist() == [hard.violation(cost) == 0 for cost in costs]
    named = encoder.costs(rows, ["params", "macs"])
    assert named.tolist() == [[cost["params"], cost["macs"]] for cost in costs]
    for genome, found in zip(drawn, inputs.regressors, strict=True):
        blocks = [b.mixer_name for stage in space.decode(genome).stages for b in stage.blocks]
        counts = [blocks.count(mixer) for mixer in ("gated_conv", "ssm", "attention")]
        logs = np.log(list(hard.cost_of(genome).values()))
        np.testing.assert_allclose(found, [*logs, *counts])


def test_values_that_compare_equal_are_told_apart() -> None:
    class Mixed(Table):
        genes: ClassVar[dict[str, tuple[Option, ...]]] = {"gene": (1, 1.0, True)}

    encoder = Encoder(Feasibility(Mixed(), {}, lambda genome: {}))
    rows = encoder.choices([{"gene": value} for value in (1, 1.0, True)])
    assert rows.tolist() == [[0], [1], [2]]
    distribution = CategoricalDistribution((1, 1.0, True))
    assert [type(distribution.to_external_repr(i)) for i in range(3)] == [int, float, bool]
