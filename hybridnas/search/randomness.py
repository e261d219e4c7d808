"""Random numbers that follow from a seed and a trial's number, so that a resumed search draws what
an undisturbed one would have drawn."""

from __future__ import annotations

import random
from collections.abc import Iterator

from optuna import Study
from optuna.samplers import BaseGASampler, BaseSampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import FrozenTrial


def of_trial(seed: int, number: int) -> random.Random:
    """The random numbers of a study's trial, the same in each process."""
    return random.Random(f"{seed} {number}")


def reseed(sampler: BaseSampler, rng: random.Random) -> None:
    """Sets the random states that a sampler draws from, and those of the samplers inside it.

    Optuna's `reseed_rng` would take the seed from the operating system.
    """
    for state in _random_states(sampler):
        if isinstance(state, LazyRandomState):
            state.rng.seed(rng.getrandbits(32))
        else:
            state.seed(rng.getrandbits(64))


def _random_states(sampler: BaseSampler) -> Iterator[LazyRandomState | random.Random]:
    for held in vars(sampler).values():
        if isinstance(held, LazyRandomState | random.Random):
            yield held
        elif isinstance(held, BaseSampler):
            yield from _random_states(held)


def settle_parents(sampler: BaseSampler) -> None:
    """A genetic sampler gives the parents of a generation in one order, whenever it is asked.

    Optuna's selects them when the first child asks, by that one's random numbers, and gives them
    by rank to it, by number to all others; and after a resume there is a first child once more.
    """
    if not isinstance(sampler, BaseGASampler):
        return
    select = sampler.select_parent

    def select_apart(study: Study, generation: int) -> list[FrozenTrial]:
        kept = [s for s in _random_states(sampler) if isinstance(s, LazyRandomState)]
        states = [held.rng.get_state() for held in kept]
        reseed(sampler, of_trial(generation, -1))
        parents = select(study, generation)
        for held, state in zip(kept, states, strict=True):
            held.rng.set_state(state)
        return sorted(parents, key=lambda trial: trial.number)

    sampler.select_parent = select_apart  # type: ignore[method-assign]
