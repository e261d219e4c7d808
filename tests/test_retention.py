"""Which weights stay when a search ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from search_helpers import FAILED, asked, drive, finish, network, plan, score, start

from hybridnas.search import weights
from hybridnas.search.retention import prune_weights
from hybridnas.store import Store


def searched(store: Store, artifacts: Path, name: str, keep: int) -> dict[int, tuple[float, float]]:
    """A search of all six architectures with weights; top1 and MACs of what ended well."""
    core = start(plan(name=name, keep_weights=keep), store)
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
