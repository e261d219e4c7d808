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
        for n in sorted(rng.sample(range(100), number))
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


def test_bins_are_equal_parts_of_the_logarithms_of_sizes() -> None:
    sizes = [1e3, 1.1e3, 9e3, 1.1e4, 9e4, 1.1e5, 9e5, 1.1e6, 1e7]
    found = by_size([Ended(n, (0.0,), size) for n, size in enumerate(sizes)])
    assert found.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert by_size([Ended(n, (0.0,), 5.0) for n in range(3)]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(30))
def test_as_many_go_on_as_the_rate_says_and_always_one_of_the_best_layer(seed: int) -> None:
    rng = random.Random(seed)
    members, rate = field(rng, rng.randrange(1, 40)), rng.choice([0.1, 0.25, 1 / 3, 0.7, 1.0])
    losses = {m.number: m.losses for m in members}
    bins = dict(zip(losses, by_size(members).tolist(), strict=True))
    layer = dict(zip(losses, layers(np.array(list(losses.values()))), strict=True))
    gone: set[int] = set()
    while (number := promotable(members, gone, gone, rate)) is not None:
        first = min(layer[n] for n in layer if n not in gone)
        assert layer[number] == first, "a layer is used up before the next is begun"
        peers = {n for n in layer if layer[n] == first and n not in gone}
        left = {n: sum(bins[m] == bins[n] for m in gone) for n in peers}
        assert left[number] == min(left.values()), "of its layer the bin that fewest have left"
        home = [n for n in layer if (layer[n], bins[n]) == (first, bins[number])]
        room = dict(zip(home, crowding(np.array([losses[n] for n in home])), strict=True))
        assert room[number] == max(room[n] for n in home if n in peers), "the least crowded"
        gone.add(number)
    assert len(gone) == math.floor(rate * len(members) + 1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_equal_scores_are_told_in_any_order(seed: int) -> None:
    """A resumed search chooses as an undisturbed one, also where scores are of few images."""
    rng = random.Random(seed)
    members = [Ended(n, (rng.randrange(2) / 2, rng.randrange(3) / 2), 1.0) for n in range(12)]
    gone = set(rng.sample(range(12), 2))
    chosen = promotable(members, gone, gone, 0.5)
    for _ in range(5):
        assert promotable(rng.sample(members, 12), gone, gone, 0.5) == chosen


def test_small_and_large_both_go_on() -> None:
    """All on one front: more accurate where larger, from 1 to 10^15 MACs."""
    halving = Halving([0.25])
    for number in range(16):
        halving.ended(0, Ended(number, (-number / 16, 10.0**number), size=10.0**number))
    gone = []
    while (found := halving.next()) is not None:
        gone.append(found[0])
        halving.begins(1, found[0])
    assert sorted(number // 4 for number in gone) == [0, 1, 2, 3], "one of each quarter"


def test_the_dominated_do_not_go_on_for_their_size() -> None:
    """As many from each bin, whatever they score, did worse than random search on a table."""
    halving = Halving([0.5])
    for number in range(4):
        halving.ended(0, Ended(number, (-1 + number / 9, 1.0 + number), size=1.0 + number))
    for number in range(4, 8):
        halving.ended(0, Ended(number, (0.0, 1e6), size=1e6))
    gone = set()
    while (found := halving.next()) is not None:
        gone.add(found[0])
        halving.begins(1, found[0])
    assert gone == {0, 1, 2, 3}


def test_who_cannot_go_on_gives_no_turn_to_the_worse() -> None:
    members = [Ended(n, (float(n),), 1.0) for n in range(4)]
    assert promotable(members, set(), {0}, 0.25) is None
    assert promotable(members, set(), {0}, 0.5) == 1
    assert promotable(members, set(), {0, 1, 2, 3}, 0.5) is None


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
        ([0, 1], r"halving.shares.0: must be greater than 0, got 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(fidelities=rungs, halving={"shares": shares})
