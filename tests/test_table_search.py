"""A table, searched through the core and the database: what a study's search does to a space of
architectures, and what a replay does in memory."""

from __future__ import annotations

import pytest
from bench_helpers import made_up_table

from hybridnas.config import Budget, Sampler
from hybridnas.search.bench.arms import read_arm
from hybridnas.search.bench.replay import feasibility_of, first_points, observed_scores, replay
from hybridnas.search.core import SearchCore
from hybridnas.search.local import TableTerms, run_here, scored
from hybridnas.search.observer import Candidate
from hybridnas.search.problem import Problem
from hybridnas.store import Evaluation, Store
from hybridnas.tables import Row, Table


def searched(table: Table, sampler: str, seed: int, trainings: int, store: Store) -> list[int]:
    """The rows that a search with the database trains, in their order. All that it takes."""
    hard, scores = feasibility_of(table), observed_scores(table, seed)
    config = Sampler.model_validate({"name": sampler})
    problem = Problem(
        name="table",
        feasibility=hard,
        objectives=table.objectives,
        terms=lambda place: TableTerms(table.name, place.rung, place.repeat),
        budget=Budget(trials=trainings),
        sampler=config,
        seed=seed,
        references=first_points(hard, config.num_random or 10, seed),
    )
    rows: list[int] = []

    def evaluate(candidate: Candidate) -> Evaluation:
        assert isinstance(candidate.architecture, Row)
        rows.append(table.row(dict(candidate.architecture.choices)))
        return scored(candidate, {table.metric: scores[rows[-1]]})

    run_here(SearchCore(problem, store), evaluate)
    return rows


@pytest.mark.parametrize("sampler", ["random", "evolution", "nsga2", "ehvi"])
def test_a_replay_proposes_what_a_search_with_the_database_does(
    sampler: str, study_store: Store
) -> None:
    """Else figures of replays would say nothing of searches."""
    table = made_up_table()
    rows = searched(table, sampler, 1, 25, study_store)
    assert rows == replay(table, read_arm(sampler), 1, 25).rows
    assert len(study_store.trials("table")) == 25
