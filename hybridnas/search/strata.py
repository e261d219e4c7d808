"""Architectures drawn evenly over the range of a space's MACs."""

from __future__ import annotations

import random

from ..errors import SpaceError
from ..space import Genome
from .feasibility import Feasibility

# Random architectures for each that is wanted; as few of them where they must be repaired, which
# takes a hundred times as long.
_POOL, _REPAIRED = 20, 4


def stratified(hard: Feasibility, number: int, seed: int) -> list[Genome]:
    """So many different architectures that keep the constraints, one out of each of as many
    strata of equal probability: random ones, in the order of their MACs, cut into equal parts.

    The same for the same seed. Raises SpaceError where the space does not hold so many.
    """
    rng = random.Random(seed)
    pool = feasible(hard, _POOL * number, _REPAIRED * number, rng)
    if len(pool) < number:
        raise SpaceError(
            f"{number} architectures of {hard.space.name!r} that keep the constraints were not "
            f"found: {len(pool)} are known"
        )
    pool.sort(key=lambda genome: hard.cost_of(genome)["macs"])
    edges = [round(i * len(pool) / number) for i in range(number + 1)]
    return [pool[rng.randrange(edges[i], edges[i + 1])] for i in range(number)]


def feasible(hard: Feasibility, wanted: int, least: int, rng: random.Random) -> list[Genome]:
    """Up to so many different random architectures that keep the constraints, as they come; where
    too few do, repaired ones too, until there are `least`."""
    found: dict[str, Genome] = {}
    left: list[Genome] = []
    for _ in range(10 * wanted):
        genome = hard.space.random_genome(rng)
        if hard.violation(hard.cost_of(genome)) == 0:
            found.setdefault(hard.space.decode(genome).digest, genome)
        elif len(left) < wanted:
            left.append(genome)
        if len(found) == wanted:
            break
    for genome in left:
        if len(found) >= least:
            break
        repaired = hard.repair(genome, rng)
        if repaired is not None:
            found.setdefault(hard.space.decode(repaired).digest, repaired)
    return list(found.values())
