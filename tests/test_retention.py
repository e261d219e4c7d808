"""Which weights stay when a search ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from search_helpers import FAILED, asked, drive, finish, network, plan, score, start

from hybridnas.search import retention, weights
from hybridnas.search.retention import Pruning, prune_weights
from hybridnas.store import Store


def searched(
    store: Store, artifacts: Path, name: str, keep: int, **changes: Any
) -> dict[int, tuple[float, float]]:
    """A search of all six architectures with weights; top1 and MACs of what ended well."""
    core = start(plan(name=name, keep_weights=keep, **changes), store)
    found = {}
    for number in range(6):
        candidate = asked(core)
        if number == 2:
            finish(core, candidate, **FAILED)
            continue
        tensors = {"w": torch.full((2,), float(number))}
        kept = weights.save(tensors, str(artifacts / name), candidate.token)
        finish(core, candidate, weights=kept)
        found[number] = (score(network(candidate)), candidate.costs["macs"])
    return found


def with_weights(store: Store, name: str) -> dict[int, str]:
    """The trials that have weights, and where."""
    evaluations = {r.number: r.evaluation for r in store.trials(name)}
    return {n: e.weights["path"] for n, e in evaluations.items() if e is not None and e.weights}


@pytest.mark.parametrize("keep", [0, 1, 3, 9])
def test_the_front_and_the_best_stay(keep: int, study_store: Store, tmp_path: Path) -> None:
    found = searched(study_store, tmp_path, "shapes", keep)
    front = {
        n
        for n, (top1, macs) in found.items()
        if not any(t >= top1 and m <= macs and (t, m) != (top1, macs) for t, m in found.values())
    }
    best = sorted(found, key=lambda n: -found[n][0])[:keep]
    assert 0 < len(front) < len(found)
    prune_weights("shapes", study_store, str(tmp_path / "shapes"))
    left = with_weights(study_store, "shapes")
    assert left.keys() == front | set(best)
    assert {str(path) for path in (tmp_path / "shapes").iterdir()} == set(left.values())
    for number, record in enumerate(study_store.trials("shapes")):
        if number in left:
            assert record.evaluation is not None
            assert record.evaluation.weights is not None
            assert weights.load(record.evaluation.weights)["w"].tolist() == [number] * 2
    prune_weights("shapes", study_store, str(tmp_path / "shapes"))
    assert with_weights(study_store, "shapes") == left


def test_weights_of_another_study_are_left_alone(study_store: Store, tmp_path: Path) -> None:
    searched(study_store, tmp_path, "shapes-2", keep=9)
    before = with_weights(study_store, "shapes-2")
    assert len(before) == 5
    again = start(plan(name="shapes", keep_weights=0), study_store)
    drive(again)
    assert set(with_weights(study_store, "shapes").values()) == set(before.values())
    prune_weights("shapes", study_store, str(tmp_path / "shapes"))
    assert with_weights(study_store, "shapes-2") == before
    assert all(Path(path).is_file() for path in before.values())


def test_who_is_to_be_trained_again_keeps_them(study_store: Store, tmp_path: Path) -> None:
    """Who is none of the front by the search's scores may be by its fresh ones."""
    found = searched(study_store, tmp_path, "shapes", 0, final={"retrain": 5})
    prune_weights("shapes", study_store, str(tmp_path / "shapes"))
    assert with_weights(study_store, "shapes").keys() == found.keys()


def test_weights_that_cannot_be_deleted_end_no_search(
    study_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: object) -> None:
        raise PermissionError("not yours")

    found = searched(study_store, tmp_path, "shapes", 0)
    monkeypatch.setattr(retention, "remove", refuses)
    prune_weights("shapes", study_store, str(tmp_path / "shapes"))
    assert len(with_weights(study_store, "shapes")) < len(found)


def test_pruning_takes_little_of_the_time(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 3 s, and a candidate is settled every 10 s."""
    now, pruned = 0.0, []

    def takes_a_while(*_: object) -> None:
        nonlocal now
        pruned.append(now)
        now += 3

    monkeypatch.setattr(retention, "prune_weights", takes_a_while)
    pruning = Pruning("shapes", study_store, "", lambda: now)
    for _ in range(40):
        pruning.settled()
        now += 10
    assert pruned == [90, 90 + 153, 90 + 2 * 153], "at the tenth, then 150 s after the last"
