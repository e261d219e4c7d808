"""Figures of a study in words."""

from __future__ import annotations

import pytest

from hybridnas.counting import number_of
from hybridnas.search.studies import read_study
from hybridnas.search.words import (
    calibrate_command,
    export_folder,
    spent_words,
    time_words,
    unseen_command,
)


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0.0, "0 s"),
        (81 / 3600, "81 s"),
        (200 / 3600, "3 min"),
        (0.5, "30 min"),
        (3.21, "3.2 hours"),
    ],
)
def test_time(hours: float, words: str) -> None:
    assert time_words(hours) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 trainings"), (1, "1 training"), (1024, "1,024 trainings")]
)
def test_one_is_singular(number: int, words: str) -> None:
    assert number_of(number, "training") == words


def test_what_was_spent() -> None:
    assert spent_words(0.25, 0.5) == "15 min, 30 min of GPU time"
    assert spent_words(2.0, 0.0) == "2.0 hours, no GPU"


@pytest.mark.parametrize(("chosen_by", "named"), [("val", "test"), ("test", "NAME")])
def test_a_winner_is_scored_on_another_split_than_chose_it(chosen_by: str, named: str) -> None:
    command = unseen_command(export_folder("mine", 4), chosen_by)
    assert command == f"hybridnas evaluate exported/mine-4 --split {named}"


@pytest.mark.parametrize(("size", "archs"), [(10**9, 24), (24, 24), (12, 12), (8, 8)])
def test_a_calibration_asks_for_no_more_than_the_space_has(size: int, archs: int) -> None:
    command = calibrate_command(read_study("quickstart"), size)
    assert command is not None
    assert command.startswith(f"hybridnas calibrate quickstart --archs {archs} --epochs ")


def test_no_calibration_is_advised_in_a_space_of_too_few() -> None:
    assert calibrate_command(read_study("quickstart"), 7) is None
