"""A study of two tasks, `b` beside its own, with made-up results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import search_helpers as helpers

from hybridnas.search.core import SearchCore
from hybridnas.search.observer import Candidate
from hybridnas.search.plan import Plan

OBJECTIVES = {"top1": "maximize", "b.top1": "maximize"}
ALSO = {"b": {"fidelities": [{"epochs": 2, "resolution": 32}]}}


def plan(**changes: Any) -> Plan:
    """As search_helpers' plan, with the second task."""
    own = helpers.plan(**{"also": ALSO, "objectives": OBJECTIVES, **changes})
    others = {task: helpers.plan_of(own.study.alone(task)) for task in own.study.also}
    return replace(own, also=others)


def figures(candidate: Candidate) -> dict[str, float]:
    """The better on its own task, the worse on the other."""
    own = helpers.score(helpers.network(candidate))
    return {"top1": 1 - own if candidate.place.task else own, "top5": 0.9, **candidate.recorded}


def finish(core: SearchCore, candidate: Candidate, **changes: Any) -> None:
    helpers.finish(core, candidate, **{"metrics": figures(candidate), **changes})


def drive(core: SearchCore) -> Iterator[Candidate]:
    """Finishes all that is left, and gives each."""
    while (candidate := core.ask()) is not None:
        finish(core, candidate)
        yield candidate
