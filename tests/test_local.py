"""The search core over a table: no architecture, no protocol, no vision."""

from __future__ import annotations

from search_helpers import optuna_trials
from table_helpers import begin, evaluated, problem, table_score

from hybridnas.config import Budget
from hybridnas.search.core import SearchCore
from hybridnas.search.local import TableTerms, run_here, scored
from hybridnas.search.observer import Candidate
from hybridnas.store import Evaluation, Store


def test_a_table_is_searched_to_the_end_of_the_budget(study_store: Store) -> None:
    seen: list[Candidate] = []

    def evaluate(candidate: Candidate) -> Evaluation:
        seen.append(candidate)
        return evaluated(candidate)

    core = SearchCore(problem(max_macs=500), study_store)
    assert run_here(core, evaluate) == "trials"
    assert [c.number for c in seen] == list(range(20))
    assert len({c.digest for c in seen}) == 20
    assert all(c.costs["macs"] <= 500 for c in seen)
    trials = optuna_trials(study_store, "tabular")
    assert [t.values for t in trials] == [[table_score(c), c.costs["macs"]] for c in seen]
    records = study_store.trials("tabular")
    assert [r.evaluation.metrics["macs"] for r in records if r.evaluation] == [
        c.costs["macs"] for c in seen
    ]


def test_a_table_is_exhausted(study_store: Store) -> None:
    core = SearchCore(problem(places=2, budget=Budget(trials=99)), study_store)
    assert run_here(core, evaluated) == "exhausted"
    assert len(optuna_trials(study_store, "tabular")) == 4**2


def test_gpu_hours_count_what_an_evaluation_would_have_taken(study_store: Store) -> None:
    core = begin(study_store, budget=Budget(gpu_hours=1.5 / 60))
    assert run_here(core, evaluated) == "gpu_hours"
    assert len(optuna_trials(study_store, "tabular")) == 2


def test_terms_of_a_table_differ_in_each_part() -> None:
    every = [TableTerms(*parts) for parts in (("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1))]
    assert len({terms.digest for terms in every}) == 4
    assert TableTerms("a", 0, 0).digest == every[0].digest


def test_a_scored_candidate_took_its_time(study_store: Store) -> None:
    candidate = begin(study_store).ask()
    assert candidate is not None
    made = scored(candidate, {"top1": 0.5}, seconds=30, gpus=0.5)
    assert (made.ended_at - made.started_at).total_seconds() == 30
    assert made.timing == {"total_s": 30, "gpu_s": 15}
    assert made.metrics == {"top1": 0.5, "macs": candidate.costs["macs"]}
