"""Optuna's samplers in memory: what they are told is what they propose from."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from search_helpers import constrained

from hybridnas.config import Sampler
from hybridnas.objectives import Direction
from hybridnas.search.proposer import Proposer
from hybridnas.search.samplers import make_sampler
from hybridnas.space import Genome, SearchSpace

SAMPLERS = ["tpe", "nsga2", "nsga3", "evolution", "random"]
SPACE = SearchSpace.load("hybrid_small")
GENES = SPACE.genes
OBJECTIVES: dict[str, Direction] = {"top1": "maximize", "macs": "minimize"}
MIXER = "stage2.mixer"
GENERATION = "NSGAIISampler:generation"


def proposer(name: str, seed: int = 0, **options: int) -> Proposer:
    config = Sampler.model_validate({"name": name, **options})
    sampler = make_sampler(config, constrained(SPACE), OBJECTIVES, seed)
    return Proposer(GENES, list(OBJECTIVES.values()), sampler)


def draws(number: int, seed: int = 0) -> list[Genome]:
    rng = random.Random(seed)
    return [{name: rng.choice(values) for name, values in GENES.items()} for _ in range(number)]


def worth(genome: Genome) -> list[float]:
    """SSM in the second stage is all that matters."""
    return [1.0, 1.0] if genome[MIXER] == "ssm" else [0.0, 2.0]


def share_of_ssm(genomes: Iterable[Genome]) -> float:
    mixers = [genome[MIXER] for genome in genomes]
    return mixers.count("ssm") / len(mixers)


def turn(asked: Proposer, number: int, genome: Genome | None = None) -> Genome:
    """One proposal, told as it is worth; a genome stands in place of the sampler's."""
    mirror, drawn = asked.propose()
    asked.settle(mirror, genome or drawn)
    asked.link(mirror, number)
    asked.tell(number, worth(genome or drawn))
    return drawn


def finished(asked: Proposer, number: int, genome: Genome, generation: int) -> FrozenTrial:
    """A trial as the database would give it."""
    trial = create_trial(
        params=dict(genome),
        distributions=dict(asked.distributions),
        values=worth(genome),
        system_attrs={GENERATION: generation, "constraints": [-1.0]},
    )
    trial.number = number
    return trial


def next_genomes(asked: Proposer, number: int = 30) -> list[Genome]:
    return [asked.propose()[1] for _ in range(number)]


@pytest.mark.parametrize("name", SAMPLERS)
def test_proposals_are_genomes_and_follow_the_seed(name: str) -> None:
    runs = []
    for seed in (0, 0, 1):
        asked = proposer(name, seed, **({"startup_trials": 5} if name == "tpe" else {}))
        runs.append([turn(asked, number) for number in range(25)])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    for genome in runs[0]:
        assert genome.keys() == GENES.keys()
        assert all(value in GENES[gene] for gene, value in genome.items())


@pytest.mark.parametrize("name", ["tpe", "nsga2", "evolution"])
def test_a_remembered_history_guides_proposals(name: str) -> None:
    blank, taught, random_one = proposer(name), proposer(name), proposer("random")
    for number, genome in enumerate(draws(100)):
        taught.remember(finished(taught, number, genome, generation=0))
        random_one.remember(finished(random_one, number, genome, generation=0))
    assert share_of_ssm(next_genomes(blank)) < 0.6
    assert share_of_ssm(next_genomes(taught)) > 0.8
    assert share_of_ssm(next_genomes(random_one)) < 0.6


def test_what_a_proposal_became_is_what_the_sampler_learns_from() -> None:
    """Settled genomes are worth something only by their own mixer, not by the one drawn."""
    asked = proposer("tpe", startup_trials=40)
    drawn = [turn(asked, number, genome) for number, genome in enumerate(draws(40, seed=1))]
    assert drawn != draws(40, seed=1)
    assert share_of_ssm(next_genomes(asked)) > 0.8


def test_settled_proposals_that_still_run_are_seen() -> None:
    asked = proposer("tpe", startup_trials=1)
    for number, genome in enumerate(draws(5)):
        turn(asked, number, genome)
    mirror, drawn = asked.propose()
    other = next(genome for genome in draws(50) if genome[MIXER] != drawn[MIXER])
    notes = asked.settle(mirror, other)
    trial = asked._study.get_trials(deepcopy=False)[-1]
    assert (trial.state, trial.params) == (TrialState.RUNNING, other)
    assert notes == trial.system_attrs


