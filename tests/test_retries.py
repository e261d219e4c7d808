"""Who is tried again, after which pause, and what is held against whom; with a clock by hand."""

from __future__ import annotations

import pytest

from hybridnas.search.retries import Retries


class World:
    """A clock that is moved by hand, and nodes that go down."""

    def __init__(self, most: int) -> None:
        self.now = 0.0
        self.down: frozenset[str] = frozenset()
        self.retries = Retries(most, lambda: self.down, lambda: self.now)

    def lose(self, number: int, digest: str = "") -> float:
        """An attempt that lasts ten seconds and is lost; the pause."""
        self.retries.began(number, digest or f"architecture {number}")
        self.now += 10
        return self.retries.lost(number)

    def wait(self, number: int) -> bool:
        """Until its pause is over; whether it is tried again."""
        while self.retries.due() != number:
            self.now += 0.5
        return self.retries.goes_on(number)

    def outcome(self, number: int, digest: str = "") -> int:
        """Loses it until it is given up; after how many attempts."""
        attempts = 0
        while True:
            self.lose(number, digest)
            attempts += 1
            if not self.wait(number):
                return attempts


@pytest.mark.parametrize(("most", "pauses"), [(0, [25]), (1, [1, 25]), (4, [1, 4, 25, 25, 25])])
def test_pauses_grow_and_the_last_one_is_long(most: int, pauses: list[float]) -> None:
    world = World(most)
    for pause in pauses[:-1]:
        assert world.lose(0) == pause
        assert world.retries.waiting
        assert world.retries.due() is None
        world.now += pause
        assert world.retries.due() == 0
        assert world.retries.goes_on(0)
        assert not world.retries.waiting
    assert world.lose(0) == pauses[-1]
    assert not world.wait(0)
    assert (world.retries.waiting, world.retries.due()) == (False, None)


def test_whose_pause_is_over_first_is_named_first() -> None:
    world = World(5)
    world.lose(0)
    assert world.wait(0)
    world.lose(0)
    world.now += 2
    world.lose(1)
    world.now += 50
    assert world.retries.due() == 0
    assert world.retries.goes_on(0)
    assert world.retries.due() == 1


def test_what_a_node_took_along_does_not_count_up_to_some_times() -> None:
    world = World(1)
    for node in range(10):
        world.lose(0)
        world.down |= {f"node {node}"}  # Ray learns of it in the pause
        assert world.wait(0)
    assert world.outcome(0) == 2, "its own deaths count as before"
    world = World(0)
    for node in range(11):
        world.lose(0)
        world.down |= {f"node {node}"}
        assert world.wait(0) == (node < 10)


def test_a_node_that_had_gone_before_is_no_excuse() -> None:
    world = World(0)
    world.down = frozenset({"an old one"})
    assert world.outcome(0) == 1


def test_one_bad_architecture_says_nothing_of_the_workers() -> None:
    for most in (0, 2):
        world = World(most)
        for number in range(20):  # seeds of one architecture, in the end of a search
            assert world.outcome(number, "bad") == most + 1
        assert not world.retries.hopeless


@pytest.mark.parametrize("most", [0, 1])
def test_four_one_after_the_other_do(most: int) -> None:
    world = World(most)
    for number in range(4):
        assert not world.retries.hopeless
        world.outcome(number)
    assert world.retries.hopeless


def test_a_result_in_between_clears_the_workers() -> None:
    world = World(0)
    for number in range(12):
        world.outcome(number)
        if number % 3 == 2:
            world.retries.began(99, "good")
            world.retries.ended(99)
    assert not world.retries.hopeless


def test_who_was_lost_together_with_one_that_is_given_up_is_tried_again() -> None:
    """A machine that one candidate's greed brings down, with all that ran there."""
    world = World(0)
    for number in range(8):
        world.retries.began(number, f"architecture {number}")
    world.now += 10
    for number in range(8):
        world.retries.lost(number)
    assert not world.wait(0)
    assert all(world.wait(number) for number in range(1, 8))
    assert not world.retries.hopeless
    # Where no worker can work, few are given up before that is noticed.
    left = set(range(1, 8))
    while not world.retries.hopeless:
        for number in left:
            world.retries.began(number, f"architecture {number}")
        world.now += 10
        for number in left:
            world.retries.lost(number)
        world.now += 25
        while not world.retries.hopeless and (due := world.retries.due()) is not None:
            left -= set() if world.retries.goes_on(due) else {due}
    assert len(left) == 4
