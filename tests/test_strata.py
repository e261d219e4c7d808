"""Architectures for a calibration are spread evenly over the MACs of a space."""

from __future__ import annotations

import numpy as np
import pytest
from search_helpers import LISTED, SIX, constrained, genomes

from hybridnas.config import Bound
from hybridnas.errors import SpaceError
from hybridnas.search.strata import stratified
from hybridnas.space import SearchSpace


def test_every_quantile_of_macs_has_one() -> None:
    space = SearchSpace.load(LISTED)
    hard = constrained(space)
    # Of architectures, not of genomes: a kernel of attention decides nothing.
    listed = {space.decode(g).digest: hard.cost_of(g)["macs"] for g in genomes(space)}
    every = np.sort(list(listed.values()))
    found = stratified(hard, 12, 0)
    macs = np.array([hard.cost_of(genome)["macs"] for genome in found])
    assert len({space.decode(genome).digest for genome in found}) == 12
    shares = np.searchsorted(every, macs) / len(every)
    # A stratum is a twelfth; its edges are those of 240 random ones, hence some room.
    assert np.abs(shares - (np.arange(12) + 0.5) / 12).max() < 0.5 / 12 + 0.08
    assert (np.diff(macs) >= 0).all()


def test_the_same_seed_draws_the_same() -> None:
    hard = constrained(SearchSpace.load(LISTED))
    assert stratified(hard, 6, 3) == stratified(hard, 6, 3) != stratified(hard, 6, 4)


def test_constraints_are_kept_where_few_keep_them() -> None:
    space = SearchSpace.load(LISTED)
    macs = sorted(constrained(space).cost_of(genome)["macs"] for genome in genomes(space))
    limit = macs[len(macs) // 100]
    hard = constrained(space, macs=Bound(max=limit))
    found = stratified(hard, 8, 0)
    assert len(found) == 8
    assert all(hard.cost_of(genome)["macs"] <= limit for genome in found)


def test_a_space_too_small_is_refused() -> None:
    hard = constrained(SearchSpace.load(SIX))
    assert len(stratified(hard, 6, 0)) == 6
    with pytest.raises(SpaceError, match=r"7 architectures of 'six' .* not found: 6 are known"):
        stratified(hard, 7, 0)
