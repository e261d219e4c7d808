"""The scripts that compare networks on a test split: their statistics, and one whole run."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from search_helpers import SIX

from hybridnas.space import SearchSpace

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("paired_test")


def test_holm_by_hand(paired: ModuleType) -> None:
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1, never falling.
    assert paired.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert paired.holm([0.9, 0.8]) == [1.0, 1.0]


def test_intervals_hold_the_truth_at_their_rate_and_see_a_real_difference(
    paired: ModuleType,
) -> None:
    rng = np.random.default_rng(0)

    def network(skill: float, hard: np.ndarray) -> np.ndarray:
        """Answers of five seeds, whose skills differ by a point."""
        skills = skill + rng.normal(scale=0.01, size=(5, 1))
        return (rng.random((5, len(hard))) + hard < skills + 0.5).astype(float)

    held, seen, wrong = [], [], []
    for _ in range(120):
        hard = rng.random(400) - 0.5  # the same images for all
        right = {"one": network(0.5, hard), "same": network(0.5, hard), "worse": network(0.3, hard)}
        same, worse = paired.differences(
            right, [("one", "same"), ("one", "worse")], resamples=400, seed=1
        )
        held.append(same.low <= 0 <= same.high)
        wrong.append(same.p < 0.05)
        seen.append(worse.low > 0 and worse.p < 0.05)
    assert np.mean(held) > 0.93
    assert np.mean(wrong) < 0.08
    assert np.mean(seen) == 1


def test_a_whole_comparison_on_digits(
    paired: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = importlib.import_module("compare_on_test")
    space = SearchSpace.load(SIX)
    for name in ("ssm", "gated_conv"):
        network = space.decode({"stage1.width": 8, "stage1.mixer": name})
        (tmp_path / f"{name}.json").write_text(network.to_json())
    words = ["quickstart", "--found", f"ssm={tmp_path}/ssm.json", "--seeds", "2", "--split", "val"]
    words += ["--hand", f"cnn={tmp_path}/gated_conv.json", "--epochs", "1", "--processes", "1"]
    out = tmp_path / "out.json"
    setting = ["--set", "task.per_class=5", "--set", "fidelities=[{epochs: 1, resolution: 16}]"]
    monkeypatch.setattr(sys, "argv", ["compare_on_test", *words, *setting, "--json", str(out)])
    script.main()
    found = json.loads(out.read_text())
    assert {row["stages"] for row in found["networks"].values()} == {"S1", "G1"}
    (only,) = found["differences"]
    scores = {name: row["test_top1"] for name, row in found["networks"].items()}
    assert only["better"] == pytest.approx(scores["ssm"] - scores["cnn"])
    assert only["low"] <= only["better"] <= only["high"]
    assert "ssm - cnn:" in capsys.readouterr().out
