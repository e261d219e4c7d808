"""Successive halving on several objectives, beside brute force over small random fields."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from search_helpers import plan

from hybridnas.errors import ConfigError
from hybridnas.pareto import best_first, crowding, layers, non_dominated
from hybridnas.search.halving import Ended, Halving, by_size, promotable
from hybridnas.study_parts import Halving as Shares


def field(rng: random.Random, number: int) -> list[Ended]:
    """Coarse losses, so that there are ties."""
    return [
        Ended(n, (rng.randrange(5) / 4, rng.randrange(5) / 4), 10.0 ** rng.randrange(1, 7))
        for n in rng.sample(range(100), number)
    ]


# ---------------------------------------------------------------- layers and crowding


@pytest.mark.parametrize("seed", range(20))
def test_layers_are_fronts_taken_off_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.integers(0, 6, (rng.integers(1, 30), rng.integers(1, 4))).astype(float)
    expected, left, layer = np.full(len(losses), -1), np.arange(len(losses)), 0
    while len(left):
        front = non_dominated(losses[left])
        expected[left[front]] = layer
        left, layer = left[~front], layer + 1
    assert layers(losses).tolist() == expected.tolist()


def test_crowding_is_the_distance_between_the_neighbours() -> None:
    losses = np.array([[0.0, 10.0], [1.0, 6.0], [2.0, 5.0], [10.0, 0.0]])
    assert crowding(losses).tolist() == [math.inf, 2 / 10 + 5 / 10, 9 / 10 + 6 / 10, math.inf]
    assert crowding(np.array([[1.0, 1.0]])).tolist() == [math.inf]
    assert crowding(np.ones((4, 1))).tolist() == [math.inf, 0, 0, math.inf]


@pytest.mark.parametrize("seed", range(20))
def test_the_best_come_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.integers(0, 4, (rng.integers(1, 12), 2)).astype(float)
    order, layer = best_first(losses), layers(losses)
    assert sorted(order) == list(range(len(losses)))
    for before, after in itertools.pairwise(order):
        assert layer[before] <= layer[after]
        if layer[before] == layer[after]:
            peers = np.flatnonzero(layer == layer[before])
            room = dict(zip(peers.tolist(), crowding(losses[peers]), strict=True))
            keys = [(-room[row], *losses[row], row) for row in (before, after)]
            assert keys[0] < keys[1]


# ---------------------------------------------------------------- bins and turns


@pytest.mark.parametrize("seed", range(20))
def test_bins_hold_equal_numbers_in_order_of_size(seed: int) -> None:
    rng = random.Random(seed)
    members, bins = field(rng, rng.randrange(4, 40)), rng.randrange(1, 5)
    found = by_size(members, bins)
    flat = [m for part in found for m in part]
    assert sorted(m.number for m in flat) == sorted(m.number for m in members)
    assert [m.size for m in flat] == sorted(m.size for m in members)
    lengths = {len(part) for part in found}
    assert len(found) == bins
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("seed", range(30))
def test_as_many_go_on_as_the_rate_says_and_each_is_among_the_best_of_its_bin(seed: int) -> None:
    rng = random.Random(seed)
    members, rate = field(rng, rng.randrange(1, 40)), rng.choice([0.1, 0.25, 1 / 3, 0.7, 1.0])
    quota = math.floor(rate * len(members) + 1e-9)
    bins = by_size(members, min(4, quota)) if quota else []
    gone: set[int] = set()
    while (number := promotable(members, gone, gone, rate)) is not None:
        (home,) = [part for part in bins if number in {m.number for m in part}]
        ranked = [home[row].number for row in best_first(np.array([m.losses for m in home]))]
        assert number == next(n for n in ranked if n not in gone), "the best that is left"
        assert ranked.index(number) < math.ceil(rate * len(home) - 1e-9)
        behind = [rate * len(b) - sum(m.number in gone for m in b) for b in bins]
        assert behind[bins.index(home)] == pytest.approx(max(behind)), "most to catch up"
        gone.add(number)
    assert len(gone) == quota
    shares = [sum(m.number in gone for m in part) for part in bins]
    assert all(abs(got - rate * len(part)) < 1 for got, part in zip(shares, bins, strict=True))


def test_small_and_large_both_go_on_though_the_large_are_better() -> None:
    """By accuracy alone only the large half would."""
    halving = Halving([0.25])
    for number in range(16):
        halving.ended(0, Ended(number, (-number / 16,), size=10.0**number))
    gone = []
    while (found := halving.next()) is not None:
        gone.append(found[0])
        halving.begins(1, found[0])
    assert sorted(gone) == [3, 7, 11, 15]


def test_who_cannot_go_on_gives_no_turn_to_the_worse() -> None:
    members = [Ended(n, (float(n),), 1.0) for n in range(4)]
    assert promotable(members, set(), {0}, 0.25) is None
    assert promotable(members, set(), {0}, 0.5) == 2, "the best of the other bin"


# ---------------------------------------------------------------- the ladder


def test_nobody_waits_for_a_rung_to_fill() -> None:
    halving, rng = Halving([0.5, 0.5]), random.Random(0)
    went = []
    for number in range(8):
        halving.ended(0, Ended(number, (rng.random(),), 1.0))
        while (found := halving.next()) is not None:
            went.append(found)
            halving.begins(found[1], found[0])
            if found[1] == 1:
                halving.ended(1, Ended(found[0], (rng.random(),), 1.0))
    assert [rung for _, rung in went] == [1, 1, 2, 1, 1, 2], "each at the first moment"
    assert halving.waiting() == sorted(set(range(8)) - {n for n, rung in went if rung == 2})


def test_the_record_may_be_told_in_any_order() -> None:
    """After a resume everything is told at once, trial by trial."""
    rng = random.Random(1)
    told: list[tuple[str, int, Ended]] = []
    halving = Halving([0.4, 0.4])
    for number in range(30):
        ended = Ended(number, (rng.random(), rng.random()), rng.random())
        halving.begins(0, number)
        halving.ended(0, ended)
        told += [("begins", 0, ended), ("ended", 0, ended)]
        if (found := halving.next()) is not None:
            who = Ended(found[0], (rng.random(), rng.random()), rng.random())
            halving.begins(found[1], who.number)
            told.append(("begins", found[1], who))
            if found[1] < 2 and rng.random() < 0.7:
                halving.ended(found[1], who)
                told.append(("ended", found[1], who))
        again = Halving([0.4, 0.4])
        for what, rung, result in sorted(told, key=lambda t: (t[2].number, t[1], t[0])):
            if what == "ended":
                again.ended(rung, result)
            else:
                again.begins(rung, result.number)
        assert (again.next(), again.waiting()) == (halving.next(), halving.waiting())


def test_references_go_on_whatever_they_scored_and_take_nobody_s_turn() -> None:
    halving = Halving([0.5])
    halving.ended(0, Ended(0, (9.0,), 1.0, seeded=True))
    halving.ended(0, Ended(1, (1.0,), 1.0))
    assert halving.next() == (0, 1)
    halving.begins(1, 0)
    assert halving.next() is None, "one other is too few for a rate of a half"
    halving.ended(0, Ended(2, (2.0,), 1.0))
    assert halving.next() == (1, 1)
    halving.leaves(1)
    assert halving.next() is None
    assert halving.waiting() == [2]


def test_one_rung_is_no_ladder() -> None:
    halving = Halving([])
    halving.begins(0, 0)
    assert (halving.top, halving.next(), halving.waiting()) == (0, None, [])


# ---------------------------------------------------------------- shares


@pytest.mark.parametrize(
    ("shares", "works", "rates"),
    [
        (None, [7], ()),
        (None, [1, 7], (1 / 3,)),
        (None, [1, 4, 16], (0.7 / 4, 0.7 / 1.2)),
        ((0.5, 0.5), [1, 4], (1 / 4,)),
        ((0.2, 0.3, 0.5), [1, 6, 20], (1 / 4, 1 / 2)),
        ((0.3, 0.7), [1, 2], (1.0,)),
    ],
)
def test_rates_follow_from_shares_and_costs(
    shares: tuple[float, ...] | None, works: list[float], rates: tuple[float, ...]
) -> None:
    found = Shares(shares=shares).rates(works)
    assert found == pytest.approx([min(1.0, rate) for rate in rates])
    if shares and max(found, default=0) < 1:
        seen = list(itertools.accumulate((1.0, *found), lambda a, b: a * b))
        spent = [n * work for n, work in zip(seen, works, strict=True)]
        assert [s / sum(spent) for s in spent] == pytest.approx(shares)


def test_shares_are_checked() -> None:
    rungs = [{"epochs": 1, "resolution": 32}, {"epochs": 4, "resolution": 32}]
    assert plan(fidelities=rungs, halving={"shares": [0.5, 0.5]}).study.rates == (0.25,)
    for shares, message in (
        ([0.5, 0.4], r"halving: shares must be 1 in total, got 0.9"),
        ([0.2, 0.3, 0.5], r"halving.shares: give one a rung \(2\), got 3"),
        ([0, 1], r"halving.shares.0: input should be greater than 0, got 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(fidelities=rungs, halving={"shares": shares})
