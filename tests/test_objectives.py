"""Figures that can be objectives and constraints, by hand."""

from __future__ import annotations

import pytest

from hybridnas.config import parse_study
from hybridnas.objectives import figure
from hybridnas.study_parts import Bound, Constraints


def test_figures_of_a_training_come_from_its_timing() -> None:
    timing = {"gpu_peak_mib": 1100.0, "gpu_images_mib": 100.0, "train_s": 1800.0}
    assert figure("memory_mb", {}, timing) == 1048.576
    assert figure("train_hours", {}, timing) == 0.5
    assert figure("top1", {"top1": 0.5, "train_s": 1.0}, timing) == 0.5


@pytest.mark.parametrize("name", ["memory_mb", "train_hours", "loss"])
def test_what_was_not_measured_is_unknown(name: str) -> None:
    assert figure(name, {"top1": 0.5}, {"gpu_peak_mib": 5.0, "total_s": 3.0}) is None


def test_excesses_are_shares_of_the_bound() -> None:
    both = Bound(min=10, max=20)
    assert both.excess(15) == [-0.25, -0.5]
    assert both.excess(30) == [0.5, -2]
    assert both.excess(5) == [-0.75, 0.5]
    assert Bound(max=4).excess(4) == [0]
    assert Bound(min=0).excess(-1) == []  # nothing is below no bound


def test_hard_and_soft_constraints_are_told_apart() -> None:
    bounds = {"macs": Bound(max=1e9), "latency_ms": Bound(max=2), "memory_mb": Bound(max=8000)}
    given = Constraints(**bounds, top1=Bound(min=0.7))
    assert given.bounds() == {"macs": bounds["macs"], "latency_ms": bounds["latency_ms"]}
    assert given.soft() == {"top1": Bound(min=0.7), "memory_mb": bounds["memory_mb"]}


def test_the_best_is_by_what_is_scored() -> None:
    raw = {
        "name": "x",
        "space": "hybrid_small",
        "fidelities": [{"epochs": 1, "resolution": 32}],
        "budget": {"trials": 1},
        "objectives": {"train_hours": "minimize", "loss": "minimize", "top1": "maximize"},
    }
    assert parse_study(raw, "test").measured == "loss"
