"""What a worker writes: once, under its lease, patiently."""

from __future__ import annotations

import socket
from pathlib import Path

import optuna
import pytest
import ray
import search_helpers as helpers
import torch

from hybridnas.errors import ConfigError, StoreError
from hybridnas.evaluate import Outcome, evaluate
from hybridnas.search import weights
from hybridnas.search.patience import patiently
from hybridnas.search.worker import _record, _where, as_evaluation, seldom
from hybridnas.store import Store
from hybridnas.train import EpochRecord


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    plan = helpers.plan()
    return evaluate(plan.space.decode({}), plan.protocol, device="cpu")


def test_a_second_attempt_leaves_the_first_ones_weights(
    study_store: Store, tmp_path: Path, outcome: Outcome
) -> None:
    plan = helpers.plan()
    study_store.put_study(plan.study.name, plan.config)
    candidate = helpers.start(plan, study_store).ask()
    assert candidate is not None
    assert outcome.state_dict is not None
    paths = []
    for attempt in (1, 2):
        state = {name: value + attempt for name, value in outcome.state_dict.items()}
        kept = weights.save(state, str(tmp_path / "kept"), f"file{attempt}")
        evaluation = as_evaluation(
            outcome, candidate.digest, plan.protocol.digest, dict(candidate.costs), 0.5, kept
        )
        _record(study_store.url, candidate.token, evaluation)
        paths.append(Path(kept["path"]))
    assert [path.exists() for path in paths] == [True, False]
    record = study_store.trial(plan.study.name, candidate.number)
    assert record is not None
    assert record.evaluation is not None
    stored = record.evaluation.weights
    assert stored is not None
    name = next(iter(outcome.state_dict))
    assert torch.equal(weights.load(stored)[name], outcome.state_dict[name] + 1)
    assert record.evaluation.timing["gpu_s"] == pytest.approx(outcome.timing["total_s"] * 0.5)
    assert record.evaluation.metrics["macs"] == candidate.costs["macs"]


def test_an_orphan_leaves_nothing(study_store: Store, tmp_path: Path, outcome: Outcome) -> None:
    plan = helpers.plan()
    study_store.put_study(plan.study.name, plan.config)
    candidate = helpers.start(plan, study_store).ask()
    assert candidate is not None
    assert outcome.state_dict is not None
    again = helpers.start(plan, study_store).ask()  # a later run takes the trial over
    assert again is not None
    assert (again.number, again.token != candidate.token) == (candidate.number, True)
    kept = weights.save(outcome.state_dict, str(tmp_path / "kept"), "orphan")
    evaluation = as_evaluation(
        outcome, candidate.digest, plan.protocol.digest, dict(candidate.costs), 0.0, kept
    )
    _record(study_store.url, candidate.token, evaluation)
    assert not Path(kept["path"]).exists()
    record = study_store.trial(plan.study.name, candidate.number)
    assert record is not None
    assert record.evaluation is None


def test_patience_tries_again_and_has_an_end() -> None:
    calls: list[None] = []

    def work() -> str:
        calls.append(None)
        if len(calls) < 3:
            raise StoreError("the database is away")
        return "done"

    assert patiently(work, pause_s=0) == "done"
    assert len(calls) == 3

    def never() -> None:
        raise StoreError("the database is gone")

    with pytest.raises(StoreError, match="gone"):
        patiently(never, minutes=0, pause_s=0)


def test_quick_epochs_are_told_of_now_and_then() -> None:
    times = iter([0.0, 0.4, 0.8, 1.2, 1.25, 1.9, 2.3, 2.35])
    told: list[EpochRecord] = []
    on_epoch = seldom(told.append, 1.0, lambda: next(times))
    for epoch in range(1, 6):
        on_epoch(EpochRecord(epoch, 1.0, 0.1, 0.4, 100.0, 5))
    assert [record.epoch for record in told] == [3, 5]


def test_somebody_elses_optuna_study_is_left_alone(study_store: Store) -> None:
    plan = helpers.plan()
    storage = study_store.optuna_storage()
    foreign = optuna.create_study(study_name=plan.study.name, storage=storage)
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    study_store.put_study(plan.study.name, plan.config)
    with pytest.raises(ConfigError, match="that hybridnas did not make"):
        helpers.start(plan, study_store)
    assert len(foreign.get_trials()) == 1


@pytest.mark.parametrize(
    ("gpus", "words"), [([], "node7"), (["3"], "node7, GPU 3"), (["0", "1"], "node7, GPU 0+1")]
)
def test_a_worker_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, gpus: list[str], words: str
) -> None:
    class Context:
        def get_accelerator_ids(self) -> dict[str, list[str]]:
            return {"GPU": gpus, "TPU": []}

    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    _where.cache_clear()
    assert _where() == words
    _where.cache_clear()