def test_failed_trials_do_not_teach() -> None:
    """TPE that saw nothing but failures goes on as one whose random start has not ended."""
    failing, starting = proposer("tpe", startup_trials=5), proposer("tpe", startup_trials=1000)
    for number in range(30):
        for asked in (failing, starting):
            mirror, _ = asked.propose()
            asked.link(mirror, number)
            asked.tell(number, None if asked is failing else [0.5, 1.0])
    assert next_genomes(failing, 10) == next_genomes(starting, 10)


def test_forgotten_proposals_do_not_teach() -> None:
    forgetful, starting = proposer("tpe", startup_trials=5), proposer("tpe", startup_trials=1000)
    for _ in range(30):
        forgetful.forget(forgetful.propose()[0])
        starting.propose()
    assert next_genomes(forgetful, 10) == next_genomes(starting, 10)


def test_failures_count_for_no_generation() -> None:
    asked = proposer("nsga2", population_size=4)
    for number in range(20):
        mirror, genome = asked.propose()
        assert asked.settle(mirror, genome)[GENERATION] == 0
        asked.link(mirror, number)
        asked.tell(number, None)


def seeded(number: int) -> tuple[Proposer, Genome, list[dict[str, Any]]]:
    """NSGA-II whose first generation is `number` times the same seed; the seed; its notes."""
    asked, seed = proposer("nsga2", population_size=10), draws(1, seed=7)[0]
    notes = []
    for trial in range(number):
        mirror = asked.enqueue(seed)
        notes.append(asked.settle(mirror, seed))
        asked.link(mirror, trial)
        asked.tell(trial, [1.0, 1.0])
    return asked, seed, notes


def likeness(genomes: list[Genome], seed: Genome) -> float:
    same = [genome[gene] == seed[gene] for genome in genomes for gene in seed]
    return sum(same) / len(same)


def test_enqueued_seeds_become_parents() -> None:
    asked, seed, notes = seeded(10)
    assert [note[GENERATION] for note in notes] == [0] * 10
    mirror, child = asked.propose()
    assert asked.settle(mirror, child)[GENERATION] == 1
    assert likeness(next_genomes(asked), seed) > 0.9, "children differ by mutations only"
    assert likeness(next_genomes(proposer("nsga2")), seed) < 0.5, "and without seeds they do not"


def test_enqueued_seeds_are_a_part_of_the_first_generation() -> None:
    asked, _, _ = seeded(4)
    generations = []
    for number in range(4, 12):
        mirror, genome = asked.propose()
        generations.append(asked.settle(mirror, genome)[GENERATION])
        asked.link(mirror, number)
        asked.tell(number, worth(genome))
    assert generations == [0] * 6 + [1] * 2


def test_parents_are_known_again_after_a_restart() -> None:
    asked, seed, notes = seeded(10)
    again = proposer("nsga2", seed=5, population_size=10)
    for number, note in enumerate(notes):
        trial = finished(again, number, seed, generation=0)
        trial.system_attrs = dict(note)
        again.remember(trial)
    mirror, child = again.propose()
    assert again.settle(mirror, child)[GENERATION] == 1
    assert likeness([child, *next_genomes(again)], seed) > 0.9
    assert asked._study.directions == again._study.directions


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_waits_is_not_proposed_again(name: str) -> None:
    """Optuna's ask would take a waiting trial before it asks its sampler."""
    asked, (left,) = proposer(name), draws(1)
    waiting = create_trial(
        state=TrialState.WAITING, params=dict(left), distributions=dict(asked.distributions)
    )
    waiting.number = 0
    asked.remember(waiting)
    assert turn(asked, 1) != left
    asked.tell(0, [1.0, 1.0])
    assert [t.state for t in asked._study.get_trials()] == [TrialState.COMPLETE] * 2
    assert asked._study.get_trials()[0].params == left


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_may_be_larger_than_numpys(name: str) -> None:
    assert next_genomes(proposer(name, seed=2**32 + 5), 3) == next_genomes(proposer(name, 5), 3)
