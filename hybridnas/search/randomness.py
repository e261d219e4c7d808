"""Random numbers that follow from a seed and a trial's number, so that a resumed search draws what
an undisturbed one would have drawn."""

from __future__ import annotations

import random

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
    for held in vars(sampler).values():
        if isinstance(held, LazyRandomState):
            held.rng.seed(rng.getrandbits(32))
        elif isinstance(held, random.Random):
            held.seed(rng.getrandbits(64))
        elif isinstance(held, BaseSampler):
            reseed(held, rng)


def order_parents(sampler: BaseSampler) -> None:
    """A genetic sampler gives the parents of a generation in one order, whenever it is asked.

    Optuna's gives them by rank to the first child that asks, and by number to all others, and
    after a resume there is a first child once more.
    """
    if not isinstance(sampler, BaseGASampler):
        return
    select = sampler.select_parent

    def select_in_order(study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(select(study, generation), key=lambda trial: trial.number)

    sampler.select_parent = select_in_order  # type: ignore[method-assign]
