"""Trainings made up in this process instead of by Ray's workers, for commands that want some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from hybridnas.search import driver
from hybridnas.search.observer import Candidate
from hybridnas.search.searcher import Work
from hybridnas.store import Evaluation


@dataclass
class Made:
    """left: how many trainings may still be done before Ctrl-C; done: how many were."""

    left: int = 1000
    done: int = 0


def make_up(monkeypatch: pytest.MonkeyPatch, evaluate: Callable[[Candidate], Evaluation]) -> Made:
    """Has the driver's work done here, by evaluate."""
    made = Made()

    def train(work: Work, *_: Any) -> str:
        while (candidate := work.ask()) is not None:
            if made.left == 0:
                work.release()
                return "interrupted"
            work.store.record(candidate.token, evaluate(candidate))
            work.settle(candidate.number)
            made.left, made.done = made.left - 1, made.done + 1
        return "done"

    monkeypatch.setattr(driver, "_work", train)
    return made
